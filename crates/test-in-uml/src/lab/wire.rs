//! What a network does to a frame on its way: loses it, keeps it for a while, or lets others go first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uml_protocol::lab::Shape;

use crate::stage::InterfaceEnd;

/// More bytes than this are not on their way at once: what comes then is lost, as in the queue of a router.
const MOST_WAITING: usize = 64 << 20;

/// A frame on its way.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    /// Of two that are due at once the first goes first.
    number: u64,
    to: Arc<InterfaceEnd>,
    frame: Vec<u8>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// The wire of a network.
#[derive(Debug, Default)]
pub(super) struct Wire {
    waiting: BinaryHeap<Reverse<Waiting>>,
    size: usize,
    count: u64,
    /// When the last frame is through that has a rate to keep.
    busy_until: Option<Instant>,
}

impl Wire {
    /// Sends a frame on its way. Gives it back where nothing is to happen to it.
    pub fn send<'f>(
        &mut self,
        shape: &Shape,
        to: &Arc<InterfaceEnd>,
        frame: &'f [u8],
    ) -> Option<&'f [u8]> {
        if *shape == Shape::default() && self.waiting.is_empty() {
            return Some(frame);
        }
        let lost = fastrand::u32(0..1000) < u32::from(shape.loss);
        if lost || self.size + frame.len() > MOST_WAITING {
            return None;
        }
        let now = Instant::now();
        let mut due = now;
        if let Some(rate) = shape.rate.filter(|rate| *rate > 0) {
            let begin = self.busy_until.map_or(now, |until| until.max(now));
            due = begin + Duration::from_secs_f64(frame.len() as f64 / rate as f64);
            self.busy_until = Some(due);
        }
        due += shape.delay + shape.jitter.mul_f64(fastrand::f64());
        self.count += 1;
        self.size += frame.len();
        let (number, to, frame) = (self.count, Arc::clone(to), frame.to_vec());
        self.waiting.push(Reverse(Waiting { due, number, to, frame }));
        None
    }

    /// The time it is until the next frame arrives.
    pub fn next(&self) -> Option<Duration> {
        let Reverse(first) = self.waiting.peek()?;
        Some(first.due.saturating_duration_since(Instant::now()))
    }

    /// The frames that have arrived by now, in their order.
    pub fn arrived(&mut self) -> impl Iterator<Item = (Arc<InterfaceEnd>, Vec<u8>)> {
        let now = Instant::now();
        std::iter::from_fn(move || {
            if self.waiting.peek().is_none_or(|Reverse(first)| first.due > now) {
                return None;
            }
            let Reverse(Waiting { to, frame, .. }) = self.waiting.pop()?;
            self.size -= frame.len();
            Some((to, frame))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Arc<InterfaceEnd> {
        Arc::new(InterfaceEnd::nowhere())
    }

    /// What comes out of so many frames, once all that does has come.
    fn through(shape: &Shape, frames: u8) -> Vec<u8> {
        let (mut wire, to) = (Wire::default(), socket());
        let mut come: Vec<u8> = Vec::new();
        for number in 0..frames {
            come.extend(wire.send(shape, &to, &[number]).map(|frame| frame[0]));
        }
        while let Some(wait) = wire.next() {
            std::thread::sleep(wait);
            come.extend(wire.arrived().map(|(_, frame)| frame[0]));
        }
        come
    }

    #[test]
    fn a_wire_without_a_shape_passes_all_at_once() {
        assert_eq!(through(&Shape::default(), 9), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn some_or_all_are_lost() {
        assert!(through(&Shape { loss: 1000, ..Shape::default() }, 50).is_empty());
        let half = through(&Shape { loss: 500, ..Shape::default() }, 250).len();
        assert!((50..200).contains(&half), "{half} of 250");
    }

    #[test]
    fn a_delay_keeps_their_order_and_jitter_does_not() {
        let delay = Duration::from_millis(20);
        let start = Instant::now();
        let frames = through(&Shape { delay, ..Shape::default() }, 9);
        assert!(start.elapsed() >= delay && frames.is_sorted() && frames.len() == 9);
        let jitter = through(&Shape { jitter: delay, ..Shape::default() }, 100);
        assert!(!jitter.is_sorted() && jitter.len() == 100);
    }

    #[test]
    fn a_rate_is_not_exceeded() {
        let start = Instant::now();
        // A byte a frame.
        assert_eq!(through(&Shape { rate: Some(500), ..Shape::default() }, 25).len(), 25);
        assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
    }
}

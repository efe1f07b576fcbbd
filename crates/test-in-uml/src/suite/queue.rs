//! What is left to run, shared by the seats: a lane of cases for each kernel, which opens when the
//! kernel is built.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::plan::{self, Job};

/// A job with the target that a seat needs for it.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub lane: usize,
    pub target: Arc<T>,
    pub job: Job,
}

/// The queue; `T` is what a lane has once it is open.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState<T> {
    lanes: Vec<QueueLane<T>>,
    stopped: Option<String>,
}

#[derive(Debug)]
struct QueueLane<T> {
    /// What its kernel is called.
    name: String,
    jobs: VecDeque<Job>,
    state: LaneState<T>,
}

#[derive(Debug)]
enum LaneState<T> {
    /// Its kernel is not built yet.
    Building,
    Ready(Arc<T>),
    /// Nothing more is run on this kernel, and why.
    Closed(String),
}

impl<T> Queue<T> {
    /// A queue whose lanes are all ahead.
    pub fn new(lanes: &[plan::Lane]) -> Self {
        let lane = |lane: &plan::Lane| QueueLane {
            name: lane.name.clone(),
            jobs: lane.jobs.clone().into(),
            state: LaneState::Building,
        };
        let lanes = lanes.iter().map(lane).collect();
        Self { state: Mutex::new(QueueState { lanes, stopped: None }), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel of a lane is built.
    pub fn open(&self, lane: usize, name: &str, target: Arc<T>) {
        let mut state = self.state();
        state.lanes[lane].name = name.into();
        state.lanes[lane].state = LaneState::Ready(target);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing more is run in a lane.
    pub fn close(&self, lane: usize, why: &str) {
        self.state().lanes[lane].state = LaneState::Closed(why.into());
        self.changed.notify_all();
    }

    /// Nothing more is run at all; the first reason stays.
    pub fn stop(&self, why: &str) {
        self.state().stopped.get_or_insert_with(|| why.into());
        self.changed.notify_all();
    }

    /// Why nothing more is run.
    pub fn stopped(&self) -> Option<String> {
        self.state().stopped.clone()
    }

    /// Takes a job, of the lane `own` if that has any, without waiting for a kernel.
    pub fn take(&self, own: Option<usize>) -> Option<Taken<T>> {
        self.state().take(own)
    }

    /// Like [`Queue::take`], but waits for kernels that are being built; nothing when there is
    /// nothing more to come.
    pub fn wait(&self, own: Option<usize>) -> Option<Taken<T>> {
        let mut state = self.state();
        loop {
            let taken = state.take(own);
            if taken.is_some() || !state.may_grow() {
                return taken;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the lanes are called of which something is or will be run.
    pub fn names(&self) -> Vec<String> {
        let state = self.state();
        let open = |lane: &&QueueLane<T>| !matches!(lane.state, LaneState::Closed(_));
        state.lanes.iter().filter(open).map(|lane| lane.name.clone()).collect()
    }

    /// What the lane with that name has once it is open; nothing if there is none, or nothing more is run in it, or
    /// nobody wants it any more: `wanted` is asked each time that so long has gone by.
    pub fn ready(&self, name: &str, period: Duration, wanted: &dyn Fn() -> bool) -> Option<Arc<T>> {
        let mut state = self.state();
        loop {
            let lane = state.lanes.iter().find(|lane| lane.name == name)?;
            match &lane.state {
                LaneState::Ready(target) => return Some(Arc::clone(target)),
                LaneState::Closed(_) => return None,
                LaneState::Building if state.stopped.is_some() => return None,
                LaneState::Building => {}
            }
            let waited = self.changed.wait_timeout(state, period);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && !wanted() {
                return None;
            }
        }
    }

    /// What was not taken, with the name of its kernel and the reason.
    pub fn rest(&self) -> Vec<(String, Job, String)> {
        let mut state = self.state();
        let stopped = state.stopped.clone();
        let mut rest = Vec::new();
        for lane in &mut state.lanes {
            let why = match (&lane.state, &stopped) {
                (LaneState::Closed(why), _) | (_, Some(why)) => why.clone(),
                _ => "nobody ran it: this is a bug of ours".into(),
            };
            let name = &lane.name;
            rest.extend(lane.jobs.drain(..).map(|job| (name.clone(), job, why.clone())));
        }
        rest
    }
}

impl<T> QueueState<T> {
    fn take(&mut self, own: Option<usize>) -> Option<Taken<T>> {
        if self.stopped.is_some() {
            return None;
        }
        // A guest of another kernel would have to be booted: a seat stays as long as it can.
        for index in own.into_iter().chain(0..self.lanes.len()) {
            let lane = &mut self.lanes[index];
            if let LaneState::Ready(target) = &lane.state
                && let Some(job) = lane.jobs.pop_front()
            {
                return Some(Taken { lane: index, target: Arc::clone(target), job });
            }
        }
        None
    }

    fn may_grow(&self) -> bool {
        let ahead = |lane: &QueueLane<T>| {
            matches!(lane.state, LaneState::Building) && !lane.jobs.is_empty()
        };
        self.stopped.is_none() && self.lanes.iter().any(ahead)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::guest::Program;
    use crate::suite::binary_case::{BinaryCase, OpenBinary};
    use crate::suite::plan::Work;
    use crate::suite::word::Word;

    fn queue(lanes: &[(&str, &[&str])]) -> Queue<()> {
        let program = Program::open(Path::new("/dev/null")).unwrap();
        let binary = Arc::new(OpenBinary {
            name: "binary".into(),
            program: Arc::new(program),
            package: None,
            word: Word::Stdout,
            listed: 3,
            of_suite: None,
        });
        let job = |name: &&str| Job {
            work: Work::Case(BinaryCase {
                binary: Arc::clone(&binary),
                test: (*name).into(),
                ignored: false,
            }),
            repetition: 1,
        };
        let lane = |(name, jobs): &(&str, &[&str])| plan::Lane {
            name: (*name).into(),
            jobs: jobs.iter().map(job).collect(),
        };
        Queue::new(&lanes.iter().map(lane).collect::<Vec<_>>())
    }

    fn name<T>(taken: Option<Taken<T>>) -> Option<String> {
        taken.map(|taken| taken.job.work.names()[0].name.clone())
    }

    #[test]
    fn a_seat_stays_with_its_kernel_as_long_as_it_can() {
        let queue = queue(&[("a", &["a1", "a2"]), ("b", &["b1", "b2"])]);
        assert!(queue.take(None).is_none(), "nothing is built yet");
        queue.open(1, "b", Arc::default());
        assert_eq!(name(queue.take(None)).unwrap(), "b1");
        queue.open(0, "a", Arc::default());
        assert_eq!(name(queue.take(Some(1))).unwrap(), "b2");
        assert_eq!(name(queue.take(Some(1))).unwrap(), "a1");
        assert_eq!(name(queue.take(None)).unwrap(), "a2");
        assert!(queue.wait(None).is_none() && queue.rest().is_empty());
    }

    #[test]
    fn who_waits_gets_what_a_later_kernel_brings() {
        let queue = queue(&[("a", &["a1"])]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| name(queue.wait(None)));
            std::thread::sleep(Duration::from_millis(20));
            queue.open(0, "a", Arc::default());
            assert_eq!(waits.join().unwrap().unwrap(), "a1");
        });
    }

    #[test]
    fn a_kernel_that_is_being_built_is_waited_for_as_long_as_it_is_wanted() {
        let queue = queue(&[("a", &["a1"]), ("b", &["b1"])]);
        let period = Duration::from_millis(1);
        let asked = Cell::new(0);
        let wanted = || asked.replace(asked.get() + 1) < 3;
        assert!(queue.ready("a", period, &wanted).is_none());
        assert_eq!(asked.get(), 4);
        queue.open(0, "a", Arc::default());
        assert!(queue.ready("a", period, &|| false).is_some());
        assert!(queue.ready("c", period, &|| true).is_none(), "nobody builds it");
        queue.stop("over");
        assert!(queue.ready("b", period, &|| true).is_none());
    }

    #[test]
    fn nobody_waits_for_what_does_not_come() {
        for end in
            [|queue: &Queue<()>| queue.stop("over"), |queue: &Queue<()>| queue.close(0, "gone")]
        {
            let queue = queue(&[("a", &["a1", "a2"])]);
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| queue.wait(None));
                std::thread::sleep(Duration::from_millis(20));
                end(&queue);
                assert!(waits.join().unwrap().is_none());
            });
            assert_eq!(queue.rest().len(), 2);
        }
    }

    #[test]
    fn what_is_left_says_why_and_of_which_kernel() {
        let queue = queue(&[("default", &["1"]), ("b", &["1"])]);
        queue.open(0, "6.12", Arc::default());
        queue.close(1, "there was no kernel for it");
        queue.stop("a case failed");
        queue.stop("too late");
        let rest: Vec<(String, String)> =
            queue.rest().into_iter().map(|(name, _, why)| (name, why)).collect();
        let expected = [("6.12", "a case failed"), ("b", "there was no kernel for it")];
        assert_eq!(rest, expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    }
}

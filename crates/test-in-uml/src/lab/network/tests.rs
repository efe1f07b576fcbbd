use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;

/// A guest's end of a cable.
struct End(UnixDatagram);

impl End {
    fn send(&self, to: Mac, from: Mac, text: &str) {
        let frame = [&[0; HEADER][..], &to, &from, text.as_bytes()].concat();
        self.0.send(&frame).unwrap();
    }

    /// The text of the next frame; nothing if none comes.
    fn receive(&self) -> Option<String> {
        self.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 100];
        let count = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[HEADER + 12..count]).into_owned())
    }

    fn has(&self, text: &str) -> bool {
        self.receive().as_deref() == Some(text)
    }
}

const EVERYBODY: Mac = [0xff; 6];
const A: Mac = [2, 0, 0, 0, 0, 1];
const B: Mac = [2, 0, 0, 0, 0, 2];

fn connected(network: &Network, guest: &str) -> End {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    network.connect(guest, InterfaceEnd::of_pair(ours.into()));
    End(theirs)
}

#[test]
fn a_frame_goes_to_whom_it_is_for_and_to_all_if_nobody_knows_where_that_is() {
    std::thread::scope(|scope| {
        let network = Network::start(scope, 1).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| connected(&network, name));
        a.send(EVERYBODY, A, "who is B");
        assert!(b.has("who is B") && c.has("who is B"));
        b.send(A, B, "I am");
        assert!(a.has("I am"));
        a.send(B, A, "good");
        assert!(b.has("good"));
        // What is for everybody comes after what was for B alone.
        a.send(EVERYBODY, A, "over");
        assert!(c.has("over") && b.has("over"));
    });
}

#[test]
fn a_cable_that_is_out_passes_nothing_either_way() {
    std::thread::scope(|scope| {
        let network = Network::start(scope, 1).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| connected(&network, name));
        network.plug("b", false).unwrap();
        assert!(network.plug("d", false).is_err());
        a.send(EVERYBODY, A, "lost to b");
        b.send(EVERYBODY, B, "lost to all");
        assert!(c.has("lost to b"));
        network.plug("b", true).unwrap();
        a.send(EVERYBODY, A, "again");
        assert!(b.has("again") && c.has("again"));
        b.send(EVERYBODY, B, "back");
        assert!(c.has("back") && a.has("back"));
    });
}

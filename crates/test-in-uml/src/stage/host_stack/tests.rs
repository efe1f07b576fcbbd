use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::stage::interface_end::InterfaceEnd;

/// The two ends of a cable, each with a stack of ours; the second has the guest's address.
fn pair() -> (HostStack, HostStack) {
    let (a, b) = UnixDatagram::pair().unwrap();
    let [a, b] = [a, b].map(|end| InterfaceEnd::of_pair(OwnedFd::from(end)));
    let [own, guest] = [[10, 85, 0, 1], [10, 85, 0, 2]].map(Ipv4Addr::from);
    let host = Ends { own, prefix: 30, hardware: [2, 0, 0, 0, 0, 1], guest, mtu: 1500 };
    let turned = Ends { own: guest, hardware: [2, 0, 0, 0, 0, 2], guest: own, ..host };
    (HostStack::start(host, a).unwrap(), HostStack::start(turned, b).unwrap())
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn bytes_go_both_ways_and_each_side_ends_its_own() {
    let (host, guest) = pair();
    let listener = guest.listen(80).unwrap();
    let stream = host.connect(80, PATIENCE).unwrap();
    let other = listener.accept().unwrap();
    let bulk: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&bulk).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        (&other).read_to_end(&mut got).unwrap();
        assert!(got == bulk, "{} bytes", got.len());
        (&other).write_all(b"heard").unwrap();
        drop(other);
        let mut answer = String::new();
        (&stream).read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "heard");
    });
}

#[test]
fn a_port_that_nobody_listens_on_refuses() {
    let (host, guest) = pair();
    let error = format!("{:#}", host.connect(81, PATIENCE).unwrap_err());
    assert!(error.contains("refused"), "{error}");
    let listener = guest.listen(81).unwrap();
    drop(host.connect(81, PATIENCE).unwrap());
    listener.accept().unwrap();
    listener.close();
    assert!(listener.accept().is_err(), "there will be no other");
    assert!(host.connect(81, PATIENCE).is_err());
}

#[test]
fn many_connect_at_once_to_one_port() {
    let (host, guest) = pair();
    let listener = guest.listen(80).unwrap();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            for _ in 0..40 {
                let stream = listener.accept().unwrap();
                (&stream).write_all(b"!").unwrap();
            }
        });
        let asking = (0..4).map(|_| {
            scope.spawn(|| {
                for _ in 0..10 {
                    let stream = host.connect(80, PATIENCE).unwrap();
                    assert_eq!((&stream).read(&mut [0; 9]).unwrap(), 1);
                }
            })
        });
        asking.collect::<Vec<_>>().into_iter().for_each(|one| one.join().unwrap());
        served.join().unwrap();
    });
}

#[test]
fn a_stack_that_is_gone_says_so() {
    let (host, guest) = pair();
    let listener = guest.listen(80).unwrap();
    let stream = host.connect(80, PATIENCE).unwrap();
    let other = listener.accept().unwrap();
    drop((host, guest));
    assert!(listener.accept().is_err());
    for end in [&stream, &other] {
        assert_eq!((&*end).read(&mut [0]).unwrap(), 0, "its other end is closed");
    }
}

#[test]
fn who_hears_nothing_any_more_ends_the_connection_and_keeps_nobody() {
    let (host, guest) = pair();
    let listener = guest.listen(80).unwrap();
    for _ in 0..20 {
        drop(host.connect(80, PATIENCE).unwrap());
        let other = listener.accept().unwrap();
        // It may have heard of the end by now.
        let _ = (&other).write_all(b"who is there?");
        let mut rest = Vec::new();
        let _ = (&other).read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    let stream = host.connect(80, PATIENCE).unwrap();
    (&listener.accept().unwrap()).write_all(b"!").unwrap();
    assert_eq!((&stream).read(&mut [0; 9]).unwrap(), 1);
}

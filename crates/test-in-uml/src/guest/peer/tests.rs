use std::net::{TcpListener, TcpStream};

use super::*;

fn answer(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let line = request(&mut bytes)?;
    serve(&line, bytes, &mut answer).map(|()| answer)
}

#[test]
fn a_sink_answers_with_the_hash_of_what_it_got() {
    let hash = hex(&Sha256::digest(b"abc"));
    assert_eq!(answer(b"sink 3\nabc").unwrap(), format!("{hash}\n").into_bytes());
    assert!(answer(b"sink 4\nabc").is_err());
}

#[test]
fn a_source_sends_the_stream_of_its_seed() {
    let bytes = answer(b"source 40 7\n").unwrap();
    assert_eq!(bytes.len(), 40);
    assert_eq!(bytes, bulk::blocks(7).next().unwrap()[..40]);
    let bytes = answer(b"source 600000 1\n").unwrap();
    assert_eq!(bytes, bulk::blocks(1).take(10).flatten().take(600_000).collect::<Vec<_>>());
    assert!(answer(b"source 0 1\n").unwrap().is_empty());
}

#[test]
fn what_is_discarded_is_counted() {
    assert_eq!(answer(b"discard 3\nabc").unwrap(), b"3\n");
    assert_eq!(answer(b"discard 4\nabc").unwrap(), b"3\n");
}

#[test]
fn an_echo_answers_with_what_it_got() {
    assert_eq!(answer(b"echo\nabc\n").unwrap(), b"abc\n");
    assert_eq!(answer(b"echo\n").unwrap(), b"");
}

#[test]
fn a_peer_that_is_dropped_serves_nobody_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = Peer::start(Listener::Kernel(listener.into())).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"sink 0\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.len(), 65);
    drop(peer);
    // Whoever is still in the queue is refused too, once the thread has let go of the listener.
    let start = std::time::Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
    }
}

#[test]
fn a_guest_gets_a_few_threads_however_many_connections_it_makes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // As long a queue as on a stage.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).unwrap();
    let peer = Peer::start(Listener::Kernel(listener.into())).unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    // None of them says anything.
    let silent: Vec<TcpStream> = (0..800).map(|_| TcpStream::connect(address).unwrap()).collect();
    let start = std::time::Instant::now();
    while peer.serving.lock().open.len() < AT_ONCE {
        assert!(start.elapsed() < PATIENCE, "nobody is served");
        std::thread::yield_now();
    }
    // Other tests have threads of their own, but no hundreds.
    assert!(threads() < before + 200, "{} threads, {before} before", threads());
    // Whoever waits is served once others are gone.
    let mut last = TcpStream::connect(address).unwrap();
    last.write_all(b"sink 0\n").unwrap();
    drop(silent);
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.len(), 65);
    // A guest that holds its connections keeps no thread when it is done with.
    let held: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let serving = Arc::clone(&peer.serving);
    drop(peer);
    let start = std::time::Instant::now();
    while !serving.lock().open.is_empty() {
        assert!(start.elapsed() < PATIENCE / 2, "threads wait for a guest that is gone");
        std::thread::yield_now();
    }
    drop(held);
}

#[test]
fn anything_else_is_refused() {
    assert!(answer(b"GET / HTTP/1.1\n").is_err());
    assert!(answer(b"sink many\n").is_err());
    assert!(answer(b"").is_err());
}

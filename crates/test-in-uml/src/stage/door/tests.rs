use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::*;

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Connects as the vector driver does, and has its end of the pair.
fn vector(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.unwrap();
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

fn send(socket: &OwnedFd, frame: &[u8]) {
    nix::unistd::write(socket, frame).unwrap();
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut frame = vec![0; 2000];
    let count = nix::unistd::read(socket, &mut frame).unwrap();
    frame.truncate(count);
    frame
}

#[test]
fn the_vector_driver_comes_as_often_as_its_interface_is_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let door = Door::of(open(NetDriver::Vector, text, "lan", own_uid()).unwrap()).unwrap();
    assert!(door.accept().unwrap().is_none(), "nobody has come yet");
    for frame in [b"first", b"again"] {
        let guest = vector(&path(text, "lan"));
        let connected = door.accept().unwrap().unwrap();
        send(&guest, frame);
        assert_eq!(receive(&connected.frames), frame);
        send(&connected.frames, b"answer");
        assert_eq!(receive(&guest), b"answer");
    }
}

/// What the old driver says on its stream.
fn request(magic: u32, name: &[u8]) -> Vec<u8> {
    let mut request: Vec<u8> = Vec::new();
    request.extend([magic, VERSION, 0].iter().flat_map(|word| word.to_ne_bytes()));
    request.extend((libc::AF_UNIX as u16).to_ne_bytes());
    request.extend(name);
    request.resize(REQUEST, 0);
    request
}

/// An abstract name of the old driver's length.
fn abstract_name(text: &str) -> [u8; 107] {
    let mut name = [0; 107];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

#[test]
fn the_old_driver_is_met_as_uml_switch_meets_it() {
    use std::os::linux::net::SocketAddrExt as _;

    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let door = Door::of(open(NetDriver::Legacy, text, "lan", own_uid()).unwrap()).unwrap();
    let name = abstract_name(text);
    let frames = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    let mut control = UnixStream::connect(path(text, "lan")).unwrap();
    control.write_all(&request(MAGIC, &[&[0][..], &name].concat())).unwrap();
    let connected = door.accept().unwrap().unwrap();
    let mut reply = [0; ADDRESS];
    control.read_exact(&mut reply).unwrap();
    let place = reply[2..].split(|byte| *byte == 0).next().unwrap();
    frames.send_to(b"frame", Path::new(std::str::from_utf8(place).unwrap())).unwrap();
    assert_eq!(receive(&connected.frames), b"frame");
    send(&connected.frames, b"answer");
    let mut answer = [0; 10];
    let count = frames.recv(&mut answer).unwrap();
    assert_eq!(&answer[..count], b"answer");
}

#[test]
fn who_is_no_driver_is_refused_and_sends_us_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let door = Door::of(open(NetDriver::Legacy, text, "lan", own_uid()).unwrap()).unwrap();
    let victim = UnixDatagram::bind(dir.path().join("victim")).unwrap();
    let aimed = [dir.path().join("victim").to_str().unwrap().as_bytes(), &[0]].concat();
    for (bytes, why) in [
        (request(0, &[0; 108]), "another protocol"),
        (request(MAGIC, &aimed), "somewhere else"),
        (b"short".to_vec(), "did not say"),
    ] {
        let mut control = UnixStream::connect(path(text, "lan")).unwrap();
        control.write_all(&bytes).unwrap();
        drop(control);
        let error = format!("{:#}", door.accept().unwrap_err());
        assert!(error.contains(why), "{error}");
    }
    drop(victim);
}

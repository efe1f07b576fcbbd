//! Fetching from servers that lie, stall, cut and lead astray, all of them on the loopback.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use test_in_uml::cancel::CancelToken;
use test_in_uml::config::Tarball;
use test_in_uml::fetch::{Client, Patience, Unreachable, tarball};
use test_in_uml::store::{Store, hex};
use test_in_uml::ui::{Ui, Verbosity};

use super::server::{Asked, Server, give, write};

/// A file of so many bytes, and its hash.
fn file(size: usize) -> (Vec<u8>, String) {
    let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
    let hash = hex(&Sha256::digest(&bytes));
    (bytes, hash)
}

struct Host {
    _dir: tempfile::TempDir,
    store: Store,
    ui: Ui,
    client: Client,
}

impl Host {
    fn new() -> Self {
        Self::patient(Duration::from_secs(300))
    }

    /// A host that waits so long for the next piece.
    fn patient(idle: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let patience = Patience { connect: Duration::from_secs(300), idle };
        let client = Client::new(patience, &CancelToken::default()).unwrap();
        Self { _dir: dir, store, ui: Ui::new(Verbosity::Quiet), client }
    }

    fn fetch_from(&self, urls: &[&str], sha256: &str) -> anyhow::Result<Vec<u8>> {
        let tarballs: Vec<Tarball> = urls
            .iter()
            .map(|url| Tarball { url: format!("{url}/a.tar.xz"), sha256: sha256.into() })
            .collect();
        let archive = tarball(&self.store, &self.ui, &self.client, &tarballs)?;
        Ok(std::fs::read(archive.path)?)
    }

    fn fetch(&self, server: &Server, sha256: &str) -> anyhow::Result<Vec<u8>> {
        self.fetch_from(&[&server.url], sha256)
    }

    /// Why nothing came, as the user reads it; no entry is there then.
    fn refusal(&self, server: &Server, sha256: &str) -> String {
        let error = self.fetch(server, sha256).unwrap_err();
        assert!(!self.store.path().join("download").exists(), "{error:#}");
        format!("{error:#}")
    }
}

#[test]
fn a_file_is_fetched_once() {
    let (bytes, hash) = file(100_000);
    let server = Server::of(bytes.clone());
    let host = Host::new();
    assert_eq!(host.fetch(&server, &hash).unwrap(), bytes);
    assert_eq!(host.fetch(&server, &hash).unwrap(), bytes);
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_transfer_that_is_cut_at_any_byte_goes_on_from_there() {
    let (bytes, hash) = file(300);
    for at in 0..300 {
        let whole = bytes.clone();
        let server = Server::new(move |asked, stream| {
            let most = if asked.number == 0 { at } else { whole.len() };
            give(&whole, asked, most, stream);
        });
        let host = Host::new();
        // What gave nothing is not asked again in this run; in the next it is.
        let first = host.fetch(&server, &hash);
        let got = if at == 0 { host.fetch(&server, &hash) } else { first };
        assert_eq!(got.unwrap(), bytes, "cut after {at} bytes");
    }
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_was_cut() {
    let (bytes, hash) = file(1000);
    let (up, asked_from) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (whole, is_up, from) = (bytes.clone(), Arc::clone(&up), Arc::clone(&asked_from));
    let server = Server::new(move |asked, stream| {
        from.lock().unwrap().push(asked.from);
        // Down, it gives 400 bytes once and nothing after that.
        let left = if asked.from == 0 { 400 } else { 0 };
        give(&whole, asked, if is_up.load(Ordering::SeqCst) == 1 { 1000 } else { left }, stream);
    });
    let host = Host::new();
    let error = host.refusal(&server, &hash);
    assert!(error.contains("cut after 400"), "{error}");
    up.store(1, Ordering::SeqCst);
    assert_eq!(host.fetch(&server, &hash).unwrap(), bytes);
    assert_eq!(asked_from.lock().unwrap().last(), Some(&400));
    assert_eq!(std::fs::read_dir(host.store.path().join("partial")).unwrap().count(), 0);
}

#[test]
fn what_an_earlier_run_left_of_another_file_is_thrown_away() {
    let (bytes, hash) = file(1000);
    for left in [vec![0; 400], vec![0; 1000], vec![0; 2000]] {
        let whole = bytes.clone();
        let server = Server::new(move |asked, stream| give(&whole, asked, 1000, stream));
        let host = Host::new();
        let dead = Host::new();
        let nobody = Server::new(|_, stream| write(stream, "HTTP/1.1 404 No\n\n", b""));
        dead.refusal(&nobody, &hash);
        // The name of what arrives in part is the store's; it is the same for the same recipe.
        let partial = std::fs::read_dir(dead.store.path().join("partial")).unwrap().next();
        let name = partial.unwrap().unwrap().file_name();
        let folder = host.store.path().join("partial");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(name), &left).unwrap();
        assert_eq!(host.fetch(&server, &hash).unwrap(), bytes, "{} bytes", left.len());
    }
}

#[test]
fn a_server_that_cannot_go_on_begins_again() {
    let (bytes, hash) = file(1000);
    let whole = bytes.clone();
    let server = Server::new(move |asked, stream| {
        let asked = Asked { path: String::new(), from: 0, number: asked.number };
        give(&whole, &asked, if asked.number == 0 { 400 } else { 1000 }, stream);
    });
    assert_eq!(Host::new().fetch(&server, &hash).unwrap(), bytes);
}

#[test]
fn a_server_that_hangs_up_before_it_answers_is_asked_once_more() {
    let (bytes, hash) = file(1000);
    let whole = bytes.clone();
    let server = Server::new(move |asked, stream| {
        if asked.number > 0 {
            give(&whole, asked, 1000, stream);
        }
    });
    assert_eq!(Host::new().fetch(&server, &hash).unwrap(), bytes);
    let mute = Server::new(|_, _| {});
    Host::new().refusal(&mute, &hash);
    assert_eq!(mute.requests(), 2);
}

#[test]
fn each_lie_is_named() {
    let (bytes, hash) = file(1000);
    let answers: [(&str, &str, &str); 6] = [
        ("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n", "", "404"),
        ("HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "", "503"),
        ("HTTP/1.1 200 OK\nContent-Length: 13\n\n", "<html>log in!", "looks like a web page"),
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "", "empty"),
        ("HTTP/1.1 200 OK\nContent-Length: 3\n\n", "abc", "wrong hash"),
        ("SSH-2.0-OpenSSH_9.2\n", "", "/a.tar.xz"),
    ];
    for (head, body, why) in answers {
        let server = Server::new(move |_, stream| write(stream, head, body.as_bytes()));
        let error = Host::new().refusal(&server, &hash);
        assert!(error.contains(why), "{head}: {error}");
        assert!(error.contains(&server.url), "{error}");
    }
    let long = Server::new(move |asked, stream| {
        assert_eq!(asked.path, "/a.tar.xz");
        write(stream, "HTTP/1.1 200 OK\nContent-Length: 2000\n\n", &bytes);
    });
    let error = Host::new().refusal(&long, &hash);
    assert!(error.contains("cut after 1000 of 2000 bytes"), "{error}");
}

#[test]
fn a_redirection_is_followed_and_a_circle_is_not() {
    let (bytes, hash) = file(1000);
    let target = Server::of(bytes.clone());
    let to = target.url.clone();
    let once = Server::new(move |_, stream| {
        let head = format!("HTTP/1.1 302 Found\nLocation: {to}/b\nContent-Length: 0\n\n");
        write(stream, &head, b"");
    });
    assert_eq!(Host::new().fetch(&once, &hash).unwrap(), bytes);
    let circle = Server::new(|_, stream| {
        write(stream, "HTTP/1.1 302 Found\nLocation: /a.tar.xz\nContent-Length: 0\n\n", b"");
    });
    let error = Host::new().refusal(&circle, &hash);
    assert!(error.contains("redirect"), "{error}");
    assert!(circle.requests() < 50);
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let (bytes, hash) = file(1000);
    let server = Server::new(move |asked, stream| {
        give(&bytes, asked, if asked.from == 0 { 400 } else { 0 }, stream);
        // Until the client hangs up.
        let _ = stream.read(&mut [0]);
    });
    let error = Host::patient(Duration::from_secs(2)).refusal(&server, &hash);
    assert!(error.contains("cut after 400 of 1000 bytes: timeout"), "{error}");
}

#[test]
fn mirrors_are_tried_in_turn_and_each_says_why_not() {
    let (bytes, hash) = file(1000);
    let dead = "http://127.0.0.1:1";
    let gone =
        Server::new(|_, stream| write(stream, "HTTP/1.1 404 No\nContent-Length: 0\n\n", b""));
    let wrong =
        Server::new(|_, stream| write(stream, "HTTP/1.1 200 OK\nContent-Length: 1\n\n", b"x"));
    let good = Server::of(bytes.clone());
    let host = Host::new();
    let all = [dead, gone.url.as_str(), &wrong.url, &good.url];
    assert_eq!(host.fetch_from(&all, &hash).unwrap(), bytes);

    let error = Host::new().fetch_from(&[dead, "http://no-such-host.invalid"], &hash).unwrap_err();
    assert_eq!(error.downcast_ref::<Unreachable>().unwrap().reasons.len(), 2);
    for answered in [gone.url.as_str(), "file:///no/such/file"] {
        let error = Host::new().fetch_from(&[dead, answered], &hash).unwrap_err();
        assert!(error.downcast_ref::<Unreachable>().is_none(), "{answered} is there: {error:#}");
    }
    let error = Host::new().fetch_from(&all[..3], &hash).unwrap_err();
    assert!(error.downcast_ref::<Unreachable>().is_none(), "a wrong file is no silence");
    let text = format!("{error:#}");
    assert!(all[..3].iter().all(|url| text.contains(url)), "{text}");
}

#[test]
fn a_length_that_no_file_has_is_no_harm() {
    let (bytes, hash) = file(1000);
    let cut = std::sync::atomic::AtomicBool::new(true);
    let server = Server::new(move |_, stream| {
        let (head, rest) = match cut.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => ("HTTP/1.1 200 OK\nContent-Length: 1000\n\n".to_owned(), &bytes[..400]),
            false => {
                let head = "HTTP/1.1 206 Partial\nContent-Range: bytes 400-999/1000";
                (format!("{head}\nContent-Length: {}\n\n", u64::MAX), &bytes[400..])
            }
        };
        write(stream, &head, rest);
    });
    let error = Host::new().refusal(&server, &hash);
    assert!(error.contains("cut after"), "{error}");
}

#[test]
fn nobody_is_asked_offline() {
    let (bytes, hash) = file(1000);
    let server = Server::of(bytes.clone());
    let mut host = Host::new();
    let online = std::mem::replace(&mut host.client, Client::offline(&CancelToken::default()));
    let error = host.refusal(&server, &hash);
    assert!(error.contains("--offline") && error.contains(&server.url), "{error}");
    assert_eq!(server.requests(), 0);
    host.client = online;
    host.fetch(&server, &hash).unwrap();
    host.client = Client::offline(&CancelToken::default());
    assert_eq!(host.fetch(&server, &hash).unwrap(), bytes, "what is there needs no server");
}

//! HTTP servers on the loopback, which may lie.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a request asked for.
pub struct Asked {
    /// As it stands in the request: a host and its port, if we are taken for a proxy.
    pub path: String,
    /// The first byte that is wanted.
    pub from: usize,
    /// The number of requests there were before.
    pub number: usize,
}

/// A server that answers every request by `answer`, and closes the connection after it.
pub struct Server {
    /// Where it listens.
    pub url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// One that answers like this.
    pub fn new(answer: impl Fn(&Asked, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                if let Some((path, from)) = head(&stream) {
                    answer(&Asked { path, from, number }, &mut stream);
                }
            }
        });
        Self { url, requests }
    }

    /// A server of one file that may be asked for a range of it.
    pub fn of(file: Vec<u8>) -> Self {
        Self::new(move |asked, stream| give(&file, asked, file.len(), stream))
    }

    /// How often somebody has connected.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads the head of a request: its path, and where the range begins.
fn head(stream: &TcpStream) -> Option<(String, usize)> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut from = 0;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            return Some((path, from));
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok()?;
        }
    }
    None
}

/// Writes a head, which says that the connection is closed after it, and a body.
pub fn write(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let head = head.replacen("\n\n", "\nConnection: close\n\n", 1).replace('\n', "\r\n");
    // Who hangs up in the middle is a client that had enough.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// Gives the range that was asked for, and cuts after `most` bytes of it.
pub fn give(file: &[u8], asked: &Asked, most: usize, stream: &mut TcpStream) {
    let rest = &file[asked.from.min(file.len())..];
    let head = match asked.from {
        0 => "HTTP/1.1 200 OK\n".to_owned(),
        from if from >= file.len() => {
            return write(stream, "HTTP/1.1 416 No\nContent-Length: 0\n\n", b"");
        }
        from => format!(
            "HTTP/1.1 206 Partial\nContent-Range: bytes {from}-{}/{}\n",
            file.len() - 1,
            file.len()
        ),
    };
    let head = format!("{head}Content-Length: {}\n\n", rest.len());
    write(stream, &head, &rest[..most.min(rest.len())]);
}

//! One file from one URL, from servers that may be slow, wrong or gone.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ureq::http::{Response, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::OFFLINE;
use crate::cancel::CancelToken;
use crate::threads;

mod no_answer;

pub(super) use no_answer::NoAnswer;
use no_answer::{cut, is_hanging_up, no_answer};

/// The time a server may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For its address, for the connection, and for the beginning of its answer; each.
    pub connect: Duration,
    /// Between one piece of the file and the next.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// Fetches files by `http`, `https` and `file`; heeds `http_proxy`, `https_proxy` and `no_proxy`.
///
/// The certificates that it trusts are Mozilla's, or those of the file that `SSL_CERT_FILE` names,
/// as OpenSSL has it (SSL_CTX_set_default_verify_paths(3)).
#[derive(Debug)]
pub struct Client {
    /// Nothing if no connection may be opened.
    agent: Option<Agent>,
    cancel: CancelToken,
}

/// No source is larger; a server that never ends is stopped.
const LARGEST: u64 = 4 << 30;

/// How often a transfer is taken up again where it was cut; each time must bring it forward.
const RESUMPTIONS: u32 = 8;

const PIECE: usize = 1 << 18;

impl Client {
    /// A client with so much patience.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names no file of certificates.
    pub fn new(patience: Patience, cancel: &CancelToken) -> Result<Self> {
        let tls = TlsConfig::builder().root_certs(root_certs()?).build();
        let config = Agent::config_builder()
            .user_agent("cargo-xtask-uml")
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.connect))
            .timeout_per_read(Some(patience.idle))
            .tls_config(tls)
            .build();
        Ok(Self { agent: Some(config.into()), cancel: cancel.clone() })
    }

    /// A client that takes what this machine has.
    pub fn offline(cancel: &CancelToken) -> Self {
        Self { agent: None, cancel: cancel.clone() }
    }

    /// Ends what it does.
    pub(super) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Fetches `url` into `dest`, going on from what is there of it already, and tells `progress` how
    /// many bytes are there, and of how many if the server says so.
    ///
    /// # Errors
    /// [`NoAnswer`] when the fault is the server's or the way's.
    pub(super) fn fetch(
        &self,
        url: &str,
        dest: &Path,
        progress: impl Fn(u64, Option<u64>),
    ) -> Result<()> {
        if let Some(path) = url.strip_prefix("file://") {
            return copy_local(Path::new(path), dest);
        }
        let offline = || NoAnswer { why: OFFLINE.into(), is_silence: true };
        let agent = self.agent.as_ref().ok_or_else(offline)?;
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(dest)
            .with_context(|| format!("cannot make {}", dest.display()))?;
        file.seek(SeekFrom::End(0)).context("cannot tell how much was fetched")?;
        let mut resumed = 0;
        loop {
            let have = position(&mut file)?;
            match transfer(&self.cancel, agent, url, &mut file, &progress) {
                Err(error) if error.is::<NoAnswer>() => {
                    if position(&mut file)? <= have || resumed == RESUMPTIONS {
                        return Err(error);
                    }
                    resumed += 1;
                }
                other => return other,
            }
        }
    }
}

/// What a thread of its own tells of a transfer: a server that is silent must not keep us from
/// looking whether the user asked us to stop.
enum Arrival {
    /// The file comes, from this byte on, and has so many in all if the server says so.
    Begins { at: u64, whole: Option<u64> },
    /// So much more of it.
    Piece(Vec<u8>),
    /// It is over, because of this if it is not the end of the file.
    Ends(Option<NoAnswer>),
}

/// How often a silent server lets us look.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// Goes on from where `file` stands, or from the beginning if the server cannot.
fn transfer(
    cancel: &CancelToken,
    agent: &Agent,
    url: &str,
    file: &mut File,
    progress: &impl Fn(u64, Option<u64>),
) -> Result<()> {
    let mut have = position(file)?;
    let (arrivals, inbox) = sync_channel(4);
    let (agent, url) = (agent.clone(), url.to_owned());
    // It ends when nobody listens any more, or with its server's patience.
    threads::spawn(move || {
        let end = receive(&agent, &url, have, &arrivals);
        let _ = arrivals.send(Arrival::Ends(end.err()));
    })?;
    let (mut begun, mut whole) = (false, None);
    loop {
        cancel.check()?;
        match inbox.recv_timeout(CANCEL_PERIOD) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(cut(have, whole, "it vanished")),
            Ok(Arrival::Begins { at, whole: all }) => {
                if at < have {
                    file.set_len(at)
                        .and_then(|()| file.seek(SeekFrom::Start(at)).map(drop))
                        .context("cannot begin the file again")?;
                }
                (begun, have, whole) = (true, at, all);
            }
            Ok(Arrival::Piece(piece)) => {
                file.write_all(&piece).context("cannot write what was fetched")?;
                have += piece.len() as u64;
                if have > LARGEST {
                    let why = format!("more than {LARGEST} bytes, and no end");
                    return Err(NoAnswer::of_host(why).into());
                }
                progress(have, whole);
            }
            Ok(Arrival::Ends(Some(answer))) if !begun => return Err(answer.into()),
            Ok(Arrival::Ends(Some(answer))) => return Err(cut(have, whole, &answer.why)),
            Ok(Arrival::Ends(None)) if whole.is_none_or(|whole| have == whole) => return Ok(()),
            Ok(Arrival::Ends(None)) => return Err(cut(have, whole, "the connection was closed")),
        }
    }
}

/// Asks for what follows the first `have` bytes, and passes on what arrives.
fn receive(
    agent: &Agent,
    url: &str,
    mut have: u64,
    arrivals: &SyncSender<Arrival>,
) -> Result<(), NoAnswer> {
    let ask = || {
        let request = agent.get(url);
        match have {
            0 => request,
            _ => request.header(header::RANGE, format!("bytes={have}-")),
        }
        .call()
    };
    // "A client MAY automatically retry a request with an idempotent method if the connection was closed
    // before any response" (RFC 9110, 9.2.2), as it is when it had been kept for too long.
    let answer = ask().or_else(|error| if is_hanging_up(&error) { ask() } else { Err(error) });
    let mut response = match answer {
        // The file is longer than what the server has: that is no beginning of it.
        Err(ureq::Error::StatusCode(416)) if have > 0 => {
            have = 0;
            agent.get(url).call()
        }
        other => other,
    }
    .map_err(no_answer)?;
    if have > 0 && !continues(&response, have) {
        have = 0;
    }
    // A server may say anything: what is longer than any source is stopped when it comes.
    let whole = response.body().content_length().map(|rest| have.saturating_add(rest));
    // Nobody listens any more where nothing can be sent.
    let gone = |_| NoAnswer::of_host("nobody wants it any more".into());
    arrivals.send(Arrival::Begins { at: have, whole }).map_err(gone)?;
    let mut body = response.body_mut().as_reader();
    loop {
        let mut piece = vec![0; PIECE];
        match body.read(&mut piece).map_err(|error| NoAnswer::of_host(error.to_string()))? {
            0 => return Ok(()),
            count => piece.truncate(count),
        }
        arrivals.send(Arrival::Piece(piece)).map_err(gone)?;
    }
}

/// The certificates that a server's may be signed with.
fn root_certs() -> Result<RootCerts> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else { return Ok(RootCerts::WebPki) };
    let path = Path::new(&path);
    let what = || format!("SSL_CERT_FILE={}", path.display());
    let text = fs::read(path).with_context(what)?;
    let items: Vec<PemItem<'_>> = parse_pem(&text).collect::<Result<_, _>>().with_context(what)?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    ensure!(!certificates.is_empty(), "{}: no certificate is in it", what());
    Ok(RootCerts::from(certificates))
}

fn position(file: &mut File) -> Result<u64> {
    file.stream_position().context("cannot tell how much was fetched")
}

/// Returns true if the answer goes on at `have`: 206, and a range that begins there (RFC 9110, 14.4).
fn continues(response: &Response<Body>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    response.status() == 206
        && range
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-'))
            .is_some_and(|(first, _)| first.parse() == Ok(have))
}

fn copy_local(path: &Path, dest: &Path) -> Result<()> {
    let mut from = File::open(path).map_err(|error| NoAnswer::of_host(error.to_string()))?;
    if !from.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(NoAnswer::of_host("not a plain file".into()).into());
    }
    let mut to =
        fs::File::create(dest).with_context(|| format!("cannot make {}", dest.display()))?;
    std::io::copy(&mut from, &mut to)
        .with_context(|| format!("cannot copy {} to {}", path.display(), dest.display()))?;
    Ok(())
}

//! One file from one URL, from servers that may be slow, wrong or gone.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ureq::http::{Response, header};
use ureq::{Agent, Body};

/// How long a server may keep us waiting.
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

/// Fetches files by `http`, `https` (with Mozilla's roots) and `file`; heeds `http_proxy`,
/// `https_proxy` and `no_proxy`.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
}

/// A URL gave nothing: another one may be tried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

/// No source is larger; a server that never ends is stopped.
const LARGEST: u64 = 4 << 30;

/// How often a transfer is taken up again where it was cut; each time must bring it forward.
const RESUMPTIONS: u32 = 8;

const PIECE: usize = 1 << 18;

impl Client {
    /// A client with so much patience.
    pub fn new(patience: Patience) -> Self {
        let config = Agent::config_builder()
            .user_agent("cargo-xtask-uml")
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.connect))
            .timeout_per_read(Some(patience.idle))
            .build();
        Self { agent: config.into() }
    }

    /// Fetches `url` into `dest`, and tells `progress` how many bytes are there, and of how many
    /// if the server says so.
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
        let mut file =
            File::create(dest).with_context(|| format!("cannot make {}", dest.display()))?;
        let mut resumed = 0;
        loop {
            let have = position(&mut file)?;
            match self.transfer(url, &mut file, &progress) {
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

    /// Goes on from where `file` stands, or from the beginning if the server cannot.
    fn transfer(
        &self,
        url: &str,
        file: &mut File,
        progress: &impl Fn(u64, Option<u64>),
    ) -> Result<()> {
        let mut have = position(file)?;
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let mut response = request.call().map_err(no_answer)?;
        if have > 0 && !continues(&response, have) {
            have = 0;
            file.set_len(0).and_then(|()| file.rewind()).context("cannot begin the file again")?;
        }
        let whole = response.body().content_length().map(|rest| have + rest);
        let mut body = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        loop {
            crate::cancel::check()?;
            let count = match body.read(&mut piece) {
                Ok(0) if whole.is_none_or(|whole| have == whole) => return Ok(()),
                Ok(0) => return Err(cut(have, whole, "the connection was closed")),
                Ok(count) => count,
                Err(error) => return Err(cut(have, whole, &error.to_string())),
            };
            file.write_all(&piece[..count]).context("cannot write what was fetched")?;
            have += count as u64;
            if have > LARGEST {
                return Err(NoAnswer(format!("more than {LARGEST} bytes, and no end")).into());
            }
            progress(have, whole);
        }
    }
}

fn position(file: &mut File) -> Result<u64> {
    file.stream_position().context("cannot tell how much was fetched")
}

/// Whether the answer goes on at `have`: 206, and a range that begins there (RFC 9110, 14.4).
fn continues(response: &Response<Body>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    response.status() == 206
        && range
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split_once('-'))
            .is_some_and(|(first, _)| first.parse() == Ok(have))
}

fn no_answer(error: ureq::Error) -> anyhow::Error {
    NoAnswer(match error {
        ureq::Error::StatusCode(code) => format!("the server answers {code}"),
        other => other.to_string(),
    })
    .into()
}

fn cut(have: u64, whole: Option<u64>, why: &str) -> anyhow::Error {
    let of = whole.map_or_else(String::new, |whole| format!(" of {whole}"));
    NoAnswer(format!("cut after {have}{of} bytes: {why}")).into()
}

fn copy_local(path: &Path, dest: &Path) -> Result<()> {
    let mut from = File::open(path).map_err(|error| NoAnswer(error.to_string()))?;
    if !from.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(NoAnswer("not a plain file".into()).into());
    }
    let mut to =
        fs::File::create(dest).with_context(|| format!("cannot make {}", dest.display()))?;
    std::io::copy(&mut from, &mut to)
        .with_context(|| format!("cannot copy {} to {}", path.display(), dest.display()))?;
    Ok(())
}

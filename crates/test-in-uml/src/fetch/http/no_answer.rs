//! Why a URL gave nothing, and whether anybody is there at all.

use std::io::ErrorKind;

use ureq::Timeout;

/// A URL gave nothing: another one may be tried.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(in crate::fetch) struct NoAnswer {
    pub(super) why: String,
    /// True if its host could not even be resolved or connected to.
    pub is_silence: bool,
}

impl NoAnswer {
    /// From a host that said something, or nothing more.
    pub(super) fn of_host(why: String) -> Self {
        Self { why, is_silence: false }
    }
}

pub(super) fn no_answer(error: ureq::Error) -> NoAnswer {
    let is_silence = is_silence(&error);
    let why = match error {
        ureq::Error::StatusCode(code) => format!("the server answers {code}"),
        other => other.to_string(),
    };
    NoAnswer { why, is_silence }
}

/// Returns true if a host could not be resolved or connected to. One that answers, be it with an error, a wrong
/// certificate or too late, is there.
fn is_silence(error: &ureq::Error) -> bool {
    /// What the standard library says of a name that is not resolved; it has no kind of its own.
    const LOOKUP: &str = "failed to lookup address information";
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => {
            let kinds = [
                ErrorKind::ConnectionRefused,
                ErrorKind::HostUnreachable,
                ErrorKind::NetworkUnreachable,
                ErrorKind::NetworkDown,
                ErrorKind::TimedOut,
            ];
            kinds.contains(&error.kind()) || error.to_string().contains(LOOKUP)
        }
        _ => false,
    }
}

/// Returns true if a server closed the connection instead of an answer.
pub(super) fn is_hanging_up(error: &ureq::Error) -> bool {
    let kinds = [
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
    ];
    matches!(error, ureq::Error::Io(error) if kinds.contains(&error.kind()))
}

pub(super) fn cut(have: u64, whole: Option<u64>, why: &str) -> anyhow::Error {
    let of = whole.map_or_else(String::new, |whole| format!(" of {whole}"));
    NoAnswer::of_host(format!("cut after {have}{of} bytes: {why}")).into()
}

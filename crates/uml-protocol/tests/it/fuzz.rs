//! Peers that send anything, and kernels that log anything.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use uml_protocol::marker::{Event, Found, Key, Marker, find};
use uml_protocol::wire::{Error, LONGEST, ToGuest, ToHost, VERSION, greet, receive, send};

/// Bytes that look like messages: a length that may be right, a known tag, and small numbers.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let body = vec(prop_oneof![4 => 0..12_u8, 1 => any::<u8>()], 0..80);
    (body, prop_oneof![8 => Just(0_i64), 1 => -3..3_i64, 1 => any::<i32>().prop_map(i64::from)])
        .prop_map(|(body, lie)| {
            let length = (body.len() as i64 + lie) as u32;
            [length.to_le_bytes().as_slice(), &body].concat()
        })
}

/// Whatever is understood is sent again as a message that is understood the same.
fn check<T>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut rest = bytes;
    loop {
        match receive::<T>(&mut rest) {
            Ok(Some(message)) => {
                let mut sent = Vec::new();
                send(&mut sent, &message).unwrap();
                prop_assert_eq!(receive::<T>(&mut sent.as_slice()).unwrap(), Some(message));
            }
            Ok(None) => break,
            Err(Error::TooLong(length)) => {
                prop_assert!(length > LONGEST);
                break;
            }
            Err(Error::Malformed(_) | Error::Truncated) => break,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_do_the_guest_harm(frames in vec(frame(), 1..4)) {
        check::<ToGuest>(&frames.concat())?;
    }

    #[test]
    fn no_bytes_do_the_host_harm(frames in vec(frame(), 1..4)) {
        check::<ToHost>(&frames.concat())?;
    }

    #[test]
    fn no_greeting_but_ours_is_taken(theirs in vec(select(&b"uml-wire\x04\0\xff"[..]), 0..12)) {
        let ours = [b"uml-wire".as_slice(), &VERSION.to_le_bytes()].concat();
        let greeted = greet(&mut std::io::Cursor::new([&[0; 10], theirs.as_slice()].concat()));
        prop_assert_eq!(greeted.is_ok(), theirs.starts_with(&ours));
    }

    #[test]
    fn a_marker_is_what_the_agent_writes_and_nothing_else(words in vec(select(&[
        "uml-agent", " ", "n", "ready", "begin", "end", "7", "-1", "99999999999", "fatal", "farewell", "expect",
        "message", "death", "[  1.0]", "]", "\0", "ä", "uml-agent n end 7",
    ][..]), 0..10)) {
        let line = words.concat();
        let key = Key([7; 16]);
        match find(&line, "n", &key) {
            None => {}
            Some(Found::Sealed(event)) => prop_assert!(false, "a seal was guessed: {event:?}"),
            Some(Found::Open(event)) => {
                // It reads the same in the agent's own writing, but for blanks around its text.
                let write = |key| Marker { nonce: "n".into(), key, event: event.clone() }.to_string();
                if !matches!(event, Event::Fatal(_) | Event::Expect(_)) {
                    prop_assert_eq!(find(&write(None), "n", &key), Some(Found::Open(event.clone())));
                    let sealed = write(Some(key.clone()));
                    prop_assert_eq!(find(&sealed, "n", &key), Some(Found::Sealed(event.clone())));
                }
            }
        }
    }
}

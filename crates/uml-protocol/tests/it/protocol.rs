use std::io::{Cursor, Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use uml_protocol::wire::{
    Error, Exit, Injection, LONGEST, Leftover, Log, Owner, PackageFolder, ProcessEnd, Run, Stream,
    ToGuest, ToHost, VERSION, Word, greet, receive, send,
};

fn to_guest() -> impl Strategy<Value = ToGuest> {
    let run = (any::<u32>(), any::<[u8; 32]>(), any::<Vec<String>>(), any::<u32>());
    prop_oneof![
        (any::<[u8; 32]>(), any::<u64>()).prop_map(|(hash, size)| ToGuest::Offer { hash, size }),
        any::<Vec<u8>>().prop_map(ToGuest::Chunk),
        run.prop_map(|(sequence, program, args, millis)| ToGuest::Run(Box::new(Run {
            called: None,
            sequence,
            program,
            env: args.iter().map(|arg| (arg.clone(), arg.clone())).collect(),
            args,
            timeout: Duration::from_millis(millis.into()),
            word: if sequence % 2 == 0 { Word::Stdout } else { Word::LogFile },
            lasts: sequence % 2 == 0,
            leave: sequence % 3 == 0,
            package: (sequence % 5 == 0).then(|| PackageFolder {
                path: format!("/{sequence}"),
                archive: program,
                roots: vec!["/".into()],
            }),
            links: vec![("/a".into(), "/b".into())],
            injections: vec![Injection {
                kind: format!("fail{sequence}"),
                interval: sequence,
                space: 0,
            }],
        }))),
        any::<bool>().prop_map(|search| ToGuest::PowerOff { search }),
    ]
}

fn to_host() -> impl Strategy<Value = ToHost> {
    let exit = (any::<u32>(), any::<i32>(), any::<Option<String>>(), any::<String>());
    prop_oneof![
        any::<String>().prop_map(|release| ToHost::Hello { release }),
        Just(ToHost::Have),
        Just(ToHost::Stored),
        any::<Vec<u8>>().prop_map(|bytes| ToHost::Output { stream: Stream::Stderr, bytes }),
        exit.prop_map(|(sequence, number, skip, name)| ToHost::Exited(Exit {
            sequence,
            end: if number % 2 == 0 {
                ProcessEnd::Code(number)
            } else {
                ProcessEnd::Signal(number)
            },
            duration: Duration::from_nanos(sequence.into()),
            skip: skip.clone(),
            leftovers: vec![Leftover::Process(name.clone()), Leftover::Mount(name.clone())],
            loaded: vec![name],
            tainted: u64::from(sequence),
            word: skip,
            leaks: Some(vec![(Owner::Case(sequence), String::new())]),
        })),
        any::<String>().prop_map(|what| ToHost::Leaks(vec![(Owner::Nobody, what)])),
        any::<String>().prop_map(ToHost::Failed),
        any::<Vec<u8>>().prop_map(|bytes| ToHost::Log(Log::Records(bytes))),
        (any::<Vec<u8>>(), any::<bool>())
            .prop_map(|(text, lost)| ToHost::Log(Log::Text { text, lost })),
    ]
}

/// What comes of reading a message, with the kind of error as a word.
fn outcome<T: serde::de::DeserializeOwned>(mut bytes: &[u8]) -> Result<Option<T>, &'static str> {
    receive::<T>(&mut bytes).map_err(|error| match error {
        Error::TooLong(_) => "too long",
        Error::Malformed(_) => "malformed",
        Error::Truncated => "truncated",
        _ => "other",
    })
}

fn framed(message: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, message).unwrap();
    bytes
}

proptest! {
    #[test]
    fn messages_arrive_as_they_were_sent(down in to_guest(), up in to_host()) {
        prop_assert_eq!(outcome(&framed(&down)), Ok(Some(down)));
        prop_assert_eq!(outcome(&framed(&up)), Ok(Some(up)));
    }

    #[test]
    fn a_cut_message_is_refused(down in to_guest(), up in to_host(), at in any::<prop::sample::Index>()) {
        let bytes = framed(&down);
        let cut = 1 + at.index(bytes.len() - 1);
        prop_assert_eq!(outcome::<ToGuest>(&bytes[..cut]), Err("truncated"));
        let bytes = framed(&up);
        let cut = 1 + at.index(bytes.len() - 1);
        prop_assert_eq!(outcome::<ToHost>(&bytes[..cut]), Err("truncated"));
    }

    #[test]
    fn a_message_with_something_behind_it_is_refused(down in to_guest(), more in 1_u8..200) {
        let mut bytes = framed(&down);
        let length = (bytes.len() - 4) as u32 + u32::from(more);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes.extend(std::iter::repeat_n(0, more.into()));
        prop_assert_eq!(outcome::<ToGuest>(&bytes), Err("malformed"));
    }

    #[test]
    fn garbage_is_read_without_harm(bytes in any::<Vec<u8>>()) {
        // Whatever comes of it, it is a message or an error, never a panic.
        let _ = outcome::<ToGuest>(&bytes);
        let _ = outcome::<ToHost>(&bytes);
    }

    #[test]
    fn a_huge_length_is_refused_before_anything_is_allocated(length in LONGEST as u32 + 1..) {
        prop_assert_eq!(outcome::<ToGuest>(&length.to_le_bytes()), Err("too long"));
        prop_assert_eq!(outcome::<ToHost>(&length.to_le_bytes()), Err("too long"));
    }
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let mut bytes = Vec::new();
    let error = send(&mut bytes, &ToGuest::Chunk(vec![0; LONGEST])).unwrap_err();
    assert!(matches!(error, Error::TooLong(_)), "{error}");
    assert!(bytes.is_empty());
}

#[test]
fn the_end_between_two_messages_is_no_error() {
    assert_eq!(outcome::<ToHost>(&[]), Ok(None));
}

/// One side of a connection whose other side says `theirs`.
struct Peer {
    theirs: Cursor<Vec<u8>>,
    ours: Vec<u8>,
}

impl Read for Peer {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.theirs.read(bytes)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.ours.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn greeted_with(theirs: &[u8]) -> Result<(), Error> {
    greet(&mut Peer { theirs: Cursor::new(theirs.to_vec()), ours: Vec::new() })
}

#[test]
fn another_version_is_refused_and_both_are_named() {
    let mut greeting = b"uml-wire".to_vec();
    greeting.extend((VERSION + 1).to_le_bytes());
    let error = greeted_with(&greeting).unwrap_err().to_string();
    assert!(error.contains(&format!("version {}", VERSION + 1)), "{error}");
    assert!(error.contains(&format!("version {VERSION}")), "{error}");
}

#[test]
fn a_stranger_is_refused() {
    assert!(matches!(greeted_with(b"SSH-2.0-OpenSSH_9").unwrap_err(), Error::Magic));
    assert!(matches!(greeted_with(b"uml").unwrap_err(), Error::Truncated));
}

#[test]
fn two_of_us_understand_each_other() {
    let mut first = Peer { theirs: Cursor::default(), ours: Vec::new() };
    let _ = greet(&mut first);
    greeted_with(&first.ours).unwrap();
}

//! Archives with entries of any kind, under any name, with any byte changed.

use std::os::unix::fs::MetadataExt as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tar::{EntryType, Header};

use super::*;
use crate::cancel::CancelToken;

const NAMES: &[&str] = &[
    "top/",
    "top",
    "a",
    "/",
    "..",
    "../",
    "./",
    "b",
    "top/a",
    "link",
    "\u{1}",
    "",
    "top/link/x",
    "pax",
];

const KINDS: &[u8] = b"0001122345567LKxgVMS\0Z";

/// A header as it comes, with the contents that it promises, or not quite.
fn entry() -> impl Strategy<Value = Vec<u8>> {
    let name = || vec(select(NAMES), 0..4).prop_map(|parts| parts.concat());
    let size = prop_oneof![6 => 0..600_u64, 1 => select(&[1 << 40, u64::MAX, u64::MAX - 600][..])];
    (select(KINDS), name(), name(), size, vec(any::<u8>(), 0..40)).prop_map(
        |(kind, name, link, size, text)| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::new(kind));
            header.set_mode(0o644);
            header.set_mtime(1_000_000_000);
            header.set_size(size);
            let fields = header.as_old_mut();
            fields.name[..name.len()].copy_from_slice(name.as_bytes());
            fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend(text.iter().cycle().take(if text.is_empty() {
                0
            } else {
                size.min(600) as usize
            }));
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes
        },
    )
}

fn archive() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..3);
    let end = select(&[0, 512, 1024, 1024, 1024, 1500][..]);
    (vec(entry(), 0..6), changes, end, 0..8_u8).prop_map(|(entries, changes, end, how)| {
        let mut bytes = entries.concat();
        bytes.resize(bytes.len() + end, 0);
        let empty = bytes.is_empty();
        if how == 0 {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &bytes).unwrap();
            bytes = encoder.finish().unwrap();
        }
        let changes = changes.into_iter().filter(|_| how < 4);
        for (at, byte) in changes.filter(|_| !empty) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn nothing_is_made_outside_of_the_destination(bytes in archive(), strip in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, bytes).unwrap();
        fs::create_dir(dir.path().join("dest")).unwrap();
        let dest = dir.path().join("dest/tree");
        let top = if strip { TopDir::Strip } else { TopDir::Keep };
        let limits = EntryLimits { entries: 100, bytes: 1 << 20 };
        let result = unpack_within(&CancelToken::default(), &source, &dest, top, limits);
        prop_assert_eq!(result.is_ok(), dest.exists(), "{:?}", result);
        let beside = fs::read_dir(dir.path()).unwrap().count();
        prop_assert!(beside <= 2, "something is beside the destination");
        let within = dest.canonicalize().unwrap_or_default();
        for found in walkdir::WalkDir::new(dir.path().join("dest")).min_depth(1) {
            let found = found.unwrap();
            prop_assert!(found.path().starts_with(&dest), "{} is left", found.path().display());
            let meta = found.metadata().unwrap();
            prop_assert!(meta.is_dir() || meta.is_file() || meta.is_symlink());
            prop_assert!(meta.is_symlink() || meta.mode() & 0o7000 == 0);
            if let Some(leads) = meta.is_symlink().then(|| found.path().canonicalize().ok()).flatten() {
                prop_assert!(leads.starts_with(&within), "a link leads to {}", leads.display());
            }
        }
    }
}

//! Archives as others make them, well and ill.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};
use test_in_uml::archive::{TopDir, unpack};
use test_in_uml::cancel::CancelToken;

/// A folder with an archive in it.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dest(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    /// Unpacks an archive made of these bytes; an error is one text, and leaves nothing.
    fn unpack(&self, bytes: &[u8], top: TopDir) -> Result<(), String> {
        let archive = self.0.path().join("source");
        fs::write(&archive, bytes).unwrap();
        let result = unpack(&CancelToken::default(), &archive, &self.dest(), top)
            .map_err(|error| format!("{error:#}"));
        if result.is_err() {
            let left: Vec<_> =
                fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["source"], "a failure leaves nothing");
        }
        result
    }
}

/// An entry as an ill-willed hand would write it: the tar crate's own setters refuse such names.
fn raw(kind: EntryType, name: &str, link: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(1_000_000_000);
    header.set_size(contents.len() as u64);
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn file(name: &str, contents: &str) -> Vec<u8> {
    raw(EntryType::Regular, name, "", contents.as_bytes())
}

fn link(name: &str, target: &str) -> Vec<u8> {
    raw(EntryType::Symlink, name, target, b"")
}

/// A small source tree, with a name longer than a header has room for.
fn tree() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut add = |kind, name: &str, mode, link: &str, contents: &str| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_size(contents.len() as u64);
        if link.is_empty() {
            builder.append_data(&mut header, name, contents.as_bytes()).unwrap();
        } else {
            builder.append_link(&mut header, name, link).unwrap();
        }
    };
    let long = format!("linux/{}/{}", "d".repeat(90), "f".repeat(90));
    add(EntryType::Directory, "linux/", 0o775, "", "");
    add(EntryType::Directory, "linux/scripts/", 0o755, "", "");
    add(EntryType::Regular, "linux/scripts/run", 0o755, "", "#!/bin/sh\n");
    add(EntryType::Regular, "linux/Makefile", 0o664, "", &"all:\n".repeat(200_000));
    add(EntryType::Symlink, "linux/scripts/up", 0o777, "../Makefile", "");
    add(EntryType::Link, "linux/same", 0o664, "linux/Makefile", "");
    add(EntryType::Regular, &long, 0o444, "", "deep");
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;
const FORMATS: [(&str, Pack); 4] =
    [("tar", |bytes| bytes.to_vec()), ("gz", gz), ("xz", xz), ("bz2", bz2)];

#[test]
fn every_format_gives_the_tree_with_its_modes_and_times() {
    for (format, pack) in FORMATS {
        let fixture = Fixture::new();
        fixture.unpack(&pack(&tree()), TopDir::Strip).unwrap();
        let at = |name: &str| fs::symlink_metadata(fixture.dest().join(name)).unwrap();
        let mode = |name: &str| at(name).mode() & 0o7777;
        assert_eq!(mode(""), 0o775, "{format}");
        assert_eq!(mode("scripts/run"), 0o755, "{format}");
        assert_eq!(mode("Makefile"), 0o664, "{format}");
        for name in ["", "scripts", "scripts/run", "scripts/up", "Makefile"] {
            assert_eq!(at(name).mtime(), 1_000_000_000, "{format}: {name}");
        }
        assert_eq!(at("Makefile").len(), 1_000_000, "{format}");
        assert_eq!(at("same").ino(), at("Makefile").ino(), "{format}");
        let up = fs::read_link(fixture.dest().join("scripts/up")).unwrap();
        assert_eq!(up, Path::new("../Makefile"), "{format}");
        let deep = fixture.dest().join("d".repeat(90)).join("f".repeat(90));
        assert_eq!(fs::read_to_string(deep).unwrap(), "deep", "{format}");
    }
}

#[test]
fn an_archive_cut_anywhere_or_followed_by_anything_is_refused() {
    for (format, pack) in FORMATS {
        let whole = pack(&tree());
        // Within the last two blocks of zeros a plain archive is as good as whole.
        let end = if format == "tar" { whole.len() - 1024 } else { whole.len() };
        let step = (end / 23).max(1);
        for cut in (1..end).step_by(step).chain([end - 1]) {
            let fixture = Fixture::new();
            fixture.unpack(&whole[..cut], TopDir::Strip).expect_err(&format!("{format}: {cut}"));
        }
        let mut followed = whole.clone();
        followed.extend(b"<html>not found</html>");
        Fixture::new().unpack(&followed, TopDir::Strip).expect_err(format);
    }
}

#[test]
fn an_archive_cut_between_two_entries_is_refused() {
    let first = file("linux/a", "a");
    let error = Fixture::new().unpack(&first, TopDir::Strip).unwrap_err();
    assert!(error.contains("cut short"), "{error}");
}

#[test]
fn a_flipped_bit_in_a_compressed_archive_is_refused() {
    for (format, pack) in &FORMATS[1..] {
        let mut bytes = pack(&tree());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        Fixture::new().unpack(&bytes, TopDir::Strip).expect_err(format);
    }
}

#[test]
fn two_streams_in_one_file_are_one_archive() {
    let bytes = tree();
    let (first, second) = bytes.split_at(1536);
    for (format, pack) in &FORMATS[1..] {
        let fixture = Fixture::new();
        fixture.unpack(&[pack(first), pack(second)].concat(), TopDir::Strip).expect(format);
        assert!(fixture.dest().join("Makefile").exists(), "{format}");
    }
}

#[test]
fn what_has_no_business_in_an_archive_is_refused_by_name() {
    let device = |kind| raw(kind, "linux/odd", "", b"");
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("absolute", vec![file("/linux/odd", "")]),
        ("climbs", vec![file("linux/../odd", "")]),
        ("climbs", vec![file("../odd", "")]),
        ("absolute path", vec![link("linux/odd", "/etc/passwd")]),
        ("outside", vec![link("linux/odd", "../outside")]),
        ("outside", vec![link("linux/a/odd", "../../outside")]),
        ("after a name", vec![link("linux/here", "."), link("linux/odd", "here/../../x")]),
        ("make a folder", vec![link("linux/here", "."), file("linux/here/odd", "")]),
        ("make the file", vec![link("linux/odd", "target"), file("linux/odd", "")]),
        ("make the file", vec![file("linux/odd", "1"), file("linux/odd", "2")]),
        ("make the link", vec![file("linux/odd", "1"), link("linux/odd", "x")]),
        (
            "make a folder",
            vec![file("linux/odd", "1"), raw(EntryType::Directory, "linux/odd/", "", b"")],
        ),
        ("no file before", vec![raw(EntryType::Link, "linux/odd", "linux/none", b"")]),
        ("climbs", vec![raw(EntryType::Link, "linux/odd", "linux/../../x", b"")]),
        (
            "no file before",
            vec![link("linux/a", "b"), raw(EntryType::Link, "linux/odd", "linux/a", b"")],
        ),
        ("device", vec![device(EntryType::Char)]),
        ("device", vec![device(EntryType::Block)]),
        ("device", vec![device(EntryType::Fifo)]),
        ("type", vec![device(EntryType::new(b'V'))]),
        ("not in `linux`", vec![file("linux/a", ""), file("odd", "")]),
        ("not in a folder", vec![file("odd", "")]),
    ];
    for (why, entries) in cases {
        let error = Fixture::new().unpack(&archive(entries), TopDir::Strip).unwrap_err();
        assert!(error.contains(why) && error.contains("odd"), "{why}: {error}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in [&b""[..], b"<html>not found</html>", &[0; 10_240]] {
        let error = Fixture::new().unpack(bytes, TopDir::Strip).unwrap_err();
        assert!(error.contains("not a tar archive"), "{error}");
    }
    let error = Fixture::new().unpack(&gz(&[0; 10_240]), TopDir::Strip).unwrap_err();
    assert!(error.contains("empty"), "{error}");
}

#[test]
fn setuid_bits_are_dropped_and_unreadable_folders_stay_ours() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o000);
    header.set_size(0);
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header, "linux/", &b""[..]).unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o4755);
    builder.append_data(&mut header, "linux/a", &b""[..]).unwrap();
    let fixture = Fixture::new();
    fixture.unpack(&builder.into_inner().unwrap(), TopDir::Keep).unwrap();
    let mode =
        |name: &str| fs::metadata(fixture.dest().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("linux"), 0o700);
    assert_eq!(mode("linux/a"), 0o755);
}

#[test]
fn a_destination_that_exists_is_left_alone() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.dest()).unwrap();
    let archive = fixture.0.path().join("source");
    fs::write(&archive, tree()).unwrap();
    let error =
        unpack(&CancelToken::default(), &archive, &fixture.dest(), TopDir::Strip).unwrap_err();
    assert!(format!("{error:#}").contains("exists already"));
    assert_eq!(fs::read_dir(fixture.dest()).unwrap().count(), 0);
}

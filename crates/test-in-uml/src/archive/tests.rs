use super::*;
use crate::cancel::CancelToken;

fn archive_of(dir: &Path, entries: &[(&str, u64)]) -> PathBuf {
    let path = dir.join("source.tar");
    let mut builder = tar::Builder::new(File::create(&path).unwrap());
    for (name, size) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(*size);
        header.set_mode(0o644);
        let contents = std::io::Read::take(std::io::repeat(b'x'), *size);
        builder.append_data(&mut header, name, contents).unwrap();
    }
    builder.finish().unwrap();
    path
}

fn unpack_with(
    limits: EntryLimits,
    entries: &[(&str, u64)],
) -> (Result<()>, Vec<std::ffi::OsString>) {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive_of(dir.path(), entries);
    let into = dir.path().join("into");
    let result =
        unpack_within(&CancelToken::default(), &archive, &into.join("tree"), TopDir::Keep, limits);
    let left = fs::read_dir(into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    (result, left)
}

#[test]
fn a_bomb_is_stopped_and_leaves_nothing() {
    let limits = EntryLimits { entries: 3, bytes: 10_000 };
    let (fits, left) = unpack_with(limits, &[("a", 5_000), ("b", 5_000)]);
    fits.unwrap();
    assert_eq!(left, ["tree"]);
    for bomb in [&[("a", 5_000), ("b", 5_001)][..], &[("a", 0), ("b", 0), ("c", 0), ("d", 0)]] {
        let (stopped, left) = unpack_with(limits, bomb);
        assert!(format!("{:#}", stopped.unwrap_err()).contains("more than 3 entries"));
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn headers_without_an_end_are_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source.tar");
    let mut builder = tar::Builder::new(File::create(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_path("././@LongLink").unwrap();
    header.set_cksum();
    builder.append(&header, std::io::Read::take(std::io::repeat(b'x'), 1 << 22)).unwrap();
    drop(builder);
    let error =
        unpack(&CancelToken::default(), &path, &dir.path().join("tree"), TopDir::Keep).unwrap_err();
    assert!(format!("{error:#}").contains("no end to its headers"), "{error:#}");
}

#[test]
fn a_sparse_file_of_any_size_is_refused() {
    for size in [1 << 20, 1 << 50, u64::MAX / 2, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_path("sparse").unwrap();
        header.set_size(0);
        header.as_gnu_mut().unwrap().set_real_size(size);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.finish().unwrap();
        drop(builder);
        assert!(
            unpack(&CancelToken::default(), &path, &dir.path().join("tree"), TopDir::Keep).is_err(),
            "{size}"
        );
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_a_live_one_holds_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive_of(dir.path(), &[("a", 1)]);
    let dest = dir.path().join("tree");
    let partial = dir.path().join(".tree.unpacking");
    fs::create_dir_all(partial.join("half")).unwrap();
    let alive = File::open(&partial).unwrap();
    alive.lock().unwrap();
    let error = unpack(&CancelToken::default(), &archive, &dest, TopDir::Keep).unwrap_err();
    assert!(format!("{error:#}").contains("another run"), "{error:#}");
    assert!(partial.join("half").exists());
    drop(alive);
    unpack(&CancelToken::default(), &archive, &dest, TopDir::Keep).unwrap();
    assert!(dest.join("a").exists() && !dest.join("half").exists() && !partial.exists());
}

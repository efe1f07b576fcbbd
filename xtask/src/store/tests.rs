use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Builds an entry with one file and says whether `build` was called.
fn build(store: &Store, recipe: &str) -> (Entry, bool) {
    let built = Cell::new(false);
    let entry = store
        .get_or_build(Kind::Download, &recipe, |dir| {
            built.set(true);
            Ok(fs::write(dir.join("data"), recipe)?)
        })
        .unwrap();
    (entry, built.get())
}

/// Changes a sealed file as somebody with a reason to would.
fn tamper(path: &Path, change: impl FnOnce()) {
    fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    change();
}

#[test]
fn the_same_recipe_is_built_once() {
    let (_dir, store) = store();
    assert!(build(&store, "a").1);
    let (entry, built) = build(&store, "a");
    assert!(!built);
    assert_eq!(fs::read_to_string(entry.file("data")).unwrap(), "a");
    assert!(build(&store, "b").1);
    assert!(store.get(Kind::Download, &"a").unwrap().is_some());
    assert!(store.get(Kind::Download, &"c").unwrap().is_none());
}

#[test]
fn a_failed_build_leaves_nothing() {
    let (_dir, store) = store();
    let failed = store.get_or_build(Kind::Download, &"a", |dir| {
        fs::write(dir.join("data"), "half")?;
        bail!("no luck")
    });
    assert!(format!("{:#}", failed.unwrap_err()).contains("no luck"));
    assert_eq!(fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
    assert!(build(&store, "a").1);
}

#[test]
fn an_altered_truncated_or_removed_file_is_rebuilt() {
    let (_dir, store) = store();
    for change in ["altered", "truncated", "removed"] {
        let path = build(&store, "contents").0.file("data");
        tamper(&path, || match change {
            "altered" => fs::write(&path, "CONTENTS").unwrap(),
            "truncated" => fs::write(&path, "cont").unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        });
        let (entry, built) = build(&store, "contents");
        assert!(built, "{change}");
        assert_eq!(fs::read_to_string(entry.file("data")).unwrap(), "contents");
    }
}

#[test]
fn a_touched_file_is_reused_with_its_old_time() {
    let (_dir, store) = store();
    let path = build(&store, "a").0.file("data");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    tamper(&path, || File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap());
    assert!(!build(&store, "a").1);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
}

#[test]
fn what_a_killed_run_left_is_swept_but_not_what_is_being_built() {
    let (_dir, store) = store();
    let tmp = store.path().join("tmp");
    fs::create_dir(tmp.join("download-00.dead")).unwrap();
    fs::create_dir(tmp.join("download-11.alive")).unwrap();
    let lock = store.open_lock("download-11").unwrap();
    lock.lock().unwrap();
    Store::open(store.path().into()).unwrap();
    assert!(!tmp.join("download-00.dead").exists());
    assert!(tmp.join("download-11.alive").exists());
}

#[test]
fn many_at_once_build_once_and_use_it_together() {
    let (_dir, store) = store();
    let builds = AtomicUsize::new(0);
    let all = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let entry = store
                    .get_or_build(Kind::Image, &"one", |dir| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        Ok(fs::write(dir.join("data"), "x")?)
                    })
                    .unwrap();
                // Nobody gives its entry back before all have theirs.
                all.wait();
                drop(entry);
            });
        }
    });
    assert_eq!(builds.into_inner(), 1);
}

#[test]
fn a_store_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = Store::open(dir.path().into()).unwrap_err().to_string();
    assert!(error.contains("UML_CACHE_DIR"), "{error}");
}

#[test]
fn pruning_leaves_what_is_in_use() {
    let (_dir, store) = store();
    let used = build(&store, "used").0;
    build(&store, "unused");
    assert!(store.prune(Duration::ZERO).unwrap() > 0);
    assert!(used.file("data").exists());
    assert!(store.get(Kind::Download, &"unused").unwrap().is_none());
}

#[test]
fn pruning_by_age_leaves_what_was_used_lately() {
    let (_dir, store) = store();
    for recipe in ["old", "new"] {
        build(&store, recipe);
        fs::write(store.partial(Kind::Download, &recipe).unwrap(), "half").unwrap();
    }
    let day = Duration::from_secs(24 * 60 * 60);
    let long_ago = std::time::SystemTime::now() - 3 * day;
    let age =
        |path: PathBuf| File::options().write(true).open(path).unwrap().set_modified(long_ago);
    age(store.used(Kind::Download, &Key::of(&"old").unwrap())).unwrap();
    age(store.partial(Kind::Download, &"old").unwrap()).unwrap();
    assert!(store.prune(2 * day).unwrap() > 0);
    assert!(store.get(Kind::Download, &"old").unwrap().is_none());
    assert!(store.get(Kind::Download, &"new").unwrap().is_some());
    assert!(!store.partial(Kind::Download, &"old").unwrap().exists());
    assert!(store.partial(Kind::Download, &"new").unwrap().exists());
}

//! Entries that are made, found, damaged, pruned and waited for.
//!
//! Longer than 300 lines: each way in which an entry can be damaged or shared is one test, of the same few entries.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::bail;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::cancel::CancelToken;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Builds an entry with one file and says whether `build` was called.
fn build(store: &Store, recipe: &str) -> (Entry, bool) {
    let built = Cell::new(false);
    let entry = store
        .get_or_build(&CancelToken::default(), Kind::Download, &recipe, |dir| {
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
fn what_is_never_what_was_sealed_is_not_made_for_ever() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can make files of others, as a file system does that maps root to nobody.
        return;
    }
    let (_dir, store) = store();
    let made = Cell::new(0);
    let spoilt = store.get_or_build(&CancelToken::default(), Kind::Download, &"a", |dir| {
        made.set(made.get() + 1);
        fs::write(dir.join("data"), "x")?;
        Ok(std::os::unix::fs::chown(dir.join("data"), Some(65534), None)?)
    });
    assert_eq!((spoilt.is_err(), made.get()), (true, MOST_BUILDS));
}

#[test]
fn a_failed_build_leaves_nothing() {
    let (_dir, store) = store();
    let failed = store.get_or_build(&CancelToken::default(), Kind::Download, &"a", |dir| {
        fs::write(dir.join("data"), "half")?;
        bail!("no luck")
    });
    assert!(format!("{:#}", failed.unwrap_err()).contains("no luck"));
    assert_eq!(fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
    assert!(build(&store, "a").1);
}

type Damage = fn(&Path);

/// What may become of an entry.
const DAMAGE: [(&str, Damage); 14] = [
    ("altered", |dir| fs::write(dir.join("data"), "CONTENTS").unwrap()),
    ("altered with its old time", |dir| {
        let time = fs::metadata(dir.join("data")).unwrap().modified().unwrap();
        fs::write(dir.join("data"), "CONTENTS").unwrap();
        File::open(dir.join("data")).unwrap().set_modified(time).unwrap();
    }),
    ("with another file", |dir| fs::write(dir.join("planted.ko"), "x").unwrap()),
    ("with a folder", |dir| fs::create_dir(dir.join("planted")).unwrap()),
    ("with a link", |dir| symlink("/etc/passwd", dir.join("planted")).unwrap()),
    ("truncated", |dir| fs::write(dir.join("data"), "cont").unwrap()),
    ("removed", |dir| fs::remove_file(dir.join("data")).unwrap()),
    ("replaced", |dir| {
        fs::write(dir.join("other"), "contents").unwrap();
        fs::remove_file(dir.join("data")).unwrap();
        symlink("other", dir.join("data")).unwrap();
    }),
    ("unreadable", |dir| set_mode(&dir.join("data"), 0)),
    ("open to others", |dir| set_mode(&dir.join("data"), 0o666)),
    ("with half a stamp", |dir| {
        let stamp = fs::read(dir.join("stamp.json")).unwrap();
        fs::write(dir.join("stamp.json"), &stamp[..stamp.len() / 2]).unwrap();
    }),
    ("with another stamp", |dir| fs::write(dir.join("stamp.json"), "{}").unwrap()),
    ("without a stamp", |dir| fs::remove_file(dir.join("stamp.json")).unwrap()),
    ("a link", |dir| {
        let other = dir.with_extension("other");
        fs::rename(dir, &other).unwrap();
        fs::write(other.join("data"), "CONTENTS").unwrap();
        symlink(other, dir).unwrap();
    }),
];

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes an entry of a kind, does something to it, and asks for it again.
fn after(kind: Kind, what: &str, damage: impl FnOnce(&Path)) {
    let (_dir, store) = store();
    let builds = Cell::new(0);
    let get = || {
        let build = |dir: &Path| {
            builds.set(builds.get() + 1);
            Ok(fs::write(dir.join("data"), "contents")?)
        };
        store.get_or_build(&CancelToken::default(), kind, &"recipe", build).unwrap()
    };
    let path = get().path().to_owned();
    set_mode(&path, 0o755);
    for file in ["data", "stamp.json"] {
        set_mode(&path.join(file), 0o644);
    }
    damage(&path);
    assert!(store.get(kind, &"recipe").unwrap().is_none(), "{kind:?} {what}: it is trusted");
    let text = fs::read_to_string(get().file("data")).unwrap();
    assert_eq!((text.as_str(), builds.get()), ("contents", 2), "{kind:?} {what}");
    let said = store.said.lock().unwrap();
    assert_eq!(said.len(), 1, "{kind:?} {what}: said {said:?}");
    let said = said.first().unwrap();
    assert!(said.contains(kind.name()) && said.contains(&*path.to_string_lossy()), "{said}");
}

#[test]
fn whatever_happens_to_an_entry_is_noticed_said_and_made_good() {
    for kind in Kind::ALL {
        for (what, damage) in DAMAGE {
            after(kind, what, damage);
        }
    }
}

#[test]
fn what_another_user_owns_is_not_trusted() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a file away: this is another user's anyway.
        assert!(trust::refuse_others(Path::new("/usr")).is_err());
        return;
    }
    let give_away = |path: PathBuf| std::os::unix::fs::chown(path, Some(65534), None).unwrap();
    for kind in Kind::ALL {
        after(kind, "given away", |dir| give_away(dir.join("data")));
    }
    let (dir, store) = store();
    give_away(store.path().into());
    let error = Store::open(store.path().into()).unwrap_err().to_string();
    assert!(error.contains("65534") && error.contains("UML_CACHE_DIR"), "{error}");
    assert!(error.contains("chown -R 0"), "{error}");
    let beside = dir.path().join("beside");
    give_away(dir.path().into());
    let error = Store::open(beside).unwrap_err().to_string();
    assert!(error.contains(&*dir.path().to_string_lossy()), "{error}");
}

#[test]
fn what_is_intact_is_read_once_for_each_change() {
    let (_dir, store) = store();
    let dir = build(&store, "a").0.path().to_owned();
    let key = Key::of(&"a").unwrap();
    let seen = || Seen::read(&store.used(Kind::Download, &key)).unwrap();
    let text = fs::read_to_string(dir.join("stamp.json")).unwrap();
    let other = text.replace(&hex(&Sha256::digest("a")), &hex(&Sha256::digest("b")));
    let other: Stamp = serde_json::from_str(&other).unwrap();
    assert!(other.check(&dir, None).is_err());
    assert_eq!(other.check(&dir, Some(&seen())).unwrap(), seen(), "it was read once more");
    let before = seen();
    set_mode(&dir.join("data"), 0o444);
    assert!(other.check(&dir, Some(&before)).is_err(), "a change was not noticed");
    assert!(!build(&store, "a").1, "an entry with the same contents was rebuilt");
    assert_ne!(before, seen(), "it would be read at each use");
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
                    .get_or_build(&CancelToken::default(), Kind::Image, &"one", |dir| {
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
fn many_at_once_make_a_damaged_entry_good_once() {
    let (_dir, store) = store();
    let path = build(&store, "one").0.file("data");
    tamper(&path, || fs::write(&path, "two").unwrap());
    let (builds, all) = (AtomicUsize::new(0), Barrier::new(8));
    let get = || {
        let build = |dir: &Path| {
            builds.fetch_add(1, Ordering::SeqCst);
            Ok(fs::write(dir.join("data"), "one")?)
        };
        let entry =
            store.get_or_build(&CancelToken::default(), Kind::Download, &"one", build).unwrap();
        // Nobody gives its entry back before all have theirs.
        all.wait();
        assert_eq!(fs::read_to_string(entry.file("data")).unwrap(), "one");
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(get);
        }
    });
    assert_eq!(builds.into_inner(), 1);
}

#[test]
fn a_place_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o777);
    for store in [dir.path().to_owned(), dir.path().join("store")] {
        let error = Store::open(store).unwrap_err().to_string();
        assert!(error.contains("UML_CACHE_DIR") && error.contains("chmod go-w"), "{error}");
    }
    // As /tmp is: there each may remove only what is their own.
    set_mode(dir.path(), 0o1777);
    Store::open(dir.path().join("store")).unwrap();
}

#[test]
fn whoever_could_replace_a_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("cache/store");
    fs::create_dir_all(&store).unwrap();
    assert_eq!(trust::replaceable(&store), None);
    set_mode(dir.path(), 0o777);
    assert_eq!(trust::replaceable(&store).unwrap(), dir.path());
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

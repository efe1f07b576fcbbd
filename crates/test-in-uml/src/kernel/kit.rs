//! The kit: what is kept of a kernel's source and objects so that modules can be built for it
//! later, without either. It is what distributions package as headers.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Builder, HeaderMode};
use walkdir::{DirEntry, WalkDir};

use super::tree::KernelTree;
use super::work::Work;
use crate::removal::remove_folder;

/// What the build of a module reads of the source (Documentation/kbuild/modules.rst,
/// scripts/package/install-extmod-build); not every kernel has all of it.
const OF_SOURCE: [&str; 9] = [
    "Kbuild",
    "Makefile",
    "arch/um",
    "arch/x86/Makefile",
    "arch/x86/Makefile.um",
    "arch/x86/Makefile_32.cpu",
    "arch/x86/include",
    "arch/x86/um",
    "include",
];

/// And of the build folder.
const OF_BUILD: [&str; 6] = [".config", "Module.symvers", "arch", "include", "scripts", "tools"];

/// Folders that no module needs, and links into the rest of the source.
const LEFT_OUT: [&str; 3] = ["dtc", "gdb", "testing"];

/// Packs the kit of a built kernel into `dest`.
///
/// # Errors
/// When something of it cannot be read, or `dest` cannot be written.
pub(super) fn pack(tree: &KernelTree, build: &Path, dest: &Path) -> Result<()> {
    let file = File::create(dest).with_context(|| format!("cannot make {}", dest.display()))?;
    let mut tar = Builder::new(GzEncoder::new(BufWriter::new(file), Compression::fast()));
    tar.mode(HeaderMode::Deterministic);
    tar.follow_symlinks(false);
    let of_source = OF_SOURCE.into_iter().chain(["scripts"]);
    for (from, names, to) in
        [(tree.dir(), of_source.collect::<Vec<_>>(), "src"), (build, OF_BUILD.to_vec(), "build")]
    {
        for name in names {
            add(&mut tar, from, name, Path::new(to))
                .with_context(|| format!("cannot keep {}", from.join(name).display()))?;
        }
    }
    let written = tar.into_inner().and_then(GzEncoder::finish);
    written
        .and_then(|file| file.into_inner().map_err(std::io::IntoInnerError::into_error))
        .map(drop)
        .with_context(|| format!("cannot write {}", dest.display()))
}

fn add(tar: &mut Builder<impl std::io::Write>, root: &Path, name: &str, to: &Path) -> Result<()> {
    if !root.join(name).exists() {
        return Ok(());
    }
    for entry in WalkDir::new(root.join(name)).sort_by_file_name().into_iter().filter_entry(kept) {
        let entry = entry?;
        let path = entry.path();
        let place = to.join(path.strip_prefix(root)?);
        // A tree of ours may link to the files of a user's: those are what is meant.
        let link = entry.file_type().is_symlink();
        if link && fs::read_link(path)?.is_absolute() {
            let meta =
                fs::metadata(path).with_context(|| format!("{} leads nowhere", path.display()))?;
            if meta.is_file() {
                tar.append_file(&place, &mut File::open(path)?)?;
            }
        } else {
            tar.append_path_with_name(path, &place)?;
        }
    }
    Ok(())
}

fn kept(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let object = [".o", ".a", ".cmd", ".d"].iter().any(|end| name.ends_with(end));
    match entry.file_type().is_dir() {
        true => !LEFT_OUT.contains(&&*name),
        false => !object,
    }
}

/// A kit, unpacked.
#[derive(Debug)]
pub(super) struct Kit {
    /// Nobody else has it meanwhile.
    work: Work,
}

impl Kit {
    /// Unpacks the kit at `path`, whose hash is given, unless it is there.
    ///
    /// # Errors
    /// When it cannot be unpacked.
    pub fn ready(work: Work, path: &Path, hash: &str) -> Result<Self> {
        let (dir, partial, stamp) = (work.source(), work.partial_source(), work.source_stamp());
        if stamp.says(&hash) {
            return Ok(Self { work });
        }
        stamp.remove()?;
        remove_folder(&dir)?;
        remove_folder(&partial)?;
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        tar::Archive::new(GzDecoder::new(BufReader::new(file)))
            .unpack(&partial)
            .and_then(|()| fs::rename(&partial, &dir))
            .with_context(|| format!("cannot unpack {}", path.display()))?;
        stamp.write(&hash)?;
        Ok(Self { work })
    }

    /// The source, as far as modules need it.
    pub fn tree(&self) -> Result<KernelTree> {
        KernelTree::at(self.work.source().join("src"))
    }

    /// The build folder, as far as modules need it.
    pub fn build(&self) -> PathBuf {
        self.work.source().join("build")
    }
}

//! A series of patches in kernel style, applied checked: what is in already is fine, what does not
//! fit is an error with file and hunk.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::step::Step;
use crate::store::hex;

/// The patches of a kernel, in their order.
#[derive(Debug, Default)]
pub struct Series {
    patches: Vec<Patch>,
}

#[derive(Debug)]
struct Patch {
    path: PathBuf,
    sha256: String,
    files: Vec<PathBuf>,
}

impl Series {
    /// Reads the series of these names, one after the other.
    ///
    /// # Errors
    /// When there is no such series, or it cannot be read.
    pub fn read(ctx: &Ctx, names: &[String]) -> Result<Self> {
        let mut all = Self::default();
        for name in names {
            let one = Self::of_folder(&ctx.layout.patches(name));
            all.patches.extend(one.with_context(|| format!("the patches `{name}`"))?.patches);
        }
        Ok(all)
    }

    fn of_folder(dir: &Path) -> Result<Self> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                paths.push(path);
            }
        }
        ensure!(!paths.is_empty(), "no .patch files in {}", dir.display());
        paths.sort();
        let patches = paths.into_iter().map(|path| {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let files = touched(&text);
            ensure!(!files.is_empty(), "{} changes no file", path.display());
            Ok(Patch { sha256: hex(&Sha256::digest(text)), files, path })
        });
        Ok(Self { patches: patches.collect::<Result<_>>()? })
    }

    /// The hashes of the patches' contents, in their order.
    pub fn hashes(&self) -> Vec<String> {
        self.patches.iter().map(|patch| patch.sha256.clone()).collect()
    }

    /// The files that the patches touch, relative to a tree.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.patches.iter().flat_map(|patch| &patch.files).map(PathBuf::as_path)
    }

    /// Brings a tree to where all patches are in, however many of them were in before.
    ///
    /// # Errors
    /// When a patch neither is in nor fits: with its name, the file and the hunk.
    pub fn apply(&self, step: &Step<'_>, tree: &Path) -> Result<()> {
        // A patch can be told to be in only while no later one lies upon it.
        for patch in self.patches.iter().rev() {
            if patch.fits(step, tree, &["--dry-run", "--reverse"])?.is_ok() {
                step.note(&format!("{} is in already", patch.path.display()))?;
                patch.change(step, tree, &["--reverse"])?;
            }
        }
        self.patches.iter().try_for_each(|patch| {
            patch.change(step, tree, &["--dry-run"])?;
            patch.change(step, tree, &[])
        })
    }
}

/// The number of patches there are.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.patches.len() {
            0 => f.write_str("no patches"),
            1 => f.write_str("1 patch"),
            count => write!(f, "{count} patches"),
        }
    }
}

impl Patch {
    /// Runs patch(1), which has to succeed.
    fn change(&self, step: &Step<'_>, tree: &Path, options: &[&str]) -> Result<()> {
        self.fits(step, tree, options)?.map_err(anyhow::Error::msg)
    }

    /// Runs patch(1); the inner error is that the patch does not fit.
    fn fits(&self, step: &Step<'_>, tree: &Path, options: &[&str]) -> Result<Result<(), String>> {
        let mut lines = Vec::new();
        // Offsets are fine: a series fits several releases. Fuzz is not: it guesses.
        let cmd = Cmd::new("patch")
            .args(["--strip=1", "--fuzz=0", "--force", "--no-backup-if-mismatch"])
            .args(["--reject-file=-", "--directory"])
            .arg(tree)
            .arg("--input")
            .arg(&self.path)
            .args(options);
        let result = step.run_watched(&cmd, |line| lines.push(line.to_owned()));
        step.cancel().check()?;
        let Err(error) = result else { return Ok(Ok(())) };
        match misfits(&lines) {
            misfits if misfits.is_empty() => Err(error),
            misfits => Ok(Err(format!(
                "{} does not fit the tree:\n  {}",
                self.path.display(),
                misfits.join("\n  ")
            ))),
        }
    }
}

/// The files that a patch changes, makes or removes.
fn touched(text: &str) -> Vec<PathBuf> {
    let named = |line: &str| {
        let name = line.strip_prefix("+++ b/").or_else(|| line.strip_prefix("--- a/"))?;
        Some(PathBuf::from(name.split('\t').next().unwrap_or(name)))
    };
    let mut files: Vec<PathBuf> = text.lines().filter_map(named).collect();
    files.sort();
    files.dedup();
    files
}

/// The files and hunks that patch(1) could not place.
fn misfits(lines: &[String]) -> Vec<String> {
    let (mut file, mut misfits) = ("", Vec::new());
    for line in lines {
        let named = ["checking file ", "patching file "].iter().find_map(|p| line.strip_prefix(p));
        if let Some(name) = named {
            file = name;
        } else if let Some(hunk) = line.strip_prefix("Hunk #") {
            if let Some((number, place)) = hunk.split_once(" FAILED at ") {
                let place = place.trim_end_matches('.');
                misfits.push(format!("{file}: hunk {number}, line {place}"));
            }
        } else if let Some(old) = line.strip_prefix("|--- ") {
            // Printed when there is no such file, with the patch's own header.
            let name = old.split('\t').next().unwrap_or(old);
            misfits.push(format!("{}: there is no such file", name.trim_start_matches("a/")));
        } else if let Some(name) = line.strip_prefix("The next patch would create the file ") {
            misfits.push(format!("{}: there is such a file already", name.trim_end_matches(',')));
        } else if let Some(name) = line.strip_prefix("The next patch would delete the file ") {
            misfits.push(format!("{}: there is no such file", name.trim_end_matches(',')));
        }
    }
    misfits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> Vec<String> {
        misfits(&output.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn misfits_name_file_and_hunk() {
        let output = "checking file kernel/timeconst.pl\nHunk #2 FAILED at 410.\n\
                      1 out of 3 hunks FAILED\nchecking file arch/um/os-Linux/file.c\n\
                      Hunk #1 succeeded at 20 (offset 3 lines).\n\
                      can't find file to patch at input line 30\n--------------------------\n\
                      |--- a/gone.c\t2011-07-21\n|+++ b/gone.c\n\
                      The next patch would create the file include/linux/new.h,\n\
                      which already exists!  Skipping patch.\n";
        assert_eq!(
            of(output),
            [
                "kernel/timeconst.pl: hunk 2, line 410",
                "gone.c: there is no such file",
                "include/linux/new.h: there is such a file already",
            ]
        );
    }

    #[test]
    fn what_fits_has_no_misfits() {
        assert!(of("patching file a.c\nHunk #1 succeeded at 7 (offset 3 lines).\n").is_empty());
    }
}

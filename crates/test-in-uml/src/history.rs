//! The history of a tree in git, and the search through it: a clone that shares the tree's objects, so that nothing is
//! written into the tree or its repository.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::lock;
use crate::removal::remove_folder;
use crate::step::Step;

#[cfg(test)]
mod tests;

/// What git is told of a repository by others, such as a hook that started us.
const OF_ANOTHER: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"];

/// A repository that is the user's own.
#[derive(Debug)]
pub struct Repository {
    /// The root of its work tree.
    root: PathBuf,
    /// Where the kernel's tree is below that.
    below: PathBuf,
}

/// A clone of it, in which one commit after the other is looked at.
#[derive(Debug)]
pub struct SharedClone {
    folder: PathBuf,
    below: PathBuf,
    _lock: File,
}

/// What is known of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// That cannot be told.
    Skip,
}

/// Where the search is.
#[derive(Debug, PartialEq, Eq)]
pub enum Search {
    /// It goes on, with another commit checked out: git's words on how far it is.
    GoesOn(String),
    /// This is the first bad commit.
    Found(String),
    /// It is one of these: the others between them cannot be told.
    OneOf(Vec<String>),
}

impl Repository {
    /// That of the tree at `path`.
    ///
    /// # Errors
    /// When it is in none, or git cannot be asked.
    pub fn of(path: &Path) -> Result<Self> {
        let no_repository = || format!("{} is no tree in git", path.display());
        let root = git(path, &["rev-parse", "--show-toplevel"]).with_context(no_repository)?;
        let below = git(path, &["rev-parse", "--show-prefix"]).with_context(no_repository)?;
        Ok(Self { root: root.into(), below: below.into() })
    }

    /// The commit that a revision is.
    ///
    /// # Errors
    /// When it is none.
    pub fn commit(&self, revision: &str) -> Result<String> {
        let what = format!("{revision}^{{commit}}");
        git(&self.root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &what])
            .with_context(|| format!("{} has no revision `{revision}`", self.root.display()))
    }

    /// Checks that one commit came before another.
    ///
    /// # Errors
    /// When it did not.
    pub fn ensure_ancestor(&self, good: &str, bad: &str) -> Result<()> {
        git(&self.root, &["merge-base", "--is-ancestor", good, bad]).map(drop)
    }

    /// A clone without any file, which shares the objects; there is one in a checkout of ours.
    ///
    /// # Errors
    /// When there is one already, or it cannot be made.
    pub fn cloned(&self, ctx: &Ctx) -> Result<SharedClone> {
        let place = ctx.layout.bisect();
        let lock = lock::claim_folder(&place, 0o700)?;
        let lock = lock.context("another `bisect` is going on in this checkout")?;
        let folder = place.join("tree");
        remove_folder(&folder)?;
        let place = folder.to_str().context("a path is no text")?;
        git(&self.root, &["clone", "--quiet", "--shared", "--no-checkout", "--", ".", place])?;
        Ok(SharedClone { folder, below: self.below.clone(), _lock: lock })
    }
}

impl SharedClone {
    /// The kernel's tree.
    pub fn tree(&self) -> PathBuf {
        self.folder.join(&self.below)
    }

    /// Checks a commit out.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check_out(&self, ctx: &Ctx, commit: &str) -> Result<()> {
        let step = Step::begin(ctx, "checkout")?;
        let cmd = Cmd::new("git").args(["checkout", "--quiet", "--force", "--detach", commit]);
        step.run(&without_others(cmd.dir(&self.folder)))?;
        step.done(&self.title(commit)?);
        Ok(())
    }

    /// A commit in a line.
    ///
    /// # Errors
    /// When git does not tell.
    pub fn title(&self, commit: &str) -> Result<String> {
        git(&self.folder, &["log", "-1", "--format=%h %s", commit])
    }

    /// A commit as its author wrote it, with the files that it changes.
    ///
    /// # Errors
    /// When git does not tell.
    pub fn description(&self, commit: &str) -> Result<String> {
        git(
            &self.folder,
            &[
                "show",
                "--stat",
                "--format=commit %H%nAuthor: %an <%ae>%nDate:   %ad%n%n%w(0,4,4)%B",
                commit,
            ],
        )
    }

    /// Begins the search, with the first commit to look at checked out.
    ///
    /// # Errors
    /// When git cannot.
    pub fn start(&self, good: &str, bad: &str) -> Result<Search> {
        self.search(&["start", bad, good])
    }

    /// Says what is known of the commit that is checked out, and goes on.
    ///
    /// # Errors
    /// When git cannot.
    pub fn mark(&self, mark: Mark) -> Result<Search> {
        self.search(&[match mark {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Skip => "skip",
        }])
    }

    fn search(&self, args: &[&str]) -> Result<Search> {
        let args = ["bisect"].iter().chain(args);
        let asked = command(&self.folder, &args.copied().collect::<Vec<_>>());
        let told = asked.unchecked().run().context("cannot run git")?;
        let said = String::from_utf8_lossy(&told.stdout);
        match found(&said) {
            Some(search) => Ok(search),
            None if told.status.success() => bail!("git says nothing of its search: {said}"),
            None => bail!("git cannot search: {}", String::from_utf8_lossy(&told.stderr).trim()),
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self) -> Result<()> {
        self.folder.parent().map_or(Ok(()), remove_folder)
    }
}

/// What `git bisect` says of its search.
fn found(said: &str) -> Option<Search> {
    let is_commit = |word: &str| word.len() >= 40 && word.chars().all(|c| c.is_ascii_hexdigit());
    for line in said.lines() {
        if let Some(commit) = line.strip_suffix(" is the first bad commit") {
            return Some(Search::Found(commit.into()));
        }
        if line.starts_with("Bisecting: ") {
            return Some(Search::GoesOn(line.into()));
        }
    }
    let last = said.contains("The first bad commit could be any of:");
    let commits = said.lines().filter(|line| is_commit(line)).map(String::from);
    last.then(|| Search::OneOf(commits.collect()))
}

/// A command of git's, in a folder and in its words for programs.
fn command(folder: &Path, args: &[&str]) -> duct::Expression {
    let command = duct::cmd("git", args).dir(folder).env("LC_ALL", "C");
    let command = OF_ANOTHER.iter().fold(command, |command, name| command.env_remove(name));
    command.stdin_null().stdout_capture().stderr_capture()
}

fn without_others(cmd: Cmd) -> Cmd {
    OF_ANOTHER.iter().fold(cmd, |cmd, name| cmd.env_remove(name))
}

/// What git answers, in a line or more.
fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let told = command(folder, args).unchecked().run();
    let told = told.context("cannot run git: install the package git")?;
    let said = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "git {}: {}", args[0], said.trim());
    Ok(String::from_utf8_lossy(&told.stdout).trim_end().to_owned())
}

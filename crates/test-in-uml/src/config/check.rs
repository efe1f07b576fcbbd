//! What the values have to be, beyond their types: each becomes a path, an argument or a URL.

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{
    ByteSize, Config, DebianSource, Kernel, Known, RootfsConfig, Suite, TABLE, kernel_argument,
};

/// With less, today's kernels have no room for themselves and the agent.
const LEAST_MEMORY: ByteSize = ByteSize::mib(32);

/// With less, no Debian has room.
const LEAST_IMAGE: ByteSize = ByteSize::mib(64);

/// The name of cargo's tests among suites.
pub const RUST: &str = "rust";

/// The name of the suite that a kernel's unit tests are.
pub const KUNIT: &str = "kunit";

/// The name of the suite that the programs of a command line are.
pub const PROGRAM: &str = "program";

impl Config {
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.kernel.is_empty(), "{TABLE}.kernel: name at least one kernel");
        for name in &self.kernel {
            self.kernel_named(name).with_context(|| format!("{TABLE}.kernel"))?;
        }
        check_least_memory(self.memory).map_err(of_memory)?;
        self.rootfs.check().with_context(|| format!("{TABLE}.rootfs"))?;
        let packages = &self.tests.packages;
        ensure!(!packages.is_empty(), "{TABLE}.tests.packages: name at least one package");
        for name in packages {
            plain("package", name).with_context(|| format!("{TABLE}.tests.packages"))?;
        }
        for (name, suite) in &self.suites {
            plain("suite", name).with_context(|| format!("{TABLE}.suites"))?;
            for (taken, whose) in [
                (RUST, "cargo's tests"),
                (KUNIT, "the unit tests of kernels"),
                (PROGRAM, "the programs of a command line"),
            ] {
                ensure!(name != taken, "{TABLE}.suites.{name}: that is what {whose} are called");
            }
            suite.check().with_context(|| format!("{TABLE}.suites.{name}"))?;
        }
        for (name, known) in &self.known {
            known.check().with_context(|| format!("{TABLE}.known.{name}"))?;
        }
        for (name, kernel) in &self.kernels {
            plain("kernel", name).with_context(|| format!("{TABLE}.kernels"))?;
            kernel.check().with_context(|| format!("{TABLE}.kernels.{name}"))?;
        }
        Ok(())
    }

    /// Checks that this host, with so much memory, could hold a guest.
    ///
    /// # Errors
    /// When it could not.
    pub fn check_memory(&self, of_host: ByteSize) -> Result<()> {
        check_memory(self.memory, of_host).map_err(of_memory)
    }
}

/// Checks that guests with so much memory can be, and on a host that has so much.
///
/// # Errors
/// When they cannot.
pub fn check_memory(memory: ByteSize, of_host: ByteSize) -> Result<()> {
    check_least_memory(memory)?;
    ensure!(
        memory <= of_host,
        "a guest of {memory} does not fit into this host, which has {of_host}: give it less"
    );
    Ok(())
}

fn check_least_memory(memory: ByteSize) -> Result<()> {
    ensure!(
        memory >= LEAST_MEMORY,
        "a guest does not boot with {memory}: give it {LEAST_MEMORY} at least"
    );
    Ok(())
}

/// What is wrong with the memory of the configuration.
fn of_memory(error: anyhow::Error) -> anyhow::Error {
    anyhow!("{TABLE}.memory: {error}")
}

impl Suite {
    fn check(&self) -> Result<()> {
        for pattern in self.programs.iter().chain(&self.ignored) {
            glob::Pattern::new(pattern).with_context(|| format!("`{pattern}`"))?;
        }
        Ok(())
    }
}

impl Known {
    fn check(&self) -> Result<()> {
        for (key, patterns) in [("cases", &self.cases), ("kernels", &self.kernels)] {
            ensure!(!patterns.is_empty(), "{key}: name at least one");
            for pattern in patterns {
                glob::Pattern::new(pattern).with_context(|| format!("{key}: `{pattern}`"))?;
            }
        }
        for (key, text) in [("says", &self.says), ("why", &self.why)] {
            ensure!(!text.trim().is_empty(), "{key}: there is no text");
        }
        Ok(())
    }
}

impl RootfsConfig {
    fn check(&self) -> Result<()> {
        plain("Debian suite", &self.suite).context("suite")?;
        for package in &self.packages {
            plain("Debian package", package).context("packages")?;
        }
        check_mirror(&self.mirror).context("mirror")?;
        ensure!(
            self.size >= LEAST_IMAGE,
            "size: no Debian fits into {}: give it {LEAST_IMAGE} at least",
            self.size
        );
        Ok(())
    }
}

impl Kernel {
    fn check(&self) -> Result<()> {
        let sources = [self.debian.is_some(), !self.tarballs.is_empty(), self.tree.is_some()];
        match sources.iter().filter(|given| **given).count() {
            0 => bail!("no source: give `debian`, `tarballs` or `tree`"),
            1 => {}
            _ => bail!("two sources: give one of `debian`, `tarballs` and `tree`"),
        }
        ensure!(!self.fragments.is_empty(), "fragments: name at least one");
        for fragment in &self.fragments {
            plain("fragment", fragment).context("fragments")?;
        }
        for patches in &self.patches {
            plain("patch series", patches).context("patches")?;
        }
        for argument in &self.append {
            kernel_argument(argument).map_err(|why| anyhow!("append: `{argument}`: {why}"))?;
        }
        if let Some(source) = &self.debian {
            source.check().context("debian")?;
        }
        for tarball in &self.tarballs {
            check_url(&tarball.url).context("tarballs")?;
            let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            ensure!(
                tarball.sha256.len() == 64 && tarball.sha256.chars().all(hex),
                "tarballs: the sha256 of {} is not 64 lowercase hexadecimal digits",
                tarball.url
            );
        }
        Ok(())
    }
}

impl DebianSource {
    fn check(&self) -> Result<()> {
        plain("Debian suite", &self.suite).context("suite")?;
        plain("Debian package", &self.package).context("package")?;
        self.mirror.as_deref().map_or(Ok(()), |mirror| check_mirror(mirror).context("mirror"))
    }
}

/// These names become parts of paths and arguments of programs.
fn plain(what: &str, name: &str) -> Result<()> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
    ensure!(
        fits,
        "`{name}` is not a name for a {what}: begin with a letter or a digit, and go on with these \
         and `+`, `-`, `.`, `_`"
    );
    Ok(())
}

/// A URL that apt's configuration can hold.
fn check_mirror(url: &str) -> Result<()> {
    check_url(url)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "[]#\"".contains(c);
    ensure!(!url.contains(odd), "`{url}` is not a Debian mirror: it has a character no URL has");
    Ok(())
}

fn check_url(url: &str) -> Result<()> {
    let known = ["http://", "https://", "file:///"];
    let rest = known.iter().find_map(|scheme| url.strip_prefix(scheme));
    ensure!(
        rest.is_some_and(|rest| !rest.is_empty()),
        "`{url}` is not a URL that can be fetched: write http://, https:// or file:///"
    );
    Ok(())
}

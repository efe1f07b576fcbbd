//! Which kernels a command is about, and what they are built from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::wrong_usage;
use crate::config as configuration;
use crate::ctx::Ctx;
use crate::kernel::{self, KernelBinary, KernelSource};
use crate::ui;

#[derive(Debug, Args)]
pub(super) struct Kernels {
    /// Kernel to use; may be repeated [default: the first configured one that can be had]
    #[arg(long = "kernel", value_name = "NAME")]
    pub names: Vec<String>,
}

impl Kernels {
    /// The kernels that were named.
    pub fn named<'a>(&'a self, ctx: &'a Ctx) -> Result<Vec<(&'a str, &'a configuration::Kernel)>> {
        self.names.iter().map(|name| Ok((name.as_str(), kernel_named(ctx, name)?))).collect()
    }

    /// Fetches their sources and prints where they are.
    pub fn fetch(&self, ctx: &Ctx) -> Result<()> {
        if self.names.is_empty() {
            ui::print(kernel::fetch_default(ctx)?.display())?;
        }
        for (name, kernel) in self.named(ctx)? {
            ui::print(kernel::source_path(ctx, name, kernel)?.display())?;
        }
        Ok(())
    }
}

/// Kernels, and what they are built from.
#[derive(Debug, Args)]
pub(super) struct Sources {
    #[command(flatten)]
    pub kernels: Kernels,
    /// Build the kernel out of this archive instead of its configured source; may be repeated with names of
    /// kernels
    #[arg(long = "tarball", value_name = "[NAME=]PATH")]
    pub tarballs: Vec<PathBuf>,
    /// Build the kernel out of this tree, which is not written into; may be repeated with names of kernels
    #[arg(long = "tree", value_name = "[NAME=]PATH")]
    pub trees: Vec<PathBuf>,
}

impl Sources {
    /// Returns true if anything but the default is asked for.
    pub fn are_named(&self) -> bool {
        !(self.trees.is_empty() && self.tarballs.is_empty() && self.kernels.names.is_empty())
    }

    /// The kernels that are meant, none of them built yet: those that are named, then those of the trees and
    /// archives that name others.
    pub fn wanted<'a>(&'a self, ctx: &'a Ctx) -> Result<Vec<WantedKernel<'a>>> {
        let mut names: Vec<&str> = self.kernels.names.iter().map(String::as_str).collect();
        let own = self.own(ctx, &names)?;
        if names.is_empty() && own.is_empty() {
            return Ok(vec![WantedKernel::Default(&ctx.config.kernel[0])]);
        }
        for (name, source) in &own {
            let there = fs::metadata(source.path());
            there.with_context(|| source.is_missing()).map_err(wrong_usage)?;
            if !names.contains(name) {
                names.push(name);
            }
        }
        let source_of = |name: &str| {
            let own = own.iter().find(|(of, _)| *of == name);
            own.map_or(Source::Configured, |(_, source)| *source)
        };
        names.into_iter().map(|name| WantedKernel::named(ctx, name, source_of(name))).collect()
    }

    /// The trees and archives, each with the kernel that it is.
    fn own<'a>(&'a self, ctx: &'a Ctx, named: &[&'a str]) -> Result<Vec<(&'a str, Source<'a>)>> {
        let trees =
            self.trees.iter().map(|path| (path, Source::Tree as fn(&'a Path) -> Source<'a>));
        let archives =
            self.tarballs.iter().map(|path| (path, Source::Archive as fn(&'a Path) -> _));
        let mut own: Vec<(&str, Source<'_>)> = Vec::new();
        for (value, source) in trees.chain(archives) {
            let (name, path) = match (kernel_of(ctx, value), named) {
                (Some(both), _) => both,
                (None, []) => (ctx.config.kernel[0].as_str(), value.as_path()),
                (None, [name]) => (*name, value.as_path()),
                (None, _) => {
                    let path = value.display();
                    return Err(wrong_usage(anyhow!(
                        "{path} can be only one kernel: say which, as in `{}={path}`",
                        named[0]
                    )));
                }
            };
            if own.iter().any(|(other, _)| *other == name) {
                return Err(wrong_usage(anyhow!("kernel {name} is given two sources")));
            }
            own.push((name, source(path)));
        }
        Ok(own)
    }

    /// Builds the kernels; a default one whose source cannot be reached is passed over, and named.
    pub fn build(&self, ctx: &Ctx) -> Result<(Vec<KernelBinary>, Vec<String>)> {
        let (mut kernels, mut passed_over) = (Vec::new(), Vec::new());
        for wanted in self.wanted(ctx)? {
            let (kernel, over) = wanted.build(ctx)?;
            kernels.push(kernel);
            passed_over.extend(over);
        }
        Ok((kernels, passed_over))
    }
}

/// A configured kernel and a path out of `NAME=PATH`; a path may have an equals sign of its own.
pub(super) fn kernel_of<'a>(ctx: &Ctx, value: &'a Path) -> Option<(&'a str, &'a Path)> {
    let (name, path) = value.to_str()?.split_once('=')?;
    ctx.config.kernels.contains_key(name).then(|| (name, Path::new(path)))
}

/// The kernel that the command line names.
fn kernel_named<'a>(ctx: &'a Ctx, name: &str) -> Result<&'a configuration::Kernel> {
    ctx.config.kernel_named(name).map_err(wrong_usage)
}

/// A kernel that is to be built.
#[derive(Debug, Clone, Copy)]
pub(super) enum WantedKernel<'a> {
    /// The first configured one that can be had; this is the one that is tried first.
    Default(&'a str),
    /// The one with this name, and nothing in its place.
    Named { name: &'a str, kernel: &'a configuration::Kernel, source: Source<'a> },
}

/// Where a kernel's source is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Configured,
    Tree(&'a Path),
    Archive(&'a Path),
}

impl<'a> Source<'a> {
    pub fn path(self) -> &'a Path {
        match self {
            Source::Configured => Path::new(""),
            Source::Tree(path) | Source::Archive(path) => path,
        }
    }

    pub fn is_missing(self) -> String {
        match self {
            Source::Tree(path) => format!("no tree at {}", path.display()),
            Source::Configured | Source::Archive(_) => {
                format!("no archive at {}", self.path().display())
            }
        }
    }
}

impl<'a> WantedKernel<'a> {
    /// Every kernel of the configuration.
    pub fn all(ctx: &'a Ctx) -> Result<Vec<Self>> {
        let names = ctx.config.kernels.keys();
        names.map(|name| Self::named(ctx, name, Source::Configured)).collect()
    }

    pub fn named(ctx: &'a Ctx, name: &'a str, source: Source<'a>) -> Result<Self> {
        Ok(WantedKernel::Named { name, kernel: kernel_named(ctx, name)?, source })
    }

    /// What it is called as long as it is not built.
    pub fn name(self) -> &'a str {
        match self {
            WantedKernel::Default(name) | WantedKernel::Named { name, .. } => name,
        }
    }

    /// The same, with the default decided: that one is built.
    pub fn decided(self, ctx: &'a Ctx) -> Result<Self> {
        let WantedKernel::Default(_) = self else { return Ok(self) };
        let (kernel, _) = kernel::build_default(ctx)?;
        let found = ctx.config.kernels.get_key_value(&kernel.name);
        let (name, kernel) = found.context("the default kernel is one of the configuration")?;
        Ok(WantedKernel::Named { name, kernel, source: Source::Configured })
    }

    /// Where its source is.
    pub fn source(self, ctx: &'a Ctx) -> Result<KernelSource<'a>> {
        Ok(match self {
            WantedKernel::Default(name) => {
                KernelSource::configured(ctx, name, kernel_named(ctx, name)?)
            }
            WantedKernel::Named { name, kernel, source } => match source {
                Source::Configured => KernelSource::configured(ctx, name, kernel),
                Source::Tree(path) => KernelSource::tree(name, kernel, path),
                Source::Archive(path) => KernelSource::archive(name, kernel, path)?,
            },
        })
    }

    pub fn build(self, ctx: &Ctx) -> Result<(KernelBinary, Vec<String>)> {
        let WantedKernel::Named { name, kernel, source } = self else {
            return kernel::build_default(ctx);
        };
        let built = match source {
            Source::Configured => kernel::build(ctx, name, kernel),
            Source::Tree(path) => kernel::build_tree(ctx, name, kernel, path),
            Source::Archive(path) => kernel::build_archive(ctx, name, kernel, path),
        };
        Ok((built?, Vec::new()))
    }
}

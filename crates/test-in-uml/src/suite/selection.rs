//! Which packages and targets are tested: the flags of `cargo test`, by the names and with the meaning that they
//! have there.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::config::hint;
use crate::ctx::{Ctx, NetworkAccess};

/// The feature that a package may have for what is built for guests alone.
const FEATURE: &str = "guest";

const PACKAGES: &str = "Package selection";
const TARGETS: &str = "Target selection";
const FEATURES: &str = "Feature selection";

/// What is tested.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct Selection {
    /// Test this package instead of the configured ones; may be repeated
    #[arg(short, long = "package", value_name = "NAME", help_heading = PACKAGES)]
    packages: Vec<String>,
    /// Test all packages of the workspace
    #[arg(long, conflicts_with = "packages", help_heading = PACKAGES)]
    workspace: bool,
    /// All packages but this one; may be repeated
    #[arg(long, value_name = "NAME", requires = "workspace", help_heading = PACKAGES)]
    exclude: Vec<String>,
    /// Test another workspace, which need not know of this engine: the configuration stays that of this one
    #[arg(long, value_name = "PATH", help_heading = PACKAGES)]
    manifest_path: Option<PathBuf>,
    /// Only unit tests of libraries
    #[arg(long, help_heading = TARGETS)]
    lib: bool,
    /// Only unit tests of programs
    #[arg(long, help_heading = TARGETS)]
    bins: bool,
    /// Only unit tests of this program; may be repeated
    #[arg(long, value_name = "NAME", help_heading = TARGETS)]
    bin: Vec<String>,
    /// Only integration tests, and unit tests of what has them
    #[arg(long, help_heading = TARGETS)]
    tests: bool,
    /// Only this integration test; may be repeated
    #[arg(long, value_name = "NAME", help_heading = TARGETS)]
    test: Vec<String>,
    /// Only tests of examples
    #[arg(long, help_heading = TARGETS)]
    examples: bool,
    /// Only tests of this example; may be repeated
    #[arg(long, value_name = "NAME", help_heading = TARGETS)]
    example: Vec<String>,
    /// Build with these features [default: those of the configuration, or else `guest` where a package has it]
    #[arg(short = 'F', long, value_name = "FEATURES", help_heading = FEATURES)]
    features: Vec<String>,
    /// Build with all features
    #[arg(long, help_heading = FEATURES)]
    all_features: bool,
    /// Build without the default features
    #[arg(long, help_heading = FEATURES)]
    no_default_features: bool,
}

/// A workspace, and what is tested of it.
#[derive(Debug)]
pub(super) struct Selected<'a> {
    pub metadata: Cow<'a, Metadata>,
    selection: &'a Selection,
    /// The packages that are tested, by their places in the metadata.
    chosen: Vec<usize>,
    /// Those that would be tested if none were named.
    usual: Vec<usize>,
    /// What is configured of their features.
    configured: Option<Vec<String>>,
}

impl Selection {
    /// Returns true if nothing is named.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The packages that are meant.
    ///
    /// # Errors
    /// When there is none of a name, or the other workspace cannot be read.
    pub(super) fn of<'a>(&'a self, ctx: &'a Ctx) -> Result<Selected<'a>> {
        let metadata = match &self.manifest_path {
            Some(path) => Cow::Owned(read(ctx, path)?),
            None => Cow::Borrowed(&ctx.metadata),
        };
        let is_foreign = self.manifest_path.is_some();
        let chosen = self.chosen(ctx, &metadata)?;
        let usual = usual(ctx, &metadata, is_foreign);
        let configured = ctx.config.tests.features.clone().filter(|_| !is_foreign);
        Ok(Selected { metadata, selection: self, chosen, usual, configured })
    }

    /// The flags as they were given.
    pub fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = repeated("--package", &self.packages).collect();
        flags.extend(self.workspace.then(|| "--workspace".into()));
        flags.extend(repeated("--exclude", &self.exclude));
        let path = self.manifest_path.as_ref().map(|path| path.display().to_string());
        flags.extend(repeated("--manifest-path", path.as_slice()));
        flags.extend(self.of_targets());
        flags.extend(repeated("--features", &self.features));
        flags
    }

    /// The flags that mean the same to cargo.
    fn of_targets(&self) -> Vec<String> {
        let alone = [
            ("--lib", self.lib),
            ("--bins", self.bins),
            ("--tests", self.tests),
            ("--examples", self.examples),
            ("--all-features", self.all_features),
            ("--no-default-features", self.no_default_features),
        ];
        let alone = alone.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag.into());
        let named = [("--bin", &self.bin), ("--test", &self.test), ("--example", &self.example)];
        let named = named.into_iter().flat_map(|(flag, names)| repeated(flag, names));
        alone.chain(named).collect()
    }

    fn chosen(&self, ctx: &Ctx, metadata: &Metadata) -> Result<Vec<usize>> {
        let members: Vec<&str> =
            metadata.packages.iter().map(|package| package.name.as_str()).collect();
        let places = |names: &[String], whence: &str| -> Result<Vec<usize>> {
            let place = |name: &String| {
                members.iter().position(|member| member == name).with_context(|| {
                    let hint = hint(name, members.iter().copied());
                    format!("{whence}: the workspace has no package `{name}`{hint}")
                })
            };
            names.iter().map(place).collect()
        };
        if self.workspace {
            let without = places(&self.exclude, "--exclude")?;
            return Ok((0..members.len()).filter(|place| !without.contains(place)).collect());
        }
        if !self.packages.is_empty() {
            return places(&self.packages, "--package");
        }
        let Some(path) = &self.manifest_path else {
            return places(&ctx.config.tests.packages, "workspace.metadata.uml.tests.packages");
        };
        // As cargo does: the package of that manifest, or what its workspace says.
        let path = path.canonicalize().context("cannot resolve --manifest-path")?;
        let is_root = path == metadata.workspace_root.join("Cargo.toml").as_std_path();
        let is_meant = |package: &Package| match is_root {
            true => metadata.workspace_default_members.contains(&package.id),
            false => package.manifest_path.as_std_path() == path,
        };
        let places = metadata.packages.iter().enumerate();
        Ok(places.filter(|(_, package)| is_meant(package)).map(|(place, _)| place).collect())
    }
}

/// A flag for each of these values.
fn repeated(flag: &str, values: &[String]) -> impl Iterator<Item = String> {
    values.iter().flat_map(move |value| [flag.to_owned(), value.clone()])
}

/// What would be tested if nothing were named, as far as the workspace has it.
fn usual(ctx: &Ctx, metadata: &Metadata, is_foreign: bool) -> Vec<usize> {
    let configured = &ctx.config.tests.packages;
    let is_configured = |name: &str| configured.iter().any(|configured| configured == name);
    // Cargo tells the default ones of a workspace only where it is asked for the root.
    let is_usual = |package: &Package| is_foreign || is_configured(package.name.as_str());
    let places = metadata.packages.iter().enumerate();
    places.filter(|(_, package)| is_usual(package)).map(|(place, _)| place).collect()
}

/// Reads another workspace.
fn read(ctx: &Ctx, path: &Path) -> Result<Metadata> {
    ensure!(
        path.is_file(),
        "--manifest-path {}: there is no such file, and it is to be a Cargo.toml",
        path.display()
    );
    let mut command = MetadataCommand::new();
    command.manifest_path(path).no_deps();
    if ctx.options.network == NetworkAccess::Offline {
        command.other_options(["--offline".into()]);
    }
    command.exec().with_context(|| format!("cannot read the workspace of {}", path.display()))
}

impl Selected<'_> {
    /// Returns true if it is another workspace than the one of the configuration.
    pub fn is_foreign(&self) -> bool {
        self.selection.manifest_path.is_some()
    }

    /// The packages that are tested.
    pub fn packages(&self) -> impl Iterator<Item = &Package> + Clone {
        self.chosen.iter().map(|&place| &self.metadata.packages[place])
    }

    /// The packages among which a name means one target: those that are usual too, so that a selection changes
    /// no name.
    pub fn named_packages(&self) -> impl Iterator<Item = &Package> {
        let is_named = |place: &usize| self.chosen.contains(place) || self.usual.contains(place);
        let packages = self.metadata.packages.iter().enumerate();
        packages.filter(move |(place, _)| is_named(place)).map(|(_, package)| package)
    }

    /// What cargo is told of them.
    pub fn args(&self) -> Vec<String> {
        // A dependency may have the name of a member.
        let ids = self.packages().map(|package| package.id.repr.clone());
        let mut args: Vec<String> = ids.flat_map(|id| ["--package".into(), id]).collect();
        args.extend(self.selection.of_targets());
        args.extend(repeated("--features", &self.features()));
        args
    }

    fn features(&self) -> Vec<String> {
        if !self.selection.features.is_empty() || self.selection.all_features {
            return self.selection.features.clone();
        }
        self.configured.clone().unwrap_or_else(|| {
            let with = self.packages().filter(|package| package.features.contains_key(FEATURE));
            with.map(|package| format!("{}/{FEATURE}", package.name)).collect()
        })
    }
}

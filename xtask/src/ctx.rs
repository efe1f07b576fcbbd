//! The context that every step takes: where things lie, what was asked for, whom to tell.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

use crate::config::Config;
use crate::isolation::{Isolation, OWN_EXE};
use crate::layout::Layout;
use crate::runs::RunFolder;
use crate::store::Store;
use crate::ui::{Ui, Verbosity};

/// What was asked for on the command line and concerns more than one step.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Whether the lock file may change.
    pub locking: Locking,
    /// Whether connections to other machines may be opened.
    pub network: Network,
}

/// Whether anything may be fetched from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What is missing is fetched.
    Online,
    /// What is missing is an error.
    Offline,
}

/// Whether what a run resolves may differ from the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// What is gone or missing is resolved again, said, and written to the lock file.
    Update,
    /// A difference is an error.
    Locked,
}

/// The context.
#[derive(Debug)]
pub struct Ctx {
    /// Where things lie.
    pub layout: Layout,
    /// What the workspace's `Cargo.toml` says.
    pub config: Config,
    /// What the command line says.
    pub options: Options,
    /// Whom to tell.
    pub ui: Ui,
    /// The content-addressed store.
    pub store: Store,
    /// The workspace's packages as cargo sees them.
    pub metadata: cargo_metadata::Metadata,
    isolation: OnceLock<Isolation>,
    run: OnceLock<RunFolder>,
}

impl Ctx {
    /// Reads the workspace that we are run in.
    ///
    /// # Errors
    /// When cargo cannot describe the workspace, its configuration is wrong, or the store is not
    /// fit to be trusted.
    pub fn new(options: Options) -> Result<Self> {
        // Cargo says where the workspace is now; it may have been moved since it was built.
        let package = std::env::var_os("CARGO_MANIFEST_DIR");
        let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let manifest = PathBuf::from(package).join("Cargo.toml");
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(&manifest)
            .no_deps()
            .exec()
            .with_context(|| format!("cannot read the workspace of {}", manifest.display()))?;
        let layout = Layout::new(
            metadata.workspace_root.clone().into(),
            metadata.target_directory.clone().into(),
        )?;
        let config = Config::from_metadata(&metadata.workspace_metadata)?;
        let store = Store::open(layout.store())?;
        let ui = Ui::new(options.verbosity);
        Ok(Self {
            layout,
            config,
            options,
            ui,
            store,
            metadata,
            isolation: OnceLock::new(),
            run: OnceLock::new(),
        })
    }

    /// Refuses to go on where `what` would have to come from another machine, and may not.
    ///
    /// # Errors
    /// When it may not.
    pub fn needs_network(&self, what: &str) -> Result<()> {
        ensure!(
            self.options.network == Network::Online,
            "{what} is not on this machine, and --offline forbids to fetch it"
        );
        Ok(())
    }

    /// The bytes that a guest takes of a stage: its memory and its COW, with room for what the
    /// kernel adds.
    ///
    /// # Errors
    /// When this host could never hold such a guest.
    pub fn guest_size(&self) -> Result<u64> {
        let info = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|total| total.trim().strip_suffix(" kB"));
        let total = total.with_context(|| format!("no MemTotal in /proc/meminfo: {info}"))?;
        self.config.check_memory(format!("{total}K").parse()?)?;
        Ok(self.config.memory.bytes() * 2 + self.config.rootfs.size.bytes())
    }

    /// What sets our processes apart on this host; tried when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub fn isolation(&self) -> Result<&Isolation> {
        if let Some(isolation) = self.isolation.get() {
            return Ok(isolation);
        }
        let isolation = Isolation::find(Path::new(OWN_EXE))?;
        Ok(self.isolation.get_or_init(|| isolation))
    }

    /// The folder of this run; made when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn run(&self) -> Result<&RunFolder> {
        if let Some(run) = self.run.get() {
            return Ok(run);
        }
        let run = RunFolder::create(&self.layout)?;
        Ok(self.run.get_or_init(|| run))
    }
}

//! The context that every step takes: where things lie, what was asked for, whom to tell.

use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Uid;

use crate::cancel::CancelToken;
use crate::config::{ByteSize, Config, check_memory};
use crate::host::memory_of_host;
use crate::isolation::{Isolation, OWN_EXE};
use crate::layout::Layout;
use crate::lock;
use crate::runs::RunFolder;
use crate::store::{Store, trust};
use crate::ui::{Ui, Verbosity};

/// What was asked for on the command line and concerns more than one step.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Whether the lock file may change.
    pub locking: Locking,
    /// Whether connections to other machines may be opened.
    pub network: NetworkAccess,
}

/// Whether anything may be fetched from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkAccess {
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

/// The context of some work of a run.
#[derive(Debug, Clone)]
pub struct Ctx {
    shared: Arc<Shared>,
    /// Ends this work.
    pub cancel: CancelToken,
}

/// What all work of a run shares.
#[derive(Debug)]
pub struct Shared {
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
    checkout: OnceLock<File>,
}

impl Deref for Ctx {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Ctx {
    /// Reads the workspace that we are run in.
    ///
    /// # Errors
    /// When cargo cannot describe the workspace, its configuration is wrong, or the store is not
    /// fit to be trusted.
    pub fn new(options: Options) -> Result<Self> {
        // `cargo run` says where the package is that it runs; without it cargo looks upwards from here.
        let mut command = cargo_metadata::MetadataCommand::new();
        if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR") {
            command.manifest_path(PathBuf::from(package).join("Cargo.toml"));
        }
        let metadata = command.no_deps().exec().context("cannot read the workspace")?;
        let layout = Layout::new(
            metadata.workspace_root.clone().into(),
            metadata.target_directory.clone().into(),
        )?;
        let config = Config::from_metadata(&metadata.workspace_metadata)?;
        let store = Store::open(layout.store())?;
        for dir in layout.written_dirs() {
            trust::ensure_writable(&dir)?;
        }
        let ui = Ui::new(options.verbosity);
        warn_of_others(&layout, &ui);
        Ok(Self::of(Shared {
            layout,
            config,
            options,
            ui,
            store,
            metadata,
            isolation: OnceLock::new(),
            run: OnceLock::new(),
            checkout: OnceLock::new(),
        }))
    }

    fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), cancel: CancelToken::default() }
    }

    /// The context of work of the same run that this token ends.
    pub fn ended_by(&self, cancel: &CancelToken) -> Self {
        Self { shared: Arc::clone(&self.shared), cancel: cancel.clone() }
    }

    /// A workspace without a package, all of whose files are in `dir`.
    #[cfg(test)]
    pub(crate) fn in_dir(dir: &Path, config: Config) -> Self {
        let metadata = serde_json::json!({
            "packages": [], "workspace_members": [], "resolve": null, "version": 1,
            "workspace_root": dir, "target_directory": dir.join("target"), "metadata": null,
        });
        let layout = Layout::in_dir(dir);
        Self::of(Shared {
            store: Store::open(layout.store()).unwrap(),
            config,
            options: Options {
                verbosity: Verbosity::Quiet,
                locking: Locking::Update,
                network: NetworkAccess::Offline,
            },
            ui: Ui::new(Verbosity::Quiet),
            metadata: serde_json::from_value(metadata).unwrap(),
            layout,
            isolation: OnceLock::new(),
            run: OnceLock::new(),
            checkout: OnceLock::new(),
        })
    }

    /// Keeps `clean` away from what belongs to this checkout, for as long as this lives.
    ///
    /// # Errors
    /// When it cannot be locked, or the user asks us to stop.
    pub fn hold_checkout(&self) -> Result<()> {
        if self.checkout.get().is_none() {
            let lock = self.checkout_lock()?;
            let waiting = || self.ui.say("waiting for `clean` in this checkout …");
            lock::wait_for(&self.cancel, || lock.try_lock_shared(), waiting)
                .context("cannot lock the checkout")?;
            self.checkout.get_or_init(|| lock);
        }
        Ok(())
    }

    /// The lock of what belongs to this checkout, not locked yet.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn checkout_lock(&self) -> Result<File> {
        let path = self.layout.checkout_lock();
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        lock::open(&path)
    }

    /// Refuses to go on where `what` would have to come from another machine, and may not.
    ///
    /// # Errors
    /// When it may not.
    pub fn needs_network(&self, what: &str) -> Result<()> {
        ensure!(
            self.options.network == NetworkAccess::Online,
            "{what} is not on this machine, and --offline forbids to fetch it"
        );
        Ok(())
    }

    /// The bytes that a guest takes of a stage.
    ///
    /// # Errors
    /// When this host could never hold such a guest.
    pub fn guest_size(&self) -> Result<u64> {
        self.config.check_memory(memory_in_all()?)?;
        Ok(self.size_with(self.config.memory))
    }

    /// The same of a guest of so much memory.
    ///
    /// # Errors
    /// When this host could never hold such a guest.
    pub fn guest_size_with(&self, memory: ByteSize) -> Result<u64> {
        check_memory(memory, memory_in_all()?)?;
        Ok(self.size_with(memory))
    }

    /// The memory and the COW of a guest, with room for what the kernel adds.
    fn size_with(&self, memory: ByteSize) -> u64 {
        memory.bytes() * 2 + self.config.rootfs.size.bytes()
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

/// What this host lets others do to us, or us to others, and nobody would notice before it happens.
fn memory_in_all() -> Result<ByteSize> {
    let total = memory_of_host("MemTotal").context("/proc/meminfo does not say MemTotal")?;
    Ok(ByteSize::mib(total >> 20))
}

fn warn_of_others(layout: &Layout, ui: &Ui) {
    if let Some(dir) = trust::replaceable(&layout.store()) {
        let (store, dir) = (layout.store(), dir.display().to_string());
        ui.warn(&format!("whoever may write to {dir} can replace the store {}", store.display()));
    }
    let own = nix::unistd::geteuid();
    let owner = fs::metadata(layout.root()).map(|meta| Uid::from_raw(meta.uid()));
    if let Ok(owner) = owner.as_ref()
        && own.is_root()
        && !owner.is_root()
    {
        ui.warn(&format!(
            "this checkout belongs to {}, whom what root makes here will lock out of its target \
             directory; run as that user, or set CARGO_TARGET_DIR",
            trust::name(*owner)
        ));
    }
}

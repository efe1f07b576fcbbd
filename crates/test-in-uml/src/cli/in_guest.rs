//! `cargo xtask in-guest`: a client, such as `cargo nextest run`, whose test processes run in guests.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use super::kernels::Sources;
use super::modules::module_folders;
use super::walls::WallsChoice;
use super::{Yes, code};
use crate::ctx::Ctx;
use crate::guest::Init;
use crate::isolation::{Cmd, OWN_EXE, Output, ended_with_us};
use crate::kernel::{build_modules, compiler_name};
use crate::runner::{RUNNER, SOCKET};
use crate::socket_path::socket_in;
use crate::stage::Stage;
use crate::suite::{self, AfterFailure, OnDemand, Plan, Reuse, Seats, Served, Target};
use crate::threads;

#[derive(Debug, Args)]
pub(super) struct InGuest {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    yes: Yes,
    /// Have this many guests at once; `auto` goes by CPUs and memory
    #[arg(long, value_name = "N", default_value_t)]
    guests: Seats,
    #[command(flatten)]
    walls: WallsChoice,
    /// The command and its arguments, such as `cargo nextest run`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What all that is built for guests is linked with: on the host it ends before `main`, so that a runner that is passed over is no
/// green.
const GUARD: &str = "\
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void only_in_guests(void)
{
    static const char why[] = \"error: this test is for a guest, and whoever started it passed over the runner of its target\\n\";
    if (!getenv(\"UML_GUEST\")) {
        if (write(2, why, sizeof why - 1)) {}
        _exit(70);
    }
}
";

/// How often a client that is silent is looked at.
const TICK: Duration = Duration::from_millis(20);

impl InGuest {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        let workspace = MetadataCommand::new().no_deps().exec();
        let workspace = workspace.context("the current folder is in no workspace of cargo's")?;
        let size = ctx.guest_size()?;
        let modules = module_folders(ctx, &[])?;
        let walls = self.walls.ensured(ctx, self.yes.consent())?;
        let (mut kernels, passed_over) = self.sources.build(ctx)?;
        let (Some(kernel), true) = (kernels.pop(), kernels.is_empty()) else {
            bail!("a client's tests run on one kernel: name one");
        };
        kernel.check_memory(ctx.config.memory)?;
        let modules = build_modules(ctx, &kernel, &modules)?;
        let target = Arc::new(Target::new(kernel, passed_over, modules)?);
        let image = super::image(ctx)?;
        let plan = Plan {
            lanes: Vec::new(),
            image: &image,
            init: Init::Agent,
            seats: self.guests.number(ctx.config.memory),
            retries: 0,
            reuse: Reuse::Clean,
            after_failure: AfterFailure::GoOn,
            keep_failed: false,
            captures: false,
            online: false,
            inject: None,
            append: Vec::new(),
            environment: Vec::new(),
            timeout: None,
            deadline: None,
        };
        let stage = Stage::start(&walls.isolation, &walls.options(size))?;
        let on_demand = OnDemand::new(ctx, &stage, &plan, target, &workspace)?;
        // What is left of a run that is killed goes with its folder.
        let folder = ctx.run()?.path();
        let listener =
            File::open(folder).and_then(|run| UnixListener::bind(socket_in(&run, SOCKET)));
        let listener = listener.context("cannot make a socket")?;
        listener.set_nonblocking(true).context("cannot listen")?;
        let mut client = self.client(ctx, workspace.workspace_root.as_std_path(), folder)?;
        let (clients, inbox) = channel();
        let (status, served) = std::thread::scope(|scope| -> Result<_> {
            let serving = threads::spawn_in(scope, || on_demand.serve(inbox))?;
            let status = attend(&mut client, &listener, clients);
            let served = serving.join().map_err(|_| anyhow::anyhow!("who has guests failed"))?;
            Ok((status?, served?))
        })?;
        drop(on_demand);
        stage.shutdown()?;
        let _ = fs::remove_file(folder.join(SOCKET));
        ctx.cancel.check()?;
        self.outcome(ctx, status, &served)
    }

    /// The command, with what has cargo build for guests, and start what it built by us.
    fn client(&self, ctx: &Ctx, root: &Path, run: &Path) -> Result<std::process::Child> {
        let Some((program, args)) = self.command.split_first() else {
            bail!("there is no command")
        };
        let folder = ctx.layout.guest_target().join("in-guest");
        let object = guard(ctx, &folder)?;
        let own = fs::read_link(OWN_EXE).context("cannot tell what we are")?;
        let runner = [own.as_os_str(), RUNNER.as_ref(), run.as_os_str()];
        let runner = runner.map(|word| word.to_str().context("a path is no text"));
        let runner = runner.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(
            !runner.iter().any(|word| word.contains(' ')),
            "cargo cuts a runner's path at its blanks: {}",
            runner.join(" ")
        );
        let triple = suite::TARGET.to_uppercase().replace('-', "_");
        let flags = suite::encoded(&suite::of_clients(root, &object)?);
        let mut command = Command::new(program);
        command
            .args(args)
            .env("CARGO_BUILD_TARGET", suite::TARGET)
            .env(format!("CARGO_TARGET_{triple}_RUNNER"), runner.join(" "))
            .env("CARGO_TARGET_DIR", &folder)
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTDOCFLAGS")
            .env("CARGO_ENCODED_RUSTDOCFLAGS", &flags)
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        // Guests hold what they run in memory.
        for profile in ["DEV", "TEST"] {
            command.env(format!("CARGO_PROFILE_{profile}_STRIP"), "debuginfo");
        }
        for name in suite::told_of_xtask() {
            command.env_remove(name);
        }
        ended_with_us(&mut command)
            .spawn()
            .with_context(|| format!("cannot start {}", program.to_string_lossy()))
    }

    /// The exit code: the client's, unless something beside it went wrong.
    fn outcome(&self, ctx: &Ctx, status: ExitStatus, served: &Served) -> Result<ExitCode> {
        let Served { processes, troubles } = served;
        ctx.ui.say(&format!("{:>12} {processes} processes in guests", "ran"));
        for trouble in troubles {
            ctx.ui.line(&format!("error: {trouble}"));
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        if code == 0 {
            ensure!(
                *processes > 0,
                "the command ended well, and started no process in a guest: nothing was tested"
            );
            if !troubles.is_empty() {
                return Ok(code::TEST_FAILED.into());
            }
        }
        Ok(code.into())
    }
}

/// Passes connections on until the client ends.
fn attend(
    client: &mut std::process::Child,
    listener: &UnixListener,
    clients: Sender<UnixStream>,
) -> Result<ExitStatus> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context("cannot talk to a process")?;
                // Who has guests is there as long as we are.
                let _ = clients.send(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = client.try_wait().context("cannot wait for the command")? {
                    return Ok(status);
                }
                std::thread::sleep(TICK);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot take a connection"),
        }
    }
}

/// The object of the guard, at a place that stays: it is part of what cargo builds by.
fn guard(ctx: &Ctx, folder: &Path) -> Result<PathBuf> {
    let (source, object) = (folder.join("guard.c"), folder.join("guard.o"));
    if fs::read_to_string(&source).is_ok_and(|text| text == GUARD) && object.exists() {
        return Ok(object);
    }
    ctx.hold_checkout()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let made = tempfile::tempdir_in(folder).context("cannot make a folder")?;
    let (text, new) = (made.path().join("guard.c"), made.path().join("guard.o"));
    fs::write(&text, GUARD).context("cannot write the guard")?;
    let compiler = Cmd::new(compiler_name()).args(["-O2", "-fno-pie", "-c", "-o"]);
    let mut compiler = compiler.arg(&new).arg(&text).start(ctx.isolation()?, Output::Ours)?;
    ensure!(compiler.wait()?.success(), "cannot compile the guard by {}", compiler_name());
    fs::rename(&new, &object)
        .and_then(|()| fs::rename(&text, &source))
        .context("cannot keep the guard")?;
    Ok(object)
}

//! Targets of a kernel's own selftests (Documentation/dev-tools/kselftest.rst).

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use glob::Pattern;

use super::{Adapter, Archive, Cases, Rules, Wanted, archive};
use crate::archive::TopDir;
use crate::config::ResultBy;
use crate::ctx::Ctx;
use crate::doctor::find;
use crate::isolation::Cmd;
use crate::kernel::{KernelSource, compiler_name};
use crate::step::Step;
use crate::store::Kind;

/// What the name of such a suite begins with.
pub const PREFIX: &str = "kselftest:";

/// Where they are in a kernel's tree.
const FOLDER: &str = "tools/testing/selftests";

/// What `make install` writes of the programs that are tests.
const LIST: &str = "kselftest-list.txt";

/// What a target asks for of the kernel's configuration, in its folder.
const CONFIG: &str = "config";

/// Raised whenever they are built otherwise.
const VERSION: u32 = 3;

/// Where this host has what tests are built with beside the kernel's own.
const LIBRARIES: [&str; 2] = ["/usr/include", "/usr/lib/x86_64-linux-gnu"];

/// The time that a test may take where its target does not say (tools/testing/selftests/kselftest/runner.sh).
const USUAL_TIME: Duration = Duration::from_secs(45);

/// A target of a kernel's selftests.
#[derive(Debug)]
pub struct Kselftest<'a> {
    target: &'a str,
    source: &'a KernelSource<'a>,
    /// The least time that a case may take.
    least_time: Duration,
}

impl<'a> Kselftest<'a> {
    /// The target of that name, of the selftests of this kernel.
    pub fn new(target: &'a str, source: &'a KernelSource<'a>, least_time: Duration) -> Self {
        Self { target, source, least_time }
    }
}

impl Kselftest<'_> {
    /// Puts the kernel's headers for programs where its selftests look for them; they are made once for all targets.
    fn headers(&self, ctx: &Ctx, step: &Step<'_>, tree: &Path, objects: &Path) -> Result<()> {
        let source = self.source.identity(ctx, &["include/uapi", "arch/x86/include/uapi"])?;
        let recipe = serde_json::json!({ "version": VERSION, "headers": source });
        let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Suite, &recipe, |entry| {
            let made = tempfile::Builder::new().prefix("headers-").tempdir_in(ctx.run()?.path());
            let made = made.context("cannot make a folder for headers")?;
            step.run(&make(tree, made.path()).arg("headers"))?;
            archive::pack(&made.path().join("usr"), entry).map(drop)
        })?;
        let packed = entry.path().join(archive::ARCHIVE);
        crate::archive::unpack(&ctx.cancel, &packed, &objects.join("usr"), TopDir::Keep)
    }
}

/// The command that makes something in a folder of a kernel's tree, with its objects elsewhere. The headers and selftests of User
/// Mode Linux are those of its host.
fn make(folder: &Path, objects: &Path) -> Cmd {
    let into = format!("O={}", objects.display());
    Cmd::new("make").arg("-C").arg(folder).args([&into, "ARCH=x86"])
}

impl Adapter for Kselftest<'_> {
    fn name(&self) -> String {
        format!("{PREFIX}{}", self.target)
    }

    fn kernel(&self) -> Option<&str> {
        Some(self.source.name())
    }

    fn recipe(&self, ctx: &Ctx) -> Result<serde_json::Value> {
        let source = self.source.identity(ctx, &[FOLDER, "include/uapi", "tools/include"])?;
        Ok(serde_json::json!({
            "version": VERSION, "kselftest": self.target, "source": source, "libraries": libraries(),
        }))
    }

    fn make(&self, ctx: &Ctx, step: &Step<'_>, work: &Path, out: &Path) -> Result<()> {
        ensure!(
            find("rsync").is_some(),
            "`make install` of the kernel's selftests needs rsync: install the package rsync"
        );
        self.source.with_tree(ctx, |tree| {
            let folder = tree.join(FOLDER);
            ensure!(
                folder.join(self.target).join("Makefile").is_file(),
                "this kernel has no selftests `{}`: its targets are folders of {FOLDER}",
                self.target
            );
            let objects = work.join("objects");
            self.headers(ctx, step, tree, &objects)?;
            // One that does not build keeps no other: what was not built is missing in the end, which is said.
            let make = make(&folder, &objects).args(["--ignore-errors", "install"]);
            let make = make.arg(format!("TARGETS={}", self.target)).arg("SKIP_TARGETS=");
            let make = make.arg(format!("CC={}", compiler(work)?.display()));
            // Its older name, and its newer one.
            let places = ["INSTALL_PATH", "KSFT_INSTALL_PATH"];
            step.run(&make.args(places.map(|name| format!("{name}={}", out.display()))))?;
            let asked = folder.join(self.target).join(CONFIG);
            if asked.is_file() {
                let to = out.join(self.target).join(CONFIG);
                fs::copy(asked, &to).with_context(|| format!("cannot write {}", to.display()))?;
            }
            Ok(())
        })
    }

    fn cases(&self, built: &Archive) -> Result<Cases> {
        let list = built.text_of(LIST)?.context("`make install` wrote no list of its tests")?;
        let programs: Vec<Pattern> = list
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(folder, name)| Pattern::new(&Pattern::escape(&format!("{folder}/{name}"))))
            .collect::<Result<_, _>>()
            .context("a test's name cannot be understood")?;
        if programs.is_empty() {
            bail!("it has no test that is run by itself");
        }
        let settings = built.text_of(&format!("{}/settings", self.target))?;
        let rules = Rules::new(ResultBy::Kselftest, None);
        Ok(Cases {
            timeout: Some(time_limit(&settings.unwrap_or_default()).max(self.least_time)),
            asks: asked(&built.text_of(&format!("{}/{CONFIG}", self.target))?.unwrap_or_default()),
            in_own_folder: true,
            may_be_missing: true,
            ..Cases::of(Wanted::Programs(programs), rules)
        })
    }
}

/// The symbols that a target's `config` asks for.
fn asked(config: &str) -> Vec<String> {
    let lines =
        config.lines().filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='));
    lines.filter(|(_, value)| *value != "n").map(|(symbol, _)| symbol.into()).collect()
}

/// When the host's libraries last changed: what was not built without one is built with it.
fn libraries() -> Vec<Option<(i64, i64)>> {
    let changed = |folder: &str| {
        let folder = fs::metadata(folder).ok()?;
        Some((folder.mtime(), folder.mtime_nsec()))
    };
    LIBRARIES.into_iter().map(changed).collect()
}

/// A compiler that links statically: guests have other libraries than this host. There is no such form of what sanitizes user
/// space, and the kernel is what is tested. Programs write by lines, as their runner has it by stdbuf(1): what a child that is
/// killed has written would be lost, and what one inherits be written twice.
fn compiler(work: &Path) -> Result<PathBuf> {
    const LINES: &str = "#include <stdio.h>\n\
        __attribute__((constructor)) static void by_lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }\n";
    let (path, lines, name) = (work.join("cc"), work.join("by_lines.c"), compiler_name());
    let text = format!(
        "#!/bin/sh\n\
         count=$#\n\
         more={}\n\
         while [ $count -gt 0 ]; do\n    \
             word=$1\n    shift\n    count=$((count - 1))\n    \
             case $word in\n        \
                 -fsanitize=* | -static-lib*san | -shared-lib*san) continue ;;\n        \
                 -c | -S | -E | -M | -MM | -shared | -r | -nostdlib | -nostartfiles | -ffreestanding | -x | -v | --version | -print-* | -dump*) more= ;;\n    \
             esac\n    \
             set -- \"$@\" \"$word\"\n\
         done\n\
         exec {name} -static \"$@\" $more\n",
        lines.display()
    );
    fs::write(&lines, LINES)
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The time that the tests of a target may take, as its settings say.
fn time_limit(settings: &str) -> Duration {
    /// There is always one: a guest that hangs is not to hang a run.
    const WITHOUT: Duration = Duration::from_secs(3600);
    let said = settings.lines().find_map(|line| line.trim().strip_prefix("timeout="));
    match said.map(|seconds| seconds.trim_matches('"').parse()) {
        Some(Ok(0)) => WITHOUT,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        _ => USUAL_TIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_configuration_names_symbols() {
        let config =
            "CONFIG_VETH=y\n# CONFIG_X is not set\n  CONFIG_VLAN=m\nCONFIG_HZ=n\n\nVETH=y\n";
        assert_eq!(asked(config), ["VETH", "VLAN"]);
    }

    #[test]
    fn a_targets_settings_say_how_long_its_tests_may_take() {
        for (settings, seconds) in
            [("", 45), ("timeout=120\n", 120), ("# why\ntimeout=0\n", 3600), ("timeout=x", 45)]
        {
            assert_eq!(time_limit(settings), Duration::from_secs(seconds), "{settings:?}");
        }
    }
}

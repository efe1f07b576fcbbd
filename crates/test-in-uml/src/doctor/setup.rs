//! Installing what is missing.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use super::needs::FILES;
use super::{find, tools};
use crate::ctx::Ctx;
use crate::{invocation, ui};

/// Whether packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The user is asked.
    Ask,
    /// The user said so, or this is CI.
    Given,
}

/// The packages that are missing.
fn missing(ctx: &Ctx) -> Result<BTreeSet<&'static str>> {
    let tools = tools(ctx.isolation()?);
    let tools = tools.filter(|tool| find(tool.program).is_none()).map(|tool| tool.package);
    let files = FILES.iter().filter(|file| !Path::new(file.path).exists());
    Ok(tools.chain(files.map(|file| file.package)).collect())
}

/// Does nothing if nothing is missing; else installs it, if there is consent to do so unasked.
///
/// # Errors
/// When something is missing and may not or cannot be installed.
pub fn ensure(ctx: &Ctx, consent: Option<Consent>) -> Result<()> {
    let missing = missing(ctx)?;
    match consent {
        _ if missing.is_empty() => Ok(()),
        Some(consent) => setup(ctx, consent),
        None => bail!(
            "packages are missing: {}; run `{} setup`, or say --yes",
            missing.into_iter().collect::<Vec<_>>().join(", "),
            invocation::command()
        ),
    }
}

/// Installs the packages that are missing.
///
/// # Errors
/// When the user refuses, or apt fails.
pub fn setup(ctx: &Ctx, consent: Consent) -> Result<()> {
    let packages: Vec<&str> = missing(ctx)?.into_iter().collect();
    if packages.is_empty() {
        ctx.ui.say("every package that is needed is installed");
        return Ok(());
    }
    install_packages(ctx, consent, &packages)?;
    let still = missing(ctx)?;
    if !still.is_empty() {
        bail!("still missing: {}", still.into_iter().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

/// Installs these packages.
///
/// # Errors
/// When the user refuses, or apt fails.
pub fn install_packages(ctx: &Ctx, consent: Consent, packages: &[&str]) -> Result<()> {
    ctx.needs_network(&format!("the package {}", packages.join(", ")))?;
    if find("apt-get").is_none() {
        bail!("no apt-get on this host: install {} by other means", packages.join(", "));
    }
    let sudo: &[&str] = match (nix::unistd::geteuid().is_root(), find("sudo")) {
        (true, _) => &[],
        (false, Some(_)) => &["sudo"],
        (false, None) => {
            bail!("run as root: apt-get install --no-install-recommends {}", packages.join(" "))
        }
    };
    let install = format!("install {}", packages.join(", "));
    if consent == Consent::Ask && !ui::agreed(&install, "`--yes` does it unasked")? {
        bail!("nothing was installed");
    }
    ctx.ui.line(&format!("installing {} (this is not interrupted)", packages.join(", ")));
    // A session of its own: what a terminal's Ctrl-C or the end of this process would leave
    // half-installed is not ours to leave.
    let shell = Shell::new().context("cannot start a shell")?;
    shell.set_var("DEBIAN_FRONTEND", "noninteractive");
    cmd!(shell, "setsid --wait {sudo...} apt-get update -qq").quiet().run()?;
    cmd!(
        shell,
        "setsid --wait {sudo...} apt-get install -qq --yes --no-install-recommends {packages...}"
    )
    .quiet()
    .run()
    .with_context(|| format!("cannot install {}", packages.join(", ")))
}

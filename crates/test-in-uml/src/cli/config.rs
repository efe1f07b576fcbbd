//! `cargo xtask config`: what holds, and where it is from.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::ctx::Ctx;
use crate::defaults;
use crate::ui;
use anyhow::{Context as _, Result};

/// Prints the configuration with all that is not said in the workspace, and where each file is that it means.
pub(super) fn run(ctx: &Ctx) -> Result<()> {
    ui::print(text(ctx)?.trim_end())
}

fn text(ctx: &Ctx) -> Result<String> {
    let mut text = toml::to_string(&ctx.config).context("cannot write the configuration")?;
    let (layout, kernels) = (&ctx.layout, ctx.config.kernels.values());
    let fragments: BTreeSet<&String> =
        kernels.clone().flat_map(|kernel| &kernel.fragments).collect();
    let series: BTreeSet<&str> =
        kernels.flat_map(|kernel| &kernel.patches).map(String::as_str).collect();
    let mut paths: Vec<_> = fragments.iter().map(|name| layout.fragment(name)).collect();
    paths.extend(series.iter().map(|name| layout.patches(name)));
    paths.extend(layout.overlays());
    paths.extend(layout.manifests());
    text.push_str("\n# Files, each with whose it is:\n");
    for path in paths {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {:<9} {}", whose(&path), path.display());
    }
    Ok(text)
}

fn whose(path: &Path) -> &'static str {
    match (path.exists(), defaults::has(path)) {
        (false, _) => "missing",
        (true, true) => "engine",
        (true, false) => "workspace",
    }
}

//! Which unit tests a kernel has, as it lists them when it boots.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::boot::{Asked, Boot};
use crate::config::Kernel;
use crate::ctx::Ctx;
use crate::guest::Init;
use crate::kernel::KernelBinary;
use crate::rootfs::Image;
use crate::stage::{Share, Stage};
use crate::store::Kind;
use crate::suite::kunit::{self, KunitTest};
use crate::suite::plan::Target;
use crate::suite::power_on::Power;

/// Raised whenever a kernel is asked otherwise, or understood otherwise.
const VERSION: u32 = 2;

/// The file of an entry of the store: a line for each test.
const LIST: &str = "tests";

/// The fragment that asks for them.
const FRAGMENT: &str = "kunit";

/// What a list is kept by.
#[derive(Debug, Serialize)]
struct ListRecipe<'a> {
    version: u32,
    kunit_of_kernel: &'a str,
}

/// The unit tests of a kernel. One is booted to tell, unless the store knows: only then is anything started for it.
///
/// # Errors
/// When it has none, or does not boot.
pub fn kunit_tests(
    ctx: &Ctx,
    kernel: KernelBinary,
    start: impl Fn() -> Result<(Stage, Image)>,
) -> Result<Vec<KunitTest>> {
    let (name, key) = (kernel.name.clone(), kernel.key.clone());
    let has = |(_, kernel): &(&String, &Kernel)| kernel.fragments.iter().any(|one| one == FRAGMENT);
    let others: Vec<&str> =
        ctx.config.kernels.iter().filter(has).map(|(name, _)| &**name).collect();
    ensure!(
        kernel.has("KUNIT"),
        "kernel {name} has no unit tests: no fragment of it asks for KUNIT, as `{FRAGMENT}` does; kernels that have \
         it: {}",
        others.join(", ")
    );
    let recipe = ListRecipe { version: VERSION, kunit_of_kernel: &key };
    let target = Target::new(kernel, Vec::new(), Vec::new())?;
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Suite, &recipe, |entry| {
        let (stage, image) = start()?;
        let power = Power { ctx, host: &stage, image: &image, init: Init::Agent, append: &[] };
        let asked = Asked {
            arguments: &kunit::arguments_to_list(),
            share: Share::of_guests(1).remove(0),
            limit: ctx.config.boot_timeout,
            cancel: &ctx.cancel,
        };
        let boot = Boot::of(power, &target, &target.next_name(), &asked)?;
        boot.end?;
        stage.shutdown()?;
        let tests = kunit::listed(&boot.log);
        ensure!(!tests.is_empty(), "kernel {name} lists no unit test");
        fs::write(entry.join(LIST), tests.join("\n")).context("cannot write the list")
    })?;
    let list = fs::read_to_string(entry.path().join(LIST)).context("cannot read the list")?;
    Ok(kunit::tests_of(&name, list.lines()))
}

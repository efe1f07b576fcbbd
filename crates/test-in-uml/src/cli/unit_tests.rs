//! The unit tests of kernels, which tell them themselves.

use anyhow::Result;

use super::kernels::WantedKernel;
use super::walls::Walls;
use crate::ctx::Ctx;
use crate::stage::Stage;
use crate::suite::{self, KunitTest};

/// The unit tests of these kernels, which are built for that and tell them in guests of this size, within these walls.
pub(super) fn unit_tests(
    ctx: &Ctx,
    kernels: &[WantedKernel<'_>],
    (walls, size): (&Walls, u64),
) -> Result<Vec<KunitTest>> {
    let start = || {
        let image = super::image(ctx)?;
        Ok((Stage::start(&walls.isolation, &walls.options(size))?, image))
    };
    let mut tests = Vec::new();
    for kernel in kernels {
        let (kernel, _) = kernel.build(ctx)?;
        tests.extend(suite::kunit_tests(ctx, kernel, start)?);
    }
    Ok(tests)
}

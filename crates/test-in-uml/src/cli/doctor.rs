//! `cargo xtask doctor`.

use std::process::ExitCode;

use anyhow::Result;

use super::code;
use crate::ctx::Ctx;
use crate::doctor::{examine, not_there};
use crate::ui::print;

pub(super) fn report(ctx: &Ctx) -> Result<ExitCode> {
    let mut problems = 0;
    for finding in examine(ctx)? {
        match finding.problem {
            None => print(format_args!("  ok  {}", finding.name))?,
            Some(problem) => {
                problems += 1;
                print(format_args!("MISS  {}: {}", finding.name, problem.seen))?;
                print(format_args!("      effect: {}", problem.effect))?;
                print(format_args!("      cure:   {}", problem.cure))?;
            }
        }
    }
    for (program, package, effect) in not_there() {
        print(format_args!("  --  no {program}, of the package {package}: {effect}"))?;
    }
    if problems == 0 {
        print("this host has everything that is needed")?;
        return Ok(ExitCode::SUCCESS);
    }
    match problems {
        1 => print("1 problem")?,
        _ => print(format_args!("{problems} problems"))?,
    }
    Ok(ExitCode::from(code::SETUP_FAILED))
}

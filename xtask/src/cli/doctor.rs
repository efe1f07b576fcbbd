//! `cargo xtask doctor`.

use std::process::ExitCode;

use anyhow::Result;
use xtask::ctx::Ctx;
use xtask::doctor::examine;

use super::code;

pub(super) fn report(ctx: &Ctx) -> Result<ExitCode> {
    let mut problems = 0;
    for finding in examine(ctx)? {
        match finding.problem {
            None => println!("  ok  {}", finding.name),
            Some(problem) => {
                problems += 1;
                println!("MISS  {}: {}", finding.name, problem.seen);
                println!("      effect: {}", problem.effect);
                println!("      cure:   {}", problem.cure);
            }
        }
    }
    if problems == 0 {
        println!("this host has everything that is needed");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{problems} problems");
    Ok(ExitCode::from(code::SETUP_FAILED))
}

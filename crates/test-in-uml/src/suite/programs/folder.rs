//! A suite out of a folder of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use glob::Pattern;

use super::{Adapter, Archive, Cases, Listed, Rules, Wanted};
use crate::config::Suite;
use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::source_folder::SourceFolder;
use crate::step::Step;

/// A suite of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct FolderSuite<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the configuration says of it.
    pub suite: &'a Suite,
}

impl FolderSuite<'_> {
    fn folder(&self, ctx: &Ctx) -> Result<PathBuf> {
        let folder = ctx.layout.root().join(&self.suite.folder);
        ensure!(folder.is_dir(), "there is no folder {}", folder.display());
        Ok(folder)
    }
}

impl Adapter for FolderSuite<'_> {
    fn name(&self) -> String {
        self.name.into()
    }

    fn recipe(&self, ctx: &Ctx) -> Result<serde_json::Value> {
        let source = SourceFolder(&self.folder(ctx)?).hash()?;
        Ok(serde_json::json!({ "source": source, "build": self.suite.build }))
    }

    fn make(&self, ctx: &Ctx, step: &Step<'_>, work: &Path, out: &Path) -> Result<()> {
        let folder = self.folder(ctx)?;
        let Some(line) = &self.suite.build else { return SourceFolder(&folder).copy_to(out) };
        let copy = work.join("source");
        SourceFolder(&folder).copy_to(&copy)?;
        step.run(&Cmd::new("sh").args(["-e", "-c", line]).dir(&copy).env("OUT", out))
    }

    fn cases(&self, built: &Archive) -> Result<Cases> {
        let Suite { programs, list, ignored, result, skip_codes, timeout, .. } = self.suite;
        let Suite { run_for, fresh, environment, .. } = self.suite;
        let wanted = match list {
            None => Wanted::Programs(patterns(programs)?),
            Some(path) => {
                let text = built.text_of(path)?;
                let text = text.with_context(|| format!("`list`: nothing built is {path}"))?;
                Wanted::Listed(listed(&text).with_context(|| format!("`list`: {path}"))?)
            }
        };
        let mut rules = Rules::new(*result, skip_codes.clone());
        rules.lasts = run_for.is_some();
        Ok(Cases {
            ignored: patterns(ignored)?,
            timeout: timeout.or(*run_for),
            apart: *fresh,
            needs: self.suite.needs.clone(),
            environment: environment.clone(),
            // Lists come from elsewhere, with more in them than is built.
            may_be_missing: list.is_some(),
            ..Cases::of(wanted, rules)
        })
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>> {
    texts.iter().map(|text| Pattern::new(text).with_context(|| format!("`{text}`"))).collect()
}

/// The cases of a list, each in a line: its name, a program, and arguments, as a shell has them.
fn listed(text: &str) -> Result<Vec<Listed>> {
    let mut cases: Vec<Listed> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = shlex::split(line).with_context(|| format!("`{line}` has no end"))?;
        let mut words = words.into_iter();
        let (Some(name), Some(program)) = (words.next(), words.next()) else {
            bail!("`{line}` names no program");
        };
        ensure!(cases.iter().all(|case| case.name != name), "two cases are called `{name}`");
        cases.push(Listed { name, program, arguments: words.collect() });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_case_a_line() {
        let cases = listed("# syscalls\nabort01 abort01\n\n dio02  diotest2 -b 'a b'\n").unwrap();
        let said: Vec<_> =
            cases.iter().map(|one| (&*one.name, &*one.program, one.arguments.join("|"))).collect();
        assert_eq!(
            said,
            [("abort01", "abort01", String::new()), ("dio02", "diotest2", "-b|a b".into())]
        );
        for (wrong, why) in
            [("one", "names no program"), ("a b 'c", "has no end"), ("a b\na c", "two cases")]
        {
            assert!(listed(wrong).unwrap_err().to_string().contains(why), "{wrong}");
        }
    }
}

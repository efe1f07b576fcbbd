//! Fragments: what is asked of a configuration, each line with the place it was asked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::config::{Kernel, hint};
use crate::ctx::Ctx;

const PREFIX: &str = "CONFIG_";

/// One line of a configuration; `n` is the value of what is not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The symbol, without `CONFIG_`.
    pub symbol: String,
    /// The value as Kconfig writes it: strings are in quotes.
    pub value: String,
}

impl Setting {
    /// Reads a line; `None` for a comment or an empty one.
    ///
    /// # Errors
    /// When the line is nothing that Kconfig would understand.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let unset = comment.strip_prefix(' ').and_then(|text| text.strip_prefix(PREFIX));
            if let Some(symbol) = unset.and_then(|text| text.strip_suffix(" is not set")) {
                return Self::new(symbol, "n").map(Some);
            }
            // Kconfig would take it for a comment, and nobody would notice.
            let nearly = comment.trim_start().starts_with(PREFIX) && comment.contains("not set");
            ensure!(!nearly, "write it as `# {PREFIX}NAME is not set`, with single spaces");
            return Ok(None);
        }
        if line.is_empty() {
            return Ok(None);
        }
        let (symbol, value) = line
            .strip_prefix(PREFIX)
            .and_then(|text| text.split_once('='))
            .with_context(|| format!("`{line}` is neither `{PREFIX}NAME=value` nor a comment"))?;
        Self::new(symbol, value).map(Some)
    }

    /// Returns true if it asks for this symbol.
    fn is_for(&self, symbol: &str) -> bool {
        self.symbol == symbol && self.value != "n"
    }

    fn new(symbol: &str, value: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(
            !symbol.is_empty() && symbol.chars().all(plain),
            "`{PREFIX}{symbol}` is not the name of a symbol"
        );
        ensure!(is_value(value), "`{value}` is not a value: write y, m, n, a number, or \"text\"");
        Ok(Self { symbol: symbol.into(), value: value.into() })
    }
}

fn is_value(value: &str) -> bool {
    if let Some(text) = value.strip_prefix('"') {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.next().is_none() => return false,
                '"' => return chars.next().is_none(),
                _ => {}
            }
        }
        return false;
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (digits, radix) = digits.strip_prefix("0x").map_or((digits, 10), |digits| (digits, 16));
    matches!(value, "y" | "m" | "n")
        || (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
}

/// As Kconfig writes it.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "n" => write!(f, "# {PREFIX}{} is not set", self.symbol),
            value => write!(f, "{PREFIX}{}={value}", self.symbol),
        }
    }
}

/// A line of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// What it asks for.
    pub setting: Setting,
    /// The fragment's file.
    pub file: PathBuf,
    /// The line's number, from one.
    pub line: usize,
}

impl Requested {
    /// `FILE:LINE`, as compilers and editors write it.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// All that a kernel's fragments ask for, in their order, each symbol once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigRequest(Vec<Requested>);

impl ConfigRequest {
    /// Reads the fragments of a kernel.
    ///
    /// # Errors
    /// When one cannot be read or understood, or two lines contradict each other.
    pub fn read(ctx: &Ctx, kernel: &Kernel) -> Result<Self> {
        let texts = kernel.fragments.iter().map(|name| {
            let path = ctx.layout.fragment(name);
            let text = std::fs::read_to_string(&path).with_context(|| {
                let nearest = hint(name, fragments_beside(&path).iter().map(String::as_str));
                format!("cannot read the fragment `{name}`, {}{nearest}", path.display())
            })?;
            let short = path.strip_prefix(ctx.layout.root()).unwrap_or(&path).to_owned();
            Ok((short, text))
        });
        Self::merge(texts.collect::<Result<Vec<_>>>()?)
    }

    /// Merges the texts of fragments.
    ///
    /// # Errors
    /// As [`ConfigRequest::read`].
    pub fn merge(texts: impl IntoIterator<Item = (PathBuf, String)>) -> Result<Self> {
        let mut merged: Vec<Requested> = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (file, text) in texts {
            for (index, line) in text.lines().enumerate() {
                let setting = Setting::parse(line)
                    .with_context(|| format!("{}:{}", file.display(), index + 1))?;
                let Some(setting) = setting else { continue };
                let new = Requested { setting, file: file.clone(), line: index + 1 };
                let Some(&old) = seen.get(&new.setting.symbol) else {
                    seen.insert(new.setting.symbol.clone(), merged.len());
                    merged.push(new);
                    continue;
                };
                if merged[old].setting != new.setting {
                    bail!(contradiction(&merged[old], &new));
                }
            }
        }
        Ok(Self(merged))
    }

    /// Each line.
    pub fn iter(&self) -> impl Iterator<Item = &Requested> {
        self.0.iter()
    }

    /// Returns true if what this symbol stands for is asked for.
    pub fn asks_for(&self, symbol: &str) -> bool {
        self.settings().any(|setting| setting.is_for(symbol))
    }

    /// Each line's setting.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter().map(|requested| &requested.setting)
    }
}

/// As one fragment.
impl fmt::Display for ConfigRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings().try_for_each(|setting| writeln!(f, "{setting}"))
    }
}

/// The fragments of all kernels, each with its name.
///
/// # Errors
/// When one cannot be read or understood.
pub fn all_fragments(ctx: &Ctx) -> Result<Vec<(&str, ConfigRequest)>> {
    let names: BTreeSet<&String> =
        ctx.config.kernels.values().flat_map(|kernel| &kernel.fragments).collect();
    let read = |name: &'_ String| {
        let path = ctx.layout.fragment(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ConfigRequest::merge([(path, text)])
    };
    names.into_iter().map(|name| Ok((name.as_str(), read(name)?))).collect()
}

/// The names of the fragments in the folder of this one.
fn fragments_beside(path: &Path) -> Vec<String> {
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let names =
        entries.into_iter().flatten().flatten().filter_map(|entry| {
            Some(entry.file_name().to_str()?.strip_suffix(".config")?.to_owned())
        });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

fn contradiction(old: &Requested, new: &Requested) -> String {
    format!(
        "two lines contradict each other: remove one of\n  {}: {}\n  {}: {}",
        old.place(),
        old.setting,
        new.place(),
        new.setting
    )
}

/// The values of a whole configuration, a `.config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads the text of a `.config`.
    ///
    /// # Errors
    /// When a line is nothing that Kconfig would write.
    pub fn parse(text: &str) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let setting = Setting::parse(line).with_context(|| format!("line {}", index + 1))?;
            values.extend(setting.map(|setting| (setting.symbol, setting.value)));
        }
        Ok(Self(values))
    }

    /// The value of a symbol; what is not set, or not there, is `n`.
    pub fn get(&self, symbol: &str) -> &str {
        self.0.get(symbol).map_or("n", String::as_str)
    }
}

#[cfg(test)]
mod tests;

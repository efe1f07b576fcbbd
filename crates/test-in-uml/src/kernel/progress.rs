//! How far a build has come: objects compiled, of how many.

use std::fs;
use std::path::PathBuf;

use crate::ctx::Ctx;

/// Counts the objects of one build.
#[derive(Debug)]
pub struct BuildProgress {
    done: usize,
    expected: usize,
}

impl BuildProgress {
    /// Begins to count towards `expected`.
    pub fn towards(expected: usize) -> Self {
        Self { done: 0, expected }
    }

    /// Sees the next line of make's output; says how far the build has come when that changed.
    pub fn see(&mut self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace();
        let tool = matches!(words.next(), Some("CC" | "AS"));
        if !tool || !words.next_back().is_some_and(|file| file.ends_with(".o")) {
            return None;
        }
        self.done += 1;
        Some(self.to_string())
    }

    /// How many objects were compiled.
    pub fn done(&self) -> usize {
        self.done
    }
}

/// `412 of ~930 objects`; an estimate that turns out too low grows along.
impl std::fmt::Display for BuildProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of ~{} objects", self.done, self.expected.max(self.done))
    }
}

/// The number of objects the last whole build of the kernel `name` had.
pub fn counted(ctx: &Ctx, name: &str) -> Option<usize> {
    fs::read_to_string(counted_file(ctx, name)).ok()?.trim().parse().ok()
}

/// Keeps in mind how many objects a whole build had.
pub fn keep_count(ctx: &Ctx, name: &str, count: usize) {
    // It is an estimate for the next time: nothing is lost without it.
    let _ = fs::create_dir_all(ctx.layout.facts());
    let _ = fs::write(counted_file(ctx, name), count.to_string());
}

fn counted_file(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.layout.facts().join(format!("objects-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_and_nothing_else() {
        let mut progress = BuildProgress::towards(3);
        for line in [
            "make[1]: Entering directory '/build'",
            "  HOSTCC  scripts/kallsyms",
            "  CC      kernel/bounds.s",
            "  AR      fs/built-in.a",
            "  LD      vmlinux.o",
            "  CC",
            "",
        ] {
            assert_eq!(progress.see(line), None, "{line}");
        }
        assert_eq!(progress.see("  CC      init/main.o").unwrap(), "1 of ~3 objects");
        assert_eq!(progress.see("  CC [M]  fs/nfs/dir.o").unwrap(), "2 of ~3 objects");
        assert_eq!(progress.see("  AS      arch/x86/um/vdso/vdso.o").unwrap(), "3 of ~3 objects");
        assert_eq!(progress.see("  CC      .vmlinux.export.o").unwrap(), "4 of ~4 objects");
    }
}

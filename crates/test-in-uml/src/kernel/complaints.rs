//! What a failed build says itself: the compiler's own errors, from among thousands of lines.

use std::collections::VecDeque;

/// How many lines are kept; the first errors are the cause of the others.
const KEPT: usize = 40;

/// Lines of context behind an error: the source line, the caret, notes.
const CONTEXT: usize = 6;

/// The errors among the lines of a build's output.
#[derive(Debug, Default)]
pub struct Complaints {
    kept: Vec<String>,
    /// Lines that lead up to an error, such as `In function …`.
    leading: VecDeque<String>,
    context: usize,
}

impl Complaints {
    /// Sees the next line.
    pub fn see(&mut self, line: &str) {
        if is_error(line) {
            self.kept.extend(self.leading.drain(..));
            self.keep(line);
            self.context = CONTEXT;
        } else if is_leading(line) {
            self.context = 0;
            self.leading.push_back(line.to_owned());
            if self.leading.len() > CONTEXT {
                self.leading.pop_front();
            }
        } else if self.context > 0 && is_context(line) {
            self.context -= 1;
            self.keep(line);
        } else {
            self.context = 0;
            self.leading.clear();
        }
    }

    fn keep(&mut self, line: &str) {
        if self.kept.len() < KEPT {
            self.kept.push(line.to_owned());
        }
    }

    /// The errors with their context, if there were any.
    pub fn text(&self) -> Option<String> {
        (!self.kept.is_empty()).then(|| format!("the errors:\n    {}", self.kept.join("\n    ")))
    }
}

fn is_error(line: &str) -> bool {
    // The last is modpost's and Kconfig's way, the others are those of gcc, ld and as.
    ["error: ", "Error: ", ": undefined reference to ", ": multiple definition of ", "ERROR: "]
        .iter()
        .any(|word| line.contains(word))
        || line.ends_with(": No space left on device")
        || line.contains(": command not found")
}

fn is_leading(line: &str) -> bool {
    line.contains(": In function ")
        || line.starts_with("In file included from ")
        || line.trim_start().starts_with("from ")
}

fn is_context(line: &str) -> bool {
    line.contains(" | ") || line.contains(": note: ") || line.starts_with("    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &str) -> Option<String> {
        let mut complaints = Complaints::default();
        lines.lines().for_each(|line| complaints.see(line));
        complaints.text()
    }

    #[test]
    fn an_error_comes_with_its_function_and_its_source() {
        let text = text(
            "  CC      init/main.o\n  CC      init/version.o\n\
             init/main.c: In function ‘start_kernel’:\n\
             init/main.c:900:9: error: implicit declaration of function ‘nothing’\n\
             \x20 900 |         nothing();\n      |         ^~~~~~~\n\
             make[3]: *** [scripts/Makefile.build:229: init/main.o] Error 1\n  CC      fs/open.o\n",
        );
        assert_eq!(
            text.unwrap(),
            "the errors:\n    init/main.c: In function ‘start_kernel’:\n    \
             init/main.c:900:9: error: implicit declaration of function ‘nothing’\n      \
             900 |         nothing();\n          |         ^~~~~~~"
        );
    }

    #[test]
    fn the_linkers_errors_are_kept_and_warnings_are_not() {
        let text = text(
            "fs/open.c: In function ‘f’:\nfs/open.c:1:2: warning: unused variable ‘a’\n\
             ld: fs/open.o: in function `f':\nopen.c:(.text+0x1): undefined reference to `major'\n",
        );
        assert_eq!(
            text.unwrap(),
            "the errors:\n    open.c:(.text+0x1): undefined reference to `major'"
        );
    }

    #[test]
    fn only_the_first_of_a_flood_are_kept() {
        let text = text(&"a.c:1:1: error: no\n".repeat(1000)).unwrap();
        assert_eq!(text.lines().count(), KEPT + 1);
    }

    #[test]
    fn a_build_without_errors_has_none() {
        assert_eq!(text("  CC      kernel/panic.o\n  LD      vmlinux\n"), None);
    }
}

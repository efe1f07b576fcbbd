//! What a case writes, and what the kernel says meanwhile: of a flood the beginning and the end
//! are kept.

use std::collections::VecDeque;

use uml_protocol::wire::Stream;

/// How much of the beginning is kept, in bytes.
const BEGINNING: usize = 1 << 20;

/// How much of the end is kept at least, in bytes: libtest's result is there.
const END: usize = 64 << 10;

/// The output of a case.
#[derive(Debug, Default)]
pub struct Output {
    beginning: Vec<(Stream, Vec<u8>)>,
    end: VecDeque<(Stream, Vec<u8>)>,
    beginning_size: usize,
    end_size: usize,
    dropped: usize,
}

impl Output {
    /// Takes what came next.
    pub fn push(&mut self, stream: Stream, bytes: Vec<u8>) {
        if self.beginning_size < BEGINNING {
            self.beginning_size += bytes.len();
            self.beginning.push((stream, bytes));
            return;
        }
        self.end_size += bytes.len();
        self.end.push_back((stream, bytes));
        while let Some((_, oldest)) = self.end.front()
            && self.end_size - oldest.len() >= END
        {
            self.end_size -= oldest.len();
            self.dropped += oldest.len();
            self.end.pop_front();
        }
    }

    /// All that was kept, with a line about what was not.
    pub fn bytes(&self) -> Vec<u8> {
        let note = match self.dropped {
            0 => Vec::new(),
            dropped => format!("\n({dropped} bytes were dropped)\n").into_bytes(),
        };
        let beginning = self.beginning.iter().flat_map(|(_, bytes)| bytes);
        let end = self.end.iter().flat_map(|(_, bytes)| bytes);
        beginning.chain(&note).chain(end).copied().collect()
    }

    /// What is kept of standard output; true if that is all.
    pub fn stdout(&self) -> (Vec<u8>, bool) {
        (self.chunks_of_stdout().flatten().copied().collect(), self.dropped == 0)
    }

    /// The last bytes of standard output.
    pub fn end_of_stdout(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for chunk in self.chunks_of_stdout() {
            bytes.extend(chunk);
            bytes.drain(..bytes.len().saturating_sub(END));
        }
        bytes
    }

    fn chunks_of_stdout(&self) -> impl Iterator<Item = &Vec<u8>> {
        let chunks = self.beginning.iter().chain(&self.end);
        chunks.filter(|(stream, _)| *stream == Stream::Stdout).map(|(_, chunk)| chunk)
    }
}

/// The lines of a kernel log. Those that count are kept wherever they are.
#[derive(Debug, Default)]
pub struct Lines {
    beginning: Vec<String>,
    counting: Vec<String>,
    end: VecDeque<(String, bool)>,
    beginning_size: usize,
    end_size: usize,
    dropped: usize,
}

/// More lines that count than this are dropped like others: there is no doubt any more.
const MOST_COUNTING: usize = 100;

/// What a line takes beside its text, about.
const PER_LINE: usize = 32;

impl Lines {
    /// Takes the next line.
    pub fn push(&mut self, line: &str, counts: bool) {
        let size = line.len() + PER_LINE;
        if self.beginning_size < BEGINNING {
            self.beginning_size += size;
            self.beginning.push(line.into());
            return;
        }
        self.end_size += size;
        self.end.push_back((line.into(), counts));
        while self.end_size > END
            && let Some((oldest, counts)) = self.end.pop_front()
        {
            self.end_size -= oldest.len() + PER_LINE;
            if counts && self.counting.len() < MOST_COUNTING {
                self.counting.push(oldest);
            } else {
                self.dropped += 1;
            }
        }
    }

    /// All that was kept, with a line about what was not.
    pub fn all(&self) -> Vec<String> {
        let note = (self.dropped > 0).then(|| format!("({} lines were dropped)", self.dropped));
        let end = self.end.iter().map(|(line, _)| line);
        let begun = self.beginning.iter().chain(&note);
        begun.chain(&self.counting).chain(end).cloned().collect()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Lines {
    fn from_iter<I: IntoIterator<Item = S>>(lines: I) -> Self {
        let mut all = Self::default();
        lines.into_iter().for_each(|line| all.push(line.as_ref(), false));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let mut output = Output::default();
        output.push(Stream::Stdout, b"first ".to_vec());
        for _ in 0..1000 {
            output.push(Stream::Stderr, vec![b'x'; 64 << 10]);
        }
        output.push(Stream::Stdout, b"test result: ok".to_vec());
        let bytes = output.bytes();
        assert!(bytes.len() < BEGINNING + (2 * END) + 100);
        assert!(bytes.starts_with(b"first x") && bytes.ends_with(b"test result: ok"));
        assert!(String::from_utf8_lossy(&bytes).contains("bytes were dropped)"));
        assert_eq!(output.end_of_stdout(), b"first test result: ok");
    }

    #[test]
    fn a_little_is_kept_as_it_came() {
        let mut output = Output::default();
        output.push(Stream::Stdout, b"a".to_vec());
        output.push(Stream::Stderr, b"b".to_vec());
        output.push(Stream::Stdout, b"c".to_vec());
        assert_eq!((output.bytes(), output.end_of_stdout()), (b"abc".to_vec(), b"ac".to_vec()));
    }

    #[test]
    fn a_flood_of_lines_drowns_none_that_counts() {
        let mut lines = Lines::default();
        lines.push("first", false);
        for number in 0..100_000 {
            match number {
                50_000 => lines.push("WARNING: in the middle", true),
                _ => lines.push("flood", false),
            }
        }
        lines.push("last", false);
        let all = lines.all();
        assert!(all.iter().map(|line| line.len() + PER_LINE).sum::<usize>() < BEGINNING + 2 * END);
        assert_eq!((all[0].as_str(), all[all.len() - 1].as_str()), ("first", "last"));
        let of = |text: &str| all.iter().position(|line| line.contains(text)).unwrap();
        assert_eq!(of("WARNING"), of("lines were dropped") + 1);
    }
}

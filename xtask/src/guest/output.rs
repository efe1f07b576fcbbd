//! What a case writes: its beginning and its end are kept, whatever it floods us with between.

use std::collections::VecDeque;

use guest_agent::wire::Stream;

/// How much of the beginning is kept, in bytes.
const BEGINNING: usize = 4 << 20;

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

    /// The last bytes of standard output.
    pub fn end_of_stdout(&self) -> Vec<u8> {
        let chunks = self.beginning.iter().chain(&self.end);
        let stdout = chunks.filter(|(stream, _)| *stream == Stream::Stdout);
        let mut bytes: Vec<u8> = Vec::new();
        for (_, chunk) in stdout {
            bytes.extend(chunk);
            bytes.drain(..bytes.len().saturating_sub(END));
        }
        bytes
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
        assert!(bytes.len() < 5 << 20);
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
}

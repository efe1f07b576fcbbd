//! What fits an answer: of more than that the beginning and the end.

use uml_protocol::wire::LONGEST;

/// How much of the beginning, and of the end, in bytes.
const PART: usize = LONGEST / 2 - (64 << 10);

/// What a line takes beside its text.
const PER_LINE: usize = 8;

/// Output.
pub(super) fn bytes(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() <= 2 * PART {
        return bytes;
    }
    let note = format!("\n({} bytes were dropped)\n", bytes.len() - 2 * PART);
    [&bytes[..PART], note.as_bytes(), &bytes[bytes.len() - PART..]].concat()
}

/// Lines of a console.
pub(super) fn lines(mut lines: Vec<String>) -> Vec<String> {
    let fits = |lines: &mut dyn Iterator<Item = &String>| {
        let mut size = 0;
        let within = |line: &&String| {
            size += line.len() + PER_LINE;
            size <= PART
        };
        lines.take_while(within).count()
    };
    let first = fits(&mut lines.iter());
    if first == lines.len() {
        return lines;
    }
    let last = fits(&mut lines[first..].iter().rev());
    let dropped = lines.len() - first - last;
    if dropped > 0 {
        let note = format!("({dropped} lines were dropped)");
        lines.splice(first..first + dropped, [note]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_told_whole_and_of_much_the_beginning_and_the_end() {
        assert_eq!(bytes(b"abc".to_vec()), b"abc");
        let much = bytes([&b"first"[..], &vec![b'x'; 3 * PART], b"last"].concat());
        assert!(much.starts_with(b"first") && much.ends_with(b"last") && much.len() < LONGEST);

        let text = |count: usize| (0..count).map(|number| format!("line {number}")).collect();
        assert_eq!(lines(text(3)), ["line 0", "line 1", "line 2"]);
        let all = lines(text(200_000));
        let size: usize = all.iter().map(|line| line.len() + PER_LINE).sum();
        assert!(size < LONGEST, "{size}");
        assert_eq!((&*all[0], &*all[all.len() - 1]), ("line 0", "line 199999"));
        assert_eq!(all.iter().filter(|line| line.contains("dropped")).count(), 1);
        let one = lines(vec!["x".repeat(3 * PART)]);
        assert_eq!(one, ["(1 lines were dropped)"]);
    }
}

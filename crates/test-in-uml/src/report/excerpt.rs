//! Long texts of guests, shortened in the middle: what began it and what ended it is kept.

/// A text, and how much of its middle was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// What is kept. Where something is missing, a line says how much.
    pub text: String,
    /// The number of bytes that are missing.
    pub left_out: usize,
}

impl Excerpt {
    /// Keeps about `limit` bytes of a text, in whole lines where these are short enough.
    pub fn of(text: &str, limit: usize) -> Self {
        if text.len() <= limit {
            return Self { text: text.to_owned(), left_out: 0 };
        }
        let boundary = |at: &usize| text.is_char_boundary(*at);
        let head = &text[..(0..=limit / 2).rfind(boundary).unwrap_or(0)];
        let head = head.rfind('\n').map_or(head, |end| &head[..=end]);
        let tail =
            &text[(text.len() - limit / 2..text.len()).find(boundary).unwrap_or(text.len())..];
        let tail = tail.find('\n').map_or(tail, |end| &tail[end + 1..]);
        let left_out = text.len() - head.len() - tail.len();
        let newline = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
        let text = format!("{head}{newline}[… {left_out} bytes are left out here …]\n{tail}");
        Self { text, left_out }
    }

    /// The same, shortened further.
    pub fn shortened(&self, limit: usize) -> Self {
        let Self { text, left_out } = Self::of(&self.text, limit);
        Self { text, left_out: self.left_out + left_out }
    }

    /// Its lines, the empty ones at the end left out.
    pub fn lines(&self) -> std::str::Lines<'_> {
        self.text.trim_end().lines()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_is_left_out_in_whole_lines() {
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let short = Excerpt::of(&text, 40);
        let expected = "line 0\nline 1\n[… 760 bytes are left out here …]\nline 98\nline 99\n";
        assert_eq!(short, Excerpt { text: expected.into(), left_out: 760 });
        assert_eq!(Excerpt::of("short", 40), Excerpt { text: "short".into(), left_out: 0 });
    }

    proptest! {
        #[test]
        fn any_text_can_be_cut_anywhere(text in "\\PC{0,40}\n?\\PC{0,40}", limit in 0usize..60) {
            let short = Excerpt::of(&text, limit);
            prop_assert!(short.text.len() <= limit + 60);
            prop_assert_eq!(short.left_out > 0, text.len() > limit);
        }
    }
}

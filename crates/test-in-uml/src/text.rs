//! Text of a guest, wherever it is shown.

/// Text of a guest as data: without anything that a terminal would obey, or that turns the direction
/// of what is written. The bar before each line also keeps it from being a command to whoever reads
/// the log, such as GitHub's `::error`; commands that count anywhere in a line are broken up.
pub fn plain(text: &str) -> String {
    // Nearly all text is so, and there is much of it.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) && !text.contains("##") {
        return text.to_owned();
    }
    let stripped = strip_ansi_escapes::strip_str(text);
    // XML cannot have them, not even as a reference (XML 1.0, production 2).
    let of_no_use = |c| matches!(c, '\u{fffe}' | '\u{ffff}');
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
    let obeyed = |c: char| (c.is_control() && c != '\t') || turns(c) || breaks(c) || of_no_use(c);
    let text: String = stripped.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect();
    without_commands(text)
}

/// Breaks up `##[error]` (GitHub's runner looks for it anywhere in a line: `ActionCommand.TryParse`)
/// and its kin `##vso[…]` and `##teamcity[…]`.
fn without_commands(text: String) -> String {
    if !text.contains("##") {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 3);
    let mut rest = text.as_str();
    while let Some(at) = rest.find("##") {
        let (before, from) = rest.split_at(at + 1);
        out.push_str(before);
        let word = from[1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        if word.starts_with('[') {
            out.push('\u{fffd}');
        }
        rest = from;
    }
    out + rest
}

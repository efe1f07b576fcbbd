//! Text of guests in the languages of those who show it.

use crate::text::plain;

/// For HTML, between tags and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// For a paragraph or a table cell of Markdown. "Numeric character references cannot be used in place
/// of symbols indicating structure" (CommonMark 2.5), and so nothing of it is structure.
pub(super) fn markdown(text: &str) -> String {
    let text = plain(text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            ' ' | ',' | '.' | '-' | '/' | '%' => out.push(c),
            c if c.is_ascii_punctuation() => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    // A line that begins with these would be a list.
    if out.starts_with(['-', '.']) { format!("&#8203;{out}") } else { out }
}

/// For Markdown, as it stands in a program: as a code span, which has no structure.
pub(super) fn code(text: &str) -> String {
    let text = plain(text);
    let mut fence = String::from("`");
    while text.contains(&fence) {
        fence.push('`');
    }
    // One space at each end is taken off (CommonMark 6.1).
    let space = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The same in a cell of a table, where a bar ends the cell even within it.
pub(super) fn code_in_cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// For the message of a command to GitHub's runner (`escapeData` of `@actions/core`).
pub(super) fn github_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// For a property of a command to GitHub's runner (`escapeProperty` of `@actions/core`).
pub(super) fn github_property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// JSON that can stand within a `script` element: without `<`, no end of the element and no comment.
pub(super) fn json_in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

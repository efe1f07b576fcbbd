//! Sections of a file in the form of systemd's and NetworkManager's: a line `[Name]`, and what follows it.

/// The text without the sections that are not kept; what comes before the first is of the section "".
pub fn kept(text: &str, keeps: impl Fn(&str) -> bool) -> String {
    let mut is_kept = keeps("");
    let mut left = String::new();
    for line in text.lines() {
        let name = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        is_kept = name.map_or(is_kept, &keeps);
        if is_kept {
            left += line;
            left.push('\n');
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn a_section_goes_to_the_next() {
        let text = "# Of all.\n[a]\nx=1\n\n[b]\ny=[2]\n[a]\nz=3\n";
        assert_eq!(kept(text, |name| name == "a"), "[a]\nx=1\n\n[a]\nz=3\n");
        assert_eq!(kept(text, |name| name != "a"), "# Of all.\n[b]\ny=[2]\n");
    }
}

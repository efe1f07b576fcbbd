//! The name of a guest.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// The name of a guest while it runs: a word that is a plain file name, and never taken for a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestName(String);

impl FromStr for GuestName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || !text.chars().all(plain) || text.len() > LONGEST {
            return Err(format!(
                "a guest's name begins with a letter or a digit, and has letters, digits, `.`, `_` and `-`, at most \
                 {LONGEST} of them"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl GuestName {
    /// It as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        for name in ["guest", "a", "3.0-smp", "Web_1"] {
            assert_eq!(name.parse::<GuestName>().unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "-x", "a/b", "a b", "a:b", "ä", &"x".repeat(65)] {
            assert!(name.parse::<GuestName>().is_err(), "{name:?}");
        }
    }
}

//! The name of a network.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a network, in bytes: an interface's has 15, of which `uml-` and the number of a tap take 7.
const LONGEST: usize = 8;

/// The name of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetworkName(String);

impl FromStr for NetworkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(plain) {
            return Err(format!(
                "a network's name has lowercase letters and digits, at most {LONGEST} of them"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leaves_room_in_an_interfaces() {
        for name in ["lab", "a", "12345678"] {
            let name: NetworkName = name.parse().unwrap();
            assert!(format!("uml-{name}-99").len() <= 15);
        }
        for name in ["", "123456789", "a-b", "Lab", "a/b", "a.b", "ä"] {
            assert!(name.parse::<NetworkName>().is_err(), "{name:?}");
        }
    }
}

//! What a volume is called.

use std::fmt;
use std::str::FromStr;

const MAX_CHARACTERS: usize = 63;

/// Text that names no volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a volume is 1 to {MAX_CHARACTERS} of a-z, 0-9 and -, a letter first")]
pub struct InvalidVolumeName;

/// The name of a volume: 1 to 63 of `a-z`, `0-9` and `-`, a letter first. A guest finds the volume at
/// `/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(Box<str>);

impl VolumeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = InvalidVolumeName;

    fn from_str(text: &str) -> Result<Self, InvalidVolumeName> {
        let of_the_alphabet = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_inner = |byte: u8| of_the_alphabet(byte) || byte == b'-';
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || text.len() > MAX_CHARACTERS || !text.bytes().all(is_inner) {
            return Err(InvalidVolumeName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short() {
        for good in ["a", "data", "team-7", &"x".repeat(63)] {
            assert_eq!(good.parse::<VolumeName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "7",
            ".",
            "..",
            "a/b",
            "A",
            "a_b",
            "ä",
            "a\0",
            "a ",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
    }
}

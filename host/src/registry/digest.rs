//! The name of a module: what is in it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};

use super::RegistryError;
use crate::hex;

const ALGORITHM: &str = "sha256:";

/// The SHA-256 of a module's bytes, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finished(digest::digest(&SHA256, bytes))
    }

    pub(super) fn finished(digest: digest::Digest) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }

    /// The hexadecimal digits alone, for file names.
    pub fn hex(&self) -> String {
        hex::encode(&self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl FromStr for Digest {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        text.strip_prefix(ALGORITHM)
            .and_then(Self::from_hex)
            .ok_or(RegistryError::InvalidDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_spelling() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        let bad = [
            "",
            "sha256:",
            &text[7..],
            &text[..70],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace("sha256", "sha512"),
            &text.replace("ba78", "ba7é"),
        ];
        for bad in bad {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}

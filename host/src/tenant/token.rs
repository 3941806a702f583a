//! Tokens: `rpch_<id>_<secret>`.
//!
//! The id is public: it finds the record and names the token in listings and in the audit log.
//! The secret is 256 random bits, of which only the SHA-256 is stored: with so much randomness a
//! slow hash would add nothing. Looking up by id and comparing the hash in constant time leaves
//! nothing to learn from how long a refusal takes.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, rand};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::TenantError;
use crate::hex;

const MARK: &str = "rpch";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// The public part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; ID_BYTES]);

impl fmt::Display for TokenId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for TokenId {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        hex::decode(text)
            .map(Self)
            .ok_or(TenantError::InvalidTokenId)
    }
}

/// A whole token. Its secret is wiped from memory when dropped and never printed.
pub struct Token {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Token {
    /// A token that nobody has seen before.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, TenantError> {
        let mut id = [0; ID_BYTES];
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(&mut id).map_err(|_| TenantError::NoRandomness)?;
        rand::fill(secret.as_mut_slice()).map_err(|_| TenantError::NoRandomness)?;
        Ok(Self {
            id: TokenId(id),
            secret,
        })
    }

    /// The public part.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The whole token as text, secret included: for the one who asked for it, once.
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.secret.as_slice()));
        Zeroizing::new(format!("{MARK}_{}_{}", self.id, *secret))
    }

    pub(super) fn hash(&self) -> SecretHash {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.secret.as_slice()).as_ref());
        SecretHash(hash)
    }
}

impl FromStr for Token {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let mut parts = text.split('_');
        let (mark, id, secret) = (parts.next(), parts.next(), parts.next());
        if mark != Some(MARK) || parts.next().is_some() {
            return Err(TenantError::Unauthenticated);
        }
        let id = id
            .and_then(hex::decode)
            .ok_or(TenantError::Unauthenticated)?;
        let mut secret = secret
            .and_then(hex::decode)
            .ok_or(TenantError::Unauthenticated)?;
        let token = Self {
            id: TokenId(id),
            secret: Zeroizing::new(secret),
        };
        secret.zeroize();
        Ok(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Token({MARK}_{}_…)", self.id)
    }
}

/// What is stored of a secret.
#[derive(Clone)]
pub(super) struct SecretHash([u8; digest::SHA256_OUTPUT_LEN]);

impl SecretHash {
    /// The hash of no secret that anybody could find: compared when there is no record, so that
    /// an unknown id costs as much as a wrong secret.
    pub(super) const OF_NOTHING: Self = Self([0; digest::SHA256_OUTPUT_LEN]);

    pub(super) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_no_other_text_is_one() {
        let token = Token::generate().unwrap();
        let text = token.expose();
        let again: Token = text.parse().unwrap();
        assert_eq!(again.id(), token.id());
        assert!(again.hash().matches(&token.hash()));
        let bad = [
            "",
            "rpch",
            "rpch_",
            "rpch__",
            &text[..text.len() - 1],
            &format!("{}0", *text),
            &format!("{}_", *text),
            &format!(" {}", *text),
            &text.to_uppercase(),
            &text.replace("rpch", "rpcx"),
            &format!("rpch_{}_{}", token.id(), "é".repeat(32)),
        ];
        for bad in bad {
            assert!(
                matches!(bad.parse::<Token>(), Err(TenantError::Unauthenticated)),
                "{bad}"
            );
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let token = Token::generate().unwrap();
        let text = token.expose();
        let secret = text.rsplit('_').next().unwrap();
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&secret[..8]));
        assert!(format!("{token:?}").contains(&token.id().to_string()));
    }

    #[test]
    fn two_tokens_differ() {
        let (one, two) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(one.id(), two.id());
        assert!(!one.hash().matches(&two.hash()));
        assert!(!one.hash().matches(&SecretHash::OF_NOTHING));
    }

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!(
            "00ff00ff00ff00ff".parse::<TokenId>().unwrap().to_string(),
            "00ff00ff00ff00ff"
        );
        for bad in ["", "00FF00FF00FF00FF", "00ff", "00ff00ff00ff00ff0"] {
            assert!(bad.parse::<TokenId>().is_err());
        }
    }
}

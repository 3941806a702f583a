//! Says whom a signed token stands for.
//!
//! A token is a user's name, a dot, and the HMAC-SHA-256 of the name in hexadecimal digits:
//! whoever has the secret can make one for anybody, and nobody else can.

#![forbid(unsafe_code)]

use exports::acme::auth::verifier::Guest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

rpc_guest::generate!({ world: "acme:signed-tokens/verifier", path: ["../wit/acme-auth", "wit"] });

/// Known to all who have the component, see the README.
const SECRET: &[u8] = b"an example's secret is no secret";
const SIGNATURE_BYTES: usize = 32;

struct SignedTokens;

impl Guest for SignedTokens {
    fn verify(token: String) -> Result<String, String> {
        let (user, signature) = token
            .rsplit_once('.')
            .ok_or("a token is NAME.SIGNATURE, and this has no dot")?;
        let signature = from_hex(signature)
            .ok_or_else(|| format!("a signature is {} hexadecimal digits", SIGNATURE_BYTES * 2))?;
        // In constant time: how long it takes does not tell how much of it was right.
        mac_of(user)
            .verify_slice(&signature)
            .map_err(|_| "the signature does not fit the name")?;
        Ok(user.to_owned())
    }
}

/// The signature of a name, to be finished or compared.
fn mac_of(user: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(SECRET).expect("a key of HMAC may have any length");
    mac.update(user.as_bytes());
    mac
}

fn from_hex(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    if text.len() != SIGNATURE_BYTES * 2 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

export!(SignedTokens);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str) -> String {
        let signature = mac_of(user).finalize().into_bytes();
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{user}.{digits}")
    }

    fn verify(token: &str) -> Result<String, String> {
        SignedTokens::verify(token.to_owned())
    }

    #[test]
    fn a_token_stands_for_the_user_it_was_signed_for() {
        for user in ["ada", "grace.hopper", "", "Ü"] {
            assert_eq!(verify(&token(user)).as_deref(), Ok(user));
        }
        // As in the README, and made with another program.
        assert_eq!(verify(README_TOKEN).as_deref(), Ok("ada"));
        assert!(include_str!("../README.md").contains(README_TOKEN));
    }

    const README_TOKEN: &str =
        "ada.a13596a938c65f23b37cbf9d15edeba52a5fad4ad6ba4c57e43b96f64e635cad";

    #[test]
    fn anything_else_stands_for_nobody() {
        let signed = token("ada");
        assert!(verify(&signed.replace("ada", "eve")).is_err());
        assert!(verify(&signed[..signed.len() - 2]).is_err());
        assert!(verify(&format!("{signed}00")).is_err());
        // Each digit counts.
        for at in 4..signed.len() {
            let digit = if &signed[at..=at] == "0" { "1" } else { "0" };
            let mut other = signed.clone();
            other.replace_range(at..=at, digit);
            assert!(verify(&other).is_err(), "{other}");
        }
        for odd in [
            "",
            ".",
            "ada",
            "ada.",
            "ada.+1",
            &format!("ada.{}", "é".repeat(32)),
        ] {
            assert!(verify(odd).is_err(), "{odd:?}");
        }
    }
}

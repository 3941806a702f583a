//! What a principal came in by, as it is shown and recorded.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{HolderName, TenantError, TokenId};
use crate::hex;

const CERTIFICATE: &str = "certificate";
const STDIO: &str = "stdio";
/// What X.509 allows. A longer one is no serial number.
const MAX_SERIAL_BYTES: usize = 20;

/// Names what somebody came in by, without anything secret of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A token, by its public id.
    Token(TokenId),
    /// A client certificate.
    Certificate(CertificateId),
    /// Nothing but that it started the process whose streams it speaks over.
    Stdio,
}

/// Names a client certificate: whose it is, and the serial number by which its authority revokes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateId {
    name: HolderName,
    serial: Arc<str>,
}

impl CertificateId {
    /// None if `serial` is none: empty or too long.
    pub(super) fn new(name: HolderName, serial: &[u8]) -> Option<Self> {
        // The encoding puts a zero before what would look negative.
        let serial = match serial {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        if serial.is_empty() || serial.len() > MAX_SERIAL_BYTES {
            return None;
        }
        Some(Self {
            name,
            serial: hex::encode(serial).into(),
        })
    }

    /// In lower-case hexadecimal digits, two for each byte.
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

impl Credential {
    /// For a sentence: what it is, and which.
    pub fn described(&self) -> String {
        match self {
            Self::Token(id) => format!("token {id}"),
            Self::Certificate(id) => format!("certificate {} ({})", id.name, id.serial),
            Self::Stdio => "the streams of a process that it started".to_owned(),
        }
    }
}

/// A token's public id, `certificate:NAME:SERIAL`, or `stdio`.
impl fmt::Display for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => id.fmt(formatter),
            Self::Certificate(id) => {
                write!(formatter, "{CERTIFICATE}:{}:{}", id.name, id.serial)
            }
            Self::Stdio => formatter.write_str(STDIO),
        }
    }
}

impl FromStr for Credential {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        if text == STDIO {
            return Ok(Self::Stdio);
        }
        let Some((CERTIFICATE, certificate)) = text.split_once(':') else {
            return Ok(Self::Token(text.parse()?));
        };
        let digits = |serial: &str| {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (2..=2 * MAX_SERIAL_BYTES).contains(&serial.len())
                && serial.len().is_multiple_of(2)
                && serial.bytes().all(is_digit)
        };
        match certificate.split_once(':') {
            Some((name, serial)) if digits(serial) => Ok(Self::Certificate(CertificateId {
                name: name.parse()?,
                serial: serial.into(),
            })),
            _ => Err(TenantError::InvalidTokenId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again_and_nothing_else_is() {
        let name = || "build-7".parse().unwrap();
        for (serial, text) in [
            (&[0x01][..], "certificate:build-7:01"),
            (&[0x00, 0xff, 0x00], "certificate:build-7:ff00"),
            (&[0x00], "certificate:build-7:00"),
        ] {
            let id = CertificateId::new(name(), serial).unwrap();
            let credential = Credential::Certificate(id);
            assert_eq!(credential.to_string(), text);
            assert_eq!(text.parse::<Credential>().unwrap(), credential);
        }
        assert_eq!(CertificateId::new(name(), &[]), None);
        assert_eq!(CertificateId::new(name(), &[7; 21]), None);
        let token: Credential = "00ff00ff00ff00ff".parse().unwrap();
        assert_eq!(token.to_string(), "00ff00ff00ff00ff");
        assert_eq!("stdio".parse::<Credential>().unwrap(), Credential::Stdio);
        assert_eq!(Credential::Stdio.to_string(), "stdio");
        for bad in [
            "",
            "certificate",
            "certificate:build-7",
            "certificate:build-7:",
            "certificate:build-7:1",
            "certificate:build-7:FF",
            "certificate:Build:ff",
            "certificate::ff",
            "certificate:a:b:ff",
            "Certificate:build-7:ff",
            "token:00ff00ff00ff00ff",
            "Stdio",
            "stdio:",
        ] {
            assert!(bad.parse::<Credential>().is_err(), "{bad}");
        }
        let long = format!("certificate:build-7:{}", "00".repeat(21));
        assert!(long.parse::<Credential>().is_err());
    }
}

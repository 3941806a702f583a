//! What a client certificate says about its holder: `rpc-host://TENANT/ROLE/NAME`, in its one name of
//! the kind URI, and nowhere else.
//!
//! That the certificate is genuine is not found out here: whoever makes a [`Certificate`] has verified
//! it, and says when that is no longer so.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::credential::CertificateId;
use super::standing::Standing;
use super::{Credential, Role, TenantError, TenantName};
use crate::clock::Timestamp;

const SCHEME: &str = "rpc-host://";
const MAX_NAME_CHARACTERS: usize = 63;

/// The name of a certificate's holder: 1 to 63 of `a-z`, `0-9`, `-` and `.`. For people; it gives no
/// right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HolderName(Arc<str>);

impl FromStr for HolderName {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let of_the_alphabet = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        };
        if text.is_empty() || text.len() > MAX_NAME_CHARACTERS || !text.bytes().all(of_the_alphabet)
        {
            return Err(TenantError::InvalidHolderName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for HolderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// For whom a certificate is: a tenant, the most that its holder may do there, and the holder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The tenant.
    pub tenant: TenantName,
    /// What the holder may do at most.
    pub role: Role,
    /// What the holder is called.
    pub name: HolderName,
}

impl FromStr for Subject {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let mut parts = text
            .strip_prefix(SCHEME)
            .ok_or(TenantError::Unauthenticated)?
            .split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(tenant), Some(role), Some(name), None) => Ok(Self {
                tenant: tenant.parse()?,
                role: role.parse()?,
                name: name.parse()?,
            }),
            _ => Err(TenantError::Unauthenticated),
        }
    }
}

/// The one spelling that is read again.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{SCHEME}{}/{}/{}",
            self.tenant, self.role, self.name
        )
    }
}

/// A client certificate that was verified. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// None where what it says is of no use here. It then proves nothing.
    pub(super) says: Option<(Subject, CertificateId)>,
    pub(super) standing: Arc<Standing>,
}

impl Certificate {
    /// One with these names of the kind URI. What is not exactly one, in exactly one form, is for
    /// nobody.
    pub fn new(uris: &[&str], serial: &[u8], expires_at: Timestamp) -> Self {
        let says = match uris {
            [uri] => uri.parse::<Subject>().ok().and_then(|subject| {
                let id = CertificateId::new(subject.name.clone(), serial)?;
                Some((subject, id))
            }),
            _ => None,
        };
        Self {
            says,
            standing: Arc::new(Standing::until(Some(expires_at))),
        }
    }

    /// Names it, for the record; none where it is for nobody.
    pub fn credential(&self) -> Option<Credential> {
        let (_, id) = self.says.as_ref()?;
        Some(Credential::Certificate(id.clone()))
    }

    /// It is genuine no more. Sessions that came in by it are no longer valid.
    pub fn end(&self) {
        self.standing.revoke();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_spelling() {
        for good in [
            "rpc-host://team/caller/build-7",
            "rpc-host://default/admin/ada.example",
            "rpc-host://0/reader/-",
        ] {
            assert_eq!(good.parse::<Subject>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "team/caller/build-7",
            "rpc-host:team/caller/build-7",
            "rpc-host:///caller/build-7",
            "rpc-host://team/caller",
            "rpc-host://team/caller/",
            "rpc-host://team//build-7",
            "rpc-host://team/caller/build-7/",
            "rpc-host://team/caller/build-7/x",
            "rpc-host://team/caller/build-7?x",
            "rpc-host://team/caller/build-7#x",
            "rpc-host://team/caller/build%2d7",
            "rpc-host://team/caller/build 7",
            "rpc-host://team/caller/build-7\0",
            "rpc-host://team\0/caller/build-7",
            "rpc-host://*/caller/build-7",
            "rpc-host://team/*/build-7",
            "rpc-host://team/operator/build-7",
            "rpc-host://team/Caller/build-7",
            "rpc-host://Team/caller/build-7",
            "RPC-HOST://team/caller/build-7",
            "rpc-host://team:443/caller/build-7",
            "rpc-host://ada@team/caller/build-7",
            "rpc-host://team.example/caller/build-7",
            "rpc-host://tеam/caller/build-7", // with a Cyrillic е
            " rpc-host://team/caller/build-7",
            "rpc-host://team/caller/build-7 ",
            "https://team/caller/build-7",
        ] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
        }
        let long = format!("rpc-host://team/caller/{}", "x".repeat(64));
        assert!(long.parse::<Subject>().is_err());
    }

    #[test]
    fn only_one_name_of_the_right_kind_speaks_for_a_certificate() {
        let ends = Timestamp::from_unix_ms(1);
        let says = |uris: &[&str]| Certificate::new(uris, &[7], ends).says.is_some();
        let good = "rpc-host://team/caller/build-7";
        assert!(says(&[good]));
        assert!(!says(&[]));
        assert!(!says(&[good, good]));
        assert!(!says(&[good, "https://example.com"]));
        assert!(!says(&["https://example.com"]));
        assert!(Certificate::new(&[good], &[7; 21], ends).says.is_none());
    }
}

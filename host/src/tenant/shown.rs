//! What speaks for a peer beside a token.

use super::{Certificate, Credential, Role, TenantName};

/// What a peer shows by the way that it comes in.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// Nothing: a token has to do.
    #[default]
    Nothing,
    /// A client certificate.
    Certificate(Certificate),
    /// That it started the process, and holds the other end of its streams. Whoever can do that can read and
    /// write all that the node has, so nothing more is asked.
    Starter(Starter),
}

/// Whoever started the process, and what it wants to be on this connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starter {
    /// The tenant; that of the operators where it is none, or that of the token which is shown.
    pub tenant: Option<TenantName>,
    /// The most that it may do; all where it is none.
    pub role: Option<Role>,
}

impl Shown {
    /// Names it, for the record; none where it is nothing, or for nobody.
    pub fn credential(&self) -> Option<Credential> {
        match self {
            Self::Nothing => None,
            Self::Certificate(certificate) => certificate.credential(),
            Self::Starter(_) => Some(Credential::Stdio),
        }
    }
}

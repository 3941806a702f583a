//! An authenticated peer.

use std::sync::Arc;

/// Who is at the other end of a session.
#[derive(Clone, Debug)]
pub struct Principal {
    tenant_name: Arc<str>,
    role: &'static str,
}

impl Principal {
    /// What its tenant is called.
    pub fn tenant_name(&self) -> &str {
        &self.tenant_name
    }

    /// What it may do.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// A principal that no directory vouches for.
    #[cfg(test)]
    pub(crate) fn for_tests(tenant: &str) -> Self {
        Self {
            tenant_name: tenant.into(),
            role: "caller",
        }
    }
}

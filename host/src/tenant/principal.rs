//! An authenticated peer.

use std::sync::Arc;

use super::standing::Standing;
use super::{Role, TenantId, TenantName, TokenId};
use crate::account::Account;
use crate::clock::Timestamp;

/// Who is at the other end of a session. Made by [`super::Directory::authenticate`] only.
#[derive(Clone, Debug)]
pub struct Principal {
    tenant: TenantId,
    tenant_name: TenantName,
    role: Role,
    token_id: TokenId,
    standing: Arc<Standing>,
    account: Arc<Account>,
}

impl Principal {
    pub(super) fn new(
        tenant: TenantId,
        tenant_name: TenantName,
        role: Role,
        token_id: TokenId,
        standing: Arc<Standing>,
        account: Arc<Account>,
    ) -> Self {
        Self {
            tenant,
            tenant_name,
            role,
            token_id,
            standing,
            account,
        }
    }

    /// The tenant it belongs to.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// What that tenant is called.
    pub fn tenant_name(&self) -> &TenantName {
        &self.tenant_name
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// By which token it came in.
    pub fn token_id(&self) -> TokenId {
        self.token_id
    }

    /// When its token ends by itself, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.standing.expires_at()
    }

    /// What its tenant uses.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.standing.is_good(now)
    }

    /// A principal that no directory vouches for.
    ///
    /// # Panics
    /// When the tenant's name is none.
    #[cfg(test)]
    pub(crate) fn for_tests(tenant: &str) -> Self {
        Self {
            tenant: TenantId::new(7),
            tenant_name: tenant.parse().unwrap(),
            role: Role::Caller,
            token_id: "00112233445566aa".parse().unwrap(),
            standing: Arc::new(Standing::until(None)),
            account: Account::for_tests(u64::MAX),
        }
    }
}

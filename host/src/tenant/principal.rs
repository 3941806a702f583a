//! An authenticated peer.

use std::sync::Arc;

use super::settings::SettingsNow;
use super::standing::Holder;
use super::{Credential, Role, Settings, TenantId, TenantName};
use crate::account::Account;
use crate::clock::Timestamp;

/// Who is at the other end of a session. Made by [`super::Directory::admit`] only.
#[derive(Clone, Debug)]
pub struct Principal {
    tenant: TenantId,
    tenant_name: TenantName,
    role: Role,
    holder: Holder,
    account: Arc<Account>,
    settings: SettingsNow,
}

impl Principal {
    pub(super) fn new(
        tenant: TenantId,
        tenant_name: TenantName,
        role: Role,
        holder: Holder,
        account: Arc<Account>,
        settings: SettingsNow,
    ) -> Self {
        Self {
            tenant,
            tenant_name,
            role,
            holder,
            account,
            settings,
        }
    }

    /// One who presents both. Both have to be of one tenant; the lesser role holds, and either's end
    /// ends both.
    pub(super) fn and(self, other: &Principal) -> Option<Self> {
        (self.tenant == other.tenant).then(|| Self {
            role: self.role.min(other.role),
            holder: self.holder.and(&other.holder),
            ..self
        })
    }

    /// The same, who may do no more than this.
    pub(super) fn at_most(self, role: Role) -> Self {
        Self {
            role: self.role.min(role),
            ..self
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

    /// What it came in by; of a token and a certificate together, the token.
    pub fn credential(&self) -> Credential {
        self.holder.credential.clone()
    }

    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// What is set for its tenant, as of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// When its token or certificate ends by itself, if one does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.holder.expires_at()
    }

    /// What its tenant uses.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.holder.is_good(now)
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
            holder: Holder::new("00112233445566aa".parse().unwrap(), []),
            account: Account::for_tests(u64::MAX),
            settings: SettingsNow::new(Settings::unset(&crate::config::Limits::default())),
        }
    }
}

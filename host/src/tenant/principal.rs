//! An authenticated peer.

use std::sync::Arc;

use super::settings::SettingsNow;
use super::standing::Standing;
use super::{Role, Settings, TenantId, TenantName, TokenId};
use crate::clock::Timestamp;

/// Who is at the other end of a session. Made by [`super::Directory::authenticate`] only.
#[derive(Clone, Debug)]
pub struct Principal {
    tenant: TenantId,
    tenant_name: TenantName,
    role: Role,
    token_id: TokenId,
    standing: Arc<Standing>,
    settings: SettingsNow,
}

impl Principal {
    pub(super) fn new(
        tenant: TenantId,
        tenant_name: TenantName,
        role: Role,
        token_id: TokenId,
        standing: Arc<Standing>,
        settings: SettingsNow,
    ) -> Self {
        Self {
            tenant,
            tenant_name,
            role,
            token_id,
            standing,
            settings,
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

    /// What is set for its tenant, as of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// When its token ends by itself, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.standing.expires_at()
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
            settings: SettingsNow::new(Settings::unset(&crate::config::Limits::default())),
        }
    }
}

//! How tenants and tokens are stored. Private forms, converted by hand, so that what is on disk
//! and what is in memory change apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Settings, TenantError, TenantId, Weight};
use crate::capability::Policy;
use crate::config::{Limits, Narrowing, Scope};
use crate::storage::Key;

/// The number the next tenant gets.
pub(super) const NEXT_TENANT: &str = "next-tenant";
/// There once the first admin token was made.
pub(super) const FOUNDED: &str = "founded";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TenantRecord {
    pub(super) name: String,
    pub(super) created_at_ms: u64,
    /// Absent in records of a time when nothing could be set for a tenant.
    #[serde(default, skip_serializing_if = "SettingsRecord::is_unset")]
    pub(super) settings: SettingsRecord,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    /// Patterns; absent where the tenant may grant what the node allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

impl SettingsRecord {
    fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn new(settings: &Settings) -> Self {
        let allow = settings.allow();
        let limits = settings.narrowing().set();
        Self {
            allow: (*allow != Policy::Any).then(|| allow.texts()),
            limits: limits
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            weight: Some(settings.weight())
                .filter(|weight| *weight != Weight::default())
                .map(Weight::number),
        }
    }

    pub(super) fn read(&self, node: &Limits) -> Result<Settings, TenantError> {
        let allow = match &self.allow {
            // There are as many as there were, whatever the limit is by now.
            Some(patterns) => Policy::parse(patterns, u64::MAX)?,
            None => Policy::Any,
        };
        let limits = self.limits.iter().map(|(name, value)| (name, *value));
        let narrowing = Narrowing::restore(limits, Scope::Tenant)?;
        let weight = self.weight.map(Weight::new).transpose()?;
        Ok(Settings::new(
            allow,
            narrowing,
            weight.unwrap_or_default(),
            node,
        ))
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) role: String,
    pub(super) secret_sha256: String,
    pub(super) created_at_ms: u64,
    pub(super) created_by: Option<String>,
    pub(super) expires_at_ms: Option<u64>,
}

/// Where a tenant's own record is. A batch that writes below [`owned`] expects it to be present,
/// so that nothing is written for a tenant that is being removed.
pub fn tenant_key(tenant: TenantId) -> Key {
    Key::root("tenant").join_number(tenant.number())
}

/// Above all that belongs to a tenant, and goes with it.
pub fn owned(tenant: TenantId) -> Key {
    Key::root("owned").join_number(tenant.number())
}

pub(super) fn tenants() -> Key {
    Key::root("tenant")
}

pub(super) fn name_key(name: &str) -> Key {
    Key::root("tenant-name").join(name)
}

pub(super) fn tokens(tenant: TenantId) -> Key {
    owned(tenant).join("token")
}

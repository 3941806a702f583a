//! How tenants and tokens are stored. Private forms, converted by hand, so that what is on disk
//! and what is in memory change apart.

use serde::{Deserialize, Serialize};

use super::TenantId;
use crate::storage::Key;

/// The number the next tenant gets.
pub(super) const NEXT_TENANT: &str = "next-tenant";
/// There once the first admin token was made.
pub(super) const FOUNDED: &str = "founded";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TenantRecord {
    pub(super) name: String,
    pub(super) created_at_ms: u64,
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

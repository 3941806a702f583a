//! Reading the directory from the store.

use std::sync::Arc;

use super::{Known, KnownToken, Tenant, TokenDescription};
use crate::clock::{Timestamp, WallClock};
use crate::config::Limits;
use crate::storage::{Batch, Entry, Expect, Key, Storage, StorageError, damaged, decode, encode};
use crate::tenant::record::{
    FOUNDED, NEXT_TENANT, SettingsRecord, TenantRecord, TokenRecord, name_key, tenant_key, tenants,
    tokens,
};
use crate::tenant::settings::SettingsNow;
use crate::tenant::standing::Standing;
use crate::tenant::token::SecretHash;
use crate::tenant::{TenantError, TenantId, TenantName, TokenId};

const FIRST_TENANT: u64 = 1;

/// Makes tenant `default` in an empty store.
pub(super) fn ensure_default(
    storage: &dyn Storage,
    clock: &dyn WallClock,
) -> Result<(), StorageError> {
    let counter = Key::root(NEXT_TENANT);
    if storage.get(&counter)?.is_some() {
        return Ok(());
    }
    let name = TenantName::operator();
    let record = TenantRecord {
        name: name.to_string(),
        created_at_ms: clock.now().unix_ms(),
        settings: SettingsRecord::default(),
    };
    let batch = Batch::new()
        .expect(counter.clone(), Expect::Absent)
        .put(counter, encode(&FIRST_TENANT.saturating_add(1))?)
        .put(name_key(name.as_str()), encode(&FIRST_TENANT)?)
        .put(tenant_key(TenantId::new(FIRST_TENANT)), encode(&record)?);
    storage.commit(batch)?;
    Ok(())
}

pub(super) fn all(storage: &dyn Storage, limits: &Limits) -> Result<Known, StorageError> {
    let mut known = Known {
        founded: storage.get(&Key::root(FOUNDED))?.is_some(),
        ..Known::default()
    };
    for entry in storage.scan(&tenants().below())? {
        let tenant = tenant(&entry, limits)?;
        for entry in storage.scan(&tokens(tenant.id).below())? {
            let token = token(&entry, &tenant)?;
            known.tokens.insert(token.description.id, token);
        }
        known.enter(tenant);
    }
    Ok(known)
}

fn tenant(entry: &Entry, limits: &Limits) -> Result<Tenant, StorageError> {
    let record: TenantRecord = decode(entry)?;
    let settings = record.settings.read(limits);
    let number = entry
        .key
        .last_number()
        .ok_or_else(|| damaged(entry, "no number in its key"))?;
    Ok(Tenant {
        id: TenantId::new(number),
        name: record.name.parse().map_err(|error| damaged(entry, error))?,
        created_at: Timestamp::from_unix_ms(record.created_at_ms),
        settings: SettingsNow::new(settings.map_err(|error| damaged(entry, error))?),
    })
}

fn token(entry: &Entry, tenant: &Tenant) -> Result<KnownToken, StorageError> {
    let record: TokenRecord = decode(entry)?;
    let id = |text: &str| {
        text.parse::<TokenId>()
            .map_err(|error| damaged(entry, error))
    };
    let expires_at = record.expires_at_ms.map(Timestamp::from_unix_ms);
    Ok(KnownToken {
        tenant: tenant.id,
        tenant_name: tenant.name.clone(),
        settings: tenant.settings.clone(),
        secret: SecretHash::from_hex(&record.secret_sha256)
            .ok_or_else(|| damaged(entry, "not a SHA-256"))?,
        description: TokenDescription {
            id: id(&entry.key.last_segment())?,
            role: record.role.parse().map_err(|error| damaged(entry, error))?,
            created_at: Timestamp::from_unix_ms(record.created_at_ms),
            created_by: record
                .created_by
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error: TenantError| damaged(entry, error))?,
            expires_at,
        },
        standing: Arc::new(Standing::until(expires_at)),
    })
}

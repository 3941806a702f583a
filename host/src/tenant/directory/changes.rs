//! Changing the directory: durable first, visible second.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Inner, IssuedToken, KnownToken, RemovedTenant, Tenant, TokenDescription, allowance};
use crate::clock::Timestamp;
use crate::storage::{Batch, Expect, Key, StorageError, damaged, decode, encode};
use crate::tenant::record::{
    FOUNDED, NEXT_TENANT, SettingsRecord, TenantRecord, TokenRecord, name_key, owned, tenant_key,
    tokens,
};
use crate::tenant::settings::SettingsNow;
use crate::tenant::standing::{Holder, Standing};
use crate::tenant::{
    Credential, OperatorPermit, Role, Settings, SettingsChange, TenantError, TenantId, TenantName,
    Token, TokenId, TokenPermit,
};

impl Inner {
    pub(super) fn create_tenant(
        &self,
        permit: &OperatorPermit,
        name: TenantName,
        change: SettingsChange,
    ) -> Result<Tenant, TenantError> {
        let _changing = self.begin(permit.rests_on())?;
        {
            let known = self.read();
            if known.tenants.contains_key(&name) {
                return Err(TenantError::TenantExists(name));
            }
            within("tenants", known.tenants.len(), self.limits.max_tenants)?;
        }
        let counter = Key::root(NEXT_TENANT);
        let entry = self
            .storage
            .get(&counter)?
            .ok_or_else(|| StorageError::Damaged {
                key: counter.to_string(),
                reason: "it is missing".to_owned(),
            })?;
        let number: u64 = decode(&entry)?;
        let next = number
            .checked_add(1)
            .ok_or_else(|| damaged(&entry, "used up"))?;
        let settings = Settings::unset(&self.limits).changed(change, &self.limits);
        let tenant = Tenant {
            id: TenantId::new(number),
            name: name.clone(),
            created_at: self.clock.now(),
            settings: SettingsNow::new(settings),
        };
        let record = record_of(&tenant, &tenant.settings());
        let batch = Batch::new()
            .expect(counter.clone(), Expect::At(entry.revision))
            .expect(name_key(name.as_str()), Expect::Absent)
            .put(counter, encode(&next)?)
            .put(name_key(name.as_str()), encode(&number)?)
            .put(tenant_key(tenant.id), encode(&record)?);
        self.storage.commit(batch)?;
        self.write().enter(tenant.clone());
        Ok(tenant)
    }

    pub(super) fn set_tenant(
        &self,
        permit: &OperatorPermit,
        name: &TenantName,
        change: SettingsChange,
    ) -> Result<Tenant, TenantError> {
        let _changing = self.begin(permit.rests_on())?;
        let tenant = self.read().tenant(name)?.clone();
        let settings = tenant.settings().changed(change, &self.limits);
        let key = tenant_key(tenant.id);
        let batch = Batch::new()
            .expect(key.clone(), Expect::Present)
            .put(key, encode(&record_of(&tenant, &settings))?);
        self.storage.commit(batch)?;
        tenant.settings.set(settings);
        if let Some(account) = self.accounts.find(tenant.id.number()) {
            account.allow(&allowance(&tenant.settings()));
        }
        Ok(tenant)
    }

    pub(super) fn remove_tenant(
        &self,
        permit: &OperatorPermit,
        name: &TenantName,
    ) -> Result<RemovedTenant, TenantError> {
        let _changing = self.begin(permit.rests_on())?;
        if name.is_operator() {
            return Err(TenantError::DefaultStays);
        }
        let id = self.read().tenant(name)?.id;
        let batch = Batch::new()
            .expect(tenant_key(id), Expect::Present)
            .delete(tenant_key(id))
            .delete(name_key(name.as_str()))
            .delete_below(owned(id).below());
        self.storage.commit(batch)?;
        let mut known = self.write();
        known.tenants.remove(name);
        if let Some(standing) = known.standings.remove(&id) {
            standing.revoke();
        }
        known.tokens.retain(|_, token| {
            if token.tenant == id {
                token.standing.revoke();
            }
            token.tenant != id
        });
        drop(known);
        self.announce();
        Ok(RemovedTenant { id })
    }

    pub(super) fn create_token(
        &self,
        permit: &TokenPermit,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<IssuedToken, TenantError> {
        let _changing = self.begin(permit.rests_on())?;
        if expires_at.is_some_and(|expires_at| expires_at <= self.clock.now()) {
            return Err(TenantError::ExpiryInThePast);
        }
        let tenant = {
            let known = self.read();
            let tenant = known.tenant(permit.of())?.clone();
            within(
                "tokens",
                known.tokens_of(tenant.id).count(),
                tenant.settings().limits().max_tokens_per_tenant,
            )?;
            tenant
        };
        let token = Token::generate()?;
        let description = TokenDescription {
            id: token.id(),
            role,
            created_at: self.clock.now(),
            created_by: Some(permit.holder()),
            expires_at,
        };
        self.keep(&tenant, &token, &description, Batch::new())?;
        Ok(IssuedToken { token, description })
    }

    pub(super) fn found(&self, token: &Token) -> Result<(), TenantError> {
        let _changing = self.lock();
        if self.read().founded {
            return Err(TenantError::AlreadyFounded);
        }
        let tenant = self.read().tenant(&TenantName::operator())?.clone();
        let description = TokenDescription {
            id: token.id(),
            role: Role::Admin,
            created_at: self.clock.now(),
            created_by: None,
            expires_at: None,
        };
        let mark = Key::root(FOUNDED);
        let batch = Batch::new()
            .expect(mark.clone(), Expect::Absent)
            .put(mark, encode(&description.created_at.unix_ms())?);
        self.keep(&tenant, token, &description, batch)?;
        self.write().founded = true;
        Ok(())
    }

    pub(super) fn revoke_token(
        &self,
        permit: &TokenPermit,
        id: TokenId,
    ) -> Result<(), TenantError> {
        let _changing = self.begin(permit.rests_on())?;
        let tenant = {
            let known = self.read();
            let tenant = known.tenant(permit.of())?.clone();
            if known
                .tokens
                .get(&id)
                .is_none_or(|token| token.tenant != tenant.id)
            {
                return Err(TenantError::NoSuchToken(id));
            }
            let now = self.clock.now();
            let another_admin = known.tokens_of(tenant.id).any(|token| {
                token.description.id != id
                    && token.description.role == Role::Admin
                    && token.standing.is_good(now)
            });
            if tenant.name.is_operator() && !another_admin {
                return Err(TenantError::LastOperatorToken);
            }
            tenant
        };
        self.storage
            .commit(Batch::new().delete(tokens(tenant.id).join(&id.to_string())))?;
        if let Some(token) = self.write().tokens.remove(&id) {
            token.standing.revoke();
        }
        self.announce();
        Ok(())
    }

    /// Writes a token, together with what `batch` already holds.
    fn keep(
        &self,
        tenant: &Tenant,
        token: &Token,
        description: &TokenDescription,
        batch: Batch,
    ) -> Result<(), TenantError> {
        let secret = token.hash();
        let record = TokenRecord {
            role: description.role.to_string(),
            secret_sha256: secret.to_hex(),
            created_at_ms: description.created_at.unix_ms(),
            created_by: description.created_by.as_ref().map(Credential::to_string),
            expires_at_ms: description.expires_at.map(Timestamp::unix_ms),
        };
        let key = tokens(tenant.id).join(&description.id.to_string());
        let batch = batch
            .expect(tenant_key(tenant.id), Expect::Present)
            .expect(key.clone(), Expect::Absent)
            .put(key, encode(&record)?);
        self.storage.commit(batch)?;
        let known = KnownToken {
            tenant: tenant.id,
            tenant_name: tenant.name.clone(),
            settings: tenant.settings.clone(),
            secret,
            description: description.clone(),
            standing: Arc::new(Standing::until(description.expires_at)),
        };
        self.write().tokens.insert(description.id, known);
        Ok(())
    }

    /// Takes the turn to change something, for somebody who is good at this very moment: a permit
    /// from before a revocation makes no token after it.
    fn begin(&self, holder: &Holder) -> Result<MutexGuard<'_, ()>, TenantError> {
        let turn = self.lock();
        if !holder.is_good(self.clock.now()) {
            return Err(TenantError::Unauthenticated);
        }
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.departures
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn record_of(tenant: &Tenant, settings: &Settings) -> TenantRecord {
    TenantRecord {
        name: tenant.name.to_string(),
        created_at_ms: tenant.created_at.unix_ms(),
        settings: SettingsRecord::new(settings),
    }
}

fn within(what: &'static str, present: usize, limit: u64) -> Result<(), TenantError> {
    if u64::try_from(present).unwrap_or(u64::MAX) >= limit {
        return Err(TenantError::TooMany { what, limit });
    }
    Ok(())
}

//! The directory: which tenants there are, and who speaks for them.
//!
//! All of it is held in memory, so that authenticating never waits for the disk. A change is
//! durable first and visible second: what a client was told is true after a crash.

mod changes;
mod load;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::settings::SettingsNow;
use super::standing::{Holder, Standing};
use super::token::SecretHash;
use super::{
    Certificate, Credential, OperatorPermit, Principal, ReadPermit, Role, Settings, SettingsChange,
    Shown, Starter, TenantError, TenantId, TenantName, Token, TokenId, TokenPermit,
};
use crate::account::{Account, Accounts, Allowance, Rate};
use crate::clock::{Timestamp, WallClock};
use crate::config::Limits;
use crate::storage::{Storage, blocking};

/// A tenant, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// What it is called.
    pub name: TenantName,
    /// When it was made.
    pub created_at: Timestamp,
    settings: SettingsNow,
}

impl Tenant {
    /// What is set for it, as of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }
}

/// What may be told about a token to those who manage it: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDescription {
    /// The public part.
    pub id: TokenId,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whose token or certificate; none for the node's first one.
    pub created_by: Option<Credential>,
    /// When it ends by itself, if it does.
    pub expires_at: Option<Timestamp>,
}

/// A new token. The only time that its secret leaves the node.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token itself.
    pub token: Token,
    /// What is kept of it.
    pub description: TokenDescription,
}

/// A tenant that is gone from the store. What layers above hold of it in memory and in files has
/// to be let go; they take this as proof that it may.
#[derive(Debug)]
#[must_use = "the registry still holds this tenant's registrations and files"]
pub struct RemovedTenant {
    id: TenantId,
}

impl RemovedTenant {
    /// Which one.
    pub fn id(&self) -> TenantId {
        self.id
    }
}

/// All tenants and tokens of the node. A clone is another handle to the same directory.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn WallClock>,
    /// The node's.
    limits: Limits,
    accounts: Accounts,
    known: RwLock<Known>,
    /// Held over a whole change, disk included, by threads that may block: changes become visible
    /// in the order in which they became durable.
    changing: Mutex<()>,
    departures: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    tenants: BTreeMap<TenantName, Tenant>,
    /// Of each tenant, for those who came in by a certificate: no token's end tells them that it is
    /// gone.
    standings: HashMap<TenantId, Arc<Standing>>,
    tokens: HashMap<TokenId, KnownToken>,
    founded: bool,
}

struct KnownToken {
    tenant: TenantId,
    tenant_name: TenantName,
    settings: SettingsNow,
    secret: SecretHash,
    description: TokenDescription,
    standing: Arc<Standing>,
}

impl Directory {
    /// Reads the directory from the store. A store without tenants gets tenant `default`. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// When the store fails or holds what cannot be.
    pub fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn WallClock>,
        limits: &Limits,
    ) -> Result<Self, TenantError> {
        load::ensure_default(storage.as_ref(), clock.as_ref())?;
        let known = load::all(storage.as_ref(), limits)?;
        Ok(Self {
            inner: Arc::new(Inner {
                storage,
                clock,
                limits: limits.clone(),
                accounts: Accounts::default(),
                known: RwLock::new(known),
                changing: Mutex::new(()),
                departures: watch::Sender::new(0),
            }),
        })
    }

    /// Who presents this. Of a token and a certificate, both have to be good and of one tenant; a token of whoever
    /// started the process has to be good, too, and is then who it is.
    ///
    /// # Errors
    /// [`TenantError::Unauthenticated`], whatever is wrong.
    pub fn admit(&self, token: Option<&str>, shown: &Shown) -> Result<Principal, TenantError> {
        let refused = || TenantError::Unauthenticated;
        match (token, shown) {
            (None, Shown::Nothing) => Err(refused()),
            (Some(token), Shown::Nothing) => self.authenticate(token),
            (None, Shown::Certificate(certificate)) => {
                self.certified(certificate).ok_or_else(refused)
            }
            (Some(token), Shown::Certificate(certificate)) => {
                let certified = self.certified(certificate);
                let by_token = self.authenticate(token)?;
                let both = certified.and_then(|certified| by_token.and(&certified));
                both.ok_or_else(refused)
            }
            (None, Shown::Starter(starter)) => self.starter(starter).map_err(|_| refused()),
            (Some(token), Shown::Starter(Starter { tenant, role })) => {
                let by_token = self.authenticate(token)?;
                match tenant {
                    Some(tenant) if tenant != by_token.tenant_name() => Err(refused()),
                    _ => Ok(by_token.at_most(role.unwrap_or(Role::Admin))),
                }
            }
        }
    }

    /// Whoever started the process.
    ///
    /// # Errors
    /// When there is no tenant of the name that it wants to be of.
    pub fn starter(&self, starter: &Starter) -> Result<Principal, TenantError> {
        let name = starter.tenant.clone();
        let name = name.unwrap_or_else(TenantName::operator);
        let known = self.inner.read();
        let tenant = known.tenant(&name)?;
        let standing = known.standings.get(&tenant.id);
        let standing = standing.ok_or_else(|| TenantError::NoSuchTenant(name.clone()))?;
        Ok(Principal::new(
            tenant.id,
            name,
            starter.role.unwrap_or(Role::Admin),
            Holder::new(Credential::Stdio, [Arc::clone(standing)]),
            self.inner
                .account(tenant.id, &tenant.name, &tenant.settings),
            tenant.settings.clone(),
        ))
    }

    fn certified(&self, certificate: &Certificate) -> Option<Principal> {
        let (subject, id) = certificate.says.as_ref()?;
        let known = self.inner.read();
        let tenant = known.tenants.get(&subject.tenant)?;
        let rests_on = [
            Arc::clone(&certificate.standing),
            Arc::clone(known.standings.get(&tenant.id)?),
        ];
        let holder = Holder::new(Credential::Certificate(id.clone()), rests_on);
        let principal = Principal::new(
            tenant.id,
            tenant.name.clone(),
            subject.role,
            holder,
            self.inner
                .account(tenant.id, &tenant.name, &tenant.settings),
            tenant.settings.clone(),
        );
        principal
            .is_good(self.inner.clock.now())
            .then_some(principal)
    }

    /// Who presents this token. Takes about as long whether the token exists or not.
    ///
    /// # Errors
    /// [`TenantError::Unauthenticated`], whatever is wrong with it.
    pub fn authenticate(&self, token: &str) -> Result<Principal, TenantError> {
        let token: Token = token.parse()?;
        let presented = token.hash();
        let now = self.inner.clock.now();
        let known = self.inner.read();
        let Some(found) = known.tokens.get(&token.id()) else {
            let _ = SecretHash::OF_NOTHING.matches(&presented);
            return Err(TenantError::Unauthenticated);
        };
        if !found.secret.matches(&presented) || !found.standing.is_good(now) {
            return Err(TenantError::Unauthenticated);
        }
        Ok(Principal::new(
            found.tenant,
            found.tenant_name.clone(),
            found.description.role,
            Holder::new(Credential::Token(token.id()), [Arc::clone(&found.standing)]),
            self.inner
                .account(found.tenant, &found.tenant_name, &found.settings),
            found.settings.clone(),
        ))
    }

    /// Whether a principal may still act: neither its token nor its certificate was revoked or ended,
    /// its tenant not removed. A few loads and a look at the clock, cheap enough for every request.
    pub fn still_valid(&self, principal: &Principal) -> bool {
        principal.is_good(self.inner.clock.now())
    }

    /// Changes whenever tokens were revoked or a tenant removed, so that a session that waits can
    /// ask [`Directory::still_valid`] again. Expiry makes no noise: see [`Principal::expires_at`].
    pub fn departures(&self) -> watch::Receiver<u64> {
        self.inner.departures.subscribe()
    }

    /// The numbers of all tenants, for layers that keep something for each of them.
    pub fn tenant_ids(&self) -> Vec<TenantId> {
        self.inner
            .read()
            .tenants
            .values()
            .map(|tenant| tenant.id)
            .collect()
    }

    /// All tenants, by name.
    pub fn tenants(&self, _permit: &OperatorPermit) -> Vec<Tenant> {
        self.inner.read().tenants.values().cloned().collect()
    }

    /// One tenant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn tenant(
        &self,
        _permit: &OperatorPermit,
        name: &TenantName,
    ) -> Result<Tenant, TenantError> {
        self.inner.read().tenant(name).cloned()
    }

    /// The holder's own tenant; none if it was removed in the meantime.
    pub fn own_tenant(&self, permit: &ReadPermit) -> Option<Tenant> {
        let known = self.inner.read();
        known
            .tenants
            .values()
            .find(|tenant| tenant.id == permit.tenant())
            .cloned()
    }

    /// The tokens of a tenant, oldest first.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn tokens(&self, permit: &TokenPermit) -> Result<Vec<TokenDescription>, TenantError> {
        let known = self.inner.read();
        let tenant = known.tenant(permit.of())?.id;
        let mut tokens: Vec<_> = known
            .tokens_of(tenant)
            .map(|t| t.description.clone())
            .collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        Ok(tokens)
    }

    /// Whether the node's first admin token was made.
    pub fn is_founded(&self) -> bool {
        self.inner.read().founded
    }

    /// Makes `token` the node's first admin token. Works once in the life of a store: whoever
    /// loses that token does not get another one by restarting the node. Blocks on the disk.
    ///
    /// # Errors
    /// [`TenantError::AlreadyFounded`] the second time, or when the store fails.
    pub fn found(&self, token: &Token) -> Result<(), TenantError> {
        self.inner.found(token)
    }

    /// Makes a tenant, with what is set for it.
    ///
    /// # Errors
    /// When the name is taken, there are too many, or the store fails.
    pub async fn create_tenant(
        &self,
        permit: &OperatorPermit,
        name: TenantName,
        settings: SettingsChange,
    ) -> Result<Tenant, TenantError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.clone());
        blocking(move || inner.create_tenant(&permit, name, settings)).await?
    }

    /// Sets something for a tenant. It holds for what begins from now on.
    ///
    /// # Errors
    /// When there is none of that name, or the store fails.
    pub async fn set_tenant(
        &self,
        permit: &OperatorPermit,
        name: &TenantName,
        settings: SettingsChange,
    ) -> Result<Tenant, TenantError> {
        let (inner, permit, name) = (Arc::clone(&self.inner), permit.clone(), name.clone());
        blocking(move || inner.set_tenant(&permit, &name, settings)).await?
    }

    /// Removes a tenant with everything it owns. Its tokens are invalid from here on.
    ///
    /// # Errors
    /// When there is none of that name, when it is `default`, or when the store fails.
    pub async fn remove_tenant(
        &self,
        permit: &OperatorPermit,
        name: &TenantName,
    ) -> Result<RemovedTenant, TenantError> {
        let (inner, permit, name) = (Arc::clone(&self.inner), permit.clone(), name.clone());
        blocking(move || inner.remove_tenant(&permit, &name)).await?
    }

    /// Makes a token.
    ///
    /// # Errors
    /// When there is no such tenant, it has too many tokens, the expiry has passed, or the store
    /// fails.
    pub async fn create_token(
        &self,
        permit: &TokenPermit,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<IssuedToken, TenantError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.clone());
        blocking(move || inner.create_token(&permit, role, expires_at)).await?
    }

    /// Revokes a token. Sessions that came in by it are no longer valid.
    ///
    /// # Errors
    /// When the tenant has no such token, when it is the operators' last, or the store fails.
    pub async fn revoke_token(&self, permit: &TokenPermit, id: TokenId) -> Result<(), TenantError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.clone());
        blocking(move || inner.revoke_token(&permit, id)).await?
    }
}

/// What a tenant with these settings may use.
fn allowance(settings: &Settings) -> Allowance {
    let limits = settings.limits();
    let rate = |per_second| Rate {
        per_second,
        burst: Duration::from_millis(limits.rate_burst_ms),
    };
    Allowance {
        max_memory_bytes: limits.max_memory_bytes_per_tenant,
        max_calls_in_flight: limits.max_calls_in_flight_per_tenant,
        calls: rate(limits.max_calls_per_second_per_tenant),
        requests: rate(limits.max_requests_per_second_per_tenant),
        log_bytes: rate(limits.max_log_bytes_per_second_per_tenant),
        weight: settings.weight().number(),
    }
}

impl Inner {
    /// The account of a tenant with these settings. They are looked at within, so that a change of them is
    /// not missed: it comes to whatever account there is, and this one after it.
    fn account(&self, tenant: TenantId, name: &TenantName, settings: &SettingsNow) -> Arc<Account> {
        let (number, name) = (tenant.number(), name.as_str());
        self.accounts
            .of(number, name, || allowance(&settings.get()))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn tenant(&self, name: &TenantName) -> Result<&Tenant, TenantError> {
        self.tenants
            .get(name)
            .ok_or_else(|| TenantError::NoSuchTenant(name.clone()))
    }

    fn enter(&mut self, tenant: Tenant) {
        let standing = Arc::new(Standing::until(None));
        self.standings.insert(tenant.id, standing);
        self.tenants.insert(tenant.name.clone(), tenant);
    }

    fn tokens_of(&self, tenant: TenantId) -> impl Iterator<Item = &KnownToken> {
        self.tokens
            .values()
            .filter(move |token| token.tenant == tenant)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.inner.read();
        formatter
            .debug_struct("Directory")
            .field("tenants", &known.tenants.len())
            .field("tokens", &known.tokens.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

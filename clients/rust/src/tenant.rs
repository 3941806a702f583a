//! Tenants and their tokens. Tenants are for the node's administrator.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_host_protocol::Operation;
use rpc_host_protocol::operation::{
    Named, NewToken, TenantEntry, TenantSettings, TokenCreate, TokenEntry, TokenList, TokenRevoke,
};

use crate::client::Client;
use crate::error::Error;

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The tenant; the caller's own where it is absent.
    pub tenant: Option<String>,
    /// `reader`, `caller`, `deployer` or `admin`.
    pub role: String,
    /// How long it is good for; for ever where it is absent.
    pub expires_in: Option<Duration>,
}

/// What is set for a tenant. What is absent stays as it is; a new tenant has what the node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantOptions {
    /// Patterns of the grants that its registrations may have, of those that the node allows: `any` alone
    /// for all of them, none for none.
    pub allow: Option<Vec<String>>,
    /// All limits below the node's own, by name.
    pub limits: Option<BTreeMap<String, u64>>,
    /// Its share where tenants compete, from 1 to 1000.
    pub weight: Option<u32>,
}

impl TenantOptions {
    fn of(self, name: &str) -> TenantSettings {
        let TenantOptions {
            allow,
            limits,
            weight,
        } = self;
        TenantSettings {
            name: name.to_owned(),
            allow,
            limits,
            weight,
        }
    }
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

impl Client {
    /// Makes a tenant that has what the node has.
    pub async fn tenant_create(&self, name: &str) -> Result<TenantEntry, Error> {
        self.tenant_create_with(name, TenantOptions::default())
            .await
    }

    /// Makes a tenant, with what is set for it.
    pub async fn tenant_create_with(
        &self,
        name: &str,
        options: TenantOptions,
    ) -> Result<TenantEntry, Error> {
        self.operate(Operation::TenantCreate(options.of(name)))
            .await
    }

    /// Sets something for a tenant; what is absent stays as it is. It holds for what begins from then on.
    pub async fn tenant_set(
        &self,
        name: &str,
        options: TenantOptions,
    ) -> Result<TenantEntry, Error> {
        self.operate(Operation::TenantSet(options.of(name))).await
    }

    /// All tenants.
    pub async fn tenant_list(&self) -> Result<Vec<TenantEntry>, Error> {
        self.operate(Operation::TenantList {}).await
    }

    /// One tenant.
    pub async fn tenant_show(&self, name: &str) -> Result<TenantEntry, Error> {
        self.operate(Operation::TenantShow(named(name))).await
    }

    /// Removes a tenant with all it has.
    pub async fn tenant_remove(&self, name: &str) -> Result<(), Error> {
        self.operate(Operation::TenantRemove(named(name))).await
    }

    /// Makes a token. Its secret is given this once.
    pub async fn token_create(&self, request: TokenRequest) -> Result<NewToken, Error> {
        let create = TokenCreate {
            tenant: request.tenant,
            role: request.role,
            // Whole seconds, and never fewer than were asked for.
            expires_in_s: request.expires_in.map(|expires_in| {
                let begun = u64::from(expires_in.subsec_nanos() > 0);
                expires_in.as_secs().saturating_add(begun)
            }),
        };
        self.operate(Operation::TokenCreate(create)).await
    }

    /// The tokens of a tenant; of the caller's own where it is absent.
    pub async fn token_list(&self, tenant: Option<&str>) -> Result<Vec<TokenEntry>, Error> {
        let tenant = tenant.map(str::to_owned);
        self.operate(Operation::TokenList(TokenList { tenant }))
            .await
    }

    /// Makes a token worthless at once, by its public id.
    pub async fn token_revoke(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.operate(Operation::TokenRevoke(TokenRevoke { id }))
            .await
    }
}

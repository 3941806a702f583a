//! Tenants and their tokens. Tenants are for the node's administrator.

use std::time::Duration;

use rpc_host_protocol::Operation;
use rpc_host_protocol::operation::{
    Named, NewToken, TenantEntry, TokenCreate, TokenEntry, TokenList, TokenRevoke,
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

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

impl Client {
    /// Makes a tenant.
    pub async fn tenant_create(&self, name: &str) -> Result<TenantEntry, Error> {
        self.operate(Operation::TenantCreate(named(name))).await
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

//! A tenant of its own for a test.

use std::path::PathBuf;
use std::sync::Arc;

use rpc_host_client::{Client, Module, Options, Profile, TokenRequest};

use crate::cli::Cli;
use crate::host::TestHost;
use crate::raw_peer::RawPeer;

/// A tenant that nobody else uses, with an admin token of its own.
///
/// It keeps the node alive on which it is.
pub struct TestTenant {
    /// The node.
    pub host: Arc<TestHost>,
    /// The tenant's name.
    pub name: String,
    /// Its admin's token.
    pub token: String,
    /// A client with that token.
    pub client: Client,
}

impl TestTenant {
    /// Makes a tenant on `host`.
    pub async fn new(host: Arc<TestHost>) -> Self {
        let name = host.fresh_name("tenant");
        let admin = host.client().await;
        admin.tenant_create(&name).await.expect("a tenant");
        let token = token(&admin, &name, "admin").await;
        let client = Client::connect(host.profile(&token)).await;
        TestTenant {
            client: client.expect("a client of the new tenant"),
            host,
            name,
            token,
        }
    }

    /// A new token of this tenant.
    pub async fn token(&self, role: &str) -> String {
        token(&self.client, &self.name, role).await
    }

    /// A profile with the admin's token.
    pub fn profile(&self) -> Profile {
        self.host.profile(&self.token)
    }

    /// A new client with the same token, for a node that was started again.
    pub async fn client_again(&self) -> Client {
        Client::connect(self.profile()).await.expect("a client")
    }

    /// A new client with a new token.
    pub async fn client_of(&self, role: &str) -> Client {
        let profile = self.host.profile(&self.token(role).await);
        Client::connect(profile).await.expect("a client")
    }

    /// Uploads and registers a component without any grant.
    pub async fn register(&self, name: &str, wasm: Vec<u8>) -> Module {
        self.register_with(name, wasm, Options::default()).await
    }

    /// Uploads and registers a component.
    pub async fn register_with(&self, name: &str, wasm: Vec<u8>, options: Options) -> Module {
        let module = self.client.upload_module(wasm).await;
        let module = module.unwrap_or_else(|error| panic!("upload of {name}: {error}"));
        let registered = self.client.register(name, &module, options).await;
        registered.unwrap_or_else(|error| panic!("registration of {name}: {error}"));
        module
    }

    /// The command line with the admin's profile.
    pub fn cli<const N: usize>(&self, arguments: [&str; N]) -> Cli {
        self.command(arguments)
    }

    /// The same, with arguments of which it is not known yet how many there are.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Cli {
        let profile = self.profile_path();
        Cli::new(self.host.directory(), arguments).env("RPC_HOST_PROFILE", profile)
    }

    /// A file with the admin's profile.
    pub fn profile_path(&self) -> PathBuf {
        self.host.profile_file(&self.name, &self.token)
    }

    /// A peer that has said hello with the admin's token and was welcomed.
    pub async fn raw_peer(&self) -> RawPeer {
        RawPeer::welcomed(&self.host, &self.token).await
    }
}

async fn token(client: &Client, tenant: &str, role: &str) -> String {
    let request = TokenRequest {
        tenant: Some(tenant.to_owned()),
        role: role.to_owned(),
        expires_in: None,
    };
    client.token_create(request).await.expect("a token").token
}

//! The first start, and every later one: from a configuration to a node that could serve.
//!
//! On an empty data directory this makes a certificate authority, a server certificate, a key for
//! artifacts, a store with tenant `default`, an admin token and the profile that holds it. Each
//! piece is durable before the next is begun, and each is made only if it is not there, so a start
//! that was cut off anywhere is completed by the next.
//!
//! The admin token is written into the profile *before* the store learns of it: a crash in between
//! leaves a token that is not yet good, and the next start makes it good. The other way round the
//! only copy of a good token could be lost. Once the store knows a first token, none is ever made
//! here again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::clock::WallClock;
use crate::config::{Config, DataDir, NodeKey, Profile, ServerName};
use crate::storage::file::{self, Access};
use crate::storage::{RedbStorage, Storage, StorageError};
use crate::tenant::{Directory, TenantError, Token};
use crate::transport::{
    AuthorityFiles, ClientTrust, IdentityError, IdentityFiles, NodeIdentity, ServerFiles,
};

/// The name that the profile checks the certificate against: every certificate has it, wherever
/// the node listens.
const PROFILE_SERVER_NAME: &str = "localhost";

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The data directory or the store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The tenants and tokens.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What became of the client profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileOutcome {
    /// The first one, with a new admin token.
    Created,
    /// Only its address was wrong.
    AddressRefreshed,
    /// It was right.
    Unchanged,
    /// There is none any more, and none is made: the node was given its first token before.
    Absent,
    /// There is a file by that name that is no profile. It is left alone.
    Unreadable,
}

/// Everything that has to be there before a node serves.
#[derive(Debug)]
pub struct Foundation {
    /// Where everything is kept; holds the lock on it.
    pub data: DataDir,
    /// The store of records.
    pub storage: Arc<dyn Storage>,
    /// Tenants and tokens.
    pub directory: Directory,
    /// The certificate to show.
    pub identity: NodeIdentity,
    /// Where the operator's own server certificate is, if there is one.
    pub server: Option<ServerFiles>,
    /// Whose certificates of clients are believed.
    pub clients: Arc<ClientTrust>,
    /// What compiled artifacts are authenticated with.
    pub node_key: NodeKey,
}

impl Foundation {
    /// Opens the data directory of a configuration and makes what is missing in it. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// When another node uses it, a later release wrote it, something in it is damaged, or the
    /// disk refuses.
    pub fn lay(config: &Config, clock: &Arc<dyn WallClock>) -> Result<Self, BootstrapError> {
        let data = DataDir::open(&config.data)?;
        // First of all, so that a store of a later release stops this before anything is changed.
        let storage: Arc<dyn Storage> = Arc::new(RedbStorage::open(&data.store())?);
        let directory = Directory::open(Arc::clone(&storage), Arc::clone(clock), &config.limits)?;
        let node_key = NodeKey::load_or_create(&data.node_key())?;
        let identity = NodeIdentity::open(&IdentityFiles::from(&data), names(config), clock.now())?;
        let server = config.server_certificate.as_ref().map(|files| ServerFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        });
        if let Some(files) = &server {
            identity.certificate().load(files, clock.now())?;
        }
        let clients = client_authorities(config, &data);
        let clients = ClientTrust::open(clients, Arc::clone(clock), &config.limits)?;
        Ok(Self {
            data,
            storage,
            directory,
            identity,
            server,
            clients: Arc::new(clients),
            node_key,
        })
    }

    /// Writes the client profile, or keeps it up to date with the address that is really listened
    /// on. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses, or the system has no randomness for a token.
    pub fn publish_profile(&self, bound: SocketAddr) -> Result<ProfileOutcome, BootstrapError> {
        let path = self.data.client_profile();
        let text = file::read_text(&path)?.map(Zeroizing::new);
        let present = text.as_deref().map(|text| Profile::from_text(text));
        if !self.directory.is_founded() {
            let cut_off = present
                .and_then(Result::ok)
                .and_then(|p| p.token.parse::<Token>().ok());
            let token = cut_off.map_or_else(Token::generate, Ok)?;
            self.write_profile(bound, token.expose())?;
            self.directory.found(&token)?;
            return Ok(ProfileOutcome::Created);
        }
        match present {
            None => Ok(ProfileOutcome::Absent),
            Some(Err(_)) => Ok(ProfileOutcome::Unreadable),
            Some(Ok(profile)) if profile.address == reachable(bound).to_string() => {
                Ok(ProfileOutcome::Unchanged)
            }
            Some(Ok(profile)) => {
                self.write_profile(bound, profile.token)?;
                Ok(ProfileOutcome::AddressRefreshed)
            }
        }
    }

    fn write_profile(
        &self,
        bound: SocketAddr,
        token: Zeroizing<String>,
    ) -> Result<(), StorageError> {
        let profile = Profile {
            address: reachable(bound).to_string(),
            server_name: PROFILE_SERVER_NAME.to_owned(),
            authority_pem: self.identity.authority_pem().to_owned(),
            token,
        };
        file::replace(
            &self.data.client_profile(),
            profile.to_text().as_bytes(),
            Access::Private,
        )
    }
}

/// The operator's, and the node's own.
fn client_authorities(config: &Config, data: &DataDir) -> Vec<AuthorityFiles> {
    let configured = config.client_certificates.as_ref();
    let configured = configured.map(|files| AuthorityFiles {
        certificates: files.authority.clone(),
        revoked: files.revoked.clone(),
        may_be_absent: false,
    });
    let own = AuthorityFiles {
        certificates: data.clients().join("ca.pem"),
        revoked: Some(data.clients().join("revoked.pem")),
        may_be_absent: true,
    };
    configured.into_iter().chain([own]).collect()
}

/// The names of the certificate: the local ones, the one listened on, the configured ones.
fn names(config: &Config) -> Vec<ServerName> {
    let listened = config.listen.host().clone();
    let listened = (!listened.ip().is_some_and(|ip| ip.is_unspecified())).then_some(listened);
    let mut names: Vec<_> = ServerName::local().into_iter().chain(listened).collect();
    names.extend(config.server_names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// Where a client of this machine finds the node: listening everywhere includes the loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests;

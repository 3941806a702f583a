//! Who is who: tenants, the tokens and certificates that speak for them, and what each may do.
//!
//! What a peer presents is checked once, when a session begins, and gives a [`Principal`]. Asking a principal
//! for something gives a *permit*, which the function that does the thing takes as an argument:
//! an unchecked call does not compile. A tenant learns nothing of others; to it, what is foreign
//! and what is absent look the same.
//!
//! Deliberately not here: what tenants own beside tokens. It lies below [`owned`] in the store, so
//! that removing a tenant removes it in one commit, without this layer knowing what it is.

mod certificate;
mod credential;
mod directory;
mod error;
mod id;
mod name;
mod permit;
mod principal;
mod record;
mod role;
mod settings;
mod shown;
mod standing;
mod token;

pub use certificate::{Certificate, HolderName, Subject};
pub use credential::{CertificateId, Credential};
pub use directory::{Directory, IssuedToken, RemovedTenant, Tenant, TokenDescription};
pub use error::TenantError;
pub use id::TenantId;
pub use name::TenantName;
pub use permit::{CallPermit, DeployPermit, OperatorPermit, ReadPermit, TokenPermit};
pub use principal::Principal;
pub use record::{owned, tenant_key};
pub use role::Role;
pub use settings::{Settings, SettingsChange, Weight};
pub use shown::{Shown, Starter};
pub use token::{Token, TokenId};

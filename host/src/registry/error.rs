//! What this layer refuses, and what it cannot do.

use super::{Breach, Digest, ImportName, RegistrationName};
use crate::capability::{Authority, GrantError};
use crate::config::NarrowingError;
use crate::storage::{Stopped, StorageError};
use crate::tenant::{TenantId, tenant_key};

/// A refusal or a failure. All variants but `Storage` are safe to send to the peer that caused
/// them: they speak of its own tenant only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Not a digest.
    #[error("a digest is `sha256:` and 64 lower-case hexadecimal digits")]
    InvalidDigest,
    /// Not a name.
    #[error(
        "a registration's name is 1 to 128 of a-z, 0-9 and `-:/.@`, begins with a letter, and not \
         with `sha256:` or `revision:`"
    )]
    InvalidName,
    /// Not an import.
    #[error(
        "an import is named as the component names it, such as `acme:log/logger@1.0.0`, in at most \
         256 characters"
    )]
    InvalidImport,
    /// A binding for an import that is not there.
    #[error("the module does not import `{import}`; `rpc-host inspect` shows what it imports")]
    NotImported {
        /// Which import.
        import: ImportName,
    },
    /// A binding for an import that the node answers.
    #[error("`{import}` cannot be bound: it is the node's own ({note})")]
    NotBindable {
        /// Which import.
        import: ImportName,
        /// What stands behind it.
        note: String,
    },
    /// A guest called an import that nothing answers.
    #[error("`{by}` called `{import}`, which nothing answers; {remedy}")]
    Unbound {
        /// Which import.
        import: String,
        /// Who called.
        by: RegistrationName,
        /// What to do.
        remedy: String,
    },
    /// A guest called a function that is not there where its import is answered.
    #[error(
        "`{by}` called `{function}` of `{name}`, which {difference}; swap or bind another module"
    )]
    NotOffered {
        /// Which function.
        function: String,
        /// Who called.
        by: RegistrationName,
        /// Who should answer.
        name: String,
        /// What is there instead.
        difference: String,
    },
    /// One import, two answers.
    #[error("import `{import}` is bound twice; leave one binding out")]
    BoundTwice {
        /// Which import.
        import: ImportName,
    },
    /// More bindings than a registration may have.
    #[error("a registration has at most {limit} bindings")]
    TooManyBindings {
        /// How many it may have.
        limit: usize,
    },
    /// Not grants, or none that are to be had here.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A limit that cannot be set so.
    #[error(transparent)]
    Limit(#[from] NarrowingError),
    /// A grant that somebody does not allow.
    #[error(
        "the {} does not allow `{subject}`; leave the grant out, or ask its operator", .by.as_str()
    )]
    NotAllowed {
        /// What the grant is about.
        subject: String,
        /// Who does not allow it.
        by: Authority,
    },
    /// Absent, or another tenant's: there is no telling which.
    #[error("there is no registration `{name}`; see `rpc-host list`")]
    NoSuchRegistration {
        /// What was asked for.
        name: String,
    },
    /// Absent, or another tenant's: there is no telling which.
    #[error("there is no module {digest}; upload it first")]
    NoSuchModule {
        /// What was asked for.
        digest: Digest,
    },
    /// The registration is not what the caller took it to be.
    #[error("`{name}` is {}; look at it again before you change it", at(*.actual))]
    NotAsExpected {
        /// Which registration.
        name: RegistrationName,
        /// Its revision, if it is there.
        actual: Option<u64>,
    },
    /// A revision that never was, or was forgotten.
    #[error(
        "revision {number} of `{name}` is not kept; `rpc-host history {name}` lists those that are"
    )]
    NoSuchRevision {
        /// Which registration.
        name: RegistrationName,
        /// What was asked for.
        number: u64,
    },
    /// Nothing to roll back to.
    #[error("`{name}` is at its first revision; there is none before it")]
    NoEarlierRevision {
        /// Which registration.
        name: RegistrationName,
    },
    /// Somebody counts on what would be missing.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// Others changed the registration, or those that it has to do with, again and again.
    #[error("`{name}` and what depends on it keep changing; try again")]
    Unsettled {
        /// Which registration.
        name: RegistrationName,
    },
    /// More imports than registrations may answer.
    #[error("the module has {found} imports for registrations to answer, the most are {limit}")]
    TooManyImports {
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A module that a registration may still go back to.
    #[error("module {digest} is used by `{by}`; remove that registration first")]
    ModuleInUse {
        /// Which module.
        digest: Digest,
        /// One of its users.
        by: RegistrationName,
    },
    /// No bytes at all.
    #[error("the module is empty")]
    EmptyUpload,
    /// More than one module may have.
    #[error("the module has {size_bytes} bytes, the node takes at most {limit_bytes}")]
    TooLarge {
        /// What was declared.
        size_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// More than all modules of a tenant may have.
    #[error(
        "the module has {size_bytes} bytes, the tenant has room for {free_bytes}; remove a module"
    )]
    NoRoom {
        /// What was declared.
        size_bytes: u64,
        /// What is left, uploads under way taken off.
        free_bytes: u64,
    },
    /// More than the compiled forms of all modules of a tenant may have.
    #[error(
        "the compiled code of the module has {size_bytes} bytes, the tenant has room for {free_bytes} \
         (`max-artifact-bytes-per-tenant`); remove a module"
    )]
    NoRoomForArtifact {
        /// How large it is.
        size_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
    /// A quota is used up.
    #[error("the tenant has {limit} {what}, the most that are allowed; remove one first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// The upload did not keep to its declaration.
    #[error("the upload has {received_bytes} bytes or more, {declared_bytes} were declared")]
    UploadTooLong {
        /// What came.
        received_bytes: u64,
        /// What was to come.
        declared_bytes: u64,
    },
    /// The upload did not keep to its declaration.
    #[error("the upload ended after {received_bytes} bytes, {declared_bytes} were declared")]
    UploadTooShort {
        /// What came.
        received_bytes: u64,
        /// What was to come.
        declared_bytes: u64,
    },
    /// Damaged on the way, or declared wrongly.
    #[error("the uploaded bytes are {actual}, {declared} was declared; upload them again")]
    DigestMismatch {
        /// What came.
        actual: Digest,
        /// What was to come.
        declared: Digest,
    },
    /// The tenant was removed while this was under way.
    #[error("the tenant was removed")]
    TenantGone,
    /// What is below failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Stopped> for RegistryError {
    fn from(stopped: Stopped) -> Self {
        Self::Storage(stopped.into())
    }
}

impl RegistryError {
    /// A commit that expected the tenant to be there says so when it was not.
    pub(super) fn committing(tenant: TenantId, error: StorageError) -> Self {
        match error {
            StorageError::Conflict { key } if key == tenant_key(tenant).to_string() => {
                Self::TenantGone
            }
            other => Self::Storage(other),
        }
    }
}

fn at(revision: Option<u64>) -> String {
    revision.map_or_else(
        || "not there".to_owned(),
        |number| format!("at revision {number}"),
    )
}

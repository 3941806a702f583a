//! The errors of all layers → what a peer is told.
//!
//! Every cause has a code and somebody whose fault it is. There is no catch-all: a new cause does not
//! compile until someone has given it both. Causes that are the node's own go to the log with all they
//! say; the peer gets a reference to look for there.

use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{ErrorCode, Failure, Fault};

use crate::capability::{GrantError, PolicyError};
use crate::chain::ChainError;
use crate::objects::ObjectError;
use crate::provider::ProviderError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::storage::StorageError;
use crate::tenant::TenantError;
use crate::volume::VolumeError;

/// Any error that an exchange can end with.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Who may do what.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Modules and registrations.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Components and calls.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Calls that lead to calls.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What clients serve.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// What sessions hold.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// What may be granted.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Directories for modules.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Values of a call.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// What the wire knows and this node does not do.
    #[error("this node does not do that: {0}")]
    Unimplemented(&'static str),
}

impl HostError {
    /// What it is for programs, and whose doing.
    pub fn code_and_fault(&self) -> (ErrorCode, Fault) {
        match self {
            HostError::Tenant(error) => tenant(error),
            HostError::Registry(error) => registry(error),
            HostError::Sandbox(error) => sandbox(error),
            HostError::Chain(error) => chain(error),
            HostError::Provider(error) => provider(error),
            HostError::Object(error) => object(error),
            // A guest hears of these otherwise; this is the node clearing up.
            HostError::Volume(_) => (ErrorCode::Internal, Fault::Host),
            HostError::Policy(_) | HostError::Value(_) => (ErrorCode::InvalidArgument, Fault::Peer),
            HostError::Unimplemented(_) => (ErrorCode::Unimplemented, Fault::Host),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        if let HostError::Sandbox(SandboxError::Outside(failure)) = error {
            // It was told in full where it came about.
            return *failure;
        }
        let (code, fault) = error.code_and_fault();
        if fault == Fault::Host && code == ErrorCode::Internal {
            return internal(&error);
        }
        let failure = Failure::new(code, fault, error.to_string());
        match error {
            HostError::Sandbox(SandboxError::Trapped { backtrace, .. }) => {
                failure.with_backtrace(backtrace)
            }
            _ => failure,
        }
    }
}

/// The text of an error of the node itself may name paths and other tenants; it stays here.
fn internal(error: &HostError) -> Failure {
    let mut reference = [0; 8];
    // Without randomness all references are alike, which the log survives.
    let _unlikely = aws_lc_rs::rand::fill(&mut reference);
    let reference = format!("{:016x}", u64::from_be_bytes(reference));
    tracing::error!(reference, %error, "an exchange failed by the node's own fault");
    let text =
        format!("the node failed; its operator finds the reason in its log under {reference}");
    Failure::new(ErrorCode::Internal, Fault::Host, text)
}

fn storage(error: &StorageError) -> (ErrorCode, Fault) {
    match error {
        StorageError::Conflict { .. } => (ErrorCode::Aborted, Fault::Tenant),
        StorageError::TooLarge { .. } => (ErrorCode::ResourceExhausted, Fault::Peer),
        StorageError::Stopped => (ErrorCode::Unavailable, Fault::Host),
        StorageError::NewerFormat { .. }
        | StorageError::InUse { .. }
        | StorageError::NotOurs { .. }
        | StorageError::Damaged { .. }
        | StorageError::Engine(_)
        | StorageError::File { .. } => (ErrorCode::Internal, Fault::Host),
    }
}

fn chain(error: &ChainError) -> (ErrorCode, Fault) {
    match error {
        ChainError::TooDeep { .. } | ChainError::TooManyInstances { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Tenant)
        }
        ChainError::WouldDeadlock { .. } => (ErrorCode::WouldDeadlock, Fault::Tenant),
    }
}

fn object(error: &ObjectError) -> (ErrorCode, Fault) {
    match error {
        ObjectError::NotHeld { .. } => (ErrorCode::NotFound, Fault::Peer),
        ObjectError::Gone { .. } | ObjectError::InstanceGone { .. } => {
            (ErrorCode::FailedPrecondition, Fault::Guest)
        }
        ObjectError::Elsewhere { .. }
        | ObjectError::NoPlace { .. }
        | ObjectError::NoPart { .. }
        | ObjectError::Lent { .. } => (ErrorCode::FailedPrecondition, Fault::Peer),
        ObjectError::ShortLived { .. } => (ErrorCode::FailedPrecondition, Fault::Tenant),
        ObjectError::Twice { .. }
        | ObjectError::OfAnotherResource { .. }
        | ObjectError::NotTheClients { .. }
        | ObjectError::ReleasedTooOften { .. } => (ErrorCode::InvalidArgument, Fault::Peer),
        ObjectError::TooMany { .. } | ObjectError::TooManyPinned { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Peer)
        }
        ObjectError::TooManyPinnedOfTenant { .. } => (ErrorCode::ResourceExhausted, Fault::Tenant),
        ObjectError::NoRoomToPin => (ErrorCode::Unavailable, Fault::Host),
        ObjectError::Narrowed { is_callers, .. } => match is_callers {
            true => (ErrorCode::FailedPrecondition, Fault::Peer),
            false => (ErrorCode::FailedPrecondition, Fault::Tenant),
        },
        ObjectError::SessionOver => (ErrorCode::Cancelled, Fault::Peer),
    }
}

fn tenant(error: &TenantError) -> (ErrorCode, Fault) {
    match error {
        TenantError::Unauthenticated => (ErrorCode::Unauthenticated, Fault::Peer),
        TenantError::RoleTooLow { .. } | TenantError::NotAdminOf | TenantError::NotOperator => {
            (ErrorCode::PermissionDenied, Fault::Peer)
        }
        TenantError::NoSuchTenant(_) | TenantError::NoSuchToken(_) => {
            (ErrorCode::NotFound, Fault::Peer)
        }
        TenantError::TenantExists(_) => (ErrorCode::AlreadyExists, Fault::Peer),
        TenantError::DefaultStays
        | TenantError::LastOperatorToken
        | TenantError::AlreadyFounded => (ErrorCode::FailedPrecondition, Fault::Peer),
        TenantError::TooMany { .. } => (ErrorCode::ResourceExhausted, Fault::Tenant),
        TenantError::InvalidName
        | TenantError::UnknownRole
        | TenantError::InvalidWeight { .. }
        | TenantError::Policy(_)
        | TenantError::Limit(_)
        | TenantError::InvalidTokenId
        | TenantError::InvalidHolderName
        | TenantError::ExpiryInThePast => (ErrorCode::InvalidArgument, Fault::Peer),
        TenantError::NoRandomness => (ErrorCode::Internal, Fault::Host),
        TenantError::Storage(error) => storage(error),
    }
}

fn registry(error: &RegistryError) -> (ErrorCode, Fault) {
    match error {
        RegistryError::InvalidDigest
        | RegistryError::InvalidName
        | RegistryError::InvalidImport
        | RegistryError::BoundTwice { .. }
        | RegistryError::Limit(_)
        | RegistryError::EmptyUpload
        | RegistryError::UploadTooLong { .. }
        | RegistryError::UploadTooShort { .. }
        | RegistryError::DigestMismatch { .. } => (ErrorCode::InvalidArgument, Fault::Peer),
        RegistryError::NoSuchRegistration { .. }
        | RegistryError::NoSuchRevision { .. }
        | RegistryError::NoSuchModule { .. } => (ErrorCode::NotFound, Fault::Peer),
        RegistryError::NotAsExpected { .. } => (ErrorCode::Aborted, Fault::Peer),
        RegistryError::Unsettled { .. } => (ErrorCode::Aborted, Fault::Tenant),
        RegistryError::NotImported { .. }
        | RegistryError::NoEarlierRevision { .. }
        | RegistryError::Breach(_)
        | RegistryError::NotBindable { .. }
        | RegistryError::ModuleInUse { .. } => (ErrorCode::FailedPrecondition, Fault::Peer),
        RegistryError::Unbound { .. } | RegistryError::NotOffered { .. } => {
            (ErrorCode::FailedPrecondition, Fault::Tenant)
        }
        RegistryError::Grant(error) => grant(error),
        RegistryError::NotAllowed { .. } => (ErrorCode::PermissionDenied, Fault::Peer),
        RegistryError::TooLarge { .. } | RegistryError::TooManyImports { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Peer)
        }
        RegistryError::TooManyBindings { .. }
        | RegistryError::NoRoom { .. }
        | RegistryError::NoRoomForArtifact { .. }
        | RegistryError::TooMany { .. } => (ErrorCode::ResourceExhausted, Fault::Tenant),
        RegistryError::TenantGone => (ErrorCode::NotFound, Fault::Tenant),
        RegistryError::Storage(error) => storage(error),
    }
}

fn grant(error: &GrantError) -> (ErrorCode, Fault) {
    match error {
        GrantError::Unknown { .. } | GrantError::Malformed { .. } | GrantError::Twice { .. } => {
            (ErrorCode::InvalidArgument, Fault::Peer)
        }
        GrantError::TooMany { .. } | GrantError::TooLong { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Peer)
        }
        GrantError::NotServed { .. } => (ErrorCode::FailedPrecondition, Fault::Peer),
    }
}

fn sandbox(error: &SandboxError) -> (ErrorCode, Fault) {
    match error {
        SandboxError::NotAComponent(_)
        | SandboxError::InvalidComponent(_)
        | SandboxError::InvalidWit(_)
        | SandboxError::NoFunction { .. }
        | SandboxError::Ambiguous { .. }
        | SandboxError::Arguments(_) => (ErrorCode::InvalidArgument, Fault::Peer),
        SandboxError::TooComplex { .. }
        | SandboxError::CompileTimeout(_)
        | SandboxError::CompilerOutOfMemory { .. }
        | SandboxError::CompilerDied(_)
        | SandboxError::ArtifactTooLarge { .. }
        | SandboxError::NoSuchRoom(_) => (ErrorCode::ResourceExhausted, Fault::Peer),
        SandboxError::RefusedImport { .. } => (ErrorCode::FailedPrecondition, Fault::Peer),
        SandboxError::ForeignObject { .. } => (ErrorCode::FailedPrecondition, Fault::Tenant),
        SandboxError::Damaged => (ErrorCode::DataLoss, Fault::Host),
        SandboxError::Trapped { .. } => (ErrorCode::Trapped, Fault::Guest),
        SandboxError::Outside(failure) => (failure.code, failure.fault),
        SandboxError::MissingGrant(_) => (ErrorCode::PermissionDenied, Fault::Tenant),
        SandboxError::DeadlineExceeded(_) => (ErrorCode::DeadlineExceeded, Fault::Guest),
        SandboxError::Spent(_)
        | SandboxError::ResultTooLarge { .. }
        | SandboxError::TooMuchData { .. }
        | SandboxError::TooMuchPassing { .. }
        | SandboxError::TooManyObjects { .. }
        | SandboxError::OutOfMemory { .. } => (ErrorCode::ResourceExhausted, Fault::Guest),
        SandboxError::TenantOutOfMemory { .. } => (ErrorCode::ResourceExhausted, Fault::Tenant),
        SandboxError::Busy | SandboxError::CompilerBusy { .. } => {
            (ErrorCode::Unavailable, Fault::Host)
        }
        SandboxError::CompilerQueueFull { .. } => (ErrorCode::ResourceExhausted, Fault::Tenant),
        SandboxError::Artifact(_) | SandboxError::Io { .. } | SandboxError::Internal(_) => {
            (ErrorCode::Internal, Fault::Host)
        }
    }
}

fn provider(error: &ProviderError) -> (ErrorCode, Fault) {
    match error {
        ProviderError::Lost { .. } => (ErrorCode::ProviderLost, Fault::Application),
        ProviderError::Failed { .. } => (ErrorCode::Unknown, Fault::Application),
        ProviderError::DeadlineExceeded { .. } => (ErrorCode::DeadlineExceeded, Fault::Application),
        ProviderError::WouldDeadlock { .. } => (ErrorCode::WouldDeadlock, Fault::Tenant),
        ProviderError::Chain(error) => chain(error),
        ProviderError::Full { .. } | ProviderError::TooMany { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Tenant)
        }
        ProviderError::TooLong { .. } => (ErrorCode::ResourceExhausted, Fault::Guest),
        ProviderError::WitTooLong { .. } => (ErrorCode::ResourceExhausted, Fault::Peer),
        // No role would help: it is the name that is wrong.
        ProviderError::Reserved { .. } => (ErrorCode::PermissionDenied, Fault::Tenant),
        ProviderError::OutOfBounds { .. } => (ErrorCode::InvalidArgument, Fault::Peer),
        ProviderError::Taken { .. } => (ErrorCode::AlreadyExists, Fault::Tenant),
        ProviderError::NotServed { .. } | ProviderError::NotServing { .. } => {
            (ErrorCode::NotFound, Fault::Peer)
        }
        ProviderError::ServedByClient { .. }
        | ProviderError::NoContract { .. }
        | ProviderError::Differs { .. } => (ErrorCode::FailedPrecondition, Fault::Peer),
    }
}

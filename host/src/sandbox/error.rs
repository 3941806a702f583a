//! Why a component was refused, or how a call of it ended.

use std::time::Duration;

use rpc_host_protocol::Failure;
use rpc_host_protocol::value::ValueError;

/// What can go wrong with a component.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The bytes are something else.
    #[error("{0}")]
    NotAComponent(String),
    /// A component, but not a valid one.
    #[error("the component is not valid: {0}")]
    InvalidComponent(String),
    /// What was sent as WIT is none, or is of no use.
    #[error("the WIT text cannot be used: {0}")]
    InvalidWit(String),
    /// A component that is larger or more complex than the node takes.
    #[error("the component has {found} {what}, the limit is {limit}")]
    TooComplex {
        /// What was counted.
        what: &'static str,
        /// How many there are, at least.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The compiler took too long.
    #[error(
        "compiling took longer than {} s, the limit `compile-timeout-ms`; make the component smaller",
        .0.as_secs()
    )]
    CompileTimeout(Duration),
    /// The compiler asked for more memory than it may have.
    #[error(
        "the compiler needs more memory than `max-compile-memory-bytes` allows, {limit_bytes} bytes; \
         make the component smaller"
    )]
    CompilerOutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The tenant has as many modules waiting for the compiler as it may.
    #[error(
        "{limit} modules of the tenant wait to be compiled, as many as `max-queued-compiles-per-tenant` \
         allows; try again when one is"
    )]
    CompilerQueueFull {
        /// How many may wait.
        limit: u64,
    },
    /// All tenants together have.
    #[error(
        "{limit} modules wait to be compiled, as many as `max-queued-compiles` allows; try again"
    )]
    CompilerBusy {
        /// How many may wait.
        limit: u64,
    },
    /// The compiler's process ended without a result.
    #[error("the component is too expensive to compile ({0})")]
    CompilerDied(String),
    /// Compiled code is larger than the node stores.
    #[error("compiled code is over the limit of {limit_bytes} bytes")]
    ArtifactTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The component needs more of something than the engine has for any one instance.
    #[error("the component needs more than this node has for one instance: {0}; make it smaller")]
    NoSuchRoom(String),
    /// The component imports what the node does not have.
    #[error("the component imports `{import}`, which {reason}")]
    RefusedImport {
        /// The import.
        import: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// The stored bytes are not those that were uploaded.
    #[error("the stored module is damaged: its bytes are not those of its digest; upload it again")]
    Damaged,
    /// An artifact that cannot be used; a new one is compiled.
    #[error("the compiled code {0}")]
    Artifact(&'static str),
    /// No function of this name.
    #[error("there is no function `{function}`{hint}")]
    NoFunction {
        /// What was asked for.
        function: String,
        /// What there is instead.
        hint: String,
    },
    /// A short name that stands for several functions.
    #[error("`{function}` is ambiguous; say which: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        function: String,
        /// The full names that it may stand for.
        candidates: Vec<String>,
    },
    /// The arguments do not fit the function.
    #[error("{0}")]
    Arguments(#[from] ValueError),
    /// The guest was ended by the engine.
    #[error("{message}")]
    Trapped {
        /// What happened.
        message: String,
        /// Frames of the guest, innermost first, demangled.
        backtrace: Vec<String>,
    },
    /// The guest called what it has no grant for.
    #[error("{0}")]
    MissingGrant(#[from] crate::capability::MissingGrant),
    /// What the guest called beyond its sandbox failed.
    #[error("{0}")]
    Outside(Box<Failure>),
    /// The processor time for the call is used up.
    #[error("{0}")]
    Spent(#[from] crate::budget::Spent),
    /// The time for the call ran out.
    #[error("the call did not end within {} ms", .0.as_millis())]
    DeadlineExceeded(Duration),
    /// What the function returned is too large.
    #[error("the function returned more than the limit of {limit_bytes} bytes")]
    ResultTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The guest handed over more than the engine passes on at once.
    #[error(
        "the module passed more than {limit_bytes} bytes at once (each element of a list counts for \
         40); return less, or text, which counts for its length"
    )]
    TooMuchData {
        /// The limit.
        limit_bytes: u64,
    },
    /// The values on their way between the modules of one call are too many.
    #[error(
        "the arguments on their way between the modules of this call have more than \
         {limit_bytes} bytes together, the limit `max-value-bytes-per-call`; pass less, or less deep"
    )]
    TooMuchPassing {
        /// The limit.
        limit_bytes: u64,
    },
    /// A module was given an object that another one made.
    #[error(
        "`{function}` was given an object that another module made; bind all that pass it on to the \
         same one"
    )]
    ForeignObject {
        /// What was called.
        function: String,
    },
    /// More objects are held than may be.
    #[error("more than {limit} objects are held at once; let go of some")]
    TooManyObjects {
        /// How many there may be.
        limit: u64,
    },
    /// The component needs more memory than an instance may have.
    #[error("the module needs more memory than its limit of {limit_bytes} bytes")]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// The tenant's instances together have as much memory as they may.
    #[error(
        "the tenant's instances together have as much memory as `max-memory-bytes-per-tenant` allows, \
         {limit_bytes} bytes; try again when some of its calls have ended{ended}"
    )]
    TenantOutOfMemory {
        /// The limit.
        limit_bytes: u64,
        /// How the guest ended that was refused, in brackets, if it had started.
        ended: String,
    },
    /// The node's engine cannot hold another instance.
    #[error("the node is at its limit of live instances; try again")]
    Busy,
    /// Reading or writing a file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A fault of the node.
    #[error("{0}")]
    Internal(String),
}

impl SandboxError {
    pub(super) fn setup(error: wasmtime::Error) -> Self {
        SandboxError::Internal(format!("{error:#}"))
    }

    pub(super) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| SandboxError::Io { what, source }
    }
}

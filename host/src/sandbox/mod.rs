//! Runs components: compiles them in a child process, links what they were granted, calls them in fresh
//! instances, and tells how each call ended.
//!
//! This layer knows nothing of connections, sessions or names. It takes bytes and values and gives
//! values or a [`SandboxError`]. What a guest may do beyond computing is decided in
//! [`crate::capability`]; here it is only linked.
//!
//! | file | holds |
//! |---|---|
//! | `engine` | the settings under which guests are compiled and run, and the epoch ticker |
//! | `sniff`, `count` | what bytes are, and whether they are small enough to be compiled |
//! | `compile`, `worker` | the compiler's process: the parent's side and the child's |
//! | `artifact` | compiled code on disk, under a MAC |
//! | `wit` | a component's world as WIT text |
//! | `types`, `function` | its exports as types, and how a call names one |
//! | `import` | what stands behind each of its imports |
//! | `prepared` | a component that is linked and ready for calls |
//! | `state`, `limiter`, `output` | what a store holds |
//! | `values` | values ↔ the engine's values |
//! | `call` | one call |
//! | `trap` | how it ended, if not well |

mod artifact;
mod call;
mod compile;
mod count;
mod engine;
mod error;
mod function;
mod import;
mod limiter;
mod output;
mod prepared;
mod sniff;
mod state;
mod trap;
mod types;
mod values;
mod wit;
mod worker;

use std::path::Path;
use std::sync::Arc;

pub use artifact::ArtifactKey;
pub use call::{CallLabel, CallLimits};
pub use error::SandboxError;
pub use function::{Function, Functions};
pub use import::Import;
pub(crate) use import::standing;
pub use prepared::Prepared;
pub(crate) use state::State;
pub use wit::{World, inspect_component};
pub use worker::run as run_compile_worker;

use crate::capability::Grants;
use artifact::Sealer;
use compile::Compiler;

/// What a sandbox is set up with. Each number has a unit in its name and is enforced in one place.
#[derive(Clone, Debug)]
pub struct SandboxLimits {
    /// Linear memory of one instance, all of its memories together.
    pub max_memory_bytes: u64,
    /// How many instances may be alive at once; further calls wait until their deadline.
    pub max_live_instances: u32,
    /// How long the compiler may take for one component.
    pub compile_timeout_ms: u64,
    /// How many compilers may run at once; further ones wait.
    pub max_parallel_compiles: u32,
    /// Bytes of compiled code of one component.
    pub max_artifact_bytes: u64,
}

impl Default for SandboxLimits {
    /// Enough for an interpreter inside of a component, and for hundreds of calls at once.
    fn default() -> Self {
        SandboxLimits {
            max_memory_bytes: 256 << 20,
            max_live_instances: 512,
            compile_timeout_ms: 120_000,
            max_parallel_compiles: 1,
            max_artifact_bytes: 512 << 20,
        }
    }
}

/// The node's one engine, with all that compiles and runs guests.
pub struct Sandbox {
    engine: wasmtime::Engine,
    linker: wasmtime::component::Linker<State>,
    compiler: Compiler,
    sealer: Sealer,
    limits: SandboxLimits,
    /// One slot for each instance that may be alive.
    slots: Arc<tokio::sync::Semaphore>,
    _ticker: engine::Ticker,
}

impl Sandbox {
    /// An engine, its ticker, and a compiler that is a child of this same program.
    pub fn new(limits: SandboxLimits, key: &ArtifactKey) -> Result<Sandbox, SandboxError> {
        let engine = engine::runtime(&limits)?;
        Ok(Sandbox {
            linker: crate::capability::base_linker(&engine).map_err(SandboxError::setup)?,
            compiler: Compiler::new(&limits),
            sealer: Sealer::new(key, &engine),
            slots: Arc::new(tokio::sync::Semaphore::new(
                limits.max_live_instances as usize,
            )),
            _ticker: engine::Ticker::start(&engine)?,
            engine,
            limits,
        })
    }

    /// Checks and compiles the component in `wasm`, and seals the result into the file `artifact`,
    /// durably. `binding` is what the artifact belongs to (a tenant): the same bytes under another
    /// binding are not valid.
    pub async fn compile(
        &self,
        wasm: &Path,
        artifact: &Path,
        binding: &[u8],
    ) -> Result<(), SandboxError> {
        let compiled = self.compiler.compile(wasm).await?;
        let (sealer, artifact, binding) =
            (self.sealer.clone(), artifact.to_owned(), binding.to_owned());
        blocking(move || sealer.seal(&artifact, &compiled, &binding)).await
    }

    /// Loads the component in `wasm` for calls under `grants`, from the file `artifact` where that is
    /// right, and else by compiling again: an artifact that is missing, stale, foreign or changed is
    /// replaced, and never run.
    pub async fn prepare(
        &self,
        wasm: &Path,
        artifact: &Path,
        binding: &[u8],
        grants: Grants,
    ) -> Result<Arc<Prepared>, SandboxError> {
        let opened = match self.open(artifact, binding).await {
            Ok(opened) => opened,
            Err(problem) => {
                tracing::info!(%problem, "compiling again");
                self.compile(wasm, artifact, binding).await?;
                self.open(artifact, binding).await?
            }
        };
        let (engine, linker) = (self.engine.clone(), self.linker.clone());
        let prepared = blocking(move || Prepared::link(&engine, linker, opened, grants)).await?;
        Ok(Arc::new(prepared))
    }

    async fn open(
        &self,
        artifact: &Path,
        binding: &[u8],
    ) -> Result<artifact::Opened, SandboxError> {
        let (sealer, engine) = (self.sealer.clone(), self.engine.clone());
        let (artifact, binding) = (artifact.to_owned(), binding.to_owned());
        blocking(move || sealer.open(&engine, &artifact, &binding)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(SandboxError::Internal(error.to_string())),
    }
}

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
//! | `turns` | who may compile when, and how many may wait |
//! | `artifact` | compiled code on disk, under a MAC |
//! | `wit` | a component's world as WIT text |
//! | `docs` | what the author of a component says about its exports |
//! | `described` | an interface that is there as WIT text alone |
//! | `types`, `function` | its exports as types, and how a call names one |
//! | `import` | what stands behind each of its imports |
//! | `interface` | when one version of an interface answers for another |
//! | `prepared` | a component that is linked and ready for calls |
//! | `state`, `limiter`, `wasi`, `output` | what a store holds |
//! | `ways`, `quick` | where a call's work is done, and who may do it where the call was read |
//! | `rest` | what a guest does between two turns |
//! | `mill`, `run_queue` | the threads for what takes longer, and whose turn it is there |
//! | `encoded` | what a call brings and gives as data |
//! | `dynamic`, `lowering`, `lifting` | data ↔ a guest's memory |
//! | `values` | values with live objects among them ↔ the engine's values |
//! | `instance` | a live component, and the calls of it |
//! | `ahead` | instances made before their calls come, and cleared away after those were answered |
//! | `stock`, `stocks` | where they wait: of one registration, and of all |
//! | `demand` | how many are to be there |
//! | `spare` | memory that no call has |
//! | `outside`, `link` | imports that others answer |
//! | `handles`, `crossing` | live objects on their way between instances |
//! | `call` | whose call it is, and room for what it brings |
//! | `fixed` | limits that no configuration changes |
//! | `trap` | how it ended, if not well |

mod ahead;
mod artifact;
mod call;
mod compile;
mod count;
mod crossing;
mod demand;
mod described;
mod docs;
mod dynamic;
mod encoded;
mod engine;
mod error;
mod fixed;
mod flat;
mod function;
mod handles;
mod import;
mod instance;
mod interface;
mod lifting;
mod limiter;
mod link;
mod lowering;
mod mill;
mod output;
mod outside;
mod prepared;
mod quick;
mod rest;
mod run_queue;
mod sniff;
mod spare;
mod state;
mod stock;
mod stocks;
mod trap;
mod turns;
mod types;
mod values;
mod wasi;
mod ways;
mod wit;
#[cfg(feature = "bench")]
pub(crate) mod workbench;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use artifact::{ArtifactKey, SealedArtifact};
pub use call::{ArgumentRoom, CallLabel, CallLimits};
pub use encoded::{Brought, Encoded, Given, Growth};
pub use error::SandboxError;
pub use fixed::{FIXED, FixedLimit};
pub use function::{Function, Functions};
pub use handles::{Abroad, Handles, Resource, Whereabouts};
pub use import::Import;
pub(crate) use import::{remedy, standing};
pub use instance::{Instance, InstanceId, Links, Pinned, Setting, Terms, Unpinned};
pub(crate) use interface::stands_for;
pub use outside::{Answer, Imported, Outside};
pub use prepared::Prepared;
pub(crate) use state::State;
pub use stock::{Ahead, StockUse};
pub use ways::Forecast;
pub use wit::{World, describe_component, inspect_component};
pub use worker::{
    compile as run_compile_worker, describe as run_describe_worker, probe as run_probe_worker,
};

use crate::capability::Kinds;
use crate::confinement::Enforcement;
#[cfg(feature = "http")]
use crate::outgoing::Outgoing;
use crate::share::Shares;
use artifact::Sealer;
use compile::Compiler;
use stocks::Stocks;
use ways::Ways;

/// What a sandbox is set up with. Each number has a unit in its name and is enforced in one place.
#[derive(Clone, Debug)]
pub struct SandboxLimits {
    /// Linear memory of one instance, all of its memories together.
    pub max_memory_bytes: u64,
    /// How many instances may be alive at once; further calls wait until their deadline.
    pub max_live_instances: u32,
    /// How long the compiler may take for one component.
    pub compile_timeout_ms: u64,
    /// Bytes of memory that one compiler may use.
    pub max_compile_memory_bytes: u64,
    /// How many compilers may run at once, each for another tenant; further ones wait.
    pub max_parallel_compiles: u32,
    /// How many modules may wait for one.
    pub max_queued_compiles: u32,
    /// The same of one tenant.
    pub max_queued_compiles_per_tenant: u32,
    /// Bytes of compiled code of one component.
    pub max_artifact_bytes: u64,
    /// How many instances of one registration may be ready before they are called for.
    pub max_ready_instances_per_registration: u32,
    /// How many of all, those included that were used and are not cleared away yet.
    pub max_ready_instances: u32,
    /// Bytes of memory that all of those may take.
    pub max_ready_memory_bytes: u64,
    /// How long they are there while nobody calls.
    pub ready_instance_idle_ms: u64,
}

impl Default for SandboxLimits {
    /// Enough for an interpreter inside of a component, and for hundreds of calls at once.
    fn default() -> Self {
        SandboxLimits {
            max_memory_bytes: 256 << 20,
            max_live_instances: 512,
            compile_timeout_ms: 120_000,
            max_compile_memory_bytes: 2 << 30,
            max_parallel_compiles: 1,
            max_queued_compiles: 256,
            max_queued_compiles_per_tenant: 32,
            max_artifact_bytes: 512 << 20,
            max_ready_instances_per_registration: 8,
            max_ready_instances: 256,
            max_ready_memory_bytes: 256 << 20,
            ready_instance_idle_ms: 5000,
        }
    }
}

/// One of so many instances may be of a call that leads to others and was made from outside.
const LEADING_SHARE: u32 = 4;
/// One of so many may outlive its call.
const PINNED_SHARE: u32 = 2;

/// Where a component lies, and what makes it the right one.
#[derive(Clone, Debug)]
pub struct ModuleFiles {
    /// Whose it is: it waits for the compiler with others of the same.
    pub owner: Arc<str>,
    /// Its bytes: the source of truth.
    pub wasm: PathBuf,
    /// Their digest.
    pub sha256: [u8; 32],
    /// Its compiled form; may be missing or wrong.
    pub artifact: PathBuf,
    /// What the compiled form belongs to, a tenant and a module: under another binding the same
    /// bytes are not valid.
    pub binding: Vec<u8>,
}

/// The node's one engine, with all that compiles and runs guests.
pub struct Sandbox {
    engine: wasmtime::Engine,
    linker: wasmtime::component::Linker<State>,
    compiler: Compiler,
    sealer: Sealer,
    /// One unit for each instance that may be alive; large ones take several.
    places: Shares,
    /// One unit for each call that may lead to others. Fewer than places, so that there is room for those.
    leading_places: Shares,
    /// One unit for each place that an instance keeps beyond its call. Fewer than places, so that calls find some.
    pinned_places: Shares,
    /// Kilobytes that the arguments of all calls may take.
    argument_room: Shares,
    /// The same of what clients answer, while it is decoded.
    answer_room: Shares,
    /// Instances that are there before they are called for.
    stocks: Arc<Stocks>,
    /// Where the work of calls is done.
    ways: Ways,
    /// Where requests of guests leave the node.
    #[cfg(feature = "http")]
    outgoing: Option<Arc<Outgoing>>,
}

impl Sandbox {
    /// An engine, its ticker, and a compiler that is a child of this same program.
    pub fn new(limits: SandboxLimits, key: &ArtifactKey) -> Result<Sandbox, SandboxError> {
        let engine = engine::runtime(&limits)?;
        Ok(Sandbox {
            linker: crate::capability::base_linker(&engine).map_err(SandboxError::setup)?,
            compiler: Compiler::new(&limits),
            sealer: Sealer::new(key, &engine),
            places: Shares::new(limits.max_live_instances),
            leading_places: Shares::new(limits.max_live_instances.div_ceil(LEADING_SHARE)),
            pinned_places: Shares::new(limits.max_live_instances.div_ceil(PINNED_SHARE)),
            argument_room: Shares::new(call::MAX_ARGUMENT_ROOM_KIB),
            answer_room: Shares::new(call::MAX_ARGUMENT_ROOM_KIB),
            stocks: Stocks::new(&limits),
            ways: Ways::start(engine::Ticker::start(&engine)?)?,
            #[cfg(feature = "http")]
            outgoing: None,
            engine,
        })
    }

    /// The same, with a way out for requests of guests.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: Arc<Outgoing>) -> Self {
        self.outgoing = Some(outgoing);
        self
    }

    /// Loads a component for calls under grants of these kinds: from its artifact where that is right, and else by
    /// compiling it. An artifact that is missing, stale, foreign or changed is replaced, and never run.
    ///
    /// # Errors
    /// When the bytes are not those of the digest, are no component that this node runs, or when the
    /// disk refuses.
    pub async fn prepare(
        &self,
        module: &ModuleFiles,
        kinds: Kinds,
    ) -> Result<Arc<Prepared>, SandboxError> {
        let opened = match self.open(module, &module.artifact).await {
            Ok(opened) => opened,
            Err(problem) => {
                tracing::info!(reason = %problem, "compiling a module");
                let sealed = self.compile(module).await?;
                blocking(move || sealed.place()).await?;
                self.open(module, &module.artifact).await?
            }
        };
        Ok(Arc::new(self.link(opened, kinds).await?))
    }

    /// Compiles a component and checks that it can be loaded for calls under grants of these kinds,
    /// which gives what it is. The artifact is put in its place by whoever keeps the component; a component that is not
    /// kept has none.
    ///
    /// # Errors
    /// As [`Sandbox::prepare`].
    pub async fn check(
        &self,
        module: &ModuleFiles,
        kinds: Kinds,
    ) -> Result<(SealedArtifact, Prepared), SandboxError> {
        let sealed = self.compile(module).await?;
        let opened = self.open(module, sealed.path()).await?;
        let prepared = self.link(opened, kinds).await?;
        Ok((sealed, prepared))
    }

    /// The functions of an interface that is there as WIT text alone. Whoever wrote the text is not
    /// trusted, so it is read by a process of its own, like a component.
    ///
    /// # Errors
    /// When the text is no WIT, or does not say which interface `name` stands for.
    pub async fn described(
        &self,
        owner: &Arc<str>,
        name: &str,
        wit: &str,
    ) -> Result<Functions, SandboxError> {
        self.compiler.describe(owner, name, wit).await
    }

    /// What the kernel enforces for the processes that compile.
    ///
    /// # Errors
    /// When no such process can be started, or it does not say.
    pub async fn compiler_confinement(&self) -> Result<Enforcement, SandboxError> {
        self.compiler.confinement().await
    }

    async fn compile(&self, module: &ModuleFiles) -> Result<SealedArtifact, SandboxError> {
        let compiled = self.compiler.compile(module).await?;
        let (sealer, module) = (self.sealer.clone(), module.clone());
        blocking(move || sealer.seal(&module.artifact, &compiled, &module.binding)).await
    }

    async fn open(
        &self,
        module: &ModuleFiles,
        artifact: &Path,
    ) -> Result<artifact::Opened, SandboxError> {
        let (sealer, engine) = (self.sealer.clone(), self.engine.clone());
        let (artifact, binding) = (artifact.to_owned(), module.binding.clone());
        blocking(move || sealer.open(&engine, &artifact, &binding)).await
    }

    async fn link(&self, opened: artifact::Opened, kinds: Kinds) -> Result<Prepared, SandboxError> {
        let (engine, linker) = (self.engine.clone(), self.linker.clone());
        blocking(move || Prepared::link(&engine, linker, opened, kinds)).await
    }
}

#[cfg(any(test, feature = "bench"))]
#[cfg_attr(
    feature = "bench",
    allow(clippy::unwrap_used, reason = "a test's, which ends where it fails")
)]
impl Sandbox {
    /// Compiles a component in this very process, as the test program has no compile worker in it, and puts its
    /// artifact where the node looks for it.
    pub(crate) fn compile_here(&self, module: &ModuleFiles) {
        let mut bytes = Vec::new();
        let wasm = std::fs::File::open(&module.wasm).unwrap();
        worker::compile(wasm, &mut bytes).unwrap();
        let compiled = artifact::Compiled::read_from(bytes).unwrap();
        let sealed = self
            .sealer
            .seal(&module.artifact, &compiled, &module.binding);
        sealed.unwrap().place().unwrap();
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

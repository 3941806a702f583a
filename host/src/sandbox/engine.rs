//! The settings under which guests are compiled and run.
//!
//! Compiler and runtime live in different processes, so what decides about the machine code
//! ([`code_config`]) is set in one place for both; an artifact made under other settings is refused by
//! the engine.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use super::{SandboxError, SandboxLimits};

/// How often a running guest can look whether it should stop.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// A guest that computes without end gives up its thread at the first tick where it would hold up
/// connections, and after so many elsewhere, so a cancelled or late call ends within these.
pub(super) const TICKS_OF_TURN: u32 = 5;

/// Elements of one table. Interpreters compiled to WebAssembly have tens of thousands of functions.
pub(super) const MAX_TABLE_ELEMENTS: usize = 65_536;
/// Core instances, memories and tables of one component: what the largest known toolchains make, twice.
pub(super) const MAX_CORE_INSTANCES: u32 = 128;
pub(super) const MAX_MEMORIES: u32 = 16;
pub(super) const MAX_TABLES: u32 = 64;
/// The stack of a guest. Artifacts do not depend on it.
pub(super) const MAX_STACK_BYTES: usize = 512 << 10;
/// What a stack that is not in use keeps of its memory, cleared.
const STACK_KEPT_BYTES: usize = 32 << 10;
/// Memories and tables that the pool has for each instance that may be alive. One that needs more takes
/// the place of several.
const MEMORIES_OF_PLACE: u32 = 2;
const TABLES_OF_PLACE: u32 = 4;
/// Memories of the smallest pool: as many as fit into the address space that tools leave to a program which watch it
/// run. Components with more are for nodes that may have some more instances.
const LEAST_MEMORIES: u32 = 12;

/// What both processes must agree on.
fn code_config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_memory64(false)
        .wasm_component_model_map(true)
        .wasm_component_model_fixed_length_lists(true)
        .max_wasm_stack(MAX_STACK_BYTES)
        .memory_init_cow(true)
        // Memory of up to this size is mapped when an instance is made, not copied: interpreters start
        // twice as fast. What a small component could make of it is bounded where it is compiled.
        .memory_guaranteed_dense_image_size(16 << 20)
        .memory_reservation(1 << 32)
        .memory_guard_size(32 << 20);
    config
}

/// The engine of the compile worker.
pub(super) fn compiler() -> Result<Engine, SandboxError> {
    Engine::new(&code_config()).map_err(SandboxError::setup)
}

/// The engine of the node.
pub(super) fn runtime(limits: &SandboxLimits) -> Result<Engine, SandboxError> {
    // Those that are ready, or are to be cleared away, are beside those of calls.
    let live = limits
        .max_live_instances
        .saturating_add(limits.max_ready_instances);
    let mut pool = PoolingAllocationConfig::new();
    pool.max_memory_size(usize::try_from(limits.max_memory_bytes).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE_ELEMENTS)
        .total_component_instances(live)
        // Only counted; each takes room when it is made.
        .total_core_instances(live.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(live.saturating_mul(MEMORIES_OF_PLACE).max(LEAST_MEMORIES))
        .total_tables(live.saturating_mul(TABLES_OF_PLACE).max(MAX_TABLES))
        .total_stacks(live)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(16)
        // Memory that a slot keeps for its next instance: cleared, never handed on with its content.
        .max_unused_warm_slots(64)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        // The part of a stack that nearly every call uses is cleared where it is: cheaper than to give it back and
        // to have it again page by page.
        .async_stack_keep_resident(STACK_KEPT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = code_config();
    config
        .async_stack_size(2 << 20)
        .async_stack_zeroing(true)
        // Debug information is the guest's own text; names are enough and cost nothing to read.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(24))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(SandboxError::setup)
}

/// How many places of live instances one takes: as many as leave all others the memories and tables
/// that belong to their places.
pub(super) fn places(component: &Component) -> u32 {
    let (memories, tables) = match component.resources_required() {
        Some(required) => (required.num_memories, required.num_tables),
        None => (MAX_MEMORIES, MAX_TABLES),
    };
    let of_memories = memories.div_ceil(MEMORIES_OF_PLACE);
    of_memories.max(tables.div_ceil(TABLES_OF_PLACE)).max(1)
}

/// The thread that counts epochs: quickly while guests are at work for longer, and else as slowly as a
/// turn takes, as a short call needs no tick.
pub(super) struct Ticker {
    is_hurried: AtomicBool,
}

impl Ticker {
    /// It ends when nobody holds it any more.
    pub(super) fn start(engine: &Engine) -> Result<Arc<Ticker>, SandboxError> {
        let ticker = Arc::new(Ticker {
            is_hurried: AtomicBool::new(false),
        });
        let (engine, kept) = (engine.clone(), Arc::downgrade(&ticker));
        std::thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || {
                while let Some(ticker) = kept.upgrade() {
                    let is_hurried = ticker.is_hurried.load(Ordering::Relaxed);
                    drop(ticker);
                    let ticks = if is_hurried { 1 } else { TICKS_OF_TURN };
                    std::thread::sleep(TICK * ticks);
                    engine.increment_epoch();
                }
            })
            .map_err(SandboxError::io("cannot start the epoch ticker"))?;
        Ok(ticker)
    }

    /// Guests are at work.
    pub(super) fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }

    /// No guest is at work for longer.
    pub(super) fn slow_down(&self) {
        self.is_hurried.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_with_many_memories_takes_the_place_of_several() {
        let limits = SandboxLimits {
            max_live_instances: 1,
            ..SandboxLimits::default()
        };
        let engine = runtime(&limits).unwrap();
        let places_of = |memories: usize, tables: usize| {
            let module = format!(
                "(core module $m {} {})",
                "(memory 1)".repeat(memories),
                "(table 1 funcref)".repeat(tables)
            );
            let text = format!("(component {module} (core instance (instantiate $m)))");
            places(&Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap())
        };
        assert_eq!(places_of(0, 0), 1);
        assert_eq!(places_of(1, 4), 1);
        assert_eq!(places_of(1, 5), 2);
    }
}

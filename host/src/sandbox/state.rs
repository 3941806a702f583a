//! What a store holds beside the guest itself.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limiter::Limiter;
use super::output::Output;
use super::{CallLabel, CallLimits};
use crate::capability::{self, LogCtx};

/// Host resources (pollables, streams) of one instance.
const MAX_HOST_RESOURCES: usize = 1024;

/// The state of one instance. It is made for a call and dropped with it.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(crate) log: LogCtx,
}

impl State {
    pub(super) fn new(label: &CallLabel, limits: &CallLimits) -> State {
        let (stdout, stderr) = (Output::default(), Output::default());
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HOST_RESOURCES);
        State {
            wasi: capability::wasi_ctx(stdout.clone(), stderr.clone()),
            table,
            limiter: Limiter::new(limits.max_memory_bytes),
            stdout,
            stderr,
            log: LogCtx::new(label.clone(), limits.max_log_line_bytes),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

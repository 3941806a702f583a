//! What a store holds beside the guest itself.

use std::sync::Arc;

use rpc_host_protocol::types::Name;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limiter::Limiter;
use super::output::Output;
use super::{Handles, InstanceId, Outside, Setting};
use crate::budget::Budget;
use crate::capability::{self, Grants, KeyValue, KeyValueView, LogCtx};

/// Host resources (pollables, streams) of one instance.
const MAX_HOST_RESOURCES: usize = 1024;

/// The state of one instance. It is made with it and dropped with it.
pub(crate) struct State {
    pub(super) id: InstanceId,
    /// What its work is spent from.
    pub(super) budget: Budget,
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    /// The grants that are in force for it, which may be fewer than those it was linked by.
    pub(crate) grants: Arc<Grants>,
    pub(crate) log: LogCtx,
    /// The buckets of its tenant.
    buckets: Option<Arc<dyn KeyValue>>,
    /// Answers the imports that are not the node's.
    pub(super) outside: Option<Arc<dyn Outside>>,
    /// What crosses between this instance and others.
    pub(super) handles: Option<Arc<Handles>>,
    /// The resources of others, by the numbers that they have in this component.
    pub(super) resources: Arc<[Name]>,
}

impl State {
    pub(super) fn new(id: InstanceId, setting: &Setting, resources: Arc<[Name]>) -> State {
        let (limits, grants) = (&setting.limits, Arc::clone(&setting.grants));
        let links = setting.outside.clone();
        let (outside, handles) = links.map(|links| (links.outside, links.handles)).unzip();
        let (stdout, stderr) = (Output::default(), Output::default());
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HOST_RESOURCES);
        State {
            id,
            budget: setting.budget.clone(),
            wasi: capability::wasi_ctx(stdout.clone(), stderr.clone(), &grants, setting.began_at),
            table,
            limiter: Limiter::new(limits.max_memory_bytes),
            stdout,
            stderr,
            log: LogCtx::new(setting.label.clone(), limits.max_log_line_bytes),
            grants,
            buckets: setting.buckets.clone(),
            outside,
            handles,
            resources,
        }
    }
}

impl State {
    /// What a guest that calls `wasi:keyvalue` works on.
    pub(crate) fn key_value(&mut self) -> KeyValueView<'_> {
        KeyValueView {
            table: &mut self.table,
            grants: &self.grants,
            buckets: self.buckets.as_ref(),
            budget: &self.budget,
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

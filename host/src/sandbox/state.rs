//! What a store holds beside the guest itself.

use std::sync::Arc;

use rpc_host_protocol::types::Name;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limiter::Limiter;
use super::output::Output;
use super::{CallLabel, CallLimits, Handles, InstanceId, Links, Outside};
use crate::account::{Account, Quantity};
use crate::budget::Budget;
use crate::capability::{self, LogCtx};

/// The state of one instance. It is made with it and dropped with it.
pub(crate) struct State {
    pub(super) id: InstanceId,
    pub(super) limits: CallLimits,
    /// What its tenant uses.
    pub(super) account: Arc<Account>,
    /// What its work is spent from.
    pub(super) budget: Budget,
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(crate) log: LogCtx,
    /// Answers the imports that are not the node's.
    pub(super) outside: Option<Arc<dyn Outside>>,
    /// What crosses between this instance and others.
    pub(super) handles: Option<Arc<Handles>>,
    /// What the values on their way in the whole call take.
    pub(super) passing: Option<Arc<Quantity>>,
    /// The resources of others, by the numbers that they have in this component.
    pub(super) resources: Arc<[Name]>,
}

impl State {
    pub(super) fn new(
        id: InstanceId,
        label: &CallLabel,
        account: Arc<Account>,
        limits: &CallLimits,
        budget: Budget,
        links: Option<Links>,
        resources: Arc<[Name]>,
    ) -> State {
        let (outside, handles, passing) = match links {
            Some(links) => (
                Some(links.outside),
                Some(links.handles),
                Some(links.passing),
            ),
            None => (None, None, None),
        };
        let output = || Output::new(limits.max_output_bytes);
        let (stdout, stderr) = (output(), output());
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.max_host_resources).unwrap_or(usize::MAX));
        State {
            id,
            limits: *limits,
            budget,
            wasi: capability::wasi_ctx(stdout.clone(), stderr.clone()),
            table,
            limiter: Limiter::new(limits.max_memory_bytes, &account),
            stdout,
            stderr,
            log: LogCtx::new(label.clone(), Arc::clone(&account), limits),
            account,
            outside,
            handles,
            passing,
            resources,
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

//! What a store holds beside the guest itself.

use std::sync::Arc;

use rpc_host_protocol::types::Name;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
#[cfg(feature = "http")]
use wasmtime_wasi_http::WasiHttpCtxView;

use super::limiter::Limiter;
use super::output::Output;
use super::{CallLimits, Handles, InstanceId, Outside, Setting};
use crate::account::{Account, Quantity};
use crate::budget::Budget;
#[cfg(feature = "http")]
use crate::capability::HttpCtx;
use crate::capability::{self, Files, FilesCtx, Grants, KeyValue, KeyValueView, LogCtx};

/// The state of one instance. It is made with it and dropped with it.
pub(crate) struct State {
    pub(super) id: InstanceId,
    pub(super) limits: CallLimits,
    /// What its tenant uses.
    pub(super) account: Arc<Account>,
    /// What its work is spent from.
    pub(super) budget: Budget,
    /// Until when it works, on what it works on now.
    pub(super) deadline: Instant,
    /// Of the turn that it has now.
    pub(super) ticks_of_turn: u32,
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
    files: FilesCtx,
    #[cfg(feature = "http")]
    pub(super) http: HttpCtx,
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
    pub(super) fn new(id: InstanceId, setting: &Setting, resources: Arc<[Name]>) -> State {
        let (limits, account) = (&setting.limits, Arc::clone(&setting.account));
        let grants = Arc::clone(&setting.grants);
        let (outside, handles, passing) = match setting.outside.clone() {
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
            budget: setting.budget.clone(),
            deadline: setting.deadline,
            ticks_of_turn: 1,
            wasi: capability::wasi_ctx(stdout.clone(), stderr.clone(), &grants, setting.began_at),
            table,
            limiter: Limiter::new(limits.max_memory_bytes, &account),
            stdout,
            stderr,
            log: LogCtx::new(setting.label.clone(), Arc::clone(&account), limits),
            account,
            files: FilesCtx::new(setting.mounts.clone()),
            #[cfg(feature = "http")]
            http: HttpCtx::new(
                setting.label.clone(),
                Arc::clone(&setting.account),
                Arc::clone(&grants),
                limits,
            ),
            grants,
            buckets: setting.buckets.clone(),
            outside,
            handles,
            passing,
            resources,
        }
    }

    /// What it has of files, and of open ones.
    pub(crate) fn files(&mut self) -> Files<'_> {
        Files {
            ctx: &mut self.files,
            table: &mut self.table,
        }
    }
}

#[cfg(feature = "http")]
impl State {
    pub(crate) fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http.view(&mut self.table)
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

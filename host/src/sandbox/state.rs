//! What a store holds beside the guest itself.

use std::sync::Arc;

use rpc_host_protocol::types::Name;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
#[cfg(feature = "http")]
use wasmtime_wasi_http::WasiHttpCtxView;

use super::limiter::Limiter;
use super::output::Output;
use super::{Handles, InstanceId, Outside, Setting};
use crate::budget::Budget;
#[cfg(feature = "http")]
use crate::capability::HttpCtx;
use crate::capability::{self, Files, FilesCtx, Grants, LogCtx};

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
    files: FilesCtx,
    #[cfg(feature = "http")]
    pub(super) http: HttpCtx,
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
            limiter: Limiter::new(limits.max_memory_bytes, Arc::clone(&setting.account)),
            stdout,
            stderr,
            log: LogCtx::new(setting.label.clone(), limits.max_log_line_bytes),
            files: FilesCtx::new(setting.mounts.clone()),
            #[cfg(feature = "http")]
            http: HttpCtx::new(setting.label.clone(), Arc::clone(&grants)),
            grants,
            outside,
            handles,
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

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

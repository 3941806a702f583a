//! What a store holds beside the guest itself.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
#[cfg(feature = "http")]
use wasmtime_wasi_http::WasiHttpCtxView;

use super::limiter::Limiter;
use super::spare::Spare;
use super::stocks::Stocks;
use super::wasi::Wasi;
use super::{
    CallLabel, CallLimits, Handles, InstanceId, Outside, Prepared, Resource, Setting, Terms,
};
use crate::account::{Account, Quantity};
use crate::budget::Budget;
#[cfg(feature = "http")]
use crate::capability::HttpCtx;
use crate::capability::{Files, FilesCtx, Grants, KeyValue, KeyValueView, LogCtx};

/// The state of one instance. It is made with it and dropped with it; or where the instance was made before its
/// call came, it is put in the place of one that has nothing.
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
    wasi: Wasi,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    /// Whether the guest has called out: each function of the host comes by one of the accessors that note it.
    has_called_out: bool,
    /// The grants that are in force for it, which may be fewer than those it was linked by.
    grants: Arc<Grants>,
    log: LogCtx,
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
    pub(super) resources: Arc<[Resource]>,
    /// Its own.
    pub(super) exported: Arc<[Resource]>,
}

impl State {
    /// For an instance that is made for a call.
    pub(super) fn new(id: InstanceId, setting: Setting, prepared: &Prepared) -> State {
        let limiter = Limiter::new(setting.terms.limits.max_memory_bytes, &setting.account);
        State::heard(id, setting, prepared, limiter, true)
    }

    /// For an instance that is made before its call comes: it can do nothing, and nobody hears it.
    pub(super) fn ahead(
        id: InstanceId,
        terms: Terms,
        account: &Arc<Account>,
        prepared: &Prepared,
        spare: Spare,
    ) -> State {
        let limiter = Limiter::ahead(terms.limits.max_memory_bytes, spare);
        let setting = Setting {
            account: Arc::clone(account),
            terms,
            grants: Arc::default(),
            buckets: None,
            outside: None,
            mounts: Vec::new(),
            is_inner: false,
            is_pinned: false,
            ahead: None,
        };
        State::heard(id, setting, prepared, limiter, false)
    }

    fn heard(
        id: InstanceId,
        setting: Setting,
        prepared: &Prepared,
        limiter: Limiter,
        is_heard: bool,
    ) -> State {
        let Setting {
            account,
            mut terms,
            grants,
            buckets,
            outside,
            mounts,
            is_inner: _,
            is_pinned: _,
            ahead: _,
        } = setting;
        terms.limits = prepared.narrowed(terms.limits);
        let limits = &terms.limits;
        let (outside, handles, passing) = match outside {
            Some(links) => (
                Some(links.outside),
                Some(links.handles),
                Some(links.passing),
            ),
            None => (None, None, None),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.max_host_resources).unwrap_or(usize::MAX));
        State {
            id,
            limits: *limits,
            budget: terms.budget,
            deadline: terms.deadline,
            ticks_of_turn: 1,
            wasi: Wasi::new(terms.began_at, is_heard),
            table,
            limiter,
            has_called_out: false,
            #[cfg(feature = "http")]
            http: HttpCtx::new(
                terms.label.clone(),
                Arc::clone(&account),
                Arc::clone(&grants),
                limits,
            ),
            log: LogCtx::new(terms.label, Arc::clone(&account), limits),
            account,
            files: FilesCtx::new(mounts),
            grants,
            buckets,
            outside,
            handles,
            passing,
            resources: Arc::clone(prepared.resources()),
            exported: Arc::clone(prepared.exported()),
        }
    }

    /// Another call from outside begins.
    pub(super) fn begin(&mut self, terms: Terms) {
        let Terms {
            label,
            limits,
            began_at,
            deadline,
            budget,
        } = terms;
        let held = self.limits;
        self.limits = CallLimits {
            max_memory_bytes: held.max_memory_bytes,
            max_handles: held.max_handles,
            max_host_resources: held.max_host_resources,
            ..limits
        };
        self.wasi.begin(began_at, &label, &limits);
        #[cfg(feature = "http")]
        self.http.begin(label.clone(), &limits);
        self.log.begin(label, &limits);
        self.deadline = deadline;
        self.budget = budget;
        self.ticks_of_turn = 1;
    }

    /// Its call is over, and it is to be cleared away later: all that it holds beside its memory goes now. `false`:
    /// that has to go as well.
    #[must_use = "whoever may not be there has to go"]
    pub(super) fn end(&mut self, stocks: &Stocks) -> bool {
        self.wasi.end();
        self.log.end();
        #[cfg(feature = "http")]
        self.http.end();
        self.table = ResourceTable::new();
        self.files = FilesCtx::default();
        self.buckets = None;
        self.outside = None;
        self.handles = None;
        self.passing = None;
        self.limiter.end_call(&self.account, stocks)
    }

    /// Whether the guest has called out.
    pub(super) fn has_called_out(&self) -> bool {
        self.has_called_out
    }

    /// The guest calls out.
    pub(super) fn note_call_out(&mut self) {
        self.has_called_out = true;
    }

    /// Tells the rest of what it printed in this call.
    pub(super) fn settle(&self) {
        self.wasi.settle();
    }

    /// The end of what it printed on stderr.
    pub(super) fn last_words(&self) -> String {
        self.wasi.last_words()
    }

    /// Whose call it works on.
    pub(super) fn label(&self) -> &CallLabel {
        self.log.label()
    }

    /// Its log, and the grants that are in force for it.
    pub(crate) fn log(&mut self) -> (&mut LogCtx, &Grants) {
        self.note_call_out();
        (&mut self.log, &self.grants)
    }

    /// What it has of files, and of open ones.
    pub(crate) fn files(&mut self) -> Files<'_> {
        self.note_call_out();
        Files {
            ctx: &mut self.files,
            table: &mut self.table,
        }
    }
}

#[cfg(feature = "http")]
impl State {
    pub(crate) fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.note_call_out();
        self.http.view(&mut self.table)
    }
}

impl State {
    /// What a guest that calls `wasi:keyvalue` works on.
    pub(crate) fn key_value(&mut self) -> KeyValueView<'_> {
        self.note_call_out();
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
        self.note_call_out();
        let of = (&self.account, self.log.label());
        WasiCtxView {
            ctx: self.wasi.ctx(of, &self.limits, &self.grants),
            table: &mut self.table,
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.settle();
    }
}

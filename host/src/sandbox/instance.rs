//! A live component in a store of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_host_protocol::value::{Handle, Path, ValueError};
use rpc_host_protocol::{Type, Value};
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{ComponentExportIndex, Val};
use wasmtime::{AsContextMut, Store, UpdateDeadline};

use super::crossing::{Crossing, Passed};
use super::dynamic;
use super::encoded::{Brought, Encoded, Given};
use super::engine::{TICK, TICKS_OF_TURN};
use super::rest::Rest;
use super::stock::{Fresh, Stock};
use super::values::{Converting, Objects, Unfit};
use super::{
    Ahead, CallLabel, CallLimits, Function, Handles, Outside, Prepared, Sandbox, SandboxError,
    State, trap, values,
};
use crate::account::{Account, Quantity};
use crate::budget::Budget;
use crate::capability::{Grants, KeyValue};
use crate::share::{Full, Taken};
use crate::volume::Mount;

/// How long an instance that others wait for waits for its place, and a call for room. All could be held
/// by calls that wait for one more, so this wait ends before they do.
pub(super) const INNER_PATIENCE: Duration = Duration::from_secs(1);

const NO_EXPORT: &str = "the instance lacks an export of its component";

/// Tells instances apart, as long as the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    pub(super) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        InstanceId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an instance is made with.
pub struct Setting {
    /// Of whose memory it takes.
    pub account: Arc<Account>,
    /// The call that it is made for: the first that it serves.
    pub terms: Terms,
    /// What it may do beyond computing: at most that by which its component was linked.
    pub grants: Arc<Grants>,
    /// The buckets behind the grants of them, if it has such grants.
    pub buckets: Option<Arc<dyn KeyValue>>,
    /// What its imports lead to, if it has any that others answer.
    pub outside: Option<Links>,
    /// The directories that it finds.
    pub mounts: Vec<Mount>,
    /// Whether calls wait for it that hold places themselves.
    pub is_inner: bool,
    /// Whether its place is one of those that are kept beyond the call.
    pub is_pinned: bool,
    /// Of what one may be that was made before the call came. None: it is made now.
    pub ahead: Option<Ahead>,
}

/// Room among the instances that outlive their calls. Dropped, it is free again.
#[derive(Debug)]
pub struct Pinned(#[expect(dead_code, reason = "held for its drop")] Taken);

/// Whose room is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpinned {
    /// The tenant's.
    Tenant,
    /// That of all.
    Node,
}

/// What is of one call from outside: an instance may serve several.
pub struct Terms {
    /// Whose call it is.
    pub label: CallLabel,
    /// What it may use. What an instance holds for good (memory, handles, resources of the host) stays as it
    /// was in its first call.
    pub limits: CallLimits,
    /// When the call from outside began, since 1970.
    pub began_at: Duration,
    /// Until when the instance has to be there.
    pub deadline: Instant,
    /// What it spends from, with others.
    pub budget: Budget,
}

/// What an instance has in common with those that it calls and is called by.
#[derive(Clone)]
pub struct Links {
    /// Answers its imports.
    pub outside: Arc<dyn Outside>,
    /// The objects that cross between them.
    pub handles: Arc<Handles>,
    /// What the values take that are on their way between them.
    pub passing: Arc<Quantity>,
}

/// A live component. Dropped, it is gone with all that it had. After a call that failed it must be
/// dropped: what it left half done is nobody's to use.
pub struct Instance {
    store: Store<State>,
    instance: wasmtime::component::Instance,
    prepared: Arc<Prepared>,
    places: Places,
    stock: Option<Arc<Stock>>,
}

/// A call whose arguments were taken, and which has not begun.
pub struct Ready {
    index: usize,
    arguments: Lowered,
}

/// Arguments as the engine takes them.
enum Lowered {
    /// Dynamic values, and the objects among them.
    Vals(Vec<Val>, Passed),
    /// As they came.
    Data(Encoded),
}

impl Sandbox {
    /// Makes an instance as soon as there is a place for it. Dropping the future ends the guest.
    ///
    /// # Errors
    /// When there is no place in time, or the guest fails at its start.
    pub async fn instantiate(
        &self,
        prepared: &Arc<Prepared>,
        setting: Setting,
    ) -> Result<Instance, SandboxError> {
        let (deadline, is_inner) = (setting.terms.deadline, setting.is_inner);
        // A place first: the engine refuses an instance more than it has room for, a place waits.
        let leads_on = setting.outside.is_some();
        let label = &setting.terms.label;
        // What is pinned waits for no place while it holds one, so it needs none of those that are for that.
        let leads_on = leads_on && !is_inner && !setting.is_pinned;
        let places = self.places_for(prepared, label, leads_on);
        let patience = if is_inner {
            deadline.min(Instant::now() + INNER_PATIENCE)
        } else {
            deadline
        };
        let Ok(Some(places)) = timeout_at(patience, places).await else {
            return Err(SandboxError::Busy);
        };
        let stock = self.stocks.find(prepared, &setting);
        let ready = stock.as_ref().and_then(|stock| self.taken(stock, &setting));
        let account = Arc::clone(&setting.account);
        let mut state = State::new(InstanceId::next(), setting, prepared);
        #[cfg(feature = "http")]
        self.give_way_out(&mut state);
        if let Some(Fresh {
            mut store,
            instance,
            place,
        }) = ready
        {
            // All that it may do, and whatever else a call brings, comes with the call.
            std::mem::swap(&mut state.limiter, &mut store.data_mut().limiter);
            store.set_hostcall_fuel(saturated(state.limits.max_hostcall_bytes));
            store.set_max_component_handles(saturated(state.limits.max_handles));
            // The ticks that went by meanwhile are nobody's.
            store.set_epoch_deadline(1);
            *store.data_mut() = state;
            drop(place);
            return Ok(Instance {
                store,
                instance,
                prepared: Arc::clone(prepared),
                places,
                stock,
            });
        }
        state.limiter.before(&self.stocks, &account);
        let limits = state.limits;
        let mut store = self.store(state);
        let starting = prepared.pre.instantiate_async(&mut store);
        let started = timeout_at(deadline, starting).await;
        let ended = match started {
            Ok(Ok(instance)) => {
                return Ok(Instance {
                    store,
                    instance,
                    prepared: Arc::clone(prepared),
                    places,
                    stock,
                });
            }
            Ok(Err(error)) => failed(&store, &error),
            Err(_) => SandboxError::DeadlineExceeded(limits.timeout),
        };
        Err(ended)
    }

    /// A store for one instance.
    pub(super) fn store(&self, state: State) -> Store<State> {
        let limits = state.limits;
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(saturated(limits.max_hostcall_bytes));
        store.set_max_component_handles(saturated(limits.max_handles));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            let ticks = std::mem::replace(&mut state.ticks_of_turn, TICKS_OF_TURN);
            state.budget.spend(TICK * ticks)?;
            let rest = Box::pin(Rest::until(state.deadline));
            Ok(UpdateDeadline::YieldCustom(TICKS_OF_TURN.into(), rest))
        });
        store
    }

    /// Room for an instance of this component that is to outlive its call, of a tenant that may have so much of
    /// it. Never waits: what has such room gives it back when it likes.
    ///
    /// # Errors
    /// When there is none.
    pub fn pin(
        &self,
        prepared: &Prepared,
        tenant: &Arc<str>,
        most: u64,
    ) -> Result<Pinned, Unpinned> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let taken = self.pinned_places.try_take(tenant, prepared.places, most);
        taken.map(Pinned).map_err(|full| match full {
            Full::Tenant => Unpinned::Tenant,
            Full::Node => Unpinned::Node,
        })
    }

    #[cfg(feature = "http")]
    fn give_way_out(&self, state: &mut State) {
        if let Some(outgoing) = &self.outgoing {
            state.http.open(Arc::clone(outgoing));
        }
    }

    /// Waits for the places of an instance. Those that will need places for others may not fill them
    /// all: they would wait for one another.
    async fn places_for(
        &self,
        prepared: &Prepared,
        label: &CallLabel,
        leads_on: bool,
    ) -> Option<Places> {
        let leading = match leads_on {
            true => Some(self.leading_places.take(&label.tenant, 1).await?),
            false => None,
        };
        let own = self.places.take(&label.tenant, prepared.places).await?;
        Some((leading, own))
    }
}

/// What an instance is made of, beside its guest.
pub(super) type Parts = (Store<State>, Arc<Prepared>, Option<Arc<Stock>>, Places);

/// Among those that may lead to others, and among all.
pub(super) type Places = (Option<Taken>, Taken);

impl Instance {
    /// Which one it is.
    pub fn id(&self) -> InstanceId {
        self.store.data().id
    }

    /// Another call from outside begins, which this instance serves, too. What it printed until now was told
    /// as of the calls before.
    pub fn begin(&mut self, mut terms: Terms) {
        self.settle();
        terms.limits = self.prepared.narrowed(terms.limits);
        self.store
            .set_hostcall_fuel(saturated(terms.limits.max_hostcall_bytes));
        // The ticks that went by meanwhile are nobody's.
        self.store.set_epoch_deadline(1);
        self.store.data_mut().begin(terms);
    }

    /// Tells the rest of what it printed in this call: a line that has not ended, and how much was dropped.
    pub fn settle(&self) {
        self.store.data().settle();
    }

    /// A call of it is over that leaves it alive: what it printed is told, and it waits for nobody's place.
    pub fn stay(&mut self) {
        self.settle();
        self.places.0 = None;
    }

    /// Its call is over. What is left of it, where it came from a stock or could have, and its place.
    pub(super) fn into_parts(self) -> Parts {
        (self.store, self.prepared, self.stock, self.places)
    }

    /// Calls the function at `index` of its component. Dropping the future ends the guest.
    ///
    /// # Errors
    /// When the arguments do not fit, or however the guest ended. The instance is of no use then.
    pub async fn call(
        &mut self,
        index: usize,
        arguments: Brought,
        deadline: Instant,
    ) -> Result<Given, SandboxError> {
        let ready = self.ready(index, arguments).await?;
        self.run(ready, deadline).await
    }

    /// Arguments for the function at `index` of its component, as the guest gets them. Until it runs,
    /// everything is as it was. Dropping the future ends the guest.
    ///
    /// # Errors
    /// When the arguments do not fit. The instance has not noticed.
    pub async fn ready(&mut self, index: usize, arguments: Brought) -> Result<Ready, SandboxError> {
        let prepared = Arc::clone(&self.prepared);
        let function = prepared.functions().get(index);
        let function = function
            .ok_or_else(|| SandboxError::Internal("no function has this index".to_owned()))?;
        let values = match arguments {
            Brought::Values(values) => values,
            Brought::Encoded(data) => {
                self.pay_for(&data).await?;
                let arguments = Lowered::Data(data);
                return Ok(Ready { index, arguments });
            }
        };
        let budget = self.store.data().budget.clone();
        let converting = Converting::begin();
        let (vals, passed) = self.lowered(function, values)?;
        if let Err(spent) = converting.end(&budget).await {
            passed.undo(self.store.as_context_mut());
            return Err(spent.into());
        }
        let arguments = Lowered::Vals(vals, passed);
        Ok(Ready { index, arguments })
    }

    async fn pay_for(&mut self, data: &Encoded) -> Result<(), SandboxError> {
        if !data.took.is_zero() {
            // To write it into the guest's memory takes as long as it took to check it.
            let budget = self.store.data().budget.clone();
            values::spent(&budget, data.took).await?;
        }
        Ok(())
    }

    /// Calls a function. Dropping the future ends the guest.
    ///
    /// # Errors
    /// However the guest ended. The instance is of no use then.
    pub async fn run(&mut self, ready: Ready, deadline: Instant) -> Result<Given, SandboxError> {
        let Ready { index, arguments } = ready;
        let prepared = Arc::clone(&self.prepared);
        let function = prepared.functions().get(index);
        let export = prepared.exports.get(index);
        let (Some(function), Some(export)) = (function, export) else {
            return Err(SandboxError::Internal(
                "no function has this index".to_owned(),
            ));
        };
        self.store.data_mut().deadline = deadline;
        let (vals, passed) = match arguments {
            Lowered::Vals(vals, passed) => (vals, passed),
            Lowered::Data(data) => {
                return self
                    .call_with_data((function, export), &data, deadline)
                    .await;
            }
        };
        let budget = self.store.data().budget.clone();
        let mut results = vec![Val::Bool(false); usize::from(function.signature.result.is_some())];
        let store = &mut self.store;
        let run = async {
            let func = self.instance.get_func(&mut *store, export);
            let func = func.ok_or_else(|| wasmtime::format_err!(NO_EXPORT))?;
            func.call_async(&mut *store, &vals, &mut results).await
        };
        // The guest gives up its thread after each turn, so a call that is late or dropped ends there.
        match timeout_at(deadline, run).await {
            Err(_) => return Err(self.late()),
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failed(&error)),
        }
        passed.take_back_lent(self.store.as_context_mut());
        let (Some(val), Some(ty)) = (results.first(), &function.signature.result) else {
            return Ok(Given::Value(None));
        };
        let converting = Converting::begin();
        let value = self.lifted(val, ty)?;
        converting.end(&budget).await?;
        Ok(Given::Value(Some(value)))
    }

    /// The same, without values of the engine's.
    async fn call_with_data(
        &mut self,
        (function, export): (&Function, &ComponentExportIndex),
        data: &Encoded,
        deadline: Instant,
    ) -> Result<Given, SandboxError> {
        let store = &mut self.store;
        let arguments = data.arguments(&function.signature);
        let run = async {
            let func = self.instance.get_func(&mut *store, export);
            let func = func.ok_or_else(|| wasmtime::format_err!(NO_EXPORT))?;
            dynamic::call(func, store, arguments, data.max_reply_bytes).await
        };
        let reply = match timeout_at(deadline, run).await {
            Err(_) => return Err(self.late()),
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return Err(self.failed(&error)),
        };
        if !reply.took.is_zero() {
            let budget = self.store.data().budget.clone();
            values::spent(&budget, reply.took).await?;
        }
        Ok(reply.bytes.map_or(Given::TooLarge, Given::Encoded))
    }

    /// Arguments as the engine takes them, and the objects among them.
    fn lowered(
        &mut self,
        function: &Function,
        arguments: Vec<Value>,
    ) -> Result<(Vec<Val>, Passed), SandboxError> {
        let max_handles = self.store.data().limits.max_handles;
        let mut crossing = Crossing::new(self.store.as_context_mut());
        let lowered = lower_all(function, arguments, max_handles, &mut crossing);
        let passed = crossing.passed();
        match lowered {
            Ok(vals) => Ok((vals, passed)),
            Err(error) => {
                passed.undo(self.store.as_context_mut());
                Err(error)
            }
        }
    }

    /// A result of the engine's.
    fn lifted(&mut self, val: &Val, ty: &Type) -> Result<Value, SandboxError> {
        let handles = self.store.data().handles.as_ref();
        let limit = handles.map_or(0, |handles| handles.max_objects());
        let mut crossing = Crossing::new(self.store.as_context_mut());
        values::lift(val, ty, &mut crossing).map_err(|unfit| match unfit {
            Unfit::Full => SandboxError::TooManyObjects { limit },
            Unfit::Shape | Unfit::Foreign => {
                SandboxError::Internal("a result is not of its type".to_owned())
            }
        })
    }

    /// Ends an object that lives here and that nobody holds any more.
    ///
    /// # Errors
    /// When its destructor fails. The instance is of no use then.
    pub async fn release(&mut self, object: Handle, deadline: Instant) -> Result<(), SandboxError> {
        let handles = self.store.data().handles.clone();
        let Some(object) = handles.and_then(|handles| handles.remove(object)) else {
            return Ok(());
        };
        // The ticks that went by meanwhile are nobody's.
        self.store.set_epoch_deadline(1);
        self.store.data_mut().ticks_of_turn = 1;
        self.store.data_mut().deadline = deadline;
        let Some(resource) = object.within(self.id()) else {
            return Ok(());
        };
        let dropping = resource.resource_drop_async(&mut self.store);
        match timeout_at(deadline, dropping).await {
            Err(_) => Err(self.late()),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
        }
    }

    /// How the guest ended.
    fn failed(&self, error: &wasmtime::Error) -> SandboxError {
        failed(&self.store, error)
    }

    fn late(&self) -> SandboxError {
        SandboxError::DeadlineExceeded(self.store.data().limits.timeout)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Instance({})", self.store.data().label())
    }
}

fn saturated(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn lower_all(
    function: &Function,
    arguments: Vec<Value>,
    max_handles: u64,
    objects: &mut dyn Objects,
) -> Result<Vec<Val>, SandboxError> {
    let parameters = &function.signature.parameters;
    let mut vals = Vec::with_capacity(arguments.len());
    for (position, (argument, parameter)) in arguments.into_iter().zip(parameters).enumerate() {
        let val = values::lower(argument, &parameter.ty, objects);
        vals.push(val.map_err(|unfit| match unfit {
            Unfit::Shape => {
                let path = Path::Root("args");
                let expected = format!("expected {}", parameter.ty);
                ValueError::at(Path::Index(&path, position), expected).into()
            }
            Unfit::Foreign => SandboxError::ForeignObject {
                function: function.to_string(),
            },
            Unfit::Full => SandboxError::TooManyObjects { limit: max_handles },
        })?);
    }
    Ok(vals)
}

/// How a guest ended that failed. What it said last goes into the account of its end.
fn failed(store: &Store<State>, error: &wasmtime::Error) -> SandboxError {
    let state = store.data();
    state.settle();
    let last_words = state.last_words();
    trap::classify(error, &last_words, &state.limits, state.limiter.refusal())
}

#[cfg(test)]
mod tests;

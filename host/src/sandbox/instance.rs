//! A live component in a store of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_host_protocol::value::{Handle, Path, ValueError};
use rpc_host_protocol::{Type, Value};
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{ResourceAny, Val};
use wasmtime::{AsContextMut, Store, UpdateDeadline};

use super::crossing::{Crossing, take_back};
use super::engine::TICK;
use super::handles::MAX_OBJECTS;
use super::output::Output;
use super::share::Taken;
use super::values::{Converting, NoObjects, Objects, Unfit};
use super::{
    CallLabel, CallLimits, Function, Handles, Outside, Prepared, Sandbox, SandboxError, State,
    trap, values,
};
use crate::budget::Budget;
use crate::capability::{Grants, KeyValue};

/// Handles that a guest may hold.
pub(super) const MAX_COMPONENT_HANDLES: usize = 10_000;
/// What a guest may hand to the host in one go, counted as the engine counts: a value of a list takes
/// 40 bytes, whatever its type.
pub(super) const MAX_HOSTCALL_BYTES: usize = 128 << 20;
/// Lines of a guest's output that go to the log from one call.
const MAX_LOGGED_LINES: usize = 100;
/// How long an instance that others wait for waits for its place, and a call for room. All could be held
/// by calls that wait for one more, so this wait ends before they do.
pub(super) const INNER_PATIENCE: Duration = Duration::from_secs(1);

/// Tells instances apart, as long as the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        InstanceId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an instance is made with.
pub struct Setting {
    /// Whose calls it is for.
    pub label: CallLabel,
    /// What it may use.
    pub limits: CallLimits,
    /// What it may do beyond computing: at most that by which its component was linked.
    pub grants: Arc<Grants>,
    /// The buckets behind the grants of them, if it has such grants.
    pub buckets: Option<Arc<dyn KeyValue>>,
    /// When the call from outside began, since 1970.
    pub began_at: Duration,
    /// Until when it has to be there.
    pub deadline: Instant,
    /// What it spends from, with others.
    pub budget: Budget,
    /// What its imports lead to, if it has any that others answer.
    pub outside: Option<Links>,
    /// Whether calls wait for it that hold places themselves.
    pub is_inner: bool,
}

/// What an instance has in common with those that it calls and is called by.
#[derive(Clone)]
pub struct Links {
    /// Answers its imports.
    pub outside: Arc<dyn Outside>,
    /// The objects that cross between them.
    pub handles: Arc<Handles>,
}

/// A live component. Dropped, it is gone with all that it had. After a call that failed it must be
/// dropped: what it left half done is nobody's to use.
pub struct Instance {
    store: Store<State>,
    instance: wasmtime::component::Instance,
    prepared: Arc<Prepared>,
    label: CallLabel,
    timeout: Duration,
    max_memory_bytes: u64,
    stdout: Output,
    stderr: Output,
    _places: Places,
}

impl Sandbox {
    /// Makes an instance as soon as there is a place for it. Dropping the future ends the guest within
    /// one tick of the epoch.
    ///
    /// # Errors
    /// When there is no place in time, or the guest fails at its start.
    pub async fn instantiate(
        &self,
        prepared: &Arc<Prepared>,
        setting: Setting,
    ) -> Result<Instance, SandboxError> {
        let (deadline, is_inner) = (setting.deadline, setting.is_inner);
        // A place first: the engine refuses an instance more than it has room for, a place waits.
        let leads_on = setting.outside.is_some();
        let places = self.places_for(prepared, &setting.label, leads_on, is_inner);
        let patience = if is_inner {
            deadline.min(Instant::now() + INNER_PATIENCE)
        } else {
            deadline
        };
        let Ok(Some(places)) = timeout_at(patience, places).await else {
            return Err(SandboxError::Busy);
        };
        let state = State::new(InstanceId::next(), &setting, prepared.resources());
        let Setting {
            label,
            limits,
            budget,
            ..
        } = setting;
        let (stdout, stderr) = (state.stdout.clone(), state.stderr.clone());
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_COMPONENT_HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            budget.spend(TICK)?;
            Ok(UpdateDeadline::Yield(1))
        });
        let starting = prepared.pre.instantiate_async(&mut store);
        let started = timeout_at(deadline, starting).await;
        let ended = match started {
            Ok(Ok(instance)) => {
                return Ok(Instance {
                    store,
                    instance,
                    prepared: Arc::clone(prepared),
                    label,
                    timeout: limits.timeout,
                    max_memory_bytes: limits.max_memory_bytes,
                    stdout,
                    stderr,
                    _places: places,
                });
            }
            Ok(Err(error)) => failed(&store, &label, &stderr, limits.max_memory_bytes, &error),
            Err(_) => SandboxError::DeadlineExceeded(limits.timeout),
        };
        log_output(&label, "stdout", &stdout);
        log_output(&label, "stderr", &stderr);
        Err(ended)
    }

    /// Waits for the places of an instance. Those that will need places for others may not fill them
    /// all: they would wait for one another.
    async fn places_for(
        &self,
        prepared: &Prepared,
        label: &CallLabel,
        leads_on: bool,
        is_inner: bool,
    ) -> Option<Places> {
        let leading = match leads_on && !is_inner {
            true => Some(self.leading_places.take(&label.tenant, 1).await?),
            false => None,
        };
        let own = self.places.take(&label.tenant, prepared.places).await?;
        Some((leading, own))
    }
}

/// Among those that may lead to others, and among all.
type Places = (Option<Taken>, Taken);

impl Instance {
    /// Which one it is.
    pub fn id(&self) -> InstanceId {
        self.store.data().id
    }

    /// Calls the function at `index` of its component. Dropping the future ends the guest within one
    /// tick of the epoch.
    ///
    /// # Errors
    /// When the arguments do not fit, or however the guest ended. The instance is of no use then.
    pub async fn call(
        &mut self,
        index: usize,
        arguments: Vec<Value>,
        deadline: Instant,
    ) -> Result<Option<Value>, SandboxError> {
        let prepared = Arc::clone(&self.prepared);
        let function = prepared.functions().get(index);
        let export = prepared.exports.get(index);
        let (Some(function), Some(export)) = (function, export) else {
            return Err(SandboxError::Internal(
                "no function has this index".to_owned(),
            ));
        };
        let budget = self.store.data().budget.clone();
        let converting = Converting::begin();
        let (vals, lent) = self.lowered(function, arguments)?;
        converting.end(&budget).await?;
        let mut results = vec![Val::Bool(false); usize::from(function.signature.result.is_some())];
        let store = &mut self.store;
        let run = async {
            let func = self.instance.get_func(&mut *store, export).ok_or_else(|| {
                wasmtime::format_err!("the instance lacks an export of its component")
            })?;
            func.call_async(&mut *store, &vals, &mut results).await
        };
        // The guest yields at every tick, so a call that is late or dropped ends there.
        match timeout_at(deadline, run).await {
            Err(_) => return Err(SandboxError::DeadlineExceeded(self.timeout)),
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failed(&error)),
        }
        take_back(lent, self.store.as_context_mut());
        let (Some(val), Some(ty)) = (results.first(), &function.signature.result) else {
            return Ok(None);
        };
        let converting = Converting::begin();
        let value = self.lifted(val, ty)?;
        converting.end(&budget).await?;
        Ok(Some(value))
    }

    /// Arguments as the engine takes them, and what they lend for the time of the call.
    fn lowered(
        &mut self,
        function: &Function,
        arguments: Vec<Value>,
    ) -> Result<(Vec<Val>, Vec<ResourceAny>), SandboxError> {
        if !function.signature.holds_handles() {
            return Ok((lower_all(function, arguments, &mut NoObjects)?, Vec::new()));
        }
        let mut crossing = Crossing::new(self.store.as_context_mut());
        let vals = lower_all(function, arguments, &mut crossing)?;
        Ok((vals, crossing.lent()))
    }

    /// A result of the engine's.
    fn lifted(&mut self, val: &Val, ty: &Type) -> Result<Value, SandboxError> {
        let mut crossing = Crossing::new(self.store.as_context_mut());
        values::lift(val, ty, &mut crossing).map_err(|unfit| match unfit {
            Unfit::Full => SandboxError::TooManyObjects { limit: MAX_OBJECTS },
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
        let dropping = object.resource.resource_drop_async(&mut self.store);
        match timeout_at(deadline, dropping).await {
            Err(_) => Err(SandboxError::DeadlineExceeded(self.timeout)),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
        }
    }

    /// How the guest ended.
    fn failed(&self, error: &wasmtime::Error) -> SandboxError {
        let (label, stderr) = (&self.label, &self.stderr);
        failed(&self.store, label, stderr, self.max_memory_bytes, error)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        log_output(&self.label, "stdout", &self.stdout);
        log_output(&self.label, "stderr", &self.stderr);
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Instance({})", self.label)
    }
}

fn lower_all(
    function: &Function,
    arguments: Vec<Value>,
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
            Unfit::Full => SandboxError::TooManyObjects {
                limit: MAX_COMPONENT_HANDLES,
            },
        })?);
    }
    Ok(vals)
}

/// How a guest ended that failed. What it said last goes to the log and into the account of its end.
fn failed(
    store: &Store<State>,
    label: &CallLabel,
    stderr: &Output,
    max_memory_bytes: u64,
    error: &wasmtime::Error,
) -> SandboxError {
    let (printed, _) = stderr.take();
    log_lines(label, "stderr", &printed);
    let refused = store.data().limiter.has_refused();
    trap::classify(error, &printed, refused.then_some(max_memory_bytes))
}

/// A guest's output, line by line, so that it cannot pass for lines of the node.
fn log_output(label: &CallLabel, stream: &'static str, output: &Output) {
    let (text, dropped_bytes) = output.take();
    log_lines(label, stream, &text);
    if dropped_bytes > 0 {
        tracing::warn!(target: "guest", tenant = %label.tenant, module = %label.module, call = %label.call,
            stream, dropped_bytes, "output over the limit was dropped");
    }
}

fn log_lines(label: &CallLabel, stream: &'static str, text: &str) {
    for line in text.lines().take(MAX_LOGGED_LINES) {
        let line = rpc_host_protocol::error::printable(line, 4096);
        tracing::info!(target: "guest", tenant = %label.tenant, module = %label.module, call = %label.call,
            stream, "{line}");
    }
}

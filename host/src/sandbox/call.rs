//! One call in a fresh instance.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_protocol::Value;
use rpc_host_protocol::value::{Path, ValueError};
use wasmtime::component::Val;
use wasmtime::{Store, UpdateDeadline};

use super::output::Output;
use super::share::Taken;
use super::{Prepared, Sandbox, SandboxError, State, trap, values};

/// Handles that a guest may hold.
const MAX_COMPONENT_HANDLES: usize = 10_000;
/// What a guest may hand to the host in one go, counted as the engine counts: a value of a list takes
/// 40 bytes, whatever its type.
pub(super) const MAX_HOSTCALL_BYTES: usize = 128 << 20;
/// Memory that the arguments of all calls may take, of one tenant half of it.
pub(super) const MAX_ARGUMENT_ROOM_KIB: u32 = 1 << 20;
/// What a byte of arguments may take once it is decoded: each of a list becomes a value of the engine.
const ARGUMENT_GROWTH: usize = size_of::<Val>();
/// Arguments up to this length are bounded by the number of calls alone.
const SHORT_ARGUMENT_BYTES: usize = 4 << 10;
/// Lines of a guest's output that go to the log from one call.
const MAX_LOGGED_LINES: usize = 100;

/// Whose call it is, for the log.
#[derive(Clone, Debug)]
pub struct CallLabel {
    /// The tenant's name.
    pub tenant: Arc<str>,
    /// The registration.
    pub module: Arc<str>,
    /// Names the call in the log: session and exchange.
    pub call: Arc<str>,
}

impl fmt::Display for CallLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.tenant, self.module, self.call)
    }
}

/// What one call may use.
#[derive(Clone, Debug)]
pub struct CallLimits {
    /// From now to the reply.
    pub timeout: Duration,
    /// Linear memory of the instance.
    pub max_memory_bytes: u64,
    /// Bytes of one line that the guest logs.
    pub max_log_line_bytes: u64,
}

/// Room for the arguments of one call, held from before they are decoded until it ends.
#[derive(Debug)]
pub struct ArgumentRoom {
    _taken: Option<Taken>,
}

impl Sandbox {
    /// Room for arguments that are so many bytes as they came. Waits for it, as long as the call may.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn argument_room(
        &self,
        tenant: &Arc<str>,
        bytes: usize,
        timeout: Duration,
    ) -> Result<ArgumentRoom, SandboxError> {
        if bytes <= SHORT_ARGUMENT_BYTES {
            return Ok(ArgumentRoom { _taken: None });
        }
        let room_kib = bytes.saturating_mul(ARGUMENT_GROWTH) / 1024;
        let room_kib = u32::try_from(room_kib).unwrap_or(u32::MAX);
        let taken = self.argument_room.take(tenant, room_kib);
        match tokio::time::timeout(timeout, taken).await {
            Ok(taken @ Some(_)) => Ok(ArgumentRoom { _taken: taken }),
            Ok(None) | Err(_) => Err(SandboxError::Busy),
        }
    }

    /// Calls the function at `index` of `prepared` in a fresh instance and drops the instance.
    ///
    /// Dropping the future ends the guest within one tick of the epoch and drops the instance.
    pub async fn call(
        &self,
        prepared: &Prepared,
        index: usize,
        arguments: Vec<Value>,
        label: &CallLabel,
        limits: &CallLimits,
    ) -> Result<Option<Value>, SandboxError> {
        let started = Instant::now();
        let deadline = started + limits.timeout;
        let function = prepared.functions().get(index);
        let export = prepared.exports.get(index);
        let (Some(function), Some(export)) = (function, export) else {
            return Err(SandboxError::Internal(
                "no function has this index".to_owned(),
            ));
        };
        if function.signature.holds_handles() {
            return Err(SandboxError::HoldsHandles(function.to_string()));
        }
        let parameters = &function.signature.parameters;
        let mut vals = Vec::with_capacity(arguments.len());
        for (position, (argument, parameter)) in arguments.into_iter().zip(parameters).enumerate() {
            let val = values::lower(argument, &parameter.ty).map_err(|values::WrongShape| {
                let path = Path::Root("args");
                ValueError::at(
                    Path::Index(&path, position),
                    format!("expected {}", parameter.ty),
                )
            })?;
            vals.push(val);
        }

        // A place first: the engine refuses an instance more than it has room for, a place waits.
        let place = self.places.take(&label.tenant, prepared.places);
        let Ok(Some(_place)) = tokio::time::timeout_at(deadline.into(), place).await else {
            return Err(SandboxError::Busy);
        };
        let mut store = self.store(label, limits);
        let (stdout, stderr) = (store.data().stdout.clone(), store.data().stderr.clone());
        let mut results = vec![Val::Bool(false); usize::from(function.signature.result.is_some())];

        let run = async {
            let instance = prepared.pre.instantiate_async(&mut store).await?;
            let func = instance.get_func(&mut store, export).ok_or_else(|| {
                wasmtime::format_err!("the instance lacks an export of its component")
            })?;
            func.call_async(&mut store, &vals, &mut results).await
        };
        // The guest yields at every tick, so a call that is late or dropped ends there; the store goes
        // with it, and with the store the instance.
        let ended = tokio::time::timeout_at(deadline.into(), run).await;
        let outcome = match ended {
            Err(_) => Err(SandboxError::DeadlineExceeded(limits.timeout)),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let (printed, _) = stderr.take();
                let refused = store.data().limiter.has_refused();
                stderr_to_log(label, &printed);
                Err(trap::classify(
                    &error,
                    &printed,
                    refused.then_some(limits.max_memory_bytes),
                ))
            }
        };
        drop(store);
        log_output(label, "stdout", &stdout);
        log_output(label, "stderr", &stderr);
        outcome?;

        match (results.pop(), &function.signature.result) {
            (Some(val), Some(ty)) => {
                values::lift(val, ty)
                    .map(Some)
                    .map_err(|values::WrongShape| {
                        SandboxError::Internal("a result is not of its type".to_owned())
                    })
            }
            _ => Ok(None),
        }
    }

    fn store(&self, label: &CallLabel, limits: &CallLimits) -> Store<State> {
        let mut store = Store::new(&self.engine, State::new(label, limits));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_COMPONENT_HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        store
    }
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

fn stderr_to_log(label: &CallLabel, text: &str) {
    log_lines(label, "stderr", text);
}

fn log_lines(label: &CallLabel, stream: &'static str, text: &str) {
    for line in text.lines().take(MAX_LOGGED_LINES) {
        let line = rpc_host_protocol::error::printable(line, 4096);
        tracing::info!(target: "guest", tenant = %label.tenant, module = %label.module, call = %label.call,
            stream, "{line}");
    }
}

//! Imports that others answer, in the engine's linker.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::check_value;
use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::{Handle, ValueLimits};
use rpc_host_protocol::{ErrorCode, Failure, Fault, Type};
use tokio::time::Instant;
use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::{LinkerInstance, ResourceType, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use super::crossing::Crossing;
use super::encoded::{Encoded, Reply, is_data, worth_counting};
use super::lowering::Target;
use super::values::{Converting, Unfit};
use super::{Brought, Imported, Outside, SandboxError, State, dynamic, lowering, values};
use crate::account::Held;
use crate::budget::Budget;

/// Makes a function end in the [`Outside`](super::Outside) of the instance that calls it.
pub(super) fn function(
    linked: &mut LinkerInstance<'_, State>,
    imported: Imported,
) -> wasmtime::Result<()> {
    let imported = Arc::new(imported);
    match is_data(&imported.function.signature) && !is_compared() {
        true => dynamic::import(linked, &imported),
        false => by_values(linked, imported),
    }
}

#[cfg(test)]
thread_local! {
    /// Whether what is linked on this thread is linked by values, which the other way is compared with.
    pub(super) static IS_COMPARED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
fn is_compared() -> bool {
    IS_COMPARED.get()
}

#[cfg(not(test))]
fn is_compared() -> bool {
    false
}

/// The same by the engine's dynamic values, which objects need.
fn by_values(
    linked: &mut LinkerInstance<'_, State>,
    imported: Arc<Imported>,
) -> wasmtime::Result<()> {
    let name = Arc::clone(&imported.function.name);
    linked.func_new_async(&name, move |store, _, arguments, results| {
        let imported = Arc::clone(&imported);
        Box::new(async move { call(store, &imported, arguments, results).await })
    })
}

/// Makes a resource known that lives elsewhere, by a number that is its own in this component.
pub(super) fn resource(
    linked: &mut LinkerInstance<'_, State>,
    name: &Name,
    number: u32,
) -> wasmtime::Result<()> {
    let ty = ResourceType::host_dynamic(number);
    linked.resource_async(name, ty, |mut store, rep| {
        store.data_mut().note_call_out();
        let outside = store.data().outside.clone();
        Box::new(async move {
            match outside {
                Some(outside) => Ok(outside.release(Handle::Host(u64::from(rep))).await?),
                None => Ok(()),
            }
        })
    })
}

async fn call(
    mut store: StoreContextMut<'_, State>,
    imported: &Imported,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let (outside, budget) = going_out(store.data_mut())?;
    let signature = &imported.function.signature;
    let converting = Converting::begin();
    let max_handles = store.data().limits.max_handles;
    let mut crossing = Crossing::new(store.as_context_mut());
    let mut values = Vec::with_capacity(arguments.len());
    for (argument, parameter) in arguments.iter().zip(&signature.parameters) {
        let value = values::lift(argument, &parameter.ty, &mut crossing);
        values.push(value.map_err(|unfit| cannot_pass(imported, max_handles, &unfit))?);
    }
    let _passing = passing(values::size_bytes(&values), crossing.state())?;
    converting.end(&budget).await?;
    let given = outside.call(imported, Brought::Values(values)).await?;
    let value = given.into_value().map_err(told)?;
    let converting = Converting::begin();
    let _passing = match &value {
        Some(value) => passing(values::size_bytes(from_ref(value)), crossing.state())?,
        None => None,
    };
    if let (Some(result), Some(ty)) = (results.first_mut(), &signature.result) {
        let value = value.ok_or(Unfit::Shape);
        let lowered = value.and_then(|value| values::lower(value, ty, &mut crossing));
        *result = lowered.map_err(|unfit| cannot_pass(imported, max_handles, &unfit))?;
    }
    converting.end(&budget).await?;
    come_back(&mut store);
    Ok(())
}

/// What is behind the imports of an instance, and what calls of them are paid from.
fn going_out(state: &mut State) -> wasmtime::Result<(Arc<dyn Outside>, Budget)> {
    state.note_call_out();
    let outside = state.outside.clone();
    let outside = outside
        .ok_or_else(|| wasmtime::format_err!("nothing is behind the imports of this instance"))?;
    Ok((outside, state.budget.clone()))
}

/// The ticks that went by meanwhile are not the guest's.
fn come_back(store: &mut StoreContextMut<'_, State>) {
    store.set_epoch_deadline(1);
    store.data_mut().ticks_of_turn = 1;
}

fn told(error: SandboxError) -> Failure {
    let (code, fault) = match error {
        SandboxError::TooMuchData { .. } | SandboxError::ResultTooLarge { .. } => {
            (ErrorCode::ResourceExhausted, Fault::Guest)
        }
        _ => (ErrorCode::Internal, Fault::Host),
    };
    Failure::new(code, fault, error.to_string())
}

/// The same as [`call`], of nothing but data, which stays as it is. It was taken by its type, and whoever answers has a
/// function of the same type.
pub(super) async fn call_with_data(
    mut store: StoreContextMut<'_, State>,
    imported: &Imported,
    Reply { bytes, took }: Reply,
) -> wasmtime::Result<Answered> {
    let (outside, budget) = going_out(store.data_mut())?;
    let limit_bytes = store.data().limits.max_hostcall_bytes;
    let arguments = bytes.ok_or_else(|| told(SandboxError::TooMuchData { limit_bytes }))?;
    let _passing = passing(arguments.capacity() as u64, store.data())?;
    values::spent(&budget, took).await?;
    let arguments = Encoded::of_guest(arguments, took);
    let given = outside.call(imported, Brought::Encoded(arguments)).await?;
    let data = given.into_data().map_err(told)?;
    let passing = passing(data.capacity() as u64, store.data())?;
    if let Some(ty) = &imported.function.signature.result {
        // To write it into the guest's memory takes as long.
        let took = time_to_check(&data, ty).map_err(told)?;
        values::spent(&budget, took).await?;
    }
    come_back(&mut store);
    Ok(Answered {
        data,
        _passing: passing,
    })
}

/// How long it takes to go through data by its type.
fn time_to_check(data: &[u8], ty: &Type) -> Result<Duration, SandboxError> {
    let began = Instant::now();
    check_value(data, ty, "result", NO_LIMITS).map_err(|error| {
        SandboxError::Internal(format!("an answer is not of its type: {error}"))
    })?;
    Ok(worth_counting(began.elapsed()))
}

/// Data on its way into a guest that called for it.
pub(super) struct Answered {
    data: Vec<u8>,
    _passing: Option<(Held, Held)>,
}

impl Answered {
    /// Puts it where the guest expects it.
    pub(super) fn lower<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        target: Target<'_>,
    ) -> wasmtime::Result<()> {
        lowering::lower_result(&self.data, cx, ty, target)
    }
}

/// Of what was bounded elsewhere.
const NO_LIMITS: ValueLimits = ValueLimits {
    max_depth: u32::MAX,
    max_items: u32::MAX,
};

/// Values below this are bounded by the depth of a chain alone.
const SHORT_VALUE_BYTES: u64 = 4 << 10;

/// Room for arguments until they are answered, and for the answer until the guest has it: those that a call waits with,
/// and with it those that wait for it, count together, and all of a tenant as its memory.
fn passing(bytes: u64, state: &State) -> Result<Option<(Held, Held)>, Failure> {
    let account = &state.account;
    let Some(in_call) = state.passing.as_ref().filter(|_| bytes > SHORT_VALUE_BYTES) else {
        return Ok(None);
    };
    let Some(of_call) = Held::try_take(in_call, bytes) else {
        let error = SandboxError::TooMuchPassing {
            limit_bytes: in_call.limit(),
        };
        let (code, fault) = (ErrorCode::ResourceExhausted, Fault::Guest);
        return Err(Failure::new(code, fault, error.to_string()));
    };
    let Some(of_tenant) = Held::try_take(account.memory(), bytes) else {
        let error = SandboxError::TenantOutOfMemory {
            limit_bytes: account.memory().limit(),
            ended: String::new(),
        };
        let (code, fault) = (ErrorCode::ResourceExhausted, Fault::Tenant);
        return Err(Failure::new(code, fault, error.to_string()));
    };
    Ok(Some((of_call, of_tenant)))
}

/// All values were checked against the same type on the other side; what remains are objects.
fn cannot_pass(imported: &Imported, max_handles: u64, unfit: &Unfit) -> Failure {
    let (code, fault, error) = match unfit {
        Unfit::Full => (
            ErrorCode::ResourceExhausted,
            Fault::Guest,
            SandboxError::TooManyObjects { limit: max_handles },
        ),
        Unfit::Foreign | Unfit::Shape => (
            ErrorCode::FailedPrecondition,
            Fault::Tenant,
            SandboxError::ForeignObject {
                function: imported.function.to_string(),
            },
        ),
    };
    Failure::new(code, fault, error.to_string())
}

//! Imports that others answer, in the engine's linker.

use std::slice::from_ref;
use std::sync::Arc;

use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};
use wasmtime::component::{LinkerInstance, ResourceType, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use super::crossing::Crossing;
use super::values::{Converting, Unfit};
use super::{Imported, SandboxError, State, values};
use crate::account::Held;

/// Makes a function end in the [`Outside`](super::Outside) of the instance that calls it.
pub(super) fn function(
    linked: &mut LinkerInstance<'_, State>,
    imported: Imported,
) -> wasmtime::Result<()> {
    let imported = Arc::new(imported);
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
    store.data_mut().note_call_out();
    let Some(outside) = store.data().outside.clone() else {
        return Err(wasmtime::format_err!(
            "nothing is behind the imports of this instance"
        ));
    };
    let budget = store.data().budget.clone();
    let signature = &imported.function.signature;
    let converting = Converting::begin();
    let max_handles = store.data().limits.max_handles;
    let mut crossing = Crossing::new(store.as_context_mut());
    let mut values = Vec::with_capacity(arguments.len());
    for (argument, parameter) in arguments.iter().zip(&signature.parameters) {
        let value = values::lift(argument, &parameter.ty, &mut crossing);
        values.push(value.map_err(|unfit| cannot_pass(imported, max_handles, &unfit))?);
    }
    let _passing = passing(&values, crossing.state())?;
    converting.end(&budget).await?;
    let value = outside.call(imported, values).await?;
    let converting = Converting::begin();
    let _passing = match &value {
        Some(value) => passing(from_ref(value), crossing.state())?,
        None => None,
    };
    if let (Some(result), Some(ty)) = (results.first_mut(), &signature.result) {
        let value = value.ok_or(Unfit::Shape);
        let lowered = value.and_then(|value| values::lower(value, ty, &mut crossing));
        *result = lowered.map_err(|unfit| cannot_pass(imported, max_handles, &unfit))?;
    }
    converting.end(&budget).await?;
    // The ticks that went by meanwhile are not the guest's.
    store.set_epoch_deadline(1);
    store.data_mut().ticks_of_turn = 1;
    Ok(())
}

/// Values below this are bounded by the depth of a chain alone.
const SHORT_VALUE_BYTES: u64 = 4 << 10;

/// Room for arguments until they are answered, and for the answer until the guest has it: those that a call waits with, and with it those that wait
/// for it, count together, and all of a tenant as its memory.
fn passing(values: &[Value], state: &State) -> Result<Option<(Held, Held)>, Failure> {
    let bytes = values::size_bytes(values);
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

//! A call of what a client serves.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::decode_value;
use rpc_host_protocol::types::{ResultType, Type};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{Signature, Value};
use tokio::time::Instant;

use super::Node;
use super::calls::NULL;
use crate::chain::Chain;
use crate::error::HostError;
use crate::provider::{ProviderError, Serving};
use crate::sandbox::Function;

/// Calls a function that a client serves, with encoded arguments; it ends at `until`, or with the chain
/// if that is earlier. What it answers is taken for as little as any value from
/// outside: it has to be of the function's type.
pub(super) async fn call(
    node: &Node,
    tenant: &Arc<str>,
    serving: &Serving,
    function: &Function,
    arguments: Vec<u8>,
    until: Instant,
    chain: &Chain,
) -> Result<Option<Value>, HostError> {
    let within = Duration::from_millis(node.limits.max_call_timeout_ms);
    let deadline = chain.deadline().min(until).min(Instant::now() + within);
    let answered = serving.call(function, arguments, deadline, chain).await;
    let reply = match answered {
        Ok(reply) => reply,
        Err(ProviderError::Failed { text, .. }) if ends_in_text(&function.signature) => {
            // The function has a way of its own to fail, so that is how it does.
            let text = Value::String(text);
            return Ok(Some(Value::Result(Err(Some(Box::new(text))))));
        }
        Err(error) => return Err(error.into()),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let sandbox = node.targets.sandbox();
    let _room = sandbox.answer_room(tenant, reply.value.len(), left).await?;
    let Some(ty) = &function.signature.result else {
        if reply.value != [NULL] {
            let text = format!("`{function}` gives nothing, and it answered with something");
            return Err(ProviderError::failed(serving, &text).into());
        }
        return Ok(None);
    };
    let value = decode_value(&reply.value, ty, "result", ValueLimits::default());
    let value = value.map_err(|error| {
        ProviderError::failed(serving, &format!("what it answered is no result: {error}"))
    })?;
    Ok(Some(value))
}

/// Whether a function may end with a text that says what went wrong.
fn ends_in_text(signature: &Signature) -> bool {
    let Some(Type::Result(ResultType { err: Some(err), .. })) = &signature.result else {
        return false;
    };
    **err == Type::String
}

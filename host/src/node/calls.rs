//! A call, from its permit to its reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_protocol::cbor::{decode_arguments, encode_value};
use rpc_host_protocol::value::ValueLimits;

use super::Node;
use crate::error::HostError;
use crate::sandbox::{CallLabel, CallLimits, SandboxError};
use crate::session::{CallReply, CallRequest};
use crate::tenant::Principal;

pub(super) async fn call(
    node: &Node,
    principal: &Principal,
    call: CallRequest,
) -> Result<CallReply, HostError> {
    let started = Instant::now();
    let permit = principal.permit_call()?;
    let registration = node
        .registry
        .catalog
        .resolve(&permit, &call.header.module)?;
    let limits = registration.current.narrowing.apply(&node.limits);
    let timeout_ms = call
        .header
        .timeout_ms
        .unwrap_or(limits.default_call_timeout_ms);
    let timeout = Duration::from_millis(timeout_ms.min(limits.max_call_timeout_ms));

    // The first call of a component may have to load it; the time for that is the caller's too.
    let loading = tokio::time::timeout(timeout, node.targets.load(&registration));
    let prepared = loading
        .await
        .map_err(|_| SandboxError::DeadlineExceeded(timeout))??;
    let (index, function) = prepared.functions().find(&call.header.function)?;
    let label = CallLabel {
        tenant: Arc::from(principal.tenant_name().as_str()),
        module: Arc::from(registration.name.as_str()),
        call: Arc::from(format!("{}{}", call.session, call.exchange)),
    };
    let sandbox = node.targets.sandbox();
    let left = timeout.saturating_sub(started.elapsed());
    let _room = sandbox
        .argument_room(&label.tenant, call.arguments.len(), left)
        .await?;
    let arguments = decode_arguments(&call.arguments, &function.signature, ValueLimits::default())?;
    drop(call.arguments);

    let limits_of_call = CallLimits {
        timeout: timeout.saturating_sub(started.elapsed()),
        max_memory_bytes: limits.max_memory_bytes,
        max_log_line_bytes: limits.max_log_line_bytes,
    };
    let result = sandbox
        .call(&prepared, index, arguments, &label, &limits_of_call)
        .await;
    let value = match result {
        // The caller asked for the whole time, and is told of that.
        Err(SandboxError::DeadlineExceeded(_)) => {
            return Err(SandboxError::DeadlineExceeded(timeout).into());
        }
        other => other?,
    };
    let value = value.as_ref().map_or_else(|| vec![NULL], encode_value);
    if value.len() as u64 > limits.max_reply_bytes {
        return Err(SandboxError::ResultTooLarge {
            limit_bytes: limits.max_reply_bytes,
        }
        .into());
    }
    Ok(CallReply {
        value,
        is_result: function.signature.returns_result(),
    })
}

/// CBOR's `null`: what a function without a result answers.
const NULL: u8 = 0xf6;

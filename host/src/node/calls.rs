//! A call, from its permit to its reply.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::{decode_arguments, encode_value};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{ErrorCode, Value};
use tokio::time::Instant;

use super::Node;
use super::root::{Caller, Root};
use crate::budget::Budget;
use crate::chain::Chain;
use crate::config::Limits;
use crate::error::HostError;
use crate::registry::Registration;
use crate::sandbox::{CallLabel, CallLimits, Prepared, SandboxError, Setting};
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
    let deadline = started + timeout;

    // The first call of a component may have to load it; the time for that is the caller's too.
    let loading = tokio::time::timeout_at(deadline, node.targets.load(&registration));
    let prepared = loading
        .await
        .map_err(|_| SandboxError::DeadlineExceeded(timeout))??;
    let (index, function) = prepared.functions().find(&call.header.function)?;
    if function.signature.holds_handles() {
        return Err(SandboxError::HoldsHandles(function.to_string()).into());
    }
    node.registry
        .catalog
        .note_call(&registration, &call.header.function);
    let caller = Caller {
        permit,
        tenant: Arc::from(principal.tenant_name().as_str()),
        call: Arc::from(format!("{}{}", call.session, call.exchange)),
    };
    let sandbox = node.targets.sandbox();
    let _room = sandbox
        .argument_room(&caller.tenant, call.arguments.len(), left(deadline))
        .await?;
    let arguments = decode_arguments(&call.arguments, &function.signature, ValueLimits::default())?;
    drop(call.arguments);

    let called = Called {
        registration: &registration,
        prepared: &prepared,
        index,
        limits: &limits,
        deadline,
    };
    let result = called.run(node, caller, arguments).await;
    let value = result.map_err(|error| whole_time(error, timeout, deadline))?;
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

/// What is called, and what that may take.
struct Called<'a> {
    registration: &'a Arc<Registration>,
    prepared: &'a Arc<Prepared>,
    index: usize,
    limits: &'a Limits,
    deadline: Instant,
}

impl Called<'_> {
    async fn run(
        self,
        node: &Node,
        caller: Caller,
        arguments: Vec<Value>,
    ) -> Result<Option<Value>, HostError> {
        let Called {
            registration,
            prepared,
            index,
            limits,
            deadline,
        } = self;
        let budget = Budget::new(call_budget(limits));
        if prepared.leads_on() {
            let name = Arc::from(registration.name.as_str());
            let depth = u32::try_from(limits.max_chain_depth).unwrap_or(u32::MAX);
            let chain = Chain::begin(name, deadline, depth);
            let root = Root::new(node.clone(), caller, budget);
            return root
                .call(registration, prepared, index, arguments, chain)
                .await;
        }
        // Nothing else has a part in it, so nothing needs to be kept for others.
        let setting = Setting {
            label: caller.label(registration),
            limits: call_limits(limits, deadline),
            deadline,
            budget,
            outside: None,
            is_inner: false,
        };
        let instance = node.targets.sandbox().instantiate(prepared, setting).await;
        Ok(instance?.call(index, arguments, deadline).await?)
    }
}

impl Caller {
    /// The label of what it calls.
    pub(super) fn label(&self, registration: &Registration) -> CallLabel {
        CallLabel {
            tenant: Arc::clone(&self.tenant),
            module: Arc::from(registration.name.as_str()),
            call: Arc::clone(&self.call),
        }
    }
}

/// What an instance may use, of all that its registration may.
pub(super) fn call_limits(limits: &Limits, deadline: Instant) -> CallLimits {
    CallLimits {
        timeout: left(deadline),
        max_memory_bytes: limits.max_memory_bytes,
        max_log_line_bytes: limits.max_log_line_bytes,
    }
}

/// How much processor time a call of it may use.
pub(super) fn call_budget(limits: &Limits) -> Duration {
    Duration::from_millis(limits.max_cpu_ms_per_call)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Whose time is over hears of all the time that there was, not of what was left of it where that was
/// noticed.
pub(super) fn whole_time(error: HostError, time: Duration, deadline: Instant) -> HostError {
    if is_late(&error) && left(deadline).is_zero() {
        return SandboxError::DeadlineExceeded(time).into();
    }
    error
}

/// Whether a call ended for want of time, wherever along the chain that was noticed.
fn is_late(error: &HostError) -> bool {
    match error {
        HostError::Sandbox(SandboxError::DeadlineExceeded(_)) => true,
        HostError::Sandbox(SandboxError::Outside(failure)) => {
            failure.code == ErrorCode::DeadlineExceeded
        }
        _ => false,
    }
}

/// CBOR's `null`: what a function without a result answers.
const NULL: u8 = 0xf6;

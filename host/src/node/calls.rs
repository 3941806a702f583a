//! A call, from its permit to its reply.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::{decode_arguments, encode_arguments, encode_value};
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};
use tokio::time::Instant;

use super::answerer::{Answerer, answerer};
use super::root::{Caller, Root};
use super::{Node, served};
use crate::account::Account;
use crate::budget::Budget;
use crate::capability::{Grants, KeyValue, Kind, Policies, Policy};
use crate::chain::Chain;
use crate::config::{Limits, count};
use crate::error::HostError;
use crate::provider::Serving;
use crate::registry::Registration;
use crate::sandbox::{ArgumentRoom, CallLabel, CallLimits, Function, SandboxError, Setting};
use crate::session::{CallReply, CallRequest};
use crate::tenant::Principal;
use crate::volume::{Mount, TenantLimits};

pub(super) async fn call(
    node: &Node,
    principal: &Principal,
    call: CallRequest,
) -> Result<CallReply, HostError> {
    let started = Instant::now();
    let permit = principal.permit_call()?;
    if call.header.on.is_some() {
        return Err(HostError::Unimplemented("calls on objects"));
    }
    if call.header.output {
        return Err(HostError::Unimplemented("output while a call runs"));
    }
    let name = &call.header.module;
    let allow = allowed(node, call.header.allow.as_deref())?;
    let answerer = answerer(node, &permit, Some(call.origin.session), name)?;
    let limits = match &answerer {
        Answerer::Module(registration) => registration
            .current
            .narrowing
            .apply(permit.settings().limits()),
        Answerer::Client(_) => permit.settings().limits().clone(),
    };
    let timeout_ms = call
        .header
        .timeout_ms
        .unwrap_or(limits.default_call_timeout_ms);
    let timeout = Duration::from_millis(timeout_ms.min(limits.max_call_timeout_ms));
    let caller = Caller {
        permit,
        account: Arc::clone(principal.account()),
        tenant: Arc::clone(principal.account().name()),
        call: Arc::from(format!("{}{}", call.origin.session, call.exchange)),
        session: call.origin.session,
        allow: Arc::new(allow),
        began_at: Duration::from_millis(node.clock.now().unix_ms()),
    };
    let deadline = call.chain.as_ref().map_or(started + timeout, |chain| {
        chain.deadline().min(started + timeout)
    });
    let (header, arguments) = (call.header, call.arguments);
    let (account, bytes) = (Arc::clone(&caller.account), arguments.len());
    let work = {
        let (node, outer) = (node.clone(), call.chain);
        async move {
            let bounds = Bounds {
                account: &caller.account,
                deadline,
                limits: &limits,
                outer,
            };
            // Whoever is late before its first turn gets none: it would come before all that is in time.
            if left(deadline).is_zero() {
                let late = SandboxError::DeadlineExceeded(deadline - started);
                return reply(Err(late.into()), started, &bounds);
            }
            let called = match answerer {
                Answerer::Module(registration) => {
                    of_module(&node, &caller, &registration, &header, arguments, &bounds).await
                }
                Answerer::Client(serving) => {
                    of_client(&node, &caller, &serving, &header, arguments, &bounds).await
                }
            };
            reply(called, started, &bounds)
        }
    };
    let sandbox = node.targets.sandbox();
    sandbox.work(&account, bytes, deadline, work).await
}

fn reply(called: Outcome, started: Instant, bounds: &Bounds<'_>) -> Result<CallReply, HostError> {
    let time = bounds.deadline - started;
    let (value, is_result) =
        called.map_err(|error| late(error, "the call", time, bounds.deadline))?;
    let value = value.as_ref().map_or_else(|| vec![NULL], encode_value);
    let limit_bytes = bounds.limits.max_reply_bytes;
    if value.len() as u64 > limit_bytes {
        return Err(SandboxError::ResultTooLarge { limit_bytes }.into());
    }
    Ok(CallReply { value, is_result })
}

/// What a call may take.
struct Bounds<'a> {
    account: &'a Arc<Account>,
    deadline: Instant,
    limits: &'a Limits,
    /// What it is part of, if a client makes it for another call.
    outer: Option<Chain>,
}

impl Bounds<'_> {
    fn budget(&self) -> Budget {
        match &self.outer {
            Some(outer) => outer.budget().part(call_budget(self.limits)),
            None => Budget::new(call_budget(self.limits), Arc::clone(self.account)),
        }
    }

    /// The chain that ends with a call of `name`.
    fn chain(&self, name: &str) -> Result<Chain, HostError> {
        Ok(match &self.outer {
            Some(outer) => outer.then(name.into(), None, self.deadline)?,
            None => self.begin(name),
        })
    }

    fn begin(&self, name: &str) -> Chain {
        let depth = u32::try_from(self.limits.max_chain_depth).unwrap_or(u32::MAX);
        Chain::begin(name.into(), self.deadline, depth, self.budget())
    }
}

/// What a call gives, and whether its function returns a WIT `result`.
type Outcome = Result<(Option<Value>, bool), HostError>;

async fn of_module(
    node: &Node,
    caller: &Caller,
    registration: &Arc<Registration>,
    header: &CallHeader,
    arguments: Vec<u8>,
    bounds: &Bounds<'_>,
) -> Outcome {
    let deadline = bounds.deadline;
    // The first call of a component may have to load it; the time for that is the caller's too.
    let loading = tokio::time::timeout_at(deadline, node.targets.load(registration));
    let prepared = loading
        .await
        .map_err(|_| SandboxError::DeadlineExceeded(left(deadline)))??;
    let (index, function) = prepared.functions().find(&header.function)?;
    let (arguments, _room) = decoded(node, caller, function, arguments, bounds).await?;
    if function.signature.holds_handles() {
        // What a client holds for an object is no object of this call.
        return Err(SandboxError::HoldsHandles(function.to_string()).into());
    }
    node.registry
        .catalog
        .note_call(registration, &header.function);
    let value = if prepared.leads_on() {
        let chain = bounds.chain(registration.name.as_str())?;
        let root = Root::new(node.clone(), caller.clone());
        root.call(registration, &prepared, index, arguments, chain)
            .await?
    } else {
        if let Some(outer) = &bounds.outer {
            // It leads nowhere, but may be too deep itself.
            outer.then(registration.name.as_str().into(), None, deadline)?;
        }
        // Nothing else has a part in it, so nothing needs to be kept for others.
        let grants = caller.in_force(node, registration);
        let setting = Setting {
            label: caller.label(registration),
            account: Arc::clone(&caller.account),
            limits: call_limits(bounds.limits, deadline),
            buckets: caller.buckets(node, &grants),
            mounts: mounts(node, caller, &grants),
            grants,
            began_at: caller.began_at,
            deadline,
            budget: bounds.budget(),
            outside: None,
            is_inner: bounds.outer.is_some(),
        };
        let instance = node.targets.sandbox().instantiate(&prepared, setting).await;
        instance?.call(index, arguments, deadline).await?
    };
    Ok((value, function.signature.returns_result()))
}

async fn of_client(
    node: &Node,
    caller: &Caller,
    serving: &Serving,
    header: &CallHeader,
    arguments: Vec<u8>,
    bounds: &Bounds<'_>,
) -> Outcome {
    let (_, function) = serving.contract().find(&header.function)?;
    let arguments = {
        // Decoded only to see that they are of the function's type: the room is free again before the
        // client has them.
        let (arguments, _room) = decoded(node, caller, function, arguments, bounds).await?;
        encode_arguments(&arguments, &[])
    };
    let chain = bounds.outer.clone();
    let chain = chain.unwrap_or_else(|| bounds.begin(CLIENT));
    let (tenant, until) = (&caller.tenant, bounds.deadline);
    let value = served::call(node, tenant, serving, function, arguments, until, &chain).await?;
    Ok((value, function.signature.returns_result()))
}

/// Where a chain begins that leads from a client to a client.
const CLIENT: &str = "client";

/// The arguments of a call, and the room that they take.
async fn decoded(
    node: &Node,
    caller: &Caller,
    function: &Function,
    bytes: Vec<u8>,
    bounds: &Bounds<'_>,
) -> Result<(Vec<Value>, ArgumentRoom), HostError> {
    let sandbox = node.targets.sandbox();
    let (left, is_inner) = (left(bounds.deadline), bounds.outer.is_some());
    let room = sandbox.argument_room(&caller.tenant, bytes.len(), left, is_inner);
    let room = room.await?;
    let arguments = decode_arguments(&bytes, &function.signature, ValueLimits::default())?;
    Ok((arguments, room))
}

/// Whoever had so much time until `deadline` is told when it is over, and of what took it if that is
/// known. What had less than that was told of already.
pub(super) fn late(error: HostError, who: &str, time: Duration, deadline: Instant) -> HostError {
    if !left(deadline).is_zero() {
        return error;
    }
    let text = format!("{who} did not end within {} ms", time.as_millis());
    let failure = match &error {
        HostError::Sandbox(SandboxError::DeadlineExceeded(_)) => {
            Failure::new(ErrorCode::DeadlineExceeded, Fault::Guest, text)
        }
        HostError::Sandbox(SandboxError::Outside(inner))
            if inner.code == ErrorCode::DeadlineExceeded =>
        {
            Failure::new(
                inner.code,
                inner.fault,
                format!("{text}: {}", inner.message),
            )
        }
        _ => return error,
    };
    SandboxError::Outside(Box::new(failure)).into()
}

/// What the caller allows: all that others do, if it says nothing.
fn allowed(node: &Node, patterns: Option<&[String]>) -> Result<Policy, HostError> {
    let limit = node.limits.max_patterns_per_policy;
    let policy = patterns.map(|patterns| Policy::parse(patterns, limit));
    Ok(policy.transpose()?.unwrap_or(Policy::Any))
}

impl Caller {
    /// What a module may do in this call, of all that it is registered with.
    pub(super) fn in_force(&self, node: &Node, registration: &Registration) -> Arc<Grants> {
        let policies = Policies {
            node: &node.policy,
            tenant: self.permit.settings().allow(),
            caller: &self.allow,
        };
        policies.in_force(&registration.current.grants)
    }

    /// The buckets of its tenant, for an instance that has grants of them.
    pub(super) fn buckets(&self, node: &Node, grants: &Grants) -> Option<Arc<dyn KeyValue>> {
        let limits = self.permit.settings().limits();
        let is_granted = grants.has(Kind::Kv);
        is_granted.then(|| node.buckets.of(self.permit.tenant(), limits))
    }

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
        max_hostcall_bytes: limits.max_hostcall_bytes,
        max_handles: limits.max_handles_per_instance,
        max_host_resources: limits.max_host_resources_per_instance,
        max_log_line_bytes: limits.max_log_line_bytes,
        max_log_lines: limits.max_log_lines_per_instance,
        max_output_bytes: limits.max_output_bytes_per_instance,
        max_http_requests_of_tenant: limits.max_http_requests_at_once_per_tenant,
    }
}

/// The directories that an instance finds under these grants.
pub(super) fn mounts(node: &Node, caller: &Caller, grants: &Grants) -> Vec<Mount> {
    let (tenant, settings) = (caller.permit.tenant().number(), caller.permit.settings());
    let limits = tenant_volume_limits(settings.limits());
    node.volumes
        .mounts(tenant, &caller.tenant, limits, grants.volumes())
}

/// How much of volumes a tenant may have.
pub(crate) fn tenant_volume_limits(limits: &Limits) -> TenantLimits {
    TenantLimits {
        max_volumes: limits.max_volumes_per_tenant,
        max_volume_bytes: limits.max_volume_bytes_per_tenant,
        max_open_files: count(limits.max_open_files_per_tenant),
        max_file_operations: count(limits.max_file_operations_per_tenant),
    }
}

/// How much processor time a call of it may use.
pub(super) fn call_budget(limits: &Limits) -> Duration {
    Duration::from_millis(limits.max_cpu_ms_per_call)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// CBOR's `null`: what a function without a result answers.
pub(super) const NULL: u8 = 0xf6;

//! One call from outside, and the instances that it leads to.
//!
//! Within such a call each module is one instance, so that what it keeps is there for whoever calls it
//! again, and objects that it made stay good. All of them go with the call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};

use super::Node;
use super::calls::{call_budget, mounts};
use super::imports::Imports;
use crate::account::{Account, Quantity};
use crate::capability::Policy;
use crate::chain::{Chain, ChainError};
use crate::error::HostError;
use crate::registry::{Registration, RegistryError};
use crate::sandbox::{Handles, Instance, InstanceId, Links, Prepared, SandboxError, Setting};
use crate::session::SessionId;
use crate::tenant::CallPermit;

/// Who calls, for all that a call leads to.
#[derive(Clone)]
pub(super) struct Caller {
    /// That it may.
    pub(super) permit: CallPermit,
    /// What its tenant uses.
    pub(super) account: Arc<Account>,
    /// Its tenant's name.
    pub(super) tenant: Arc<str>,
    /// Names the call in the log.
    pub(super) call: Arc<str>,
    /// The session that the call came in by.
    pub(super) session: SessionId,
    /// What it allows of all that modules are granted.
    pub(super) allow: Arc<Policy>,
    /// When the call began, since 1970.
    pub(super) began_at: Duration,
}

/// A call from outside.
pub(super) struct Root {
    node: Node,
    caller: Caller,
    handles: Arc<Handles>,
    /// What the values take that are on their way within it.
    passing: Arc<Quantity>,
    members: Mutex<Vec<Arc<Member>>>,
}

/// A module that has a part in the call: at most one instance.
pub(super) struct Member {
    registration: Arc<Registration>,
    prepared: Arc<Prepared>,
    imports: Arc<Imports>,
    /// None before its first call, and after one that failed.
    instance: tokio::sync::Mutex<Option<Instance>>,
    /// Which instance that is.
    id: Mutex<Option<InstanceId>>,
}

impl Root {
    pub(super) fn new(node: Node, caller: Caller) -> Arc<Self> {
        let limits = &node.limits;
        Arc::new(Root {
            handles: Arc::new(Handles::new(limits.max_objects_per_call)),
            passing: Arc::new(Quantity::new(limits.max_value_bytes_per_call)),
            node,
            caller,
            members: Mutex::default(),
        })
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Makes the call.
    pub(super) async fn call(
        self: Arc<Self>,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
        index: usize,
        arguments: Vec<Value>,
        chain: Chain,
    ) -> Result<Option<Value>, HostError> {
        let member = self.member(registration, prepared)?;
        self.enter(&member, index, arguments, chain).await
    }

    /// The one that stands for a registration at its present revision.
    pub(super) fn member(
        self: &Arc<Self>,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
    ) -> Result<Arc<Member>, ChainError> {
        // Whoever is over ends when the lock is given back: what is declared first is dropped last.
        let _over: Vec<_>;
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let known = members
            .iter()
            .find(|member| Arc::ptr_eq(&member.registration, registration));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        (_over, *members) = std::mem::take(&mut *members)
            .into_iter()
            .partition(|member| self.is_over(member, registration));
        let limit = self.node.limits.max_instances_per_call;
        if members.len() as u64 >= limit {
            return Err(ChainError::TooManyInstances { limit });
        }
        let member = Arc::new(Member {
            registration: Arc::clone(registration),
            prepared: Arc::clone(prepared),
            imports: Arc::new(Imports::new(Arc::downgrade(self), Arc::clone(registration))),
            instance: tokio::sync::Mutex::default(),
            id: Mutex::default(),
        });
        members.push(Arc::clone(&member));
        Ok(member)
    }

    /// Whether a member is of no use now that its name means `present`: an earlier revision that works on
    /// nothing, and of which nobody holds an object. Otherwise a call that lasts would come to its limit
    /// of instances by swaps alone.
    fn is_over(&self, member: &Member, present: &Registration) -> bool {
        let is_idle = || member.instance.try_lock().is_ok();
        let is_held = || member.id().is_some_and(|id| self.handles.are_held_of(id));
        member.registration.name == present.name && is_idle() && !is_held()
    }

    /// Where an object lives.
    pub(super) fn home(&self, object: Handle) -> Option<Arc<Member>> {
        let owner = self.handles.owner(object)?;
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = members.iter();
        let home = members.find(|member| member.id() == Some(owner));
        home.map(Arc::clone)
    }

    /// Calls a function of a member. `chain` ends with this very call.
    pub(super) async fn enter(
        &self,
        member: &Member,
        index: usize,
        arguments: Vec<Value>,
        chain: Chain,
    ) -> Result<Option<Value>, HostError> {
        // One thing happens at a time in a call: whoever is busy waits for this.
        let Ok(mut instance) = member.instance.try_lock() else {
            return Err(ChainError::WouldDeadlock {
                chain: chain.to_string(),
            }
            .into());
        };
        let limits = member
            .registration
            .current
            .narrowing
            .apply(self.caller.permit.settings().limits());
        let deadline = chain.deadline();
        let is_inner = chain.depth() > 1;
        let budget = chain.budget().part(call_budget(&limits));
        member.imports.begin(chain);
        if instance.is_none() {
            let grants = self.caller.in_force(&self.node, &member.registration);
            let caller = &self.caller;
            let setting = Setting {
                account: Arc::clone(&caller.account),
                terms: caller.terms(&member.registration, &limits, deadline, budget),
                buckets: caller.buckets(&self.node, &grants),
                outside: Some(Links {
                    outside: Arc::clone(&member.imports) as _,
                    handles: Arc::clone(&self.handles),
                    passing: Arc::clone(&self.passing),
                }),
                mounts: mounts(&self.node, &self.caller, &grants),
                grants,
                is_inner,
            };
            let sandbox = self.node.targets.sandbox();
            let made = sandbox.instantiate(&member.prepared, setting).await?;
            member.set_id(made.id());
            *instance = Some(made);
        }
        let Some(live) = instance.as_mut() else {
            return Err(SandboxError::Internal("an instance is gone".to_owned()).into());
        };
        let ended = live.call(index, arguments, deadline).await;
        if ended.is_err() {
            *instance = None;
        }
        Ok(ended?)
    }

    /// Ends an object that nobody holds any more.
    pub(super) async fn release(&self, object: Handle, chain: &Chain) -> Result<(), Failure> {
        let Some(member) = self.home(object) else {
            return Ok(());
        };
        // Where its instance waits for this very call, it goes with it at the end.
        let Ok(mut instance) = member.instance.try_lock() else {
            return Ok(());
        };
        let Some(live) = instance.as_mut() else {
            return Ok(());
        };
        // Its destructor is a call like any other, and may lead to others.
        let chain = chain.then(member.name().into(), None, chain.deadline());
        let chain = chain.map_err(|error| told_of(&member, error.into()))?;
        let deadline = chain.deadline();
        member.imports.begin(chain);
        let ended = live.release(object, deadline).await;
        if ended.is_err() {
            *instance = None;
        }
        ended.map_err(|error| told_of(&member, error.into()))
    }
}

impl Member {
    /// Its name, for chains and for people.
    pub(super) fn name(&self) -> &str {
        self.registration.name.as_str()
    }

    pub(super) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }

    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    fn id(&self) -> Option<InstanceId> {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_id(&self, id: InstanceId) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }
}

/// An error of a member, as those hear of it that wait for it.
pub(super) fn told_of(member: &Member, error: HostError) -> Failure {
    match error {
        // Told already, by one further in.
        HostError::Sandbox(SandboxError::Outside(failure)) => *failure,
        HostError::Sandbox(SandboxError::DeadlineExceeded(_)) => {
            let text = format!("`{}` did not end in time", member.name());
            Failure::new(ErrorCode::DeadlineExceeded, Fault::Guest, text)
        }
        // These name all that there is to name.
        HostError::Chain(_)
        | HostError::Provider(_)
        | HostError::Registry(RegistryError::Unbound { .. } | RegistryError::NotOffered { .. }) => {
            error.into()
        }
        other => {
            let failure = Failure::from(other);
            let message = format!("`{}`: {}", member.name(), failure.message);
            Failure::new(failure.code, failure.fault, message).with_backtrace(failure.backtrace)
        }
    }
}

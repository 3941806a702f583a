//! A call, from its permit to its reply.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::{decode_arguments, encode_value};
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::operation::Instancing;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::{Handle, ValueLimits};
use rpc_host_protocol::{ErrorCode, Failure, Fault, Type, Value};
use tokio::time::{Instant, timeout_at};

use super::Node;
use super::abroad::ClientObject;
use super::answerer::{Answerer, answerer};
use super::border::{Border, Taker};
use super::far::{Far, FarCall};
use super::holdings::Spot;
use super::kept::{Kept, Living};
use super::line::Ticket;
use super::root::{Caller, Lasts, Member, Present, Root, Visit};
use crate::account::Account;
use crate::budget::Budget;
use crate::capability::{Grants, KeyValue, Kind, Policies, Policy};
use crate::chain::Chain;
use crate::config::{Limits, count};
use crate::error::HostError;
use crate::journal::{CallName, Room};
use crate::objects::ObjectError;
use crate::provider::Serving;
use crate::registry::Registration;
use crate::sandbox::{
    Ahead, ArgumentRoom, Brought, CallLabel, CallLimits, Encoded, Forecast, Function, Given,
    Growth, Prepared, SandboxError, Setting, Terms,
};
use crate::session::{CallReply, CallRequest, Origin, SessionId, Told};
use crate::tenant::{CallPermit, Principal};
use crate::volume::{Mount, TenantLimits};

/// A call that has its place among others.
pub struct Begun {
    started: Instant,
    call: CallRequest,
    place: Result<(CallPermit, Place), HostError>,
}

/// Where a call is done.
enum Place {
    /// By a client that serves the name.
    Client(Serving),
    /// In instances of its own.
    Fresh(Arc<Registration>),
    /// In the instance that the session has, or that all share; the line is joined where the call is not part
    /// of the one that has the turn.
    Kept(Arc<Kept>, Arc<Registration>, Option<Ticket>),
    /// Where an object lives.
    On(On),
}

/// Where a call is done that is done on an object.
struct On {
    number: u64,
    spot: Spot,
    /// None where the call is part of the one that has the turn.
    ticket: Option<Ticket>,
    part: Part,
}

/// The part of a root that a call is of.
enum Part {
    Has(Arc<Member>),
    Joins(Arc<Registration>),
    /// It is none: a client that serves the name is called, and objects of the root pass to and fro.
    Served(Serving),
}

impl Begun {
    pub(super) fn origin(&self) -> Origin {
        self.call.origin
    }

    pub(super) fn module(&self) -> &str {
        &self.call.header.module
    }
}

impl Place {
    fn registration(&self) -> Option<&Arc<Registration>> {
        match self {
            Place::Client(_) => None,
            Place::Fresh(registration) | Place::Kept(_, registration, _) => Some(registration),
            Place::On(on) => match &on.part {
                Part::Has(member) => Some(member.registration()),
                Part::Joins(registration) => Some(registration),
                Part::Served(_) => None,
            },
        }
    }
}

/// Finds out where a call is done, and gets its place in the line there.
pub(super) fn begin(node: &Node, principal: &Principal, call: CallRequest) -> Begun {
    let started = Instant::now();
    let place = place(node, principal, &call);
    Begun {
        started,
        call,
        place,
    }
}

fn place(
    node: &Node,
    principal: &Principal,
    call: &CallRequest,
) -> Result<(CallPermit, Place), HostError> {
    let permit = principal.permit_call()?;
    let (session, header) = (call.origin.session, &call.header);
    let name = &header.module;
    let Some(number) = header.on else {
        let place = match answerer(node, &permit, Some(session), name)? {
            Answerer::Module(registration) => match kept(node, session, &registration)? {
                None => Place::Fresh(registration),
                Some(kept) => {
                    let ticket = kept.join(call.chain.as_ref());
                    Place::Kept(kept, registration, ticket)
                }
            },
            Answerer::Client(serving) => Place::Client(serving),
        };
        return Ok((permit, place));
    };
    let not_held = ObjectError::NotHeld { number };
    let holdings = node.holdings().of(session).ok_or(not_held)?;
    let spot = holdings.table().find(number)?.clone();
    let root = &spot.root;
    if let Some(why) = root.gone() {
        return Err(ObjectError::Gone { number, why }.into());
    }
    let part = match root.named(name, spot.object) {
        Some(member) => Part::Has(member),
        None => match answerer(node, &permit, Some(session), name)? {
            // What one session would leave there, another would find.
            Answerer::Module(_) if root.lasts() == Lasts::Ever => {
                let name = name.clone();
                return Err(ObjectError::NoPart { name }.into());
            }
            Answerer::Module(registration) => Part::Joins(registration),
            Answerer::Client(serving) => Part::Served(serving),
        },
    };
    let is_within = |chain: &Chain| chain.has_turn(root.line_number());
    let ticket = match call.chain.as_ref().is_some_and(is_within) {
        true => None,
        false => root.join(),
    };
    let on = On {
        number,
        ticket,
        part,
        spot,
    };
    Ok((permit, Place::On(on)))
}

/// The instance that is there for calls of a registration, where it is not a fresh one for each.
pub(super) fn kept(
    node: &Node,
    session: SessionId,
    registration: &Registration,
) -> Result<Option<Arc<Kept>>, ObjectError> {
    Ok(match registration.current.instancing {
        Instancing::Call => None,
        Instancing::Session => {
            let holdings = node.holdings().of(session);
            let holdings = holdings.ok_or(ObjectError::SessionOver)?;
            Some(holdings.kept(&registration.name)?)
        }
        Instancing::Shared => Some(node.shared().of(registration)),
    })
}

pub(super) async fn call(
    node: &Node,
    principal: &Principal,
    begun: Begun,
) -> Result<CallReply, HostError> {
    let Begun {
        started,
        call,
        place,
    } = begun;
    let (permit, place) = place?;
    let allow = allowed(node, call.header.allow.as_deref())?;
    let limits = match place.registration() {
        Some(registration) => registration
            .current
            .narrowing
            .apply(permit.settings().limits()),
        None => permit.settings().limits().clone(),
    };
    let timeout_ms = call
        .header
        .timeout_ms
        .unwrap_or(limits.default_call_timeout_ms);
    let timeout = Duration::from_millis(timeout_ms.min(limits.max_call_timeout_ms));
    let name = CallName::Exchange(call.origin.session.number(), call.exchange);
    let tenant = principal.tenant().number();
    let caller = Caller {
        permit,
        account: Arc::clone(principal.account()),
        tenant: Arc::clone(principal.account().name()),
        scribe: node.journals().scribe(tenant, name, call.ear),
        call: name,
        session: call.origin.session,
        allow,
        began_at: Duration::from_millis(node.clock.now().unix_ms()),
    };
    let deadline = call.chain.as_ref().map_or(started + timeout, |chain| {
        chain.deadline().min(started + timeout)
    });
    let (header, arguments) = (call.header, call.arguments);
    let account = Arc::clone(&caller.account);
    let forecast = match call.meter {
        Some(meter) => Forecast::Long(Some(meter)),
        None => Forecast::of_arguments(arguments.len()),
    };
    let work = {
        let (node, outer) = (node.clone(), call.chain);
        // Boxed as soon as it is there: all that is passed on from here to its thread is small.
        Box::pin(async move {
            let bounds = Bounds {
                account: Arc::clone(&caller.account),
                deadline,
                limits: &limits,
                outer,
            };
            // Whoever is late before its first turn gets none: it would come before all that is in time.
            if left(deadline).is_zero() {
                let late = SandboxError::DeadlineExceeded(deadline - started);
                return reply(Err(late.into()), started, &bounds);
            }
            let called = match place {
                Place::Client(serving) => {
                    let work = AtClient {
                        node: &node,
                        caller: &Arc::new(caller),
                        serving: &serving,
                        on: None,
                    };
                    work.call(&header, arguments, &bounds).await
                }
                Place::Fresh(registration) => {
                    of_module(&node, caller, &registration, &header, arguments, &bounds).await
                }
                Place::Kept(kept, registration, ticket) => {
                    let (caller, place) = (Arc::new(caller), (kept, registration, ticket));
                    in_kept(&node, &caller, place, &header, arguments, &bounds).await
                }
                Place::On(on) => {
                    on_object(&node, &Arc::new(caller), on, &header, arguments, &bounds).await
                }
            };
            reply(called, started, &bounds)
        })
    };
    let sandbox = node.targets.sandbox();
    sandbox.work(&account, forecast, deadline, work).await
}

fn reply(called: Outcome, started: Instant, bounds: &Bounds<'_>) -> Result<CallReply, HostError> {
    let time = bounds.deadline - started;
    let Called {
        value,
        is_result,
        told,
    } = called.map_err(|error| late(error, "the call", time, bounds.deadline))?;
    let value = match value {
        Given::Encoded(data) => Some(data),
        Given::Value(value) => Some(value.as_ref().map_or_else(|| vec![NULL], encode_value)),
        Given::TooLarge => None,
    };
    let limit_bytes = bounds.limits.max_reply_bytes;
    let value = value.filter(|value| value.len() as u64 <= limit_bytes);
    let value = value.ok_or(SandboxError::ResultTooLarge { limit_bytes })?;
    Ok(CallReply {
        value,
        is_result,
        told,
    })
}

/// What a call may take.
struct Bounds<'a> {
    account: Arc<Account>,
    deadline: Instant,
    limits: &'a Limits,
    /// What it is part of, if a client makes it for another call.
    outer: Option<Chain>,
}

impl Bounds<'_> {
    fn budget(&self) -> Budget {
        match &self.outer {
            Some(outer) => outer.budget().part(call_budget(self.limits)),
            None => Budget::new(call_budget(self.limits), Arc::clone(&self.account)),
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

/// What a call gives.
struct Called {
    value: Given,
    /// Whether its function returns a WIT `result`.
    is_result: bool,
    told: Told,
}

impl Called {
    fn plain(value: Given, function: &Function) -> Self {
        Called {
            value,
            is_result: function.signature.returns_result(),
            told: Told::default(),
        }
    }
}

type Outcome = Result<Called, HostError>;

async fn of_module(
    node: &Node,
    caller: Caller,
    registration: &Arc<Registration>,
    header: &CallHeader,
    arguments: Payload,
    bounds: &Bounds<'_>,
) -> Outcome {
    let deadline = bounds.deadline;
    let prepared = loaded(node, registration, deadline).await?;
    let (index, function) = prepared.functions().find(&header.function)?;
    if prepared.leads_on() || function.signature.holds_handles() {
        let root = Root::new(node.clone());
        let member = root.member(registration, &prepared)?;
        let work = InRoot {
            node,
            caller: &Arc::new(caller),
            visit: Some(root.first_visit()),
            root: &root,
            member: &member,
            on: None,
        };
        let function = (index, function);
        return work.call(function, header, arguments, bounds).await;
    }
    let (arguments, _room) = checked(node, &caller, function, arguments, bounds).await?;
    node.registry
        .catalog
        .note_call(registration, &header.function);
    if let Some(outer) = &bounds.outer {
        // It leads nowhere, but may be too deep itself.
        outer.then(registration.name.as_str().into(), None, deadline)?;
    }
    // Nothing else has a part in it, so nothing needs to be kept for others.
    let grants = caller.in_force(node, registration);
    let setting = Setting {
        account: Arc::clone(&caller.account),
        terms: caller.terms(registration, bounds.limits, deadline, bounds.budget()),
        buckets: caller.buckets(node, &grants),
        mounts: mounts(node, &caller, &grants),
        grants,
        outside: None,
        is_inner: bounds.outer.is_some(),
        is_pinned: false,
        ahead: Some(ahead(registration, bounds.limits)),
    };
    let sandbox = node.targets.sandbox();
    let mut instance = sandbox.instantiate(&prepared, setting).await?;
    let arguments = Brought::Encoded(arguments);
    let given = instance.call(index, arguments, deadline).await;
    sandbox.retire(instance);
    Ok(Called::plain(given?, function))
}

/// The first call of a component may have to load it; the time for that is the caller's too.
async fn loaded(
    node: &Node,
    registration: &Registration,
    deadline: Instant,
) -> Result<Arc<Prepared>, HostError> {
    let loading = timeout_at(deadline, node.targets.load(registration));
    Ok(loading
        .await
        .map_err(|_| SandboxError::DeadlineExceeded(left(deadline)))??)
}

async fn in_kept(
    node: &Node,
    caller: &Arc<Caller>,
    (kept, registration, ticket): (Arc<Kept>, Arc<Registration>, Option<Ticket>),
    header: &CallHeader,
    arguments: Payload,
    bounds: &Bounds<'_>,
) -> Outcome {
    let (deadline, late) = (bounds.deadline, || {
        SandboxError::DeadlineExceeded(left(bounds.deadline))
    });
    let prepared = loaded(node, &registration, deadline).await?;
    let (Living { root, member }, visit) = match ticket {
        None => (kept.within()?, None),
        Some(ticket) => {
            let turn = timeout_at(deadline, ticket).await.map_err(|_| late())?;
            let entering = kept.enter(node, caller, &registration, &prepared, turn);
            let (turn, living) = timeout_at(deadline, entering).await.map_err(|_| late())??;
            let visit = living.root.visit_in(turn);
            (living, Some(visit))
        }
    };
    let prepared = Arc::clone(member.prepared());
    let function = prepared.functions().find(&header.function)?;
    let work = InRoot {
        node,
        caller,
        visit,
        root: &root,
        member: &member,
        on: None,
    };
    work.call(function, header, arguments, bounds).await
}

async fn on_object(
    node: &Node,
    caller: &Arc<Caller>,
    on: On,
    header: &CallHeader,
    arguments: Payload,
    bounds: &Bounds<'_>,
) -> Outcome {
    let On {
        number,
        spot: Spot { root, object },
        ticket,
        part,
    } = on;
    let visit = match ticket {
        None => None,
        Some(ticket) => {
            let visit = timeout_at(bounds.deadline, root.visit(ticket)).await;
            Some(visit.map_err(|_| SandboxError::DeadlineExceeded(left(bounds.deadline)))?)
        }
    };
    if let Some(why) = root.gone() {
        return Err(ObjectError::Gone { number, why }.into());
    }
    let member = match part {
        Part::Has(member) => member,
        Part::Joins(registration) => {
            let prepared = loaded(node, &registration, bounds.deadline).await?;
            root.member(&registration, &prepared)?
        }
        Part::Served(serving) => {
            let work = AtClient {
                node,
                caller,
                serving: &serving,
                on: Some((root, visit, (number, object))),
            };
            return work.call(header, arguments, bounds).await;
        }
    };
    let prepared = Arc::clone(member.prepared());
    let function = prepared.functions().find(&header.function)?;
    let work = InRoot {
        node,
        caller,
        visit,
        root: &root,
        member: &member,
        on: Some((number, object)),
    };
    work.call(function, header, arguments, bounds).await
}

/// A call that is done in a root, when it is its turn.
struct InRoot<'a> {
    node: &'a Node,
    caller: &'a Arc<Caller>,
    /// None where it is part of the call that has the turn.
    visit: Option<Visit>,
    root: &'a Arc<Root>,
    member: &'a Arc<Member>,
    on: Option<(u64, Handle)>,
}

impl InRoot<'_> {
    async fn call(
        self,
        (index, function): (usize, &Function),
        header: &CallHeader,
        arguments: Payload,
        bounds: &Bounds<'_>,
    ) -> Outcome {
        let InRoot {
            node,
            caller,
            visit,
            root,
            member,
            on,
        } = self;
        root.check_grants(caller)?;
        let signature = &function.signature;
        let result = signature.result.as_ref();
        let (arguments, _room, mut border) = match signature.holds_handles() {
            true => {
                let decoded = decoded(node, caller, function, arguments, bounds);
                let (mut arguments, room) = decoded.await?;
                let over = ObjectError::SessionOver;
                let holdings = node.holdings().of(caller.session).ok_or(over)?;
                let mut border = Border::new(holdings, Arc::clone(root), on);
                border.take(&mut arguments, signature, &Taker::Member(member))?;
                if result.is_some_and(Type::holds_handles) {
                    border.make_room(caller)?;
                }
                (Brought::Values(arguments), room, Some(border))
            }
            false => {
                let checked = checked(node, caller, function, arguments, bounds);
                let (arguments, room) = checked.await?;
                (Brought::Encoded(arguments), room, None)
            }
        };
        let called_under = member.registration();
        node.registry
            .catalog
            .note_call(called_under, &header.function);
        let mut chain = bounds.chain(member.name())?;
        if visit.is_some() {
            chain = chain.with_turn(root.line_number());
        }
        let present = Present {
            caller: Arc::clone(caller),
            chain,
        };
        let begun = || {
            if let Some(border) = &mut border {
                border.begun();
            }
        };
        let entered = root.enter_with(member, index, arguments, present, begun);
        let mut called = Called::plain(entered.await?, function);
        if let Some(border) = &mut border {
            let given = match &mut called.value {
                Given::Value(Some(value)) => result.map(|ty| (value, ty)),
                _ => None,
            };
            called.told = border.give(given, caller)?;
        }
        drop(visit);
        Ok(called)
    }
}

/// A client that asks for something without calling.
pub(super) fn caller_of_session(
    node: &Node,
    principal: &Principal,
    session: SessionId,
) -> Result<Arc<Caller>, HostError> {
    let name = CallName::Session(session.number());
    let tenant = principal.tenant().number();
    Ok(Arc::new(Caller {
        permit: principal.permit_call()?,
        account: Arc::clone(principal.account()),
        tenant: Arc::clone(principal.account().name()),
        scribe: node.journals().scribe(tenant, name, None),
        call: name,
        session,
        allow: Policy::Any,
        began_at: Duration::from_millis(node.clock.now().unix_ms()),
    }))
}

/// Where a call is done on an object: the root, the turn there, and the object by both of its numbers.
type OnObject = (Arc<Root>, Option<Visit>, (u64, Handle));

/// A call of what a client serves.
struct AtClient<'a> {
    node: &'a Node,
    caller: &'a Arc<Caller>,
    serving: &'a Serving,
    on: Option<OnObject>,
}

impl AtClient<'_> {
    async fn call(self, header: &CallHeader, arguments: Payload, bounds: &Bounds<'_>) -> Outcome {
        let AtClient {
            node,
            caller,
            serving,
            on,
        } = self;
        let (_, function) = serving.contract().find(&header.function)?;
        let signature = &function.signature;
        let (mut arguments, room) = decoded(node, caller, function, arguments, bounds).await?;
        let resource = |name: &Name| function.resource(name);
        let far = |far, chain, room| FarCall {
            node,
            caller,
            far,
            function,
            signature,
            until: bounds.deadline,
            chain,
            room: Some(room),
            knows_interfaces: false,
        };
        let chain = bounds.outer.clone();
        let chain = chain.unwrap_or_else(|| bounds.begin(CLIENT));
        let serves = Far::Serving(serving);
        if !signature.holds_handles() {
            let call = far(serves, &chain, room);
            let given = call.make(Brought::Values(arguments), None, resource);
            return Ok(Called::plain(given.await?, function));
        }
        // Objects have to be known somewhere: where that of the call lives, or else in a root of its own.
        let (root, visit, on) = match on {
            Some((root, visit, on)) => (root, visit, Some(on)),
            None => {
                let root = Root::new(node.clone());
                let visit = root.first_visit();
                (root, Some(visit), None)
            }
        };
        let chain = match (&visit, &bounds.outer) {
            (None, _) => chain,
            (Some(_), None) => chain.with_turn(root.line_number()),
            (Some(_), Some(outer)) => {
                let link = outer.then(CLIENT.into(), None, bounds.deadline)?;
                link.with_turn(root.line_number())
            }
        };
        let over = ObjectError::SessionOver;
        let holdings = node.holdings().of(caller.session).ok_or(over)?;
        let mut border = Border::new(holdings, Arc::clone(&root), on);
        border.take(&mut arguments, signature, &Taker::Client(function))?;
        let result = signature.result.as_ref();
        if result.is_some_and(Type::holds_handles) {
            border.make_room(caller)?;
        }
        let object = match arguments.first() {
            Some(Value::Handle(first)) if function.name.starts_with("[method]") => {
                ClientObject::of(root.handles(), *first)
            }
            _ => None,
        };
        let whom = match &object {
            Some(object) => {
                let interface = function.interface.as_deref();
                Far::Object(object, interface.unwrap_or(serving.name()))
            }
            None => serves,
        };
        border.begun();
        let call = far(whom, &chain, room);
        let given = call.make(Brought::Values(arguments), Some(&root), resource);
        let mut value = given.await?.into_value()?;
        let told = border.give(value.as_mut().zip(result), caller)?;
        let called = Called {
            told,
            ..Called::plain(Given::Value(value), function)
        };
        drop(visit);
        Ok(called)
    }
}

/// Where a chain begins that leads from a client to a client.
const CLIENT: &str = "client";

/// The arguments of a call of data alone, which stay as they are, and the room that they take.
async fn checked(
    node: &Node,
    caller: &Caller,
    function: &Function,
    bytes: Payload,
    bounds: &Bounds<'_>,
) -> Result<(Encoded, ArgumentRoom), HostError> {
    let growth = Growth::of_data(&function.signature);
    let room = room(node, caller, (bytes.len(), growth), bounds).await?;
    let limit_bytes = bounds.limits.max_reply_bytes;
    let arguments = Encoded::check(bytes, &function.signature, limit_bytes)?;
    Ok((arguments, room))
}

/// The arguments of a call as values, and the room that they take.
async fn decoded(
    node: &Node,
    caller: &Caller,
    function: &Function,
    bytes: Payload,
    bounds: &Bounds<'_>,
) -> Result<(Vec<Value>, ArgumentRoom), HostError> {
    let arriving = (bytes.len(), Growth::of_values());
    let room = room(node, caller, arriving, bounds).await?;
    let arguments = decode_arguments(&bytes, &function.signature, ValueLimits::default())?;
    Ok((arguments, room))
}

async fn room(
    node: &Node,
    caller: &Caller,
    arriving: (usize, Growth),
    bounds: &Bounds<'_>,
) -> Result<ArgumentRoom, HostError> {
    let sandbox = node.targets.sandbox();
    let (left, is_inner) = (left(bounds.deadline), bounds.outer.is_some());
    let room = sandbox.argument_room(&caller.tenant, arriving, left, is_inner);
    Ok(room.await?)
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

    /// What a module works under in this call.
    pub(super) fn terms(
        &self,
        registration: &Registration,
        limits: &Limits,
        deadline: Instant,
        budget: Budget,
    ) -> Terms {
        Terms {
            label: CallLabel {
                tenant: Arc::clone(&self.tenant),
                module: registration.name.shared(),
                call: self.call,
                scribe: self.scribe.clone(),
            },
            limits: call_limits(limits, deadline),
            began_at: self.began_at,
            deadline,
            budget,
        }
    }
}

/// What an instance may use, of all that its registration may.
fn call_limits(limits: &Limits, deadline: Instant) -> CallLimits {
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
        journal_room: Room {
            registration_bytes: limits.max_kept_log_bytes_per_registration,
            tenant_bytes: limits.max_kept_log_bytes_per_tenant,
        },
    }
}

/// Which instances may be ready before a call of a registration comes.
pub(super) fn ahead(registration: &Registration, limits: &Limits) -> Ahead {
    let most = limits.max_ready_instances_per_tenant;
    Ahead {
        revision: registration.current.number,
        most_of_tenant: u32::try_from(most).unwrap_or(u32::MAX),
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

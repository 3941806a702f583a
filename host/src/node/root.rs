//! One call from outside, and the instances that it leads to.
//!
//! Within such a call each module is one instance, so that what it keeps is there for whoever calls it
//! again, and objects that it made stay good. All of them go with the call, unless somebody holds an object
//! that lives in one of them: then the root is *pinned*, and further calls are made of it, one after the other
//! in the order in which they came. It ends when nobody holds anything of it any more, or with the first call
//! that fails in it: what that left half done is nobody's to use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, Failure, Fault};
use tokio::time::timeout_at;

use super::Node;
use super::calls::{ahead, call_budget, mounts};
use super::imports::Imports;
use super::kept::Kept;
use super::line::{Line, Ticket, Turn};
use super::pins::{Payer, Pins};
use crate::account::{Account, Quantity};
use crate::capability::{Grants, Policies, Policy};
use crate::chain::{Chain, ChainError};
use crate::error::HostError;
use crate::journal::{CallName, Scribe};
use crate::objects::{Gone, ObjectError};
use crate::registry::{Registration, RegistryError};
use crate::sandbox::{
    Brought, Given, Handles, Instance, InstanceId, Links, Prepared, SandboxError, Setting,
    Whereabouts,
};
use crate::session::SessionId;
use crate::tenant::CallPermit;

/// Who calls, for all that a call leads to.
pub(super) struct Caller {
    /// That it may.
    pub(super) permit: CallPermit,
    /// What its tenant uses.
    pub(super) account: Arc<Account>,
    /// Its tenant's name.
    pub(super) tenant: Arc<str>,
    /// Names the call in the log.
    pub(super) call: CallName,
    /// The session that the call came in by.
    pub(super) session: SessionId,
    /// What it allows of all that modules are granted.
    pub(super) allow: Policy,
    /// When the call began, since 1970.
    pub(super) began_at: Duration,
    /// Writes down what is said in it.
    pub(super) scribe: Scribe,
}

/// What an instance works on.
#[derive(Clone)]
pub(super) struct Present {
    /// Whose call it is.
    pub(super) caller: Arc<Caller>,
    /// The call that the instance works on, and those that wait for it.
    pub(super) chain: Chain,
}

/// A call from outside, or several that share its instances.
pub(super) struct Root {
    /// Of its line. Roots that share a line share the number.
    line_number: u64,
    node: Node,
    handles: Arc<Handles>,
    /// What the values take that are on their way within it.
    passing: Arc<Quantity>,
    members: Mutex<Vec<Arc<Member>>>,
    /// Who has the turn, and who waits for it. There is none before somebody outside holds something.
    line: OnceLock<Arc<Line>>,
    /// The turn of the first call, if there is a line.
    first_turn: Mutex<Option<Turn>>,
    pins: Mutex<Pins>,
    /// How long it is to be there.
    lasts: Lasts,
    gone: OnceLock<Gone>,
    /// Objects that nobody holds any more, until their destructors ran.
    pub(super) unheld: Mutex<super::release::Unheld>,
}

/// A module that has a part in the call: at most one instance.
pub(super) struct Member {
    registration: Arc<Registration>,
    prepared: Arc<Prepared>,
    imports: Arc<Imports>,
    /// None before its first call, and after one that failed.
    instance: tokio::sync::Mutex<Option<Instance>>,
    made: Mutex<Option<Made>>,
}

/// Which instance a member has, and what that was made with.
#[derive(Clone)]
struct Made {
    id: InstanceId,
    grants: Arc<Grants>,
}

/// How long a root is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// As long as its call, or somebody holds something of it.
    Call,
    /// As long as the session.
    Session,
    /// For all sessions.
    Ever,
}

impl Root {
    pub(super) fn new(node: Node) -> Arc<Self> {
        Self::made(node, Self::next_line_number(), OnceLock::new(), Lasts::Call)
    }

    /// One that is there beyond its calls, which take turns in a line that is there beyond it.
    pub(super) fn kept(node: Node, kept: &Kept) -> Arc<Self> {
        let (line, number) = kept.line();
        let line = OnceLock::from(Arc::clone(line));
        Self::made(node, number, line, kept.lasts())
    }

    /// A number that no other line has.
    pub(super) fn next_line_number() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed)
    }

    fn made(node: Node, line_number: u64, line: OnceLock<Arc<Line>>, lasts: Lasts) -> Arc<Self> {
        let limits = &node.limits;
        Arc::new(Root {
            line_number,
            line,
            lasts,
            handles: Arc::new(Handles::new(limits.max_objects_per_call)),
            passing: Arc::new(Quantity::new(limits.max_value_bytes_per_call)),
            node,
            members: Mutex::default(),
            first_turn: Mutex::default(),
            pins: Mutex::default(),
            gone: OnceLock::new(),
            unheld: Mutex::default(),
        })
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    pub(super) fn line_number(&self) -> u64 {
        self.line_number
    }

    /// How long it is to be there.
    pub(super) fn lasts(&self) -> Lasts {
        self.lasts
    }

    /// Why it is gone, if it is.
    pub(super) fn gone(&self) -> Option<Gone> {
        self.gone.get().copied()
    }

    /// That it is not gone.
    pub(super) fn check_alive(&self) -> Result<(), ObjectError> {
        match self.gone() {
            Some(why) => Err(ObjectError::InstanceGone { why }),
            None => Ok(()),
        }
    }

    /// Its instances may outlive the call, on the account of `payer`.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn pay_with(&self, payer: Payer) -> Result<(), ObjectError> {
        let live: Vec<_> = {
            let members = self.members();
            let live = members.iter().filter(|member| member.made().is_some());
            live.map(|member| Arc::clone(&member.prepared)).collect()
        };
        let sandbox = self.node.targets.sandbox();
        self.pins().pay_with(sandbox, payer, &live)
    }

    /// Somebody outside is to hold something of it. Only for whoever has the turn.
    pub(super) fn pin(&self) {
        self.line.get_or_init(|| {
            let (line, turn) = Line::taken();
            *self.first_turn() = Some(turn);
            line
        });
    }

    fn is_pinned(&self) -> bool {
        self.line.get().is_some()
    }

    /// Gets a place at the end of its line, if anybody can be in it but its first call.
    pub(super) fn join(&self) -> Option<Ticket> {
        self.line.get().map(Line::join)
    }

    /// Its first call begins.
    pub(super) fn first_visit(self: &Arc<Self>) -> Visit {
        Visit {
            root: Arc::clone(self),
            turn: None,
        }
    }

    /// A call that has the turn begins in it.
    pub(super) fn visit_in(self: &Arc<Self>, turn: Turn) -> Visit {
        Visit {
            root: Arc::clone(self),
            turn: Some(turn),
        }
    }

    /// Waits for the turn that a ticket is for.
    pub(super) async fn visit(self: &Arc<Self>, ticket: Ticket) -> Visit {
        let turn = ticket.await;
        self.visit_in(turn)
    }

    /// The one that stands for a registration at its present revision.
    pub(super) fn member(
        self: &Arc<Self>,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
    ) -> Result<Arc<Member>, ChainError> {
        // Whoever is over ends when the lock is given back: what is declared first is dropped last.
        let _over: Vec<_>;
        let mut members = self.members();
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
            imports: Arc::new(Imports::new(
                Arc::downgrade(self),
                Arc::clone(registration),
                Arc::clone(prepared),
            )),
            instance: tokio::sync::Mutex::default(),
            made: Mutex::default(),
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

    /// Where an object lives, if that is in this root.
    pub(super) fn home(&self, object: Handle) -> Option<Arc<Member>> {
        match self.handles.whereabouts(object)? {
            Whereabouts::In(owner) => self.home_of(owner),
            Whereabouts::Abroad(_) => None,
        }
    }

    /// The member that has an instance.
    pub(super) fn home_of(&self, owner: InstanceId) -> Option<Arc<Member>> {
        let members = self.members();
        let mut members = members.iter();
        let home = members.find(|member| member.id() == Some(owner));
        home.map(Arc::clone)
    }

    /// The member of this name: the one that an object lives in, or else the one that came last.
    pub(super) fn named(&self, name: &str, object: Handle) -> Option<Arc<Member>> {
        let home = self.home(object).filter(|home| home.name() == name);
        home.or_else(|| {
            let members = self.members();
            let of_name = members.iter().rev().find(|member| member.name() == name);
            of_name.map(Arc::clone)
        })
    }

    /// Whether a registration of this name has a part in it.
    pub(super) fn has_part(&self, name: &str) -> bool {
        self.members().iter().any(|member| member.name() == name)
    }

    /// That all its instances may have what they were made with in a call of this caller's. One that node or
    /// tenant do not allow any more ends all of it.
    ///
    /// # Errors
    /// When one may not.
    pub(super) fn check_grants(self: &Arc<Self>, caller: &Caller) -> Result<(), ObjectError> {
        let made: Vec<_> = {
            let members = self.members();
            let made = members.iter().filter_map(|member| member.made());
            made.map(|made| made.grants).collect()
        };
        for grants in made {
            let withheld = self.policies(caller, &caller.allow).withheld(&grants);
            let Some(withheld) = withheld.into_iter().next() else {
                continue;
            };
            let of_all = self.policies(caller, &Policy::Any).withheld(&grants);
            let is_callers = of_all.is_empty();
            if !is_callers {
                self.end(Gone::Narrowed);
            }
            return Err(ObjectError::Narrowed {
                grant: withheld.grant.redacted(),
                by: withheld.by.as_str(),
                is_callers,
            });
        }
        Ok(())
    }

    /// Calls a function of a member. The chain of `present` ends with this very call.
    ///
    /// # Errors
    /// However the call ends. If the guest had begun, the root is gone.
    pub(super) async fn enter(
        &self,
        member: &Member,
        index: usize,
        arguments: Brought,
        present: Present,
    ) -> Result<Given, HostError> {
        self.enter_with(member, index, arguments, present, || {})
            .await
    }

    /// Calls a function of a member with what came from outside. `begun` is done when the arguments were taken and the
    /// guest is about to begin.
    ///
    /// # Errors
    /// As [`Root::enter`].
    pub(super) async fn enter_with(
        &self,
        member: &Member,
        index: usize,
        arguments: Brought,
        present: Present,
        begun: impl FnOnce() + Send,
    ) -> Result<Given, HostError> {
        let mut place = self.lock(member, &present.chain).await?;
        self.check_alive()?;
        let deadline = present.chain.deadline();
        let mut live = self.live(member, place.take(), present).await?;
        let mut ending = Ending::armed(self);
        let ready = match live.ready(index, arguments).await {
            Ok(ready) => ready,
            Err(error) => {
                // It has not noticed.
                *place = Some(live);
                ending.disarm();
                return Err(error.into());
            }
        };
        begun();
        let ended = live.run(ready, deadline).await;
        ending.ended(&ended);
        if ended.is_ok() && self.gone().is_none() {
            *place = Some(live);
        }
        Ok(ended?)
    }

    /// The instance of a member, which others wait for.
    async fn lock<'m>(
        &self,
        member: &'m Member,
        chain: &Chain,
    ) -> Result<tokio::sync::MutexGuard<'m, Option<Instance>>, HostError> {
        if let Ok(place) = member.instance.try_lock() {
            return Ok(place);
        }
        // One thing happens at a time in a chain: whoever is busy with it waits for this. Clients may have
        // begun several chains in a root that is pinned.
        let is_within = member.imports.is_within(chain);
        if is_within || !self.is_pinned() {
            return Err(ChainError::WouldDeadlock {
                chain: chain.to_string(),
            }
            .into());
        }
        match timeout_at(chain.deadline(), member.instance.lock()).await {
            Ok(place) => Ok(place),
            Err(_elapsed) => Err(SandboxError::DeadlineExceeded(Duration::ZERO).into()),
        }
    }

    /// The instance that a member has, or a fresh one, ready for this call.
    async fn live(
        &self,
        member: &Member,
        known: Option<Instance>,
        present: Present,
    ) -> Result<Instance, HostError> {
        let Present { caller, chain } = present.clone();
        let registration = &member.registration;
        let narrowing = &registration.current.narrowing;
        let limits = narrowing.apply(caller.permit.settings().limits());
        let deadline = chain.deadline();
        let is_inner = chain.depth() > 1;
        let terms = || {
            let budget = chain.budget().part(call_budget(&limits));
            caller.terms(registration, &limits, deadline, budget)
        };
        let is_another_call = member.imports.begin(present);
        if let Some(mut live) = known {
            if is_another_call {
                live.begin(terms());
            }
            return Ok(live);
        }
        let sandbox = self.node.targets.sandbox();
        let is_pinned = self.pins().pay(sandbox, &member.prepared)?;
        let grants = self.granted(&caller, registration)?;
        let setting = Setting {
            account: Arc::clone(&caller.account),
            terms: terms(),
            buckets: caller.buckets(&self.node, &grants),
            outside: Some(Links {
                outside: Arc::clone(&member.imports) as _,
                handles: Arc::clone(&self.handles),
                passing: Arc::clone(&self.passing),
            }),
            mounts: mounts(&self.node, &caller, &grants),
            grants: Arc::clone(&grants),
            is_inner,
            is_pinned,
            ahead: (self.lasts == Lasts::Call).then(|| ahead(registration, &limits)),
        };
        let live = sandbox.instantiate(&member.prepared, setting).await?;
        let id = live.id();
        *member.made_mut() = Some(Made { id, grants });
        Ok(live)
    }

    /// What an instance is made with.
    ///
    /// # Errors
    /// When it is to be there for other calls as well, and this one does not allow all that it may have.
    fn granted(
        &self,
        caller: &Caller,
        registration: &Registration,
    ) -> Result<Arc<Grants>, ObjectError> {
        let granted = &registration.current.grants;
        let in_force = self.policies(caller, &caller.allow).in_force(granted);
        // What is made for other calls as well is not made by what this one allows.
        if self.lasts == Lasts::Call {
            return Ok(in_force);
        }
        let of_all = self.policies(caller, &Policy::Any).in_force(granted);
        let withheld = self.policies(caller, &caller.allow).withheld(&of_all);
        match withheld.into_iter().next() {
            None => Ok(of_all),
            Some(withheld) => Err(ObjectError::Narrowed {
                grant: withheld.grant.redacted(),
                by: withheld.by.as_str(),
                is_callers: true,
            }),
        }
    }

    fn policies<'p>(&'p self, caller: &'p Caller, allow: &'p Policy) -> Policies<'p> {
        Policies {
            node: &self.node.policy,
            tenant: caller.permit.settings().allow(),
            caller: allow,
        }
    }

    /// Ends an object that nobody holds any more, as a call like any other, which may lead to others.
    ///
    /// # Errors
    /// When its destructor fails. Then the root is gone.
    pub(super) async fn release(
        self: &Arc<Self>,
        object: Handle,
        present: &Present,
    ) -> Result<(), Failure> {
        let Some(member) = self.home(object) else {
            // One that lives in a client is let go of there.
            drop(self.handles.remove_abroad(object));
            return Ok(());
        };
        // Where its instance waits for this very call, it goes with it at the end, or soon after.
        let Ok(mut place) = member.instance.try_lock() else {
            if self.is_pinned() {
                self.let_go(vec![object], &present.caller);
            }
            return Ok(());
        };
        let Some(live) = place.take() else {
            return Ok(());
        };
        let Present { caller, chain } = present;
        let chain = chain.then(member.name().into(), None, chain.deadline());
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => {
                *place = Some(live);
                return Err(told_of(&member, error.into()));
            }
        };
        let deadline = chain.deadline();
        let caller = Arc::clone(caller);
        let mut ending = Ending::armed(self);
        let present = Present { caller, chain };
        let mut live = match self.live(&member, Some(live), present).await {
            Ok(live) => live,
            Err(error) => return Err(told_of(&member, error)),
        };
        let ended = live.release(object, deadline).await;
        ending.ended(&ended);
        if ended.is_ok() && self.gone().is_none() {
            *place = Some(live);
        }
        ended.map_err(|error| told_of(&member, error.into()))
    }

    /// Ends it: nothing more is called in it, and what works in it goes on to its end. Whoever has the turn
    /// clears up at the end of it.
    pub(super) fn end(self: &Arc<Self>, why: Gone) {
        if !self.note_gone(why) {
            return;
        }
        match self.join() {
            None | Some(Ticket::Now(None)) => {}
            Some(Ticket::Now(turn)) => drop(Visit {
                root: Arc::clone(self),
                turn,
            }),
            Some(ticket @ Ticket::Waits(_)) => {
                let root = Arc::clone(self);
                // Without a runtime nothing works in it any more.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { drop(root.visit(ticket).await) });
                }
            }
        }
    }

    /// False: it was gone before.
    fn note_gone(&self, why: Gone) -> bool {
        self.gone.set(why).is_ok()
    }

    /// What a turn leaves behind.
    pub(super) fn end_of_turn(&self) {
        if !self.is_pinned() {
            return;
        }
        let members: Vec<_> = self.members().clone();
        let is_gone = self.gone().is_some();
        for member in members {
            // One that works goes with its call.
            let Ok(mut place) = member.instance.try_lock() else {
                continue;
            };
            if is_gone {
                drop(place.take());
            } else if let Some(live) = &mut *place {
                live.stay();
            }
        }
        if is_gone {
            self.handles.forget();
            self.pins().give_back();
        }
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.first_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let sandbox = self.node.targets.sandbox();
        let members = self
            .members
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for member in members {
            // Whoever works in one that is not free lets go of it.
            if let Ok(mut place) = member.instance.try_lock()
                && let Some(live) = place.take()
            {
                sandbox.retire(live);
            }
        }
    }
}

/// The turn of one call in a root. Dropped, it is the next one's.
#[must_use = "dropped, the turn is over"]
pub(super) struct Visit {
    root: Arc<Root>,
    /// None of the first call.
    turn: Option<Turn>,
}

impl Visit {
    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.root.end_of_turn();
        let turn = self.turn.take().or_else(|| self.root.first_turn().take());
        drop(turn);
    }
}

/// Sees to it that nobody meets what a call leaves half done.
struct Ending<'r> {
    root: &'r Root,
    is_armed: bool,
}

impl<'r> Ending<'r> {
    fn armed(root: &'r Root) -> Self {
        Ending {
            root,
            is_armed: true,
        }
    }

    fn disarm(&mut self) {
        self.is_armed = false;
    }

    fn ended<T>(&mut self, outcome: &Result<T, SandboxError>) {
        self.disarm();
        let why = match outcome {
            Ok(_) => return,
            Err(SandboxError::DeadlineExceeded(_)) => Gone::Late,
            Err(SandboxError::Outside(failure)) if failure.code == ErrorCode::DeadlineExceeded => {
                Gone::Late
            }
            Err(_) => Gone::Failed,
        };
        self.root.note_gone(why);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.root.note_gone(Gone::Cancelled);
        }
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

    pub(super) fn prepared(&self) -> &Arc<Prepared> {
        &self.prepared
    }

    /// Its instance, if it has one.
    pub(super) fn id(&self) -> Option<InstanceId> {
        self.made_mut().as_ref().map(|made| made.id)
    }

    fn made(&self) -> Option<Made> {
        self.made_mut().clone()
    }

    fn made_mut(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
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

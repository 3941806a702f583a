//! What a module calls that it imports: from the name of the import to whoever answers it now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};
use tokio::time::{Instant, timeout_at};

use super::abroad::ClientObject;
use super::across::{Passage, RootObject};
use super::answerer::{Answerer, answerer};
use super::calls::{kept, late};
use super::far::{Far, FarCall};
use super::holdings::Spot;
use super::kept::{Kept, Living};
use super::root::{Caller, Member, Present, Root, Visit, told_of};
use crate::chain::Chain;
use crate::error::HostError;
use crate::provider::Serving;
use crate::registry::{Registration, RegistryError, Revision};
use crate::sandbox::{
    Answer, Brought, Function, Functions, Given, Imported, Outside, Prepared, Resource,
    SandboxError, Whereabouts, remedy,
};

/// The imports of one instance.
pub(super) struct Imports {
    /// The instance is the root's, so the root is there whenever the instance runs.
    root: Weak<Root>,
    /// Whose imports.
    registration: Arc<Registration>,
    prepared: Arc<Prepared>,
    /// What the instance works on, or worked on last.
    present: Mutex<Option<Present>>,
    /// Who answered last, by the place of the function: most of the time it is the same again.
    known: Mutex<HashMap<usize, (Weak<Member>, usize)>>,
}

/// Who is called.
enum Called {
    /// A module.
    Member(Known),
    /// The instance that the session has of a module, or that all share.
    Kept(Arc<Kept>, Arc<Registration>, Arc<Prepared>),
    /// A client, and the function that it serves.
    Client(Serving, Function),
    /// A client that has the object whose method it is.
    Object(Arc<ClientObject>),
    /// Another root, in which that object lives.
    Away(Arc<RootObject>),
}

/// A call into another root.
struct Onward<'a> {
    here: &'a Arc<Root>,
    there: &'a Arc<Root>,
    member: &'a Arc<Member>,
    /// The turn there; none where the chain has it already.
    visit: Option<Visit>,
}

/// A function of a module that has a part in the call.
struct Known {
    member: Arc<Member>,
    index: usize,
}

impl Imports {
    pub(super) fn new(
        root: Weak<Root>,
        registration: Arc<Registration>,
        prepared: Arc<Prepared>,
    ) -> Self {
        Imports {
            root,
            registration,
            prepared,
            present: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// The instance begins to work on the innermost call of a chain. Tells whether that is of another call
    /// from outside than the one before.
    pub(super) fn begin(&self, present: Present) -> bool {
        let mut known = self.known_present();
        let is_same = |before: &Present| Arc::ptr_eq(&before.caller, &present.caller);
        let is_another = !known.as_ref().is_some_and(is_same);
        *known = Some(present);
        is_another
    }

    /// Whether the call that the instance works on waits for the innermost of `chain`.
    pub(super) fn is_within(&self, chain: &Chain) -> bool {
        let known = self.known_present();
        known
            .as_ref()
            .is_some_and(|present| chain.includes(&present.chain))
    }

    fn known_present(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> Result<(Arc<Root>, Present), Failure> {
        let both = self.root.upgrade().zip(self.known_present().clone());
        // Nothing runs of a call that is over.
        both.ok_or_else(|| Failure::new(ErrorCode::Cancelled, Fault::Peer, "the call is over"))
    }

    async fn lead(
        &self,
        root: &Arc<Root>,
        present: &Present,
        imported: &Imported,
        arguments: Brought,
    ) -> Result<Given, Failure> {
        let Present { caller, chain } = present;
        let called = match self.home(root, imported, &arguments)? {
            Some(home) => home,
            None => self.answering(root, caller, imported).await?,
        };
        match called {
            Called::Member(Known { member, index }) => {
                let time = max_time(caller, &member);
                let until = Instant::now() + time;
                let inner = chain
                    .then(member.name().into(), None, until)
                    .map_err(|error| told_of(&member, error.into()))?;
                let present = Present {
                    caller: Arc::clone(caller),
                    chain: inner,
                };
                let ended = root.enter(&member, index, arguments, present);
                let ended = ended.await;
                ended.map_err(|error| {
                    let who = format!("`{}`", member.name());
                    told_of(&member, late(error, &who, time, until))
                })
            }
            Called::Kept(kept, registration, prepared) => {
                let of = (kept, registration, prepared);
                self.in_kept(root, present, of, imported, arguments).await
            }
            Called::Client(serving, function) => {
                let far = Far::Serving(&serving);
                let function = (&function, imported);
                self.far(root, present, far, function, arguments).await
            }
            Called::Away(object) => self.away(root, present, &object, imported, arguments).await,
            Called::Object(object) => {
                let far = Far::Object(&object, &imported.import);
                let function = (&imported.function, imported);
                self.far(root, present, far, function, arguments).await
            }
        }
    }

    /// At a client.
    async fn far(
        &self,
        root: &Arc<Root>,
        present: &Present,
        far: Far<'_>,
        (function, imported): (&Function, &Imported),
        arguments: Brought,
    ) -> Result<Given, Failure> {
        let Present { caller, chain } = present;
        let call = FarCall {
            node: root.node(),
            caller,
            far,
            function,
            signature: &imported.function.signature,
            until: chain.deadline(),
            chain,
            room: None,
            knows_interfaces: true,
        };
        let resource = |name: &Name| self.resource(name, imported);
        Ok(call.make(arguments, Some(root), resource).await?)
    }

    /// In the instance that is kept of a module.
    async fn in_kept(
        &self,
        root: &Arc<Root>,
        present: &Present,
        (kept, registration, prepared): (Arc<Kept>, Arc<Registration>, Arc<Prepared>),
        imported: &Imported,
        arguments: Brought,
    ) -> Result<Given, Failure> {
        let name = registration.name.as_str();
        let Present { caller, chain } = present;
        let until = chain.deadline();
        let (living, visit) = match kept.join(Some(chain)) {
            None => (kept.within().map_err(HostError::from)?, None),
            Some(ticket) => {
                let late = |_| no_turn(name);
                let turn = timeout_at(until, ticket).await.map_err(late)?;
                let entering = kept.enter(root.node(), caller, &registration, &prepared, turn);
                let (turn, living) = timeout_at(until, entering).await.map_err(late)??;
                let visit = living.root.visit_in(turn);
                (living, Some(visit))
            }
        };
        let Living {
            root: there,
            member,
        } = living;
        let onward = Onward {
            here: root,
            there: &there,
            member: &member,
            visit,
        };
        self.across(onward, present, imported, arguments).await
    }

    /// In another root, where the object lives whose method is called.
    async fn away(
        &self,
        root: &Arc<Root>,
        present: &Present,
        object: &RootObject,
        imported: &Imported,
        arguments: Brought,
    ) -> Result<Given, Failure> {
        let Spot {
            root: there,
            object,
        } = object.spot();
        let chain = &present.chain;
        let has_turn = chain.has_turn(there.line_number());
        let ticket = (!has_turn).then(|| there.join()).flatten();
        let visit = match ticket {
            None => None,
            Some(ticket) => {
                let visit = timeout_at(chain.deadline(), there.visit(ticket)).await;
                Some(visit.map_err(|_| no_turn(&imported.import))?)
            }
        };
        there.check_alive().map_err(HostError::from)?;
        let Some(member) = there.home(*object) else {
            let function = imported.function.to_string();
            return Err(HostError::from(SandboxError::ForeignObject { function }).into());
        };
        let onward = Onward {
            here: root,
            there,
            member: &member,
            visit,
        };
        self.across(onward, present, imported, arguments).await
    }

    /// From this root into a member of another, which has the turn there.
    async fn across(
        &self,
        onward: Onward<'_>,
        present: &Present,
        imported: &Imported,
        mut arguments: Brought,
    ) -> Result<Given, Failure> {
        let Onward {
            here,
            there,
            member,
            visit,
        } = onward;
        let Present { caller, chain } = present;
        there.check_grants(caller).map_err(HostError::from)?;
        let prepared = member.prepared();
        let name = member.name();
        let (index, function) = self.matching(name, prepared.functions(), imported)?;
        let mut passage = Passage::new(here, there, caller);
        let is_passed = !Arc::ptr_eq(here, there);
        if is_passed && let Brought::Values(arguments) = &mut arguments {
            let resource = |name: &Name| prepared.imported_resource(name).cloned();
            let called = function.to_string();
            passage.send(arguments, &function.signature, &called, resource)?;
        }
        let time = max_time(caller, member);
        let until = Instant::now() + time;
        let inner = chain
            .then(name.into(), None, until)
            .map_err(|error| told_of(member, error.into()))?;
        let chain = match &visit {
            Some(_) => inner.with_turn(there.line_number()),
            None => inner,
        };
        let present = Present {
            caller: Arc::clone(caller),
            chain,
        };
        let ended = there.enter(member, index, arguments, present).await;
        let mut given = ended.map_err(|error| {
            let who = format!("`{name}`");
            told_of(member, late(error, &who, time, until))
        })?;
        let result = imported.function.signature.result.as_ref();
        if is_passed && let (Given::Value(Some(value)), Some(ty)) = (&mut given, result) {
            let resource = |name: &Name| self.resource(name, imported);
            passage.receive(value, ty, resource)?;
        }
        drop(visit);
        Ok(given)
    }

    /// A resource of an imported function, as this component knows it.
    fn resource(&self, name: &Name, imported: &Imported) -> Resource {
        let known = self.prepared.imported_resource(name);
        known.map_or_else(|| imported.function.resource(name), Resource::clone)
    }

    /// A method is called where its object lives, whoever answers the import by now.
    fn home(
        &self,
        root: &Arc<Root>,
        imported: &Imported,
        arguments: &Brought,
    ) -> Result<Option<Called>, HostError> {
        if !imported.function.name.starts_with("[method]") {
            return Ok(None);
        }
        let Brought::Values(arguments) = arguments else {
            return Ok(None);
        };
        let Some(Value::Handle(object)) = arguments.first() else {
            return Ok(None);
        };
        let member = match root.handles().whereabouts(*object) {
            None => return Ok(None),
            Some(Whereabouts::In(owner)) => root.home_of(owner),
            Some(Whereabouts::Abroad(abroad)) => {
                return Ok(match Arc::clone(&abroad).downcast::<RootObject>() {
                    Ok(away) => Some(Called::Away(away)),
                    Err(_) => ClientObject::known(abroad).map(Called::Object),
                });
            }
        };
        let Some(member) = member else {
            return Ok(None);
        };
        let offered = member.prepared().functions();
        let (index, _) = self.matching(member.name(), offered, imported)?;
        Ok(Some(Called::Member(Known { member, index })))
    }

    /// Who answers now, by name.
    async fn answering(
        &self,
        root: &Arc<Root>,
        caller: &Caller,
        imported: &Imported,
    ) -> Result<Called, HostError> {
        let registration = match self.resolve(root, caller, &imported.import)? {
            Answerer::Module(registration) => registration,
            Answerer::Client(serving) => {
                let offered = serving.contract();
                let (_, function) = self.matching(serving.name(), offered, imported)?;
                let function = function.clone();
                return Ok(Called::Client(serving, function));
            }
        };
        if let Some(kept) = kept(root.node(), caller.session, &registration)? {
            let prepared = root.node().targets.load(&registration).await?;
            return Ok(Called::Kept(kept, registration, prepared));
        }
        let known = self.known(imported.index);
        if let Some(known) = known
            && Arc::ptr_eq(known.member.registration(), &registration)
        {
            return Ok(Called::Member(known));
        }
        let prepared = root.node().targets.load(&registration).await?;
        let name = registration.name.as_str();
        let (index, _) = self.matching(name, prepared.functions(), imported)?;
        let member = root.member(&registration, &prepared)?;
        let known = Known { member, index };
        self.remember(imported.index, &known);
        Ok(Called::Member(known))
    }

    /// Who answers an import: whoever has the name that is bound to it, or else the name that it has
    /// itself, with its version or without.
    fn resolve(&self, root: &Root, caller: &Caller, import: &str) -> Result<Answerer, HostError> {
        let node = root.node();
        let Revision {
            bindings, sealed, ..
        } = &self.registration.current;
        // What a session serves to itself is nothing to a module that is sealed against it.
        let session = (!sealed).then_some(caller.session);
        for name in bindings.candidates(import) {
            match answerer(node, &caller.permit, session, name) {
                Err(HostError::Registry(RegistryError::NoSuchRegistration { .. })) => {}
                found => return found,
            }
        }
        let remedy = match bindings.get(import) {
            Some(name) => format!("it is bound to `{name}`, so register that"),
            None => remedy(import),
        };
        let by = self.registration.name.clone();
        let import = import.to_owned();
        Err(RegistryError::Unbound { import, by, remedy }.into())
    }

    /// The function that answers an imported one, and its place.
    fn matching<'f>(
        &self,
        name: &str,
        offered: &'f Functions,
        imported: &Imported,
    ) -> Result<(usize, &'f Function), HostError> {
        let wanted = &imported.function;
        let difference = match offered.answering(wanted) {
            Some(found) if found.1.signature == wanted.signature => return Ok(found),
            Some((_, offered)) => differs(offered, wanted),
            None => "does not offer it".to_owned(),
        };
        Err(RegistryError::NotOffered {
            function: wanted.to_string(),
            by: self.registration.name.clone(),
            name: name.to_owned(),
            difference,
        }
        .into())
    }

    fn known(&self, place: usize) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (member, index) = known.get(&place)?;
        let (member, index) = (member.upgrade()?, *index);
        Some(Known { member, index })
    }

    /// Members know one another by this, and their root alone keeps them.
    fn remember(&self, place: usize, answering: &Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(place, (Arc::downgrade(&answering.member), answering.index));
    }
}

/// Another root had no turn for a call in time.
fn no_turn(name: &str) -> Failure {
    let text = format!("`{name}` did not have a turn for another call in time");
    Failure::new(ErrorCode::DeadlineExceeded, Fault::Tenant, text)
}

fn differs(offered: &Function, wanted: &Function) -> String {
    format!(
        "offers it as `{}` and not as `{}`",
        offered.signature, wanted.signature
    )
}

/// How long a call of a member may take at most, if the chain has more time.
fn max_time(caller: &Caller, member: &Member) -> Duration {
    let narrowing = &member.registration().current.narrowing;
    let of_tenant = caller.permit.settings().limits();
    Duration::from_millis(narrowing.apply(of_tenant).max_call_timeout_ms)
}

impl Outside for Imports {
    fn call<'a>(&'a self, imported: &'a Imported, arguments: Brought) -> Answer<'a, Given> {
        Box::pin(async move {
            let (root, present) = self.present()?;
            self.lead(&root, &present, imported, arguments).await
        })
    }

    fn release(&self, object: Handle) -> Answer<'_, ()> {
        Box::pin(async move {
            let (root, present) = self.present()?;
            root.release(object, &present).await
        })
    }
}

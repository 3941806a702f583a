//! Live objects on their way between a session and a root.
//!
//! A session knows an object by a number of its own, a root by one of the root's. Here the one becomes the
//! other, and all that can be wrong with an object is found out, before a guest or the engine sees it.

use std::collections::HashMap;
use std::sync::Arc;

use rpc_host_protocol::types::{Name, NamePlaces, Signature, Type};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ExchangeId, Value};

use super::abroad::{self, ClientObject};
use super::across::given_spot_of;
use super::holdings::{Holdings, Spot, let_go};
use super::pins::Payer;
use super::root::{Caller, Member, Root};
use crate::error::HostError;
use crate::objects::ObjectError;
use crate::sandbox::{Function, Resource, SandboxError};
use crate::session::{Telling, Told};

/// The objects of one call, between the session that makes it and the root that it is made in.
pub(super) struct Border {
    holdings: Arc<Holdings>,
    root: Arc<Root>,
    /// The object that the call is done on. It was held when the call came, and so lives until the call's turn.
    on: Option<(u64, Handle)>,
    /// What the call has of the session's: numbers, and whether the guest takes them over.
    mentioned: HashMap<u64, bool>,
    /// Objects of the client that came with the call.
    received: Vec<Arc<ClientObject>>,
    /// Their numbers in the root: of those that are lent, and of those that change hands when the guest begins.
    lent: Vec<Handle>,
    given: Vec<Handle>,
}

/// Who is to get the objects of a call.
pub(super) enum Taker<'a> {
    /// A module that has a part in the root.
    Member(&'a Member),
    /// A client that serves the function.
    Client(&'a Function),
}

impl Taker<'_> {
    /// Whether it takes an object of the root where the resource of this name is wanted.
    fn takes(&self, name: &Name, root: &Root, object: Handle) -> bool {
        let handles = root.handles();
        match self {
            Taker::Member(member) => {
                let prepared = member.prepared();
                prepared.takes(member.id(), name, (handles, object))
            }
            // Its functions say what a resource is called, and no more.
            Taker::Client(_) => handles
                .kind(object)
                .is_some_and(|kind| *kind.name == **name),
        }
    }

    /// What an object of the client's is where the resource of this name is wanted; none where only objects of the
    /// taker's own will do.
    fn kind(&self, name: &Name) -> Option<Resource> {
        match self {
            Taker::Member(member) => member.prepared().imported_resource(name).cloned(),
            Taker::Client(function) => Some(function.resource(name)),
        }
    }

    fn wanted(&self, name: &Name) -> String {
        match self {
            Taker::Member(member) => member.prepared().resource_text(name),
            Taker::Client(function) => function.resource(name).to_string(),
        }
    }
}

impl Border {
    pub(super) fn new(
        holdings: Arc<Holdings>,
        root: Arc<Root>,
        on: Option<(u64, Handle)>,
    ) -> Border {
        Border {
            holdings,
            root,
            on,
            mentioned: HashMap::new(),
            received: Vec::new(),
            lent: Vec::new(),
            given: Vec::new(),
        }
    }

    /// Takes the objects among the arguments of a call: each is checked, and has the root's number then.
    ///
    /// # Errors
    /// When one is not what it has to be. Nothing has changed then.
    pub(super) fn take(
        &mut self,
        arguments: &mut [Value],
        signature: &Signature,
        taker: &Taker<'_>,
    ) -> Result<(), HostError> {
        let mut of_host = Vec::new();
        let mut of_client = Vec::new();
        for (argument, parameter) in arguments.iter_mut().zip(&signature.parameters) {
            each_handle(
                argument,
                &parameter.ty,
                &mut |handle, name, is_borrowed| match handle {
                    Handle::Host(_) => of_host.push((handle, name, is_borrowed)),
                    Handle::Client(_) => of_client.push((handle, name, is_borrowed)),
                },
            );
        }
        let mentioned = self.take_of_host(of_host, taker)?;
        self.take_of_client(of_client, taker)?;
        let mut table = self.holdings.table();
        mentioned.keys().for_each(|number| table.lend(*number));
        drop(table);
        self.mentioned = mentioned;
        Ok(())
    }

    fn take_of_host(
        &self,
        mentions: Vec<(&mut Handle, &Name, bool)>,
        taker: &Taker<'_>,
    ) -> Result<HashMap<u64, bool>, ObjectError> {
        let mut mentioned = HashMap::new();
        let mut objects = Vec::with_capacity(mentions.len());
        {
            let table = self.holdings.table();
            for (handle, name, is_borrowed) in mentions {
                let number = handle.number();
                let is_owned = !is_borrowed;
                let before = mentioned.insert(number, is_owned);
                if before.is_some_and(|was_owned| was_owned || is_owned) {
                    return Err(ObjectError::Twice { number });
                }
                let object = match (table.find(number), self.on) {
                    (Ok(spot), on) if !Arc::ptr_eq(&spot.root, &self.root) => {
                        return Err(match on {
                            Some(_) => ObjectError::Elsewhere { number },
                            None => ObjectError::NoPlace { number },
                        });
                    }
                    (Ok(spot), _) => spot.object,
                    // It was let go of after the call had come.
                    (Err(_), Some((on, object))) if on == number && is_borrowed => object,
                    (Err(error), _) => return Err(error),
                };
                if is_owned {
                    table.check_free(number)?;
                }
                *handle = object;
                objects.push((number, object, name));
            }
        }
        for (number, object, name) in objects {
            if !taker.takes(name, &self.root, object) {
                let wanted = taker.wanted(name);
                return Err(ObjectError::OfAnotherResource { number, wanted });
            }
        }
        if let Some((on, _)) = self.on {
            mentioned.entry(on).or_insert(false);
        }
        Ok(mentioned)
    }

    fn take_of_client(
        &mut self,
        mentions: Vec<(&mut Handle, &Name, bool)>,
        taker: &Taker<'_>,
    ) -> Result<(), HostError> {
        for (handle, name, is_borrowed) in mentions {
            let number = handle.number();
            let Some(kind) = taker.kind(name) else {
                let wanted = taker.wanted(name);
                return Err(ObjectError::NotTheClients { number, wanted }.into());
            };
            let object = ClientObject::sent(self.holdings.reach(), number);
            let enlisted = object.enlist(self.root.handles(), kind);
            let limit = self.root.node().limits.max_objects_per_call;
            let object_in_root = enlisted.ok_or(SandboxError::TooManyObjects { limit })?;
            self.received.push(object);
            match is_borrowed {
                true => self.lent.push(object_in_root),
                false => self.given.push(object_in_root),
            }
            *handle = object_in_root;
        }
        Ok(())
    }

    /// There is to be room for at least one object that the call gives, and for the instances that it lives in.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn make_room(&self, caller: &Caller) -> Result<(), HostError> {
        self.holdings.table().check_room()?;
        let of_session = Some(Arc::clone(self.holdings.pinned()));
        Ok(self.root.pay_with(Payer::new(caller, of_session))?)
    }

    /// The guest begins: what it takes over, the session holds no more.
    pub(super) fn begun(&mut self) {
        self.given.clear();
        let owned: Vec<_> = {
            let mut table = self.holdings.table();
            let owned = self.mentioned.iter().filter(|(_, is_owned)| **is_owned);
            owned
                .filter_map(|(number, _)| table.forget(*number))
                .collect()
        };
        drop(owned);
    }

    /// Gives the objects in a result to the session, by its own numbers; and tells what is to be done when the
    /// client has it.
    ///
    /// # Errors
    /// When the session cannot hold them. They end then.
    pub(super) fn give(
        &mut self,
        result: Option<(&mut Value, &Type)>,
        caller: &Arc<Caller>,
    ) -> Result<Told, HostError> {
        let mut objects = Vec::new();
        if let Some((value, ty)) = result {
            each_handle(value, ty, &mut |handle, _, _| objects.push(handle));
        }
        let mut given = Given {
            holdings: Arc::clone(&self.holdings),
            caller: Arc::clone(caller),
            numbers: Vec::new(),
            of_client: std::mem::take(&mut self.received),
        };
        let session = self.holdings.reach().session();
        let mut failed = None;
        let mut untold = Vec::new();
        for handle in objects {
            let object = *handle;
            let own = ClientObject::of(self.root.handles(), object);
            if let Some(own) = own.filter(|one| one.session() == session) {
                *handle = Handle::Client(own.number());
                given.of_client.push(own);
                drop(self.root.handles().remove_abroad(object));
                continue;
            }
            let spot = given_spot_of(&self.root, object);
            let told = match &failed {
                None => self.tell(spot.clone()),
                Some(_) => Err(ObjectError::SessionOver),
            };
            match told {
                Ok(number) => {
                    given.numbers.push(number);
                    *handle = Handle::Host(number);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    untold.push(spot);
                }
            }
        }
        match failed {
            None if given.is_nothing() => Ok(Told::default()),
            None => Ok(Told::by(given)),
            Some(error) => {
                Box::new(given).untold();
                let_go(untold, caller);
                Err(error.into())
            }
        }
    }

    fn tell(&self, spot: Spot) -> Result<u64, ObjectError> {
        spot.root.pin();
        spot.root.check_alive()?;
        self.holdings.table().tell(spot)
    }
}

impl Drop for Border {
    fn drop(&mut self) {
        for object in self.given.iter().chain(&self.lent) {
            drop(self.root.handles().remove_abroad(*object));
        }
        if self.mentioned.is_empty() {
            return;
        }
        let mut table = self.holdings.table();
        self.mentioned
            .keys()
            .for_each(|number| table.take_back(*number));
    }
}

/// What a reply gives to its client, and what came with the call.
struct Given {
    holdings: Arc<Holdings>,
    caller: Arc<Caller>,
    numbers: Vec<u64>,
    of_client: Vec<Arc<ClientObject>>,
}

impl Given {
    fn is_nothing(&self) -> bool {
        self.numbers.is_empty() && self.of_client.is_empty()
    }
}

impl Telling for Given {
    fn told(self: Box<Self>, exchange: ExchangeId) {
        abroad::given(self.of_client, exchange);
    }

    fn untold(self: Box<Self>) {
        self.holdings.untell(&self.numbers, &self.caller);
    }
}

/// Goes through a value by its type and visits each handle, with the resource that it has to be of and whether
/// it is borrowed.
pub(super) fn each_handle<'v, 't>(
    value: &'v mut Value,
    ty: &'t Type,
    visit: &mut impl FnMut(&'v mut Handle, &'t Name, bool),
) {
    let places = NamePlaces::default();
    Walk { places, visit }.through(value, ty);
}

struct Walk<'t, 'f, F> {
    places: NamePlaces<'t>,
    visit: &'f mut F,
}

impl<'v, 't, F: FnMut(&'v mut Handle, &'t Name, bool)> Walk<'t, '_, F> {
    fn through(&mut self, value: &'v mut Value, ty: &'t Type) {
        match (value, ty) {
            (Value::Handle(handle), Type::Own(name)) => (self.visit)(handle, name, false),
            (Value::Handle(handle), Type::Borrow(name)) => (self.visit)(handle, name, true),
            (Value::List(values), Type::List(inner) | Type::FixedList(inner, _)) => {
                values
                    .iter_mut()
                    .for_each(|value| self.through(value, inner));
            }
            (Value::Map(entries), Type::Map(_, inner)) => entries
                .iter_mut()
                .for_each(|(_, value)| self.through(value, inner)),
            (Value::Record(values), Type::Record(fields)) => values
                .iter_mut()
                .zip(fields.iter())
                .for_each(|((_, value), field)| self.through(value, &field.ty)),
            (Value::Tuple(values), Type::Tuple(types)) => values
                .iter_mut()
                .zip(types.iter())
                .for_each(|(value, ty)| self.through(value, ty)),
            (Value::Variant(name, Some(payload)), Type::Variant(cases)) => {
                let place = self.places.of(cases, name);
                let case = place.and_then(|place| cases.get(place));
                self.through_some(payload, case.and_then(|case| case.ty.as_ref()));
            }
            (Value::Option(Some(value)), Type::Option(inner)) => self.through(value, inner),
            (Value::Result(Ok(Some(value))), Type::Result(result)) => {
                self.through_some(value, result.ok.as_deref());
            }
            (Value::Result(Err(Some(value))), Type::Result(result)) => {
                self.through_some(value, result.err.as_deref());
            }
            _ => {}
        }
    }

    fn through_some(&mut self, value: &'v mut Value, ty: Option<&'t Type>) {
        if let Some(ty) = ty {
            self.through(value, ty);
        }
    }
}

//! Live objects on their way between a session and a root.
//!
//! A session knows an object by a number of its own, a root by one of the root's. Here the one becomes the
//! other, and all that can be wrong with an object is found out, before a guest or the engine sees it.

use std::collections::HashMap;
use std::sync::Arc;

use rpc_host_protocol::Value;
use rpc_host_protocol::types::{Name, NamePlaces, Signature, Type};
use rpc_host_protocol::value::Handle;

use super::holdings::{Holdings, Spot};
use super::pins::Payer;
use super::root::{Caller, Member, Root};
use crate::error::HostError;
use crate::objects::ObjectError;
use crate::session::Told;

/// The objects of one call, between the session that makes it and the root that it is made in.
pub(super) struct Border {
    holdings: Arc<Holdings>,
    root: Arc<Root>,
    /// The object that the call is done on. It was held when the call came, and so lives until the call's turn.
    on: Option<(u64, Handle)>,
    /// What the call has of the session's: numbers, and whether the guest takes them over.
    mentioned: HashMap<u64, bool>,
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
        member: &Member,
    ) -> Result<(), HostError> {
        let mut mentions = Vec::new();
        for (argument, parameter) in arguments.iter_mut().zip(&signature.parameters) {
            each_handle(argument, &parameter.ty, &mut |handle, name, is_borrowed| {
                mentions.push((handle, name, is_borrowed));
            });
        }
        let mut mentioned = HashMap::new();
        let mut objects = Vec::with_capacity(mentions.len());
        {
            let table = self.holdings.table();
            for (handle, name, is_borrowed) in &mut mentions {
                let number = handle.number();
                let is_owned = !*is_borrowed;
                let is_twice = mentioned
                    .insert(number, is_owned)
                    .is_some_and(|was| was || is_owned);
                if is_twice {
                    return Err(ObjectError::Twice { number }.into());
                }
                let object = match (table.find(number), self.on) {
                    (Ok(spot), on) if !Arc::ptr_eq(&spot.root, &self.root) => {
                        return Err(match on {
                            Some(_) => ObjectError::Elsewhere { number },
                            None => ObjectError::NoPlace { number },
                        }
                        .into());
                    }
                    (Ok(spot), _) => spot.object,
                    // It was let go of after the call had come.
                    (Err(_), Some((on, object))) if on == number && *is_borrowed => object,
                    (Err(error), _) => return Err(error.into()),
                };
                if is_owned {
                    table.check_free(number)?;
                }
                **handle = object;
                objects.push((number, object, *name));
            }
        }
        for (number, handle, name) in objects {
            let object = (self.root.handles(), handle);
            let fits = member.prepared().takes(member.id(), name, object);
            fits.map_err(|wanted| ObjectError::OfAnotherResource { number, wanted })?;
        }
        if let Some((on, _)) = self.on {
            mentioned.entry(on).or_insert(false);
        }
        let mut table = self.holdings.table();
        mentioned.keys().for_each(|number| table.lend(*number));
        drop(table);
        self.mentioned = mentioned;
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
    pub(super) fn begun(&self) {
        let owned: Vec<_> = {
            let mut table = self.holdings.table();
            let owned = self.mentioned.iter().filter(|(_, is_owned)| **is_owned);
            owned
                .filter_map(|(number, _)| table.forget(*number))
                .collect()
        };
        drop(owned);
    }

    /// Gives the objects in a result to the session, by its own numbers.
    ///
    /// # Errors
    /// When the session cannot hold them. They end then.
    pub(super) fn give(
        &self,
        value: &mut Value,
        ty: &Type,
        caller: &Arc<Caller>,
    ) -> Result<Told, HostError> {
        let mut given = Vec::new();
        each_handle(value, ty, &mut |handle, _, _| {
            given.push(handle);
        });
        if given.is_empty() {
            return Ok(Told::default());
        }
        self.root.pin();
        let mut numbers = Vec::with_capacity(given.len());
        let mut failed = self.root.check_alive().err();
        let mut untold = Vec::new();
        {
            let mut table = self.holdings.table();
            for handle in given {
                let object = *handle;
                let root = Arc::clone(&self.root);
                let told = match &failed {
                    None => table.tell(Spot { root, object }),
                    Some(error) => Err(error.clone()),
                };
                match told {
                    Ok(number) => {
                        numbers.push(number);
                        *handle = Handle::Host(number);
                    }
                    Err(error) => {
                        failed = Some(error);
                        untold.push(object);
                    }
                }
            }
        }
        if let Some(error) = failed {
            self.holdings.untell(&numbers, caller);
            self.root.let_go(untold, caller);
            return Err(error.into());
        }
        let (holdings, caller) = (Arc::clone(&self.holdings), Arc::clone(caller));
        Ok(Told::or_else(move || holdings.untell(&numbers, &caller)))
    }
}

impl Drop for Border {
    fn drop(&mut self) {
        if self.mentioned.is_empty() {
            return;
        }
        let mut table = self.holdings.table();
        self.mentioned
            .keys()
            .for_each(|number| table.take_back(*number));
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

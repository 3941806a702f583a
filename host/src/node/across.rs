//! Calls from one root into another: of an instance that a session has, or that all share.
//!
//! Each root knows its objects by numbers of its own. What lives in the other is held here as an object abroad, and
//! the other way round; an object that comes home is itself again. An object may not be given to a root that
//! outlives its own: it can only be lent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_host_protocol::Value;
use rpc_host_protocol::types::{Name, Signature, Type};
use rpc_host_protocol::value::Handle;

use super::border::each_handle;
use super::holdings::Spot;
use super::root::{Caller, Root};
use crate::error::HostError;
use crate::objects::ObjectError;
use crate::sandbox::{Abroad, Resource, SandboxError, Whereabouts};

/// An object that lives in another root. Dropped, it is let go of there, unless it was only lent.
pub(super) struct RootObject {
    spot: Spot,
    caller: Arc<Caller>,
    is_owned: AtomicBool,
}

impl RootObject {
    fn new(spot: Spot, caller: &Arc<Caller>, is_owned: bool) -> Arc<Self> {
        Arc::new(RootObject {
            spot,
            caller: Arc::clone(caller),
            is_owned: AtomicBool::new(is_owned),
        })
    }

    /// Where it lives.
    pub(super) fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Somebody else holds it now.
    fn give_up(&self) {
        self.is_owned.store(false, Ordering::Relaxed);
    }
}

impl Drop for RootObject {
    fn drop(&mut self) {
        if self.is_owned.load(Ordering::Relaxed) {
            let Spot { root, object } = &self.spot;
            root.let_go(vec![*object], &self.caller);
        }
    }
}

/// Where an object of a root is, wherever that is a root.
pub(super) fn spot_of(root: &Arc<Root>, object: Handle) -> Spot {
    if let Some(Whereabouts::Abroad(abroad)) = root.handles().whereabouts(object)
        && let Ok(elsewhere) = abroad.downcast::<RootObject>()
    {
        return elsewhere.spot().clone();
    }
    let root = Arc::clone(root);
    Spot { root, object }
}

/// The same of one that the root gives away. It is the taker's from now on.
pub(super) fn given_spot_of(root: &Arc<Root>, object: Handle) -> Spot {
    if let Some(Whereabouts::Abroad(abroad)) = root.handles().whereabouts(object)
        && let Ok(elsewhere) = abroad.downcast::<RootObject>()
    {
        elsewhere.give_up();
        drop(root.handles().remove_abroad(object));
        return elsewhere.spot().clone();
    }
    let root = Arc::clone(root);
    Spot { root, object }
}

/// Objects on their way between two roots.
pub(super) struct Passage<'a> {
    pub(super) here: &'a Arc<Root>,
    pub(super) there: &'a Arc<Root>,
    pub(super) caller: &'a Arc<Caller>,
    /// Known there for the time of the call.
    lent: Vec<Handle>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(
        here: &'a Arc<Root>,
        there: &'a Arc<Root>,
        caller: &'a Arc<Caller>,
    ) -> Passage<'a> {
        Passage {
            here,
            there,
            caller,
            lent: Vec::new(),
        }
    }

    /// Arguments as they are known there. `resource` tells what a resource of the signature is that is imported
    /// there; `name` is who is called.
    pub(super) fn send(
        &mut self,
        arguments: &mut [Value],
        signature: &Signature,
        name: &str,
        resource: impl Fn(&Name) -> Option<Resource>,
    ) -> Result<(), HostError> {
        let mut sent = Vec::new();
        for (argument, parameter) in arguments.iter_mut().zip(&signature.parameters) {
            each_handle(argument, &parameter.ty, &mut |handle, of, is_borrowed| {
                sent.push((handle, of, is_borrowed));
            });
        }
        for (handle, of, is_borrowed) in sent {
            let object = *handle;
            let foreign = || SandboxError::ForeignObject {
                function: name.to_owned(),
            };
            let whereabouts = self.here.handles().whereabouts(object);
            let abroad = match whereabouts.ok_or_else(foreign)? {
                Whereabouts::In(_) if is_borrowed => {
                    let spot = Spot {
                        root: Arc::clone(self.here),
                        object,
                    };
                    RootObject::new(spot, self.caller, false) as Abroad
                }
                Whereabouts::In(_) => {
                    let to = name.to_owned();
                    return Err(ObjectError::ShortLived { to }.into());
                }
                Whereabouts::Abroad(abroad) => {
                    if !is_borrowed {
                        drop(self.here.handles().remove_abroad(object));
                    }
                    match Arc::clone(&abroad).downcast::<RootObject>() {
                        Ok(one) if Arc::ptr_eq(&one.spot.root, self.there) => {
                            if !is_borrowed {
                                one.give_up();
                            }
                            *handle = one.spot.object;
                            continue;
                        }
                        _ => abroad,
                    }
                }
            };
            let kind = resource(of).ok_or_else(foreign)?;
            *handle = enlist(self.there, abroad, kind)?;
            if is_borrowed {
                self.lent.push(*handle);
            }
        }
        Ok(())
    }

    /// A result as it is known here.
    pub(super) fn receive(
        &self,
        value: &mut Value,
        ty: &Type,
        resource: impl Fn(&Name) -> Resource,
    ) -> Result<(), HostError> {
        let mut received = Vec::new();
        each_handle(value, ty, &mut |handle, of, _| received.push((handle, of)));
        // All of them first, so that none is lost if there is no room for one.
        let objects: Vec<_> = received
            .iter()
            .map(|(handle, _)| self.taken(**handle))
            .collect();
        for ((handle, of), object) in received.into_iter().zip(objects) {
            *handle = enlist(self.here, object, resource(of))?;
        }
        Ok(())
    }

    /// An object that the other root gives.
    fn taken(&self, object: Handle) -> Abroad {
        if let Some(abroad) = self.there.handles().remove_abroad(object) {
            return abroad;
        }
        let spot = Spot {
            root: Arc::clone(self.there),
            object,
        };
        RootObject::new(spot, self.caller, true)
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        for object in &self.lent {
            drop(self.there.handles().remove_abroad(*object));
        }
    }
}

fn enlist(root: &Root, abroad: Abroad, kind: Resource) -> Result<Handle, SandboxError> {
    let limit = root.node().limits.max_objects_per_call;
    let enlisted = root.handles().insert_abroad(abroad, kind);
    enlisted.ok_or(SandboxError::TooManyObjects { limit })
}

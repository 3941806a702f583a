//! Live objects on their way between the instances of one root call.
//!
//! An object lives in the instance that made it, or *abroad*: in a client, say, and what that is is known by whoever
//! put it here. Others hold a number for it, which the engine keeps for
//! them as it keeps any handle of a guest: they can neither make one up nor use one twice. Here stands
//! what each number means. A number has one owner at a time, so it is let go of exactly once. What a client
//! holds has a number of its session's beside this one, and whoever knows sessions keeps that.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::Handle;
use wasmtime::component::ResourceAny;

use super::InstanceId;
use super::interface::is_compatible;
use super::types::same_resource;

/// The objects of one root call. All its instances share them.
#[derive(Debug)]
pub struct Handles {
    table: Mutex<Table>,
    max_objects: u64,
}

#[derive(Debug, Default)]
struct Table {
    objects: HashMap<u32, Object>,
    last: u32,
}

/// A resource of a component, and the interface that introduces it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `None` at world level.
    pub interface: Option<Arc<str>>,
    /// As the component's types have it: by where it is in memory, see [`same_resource`].
    pub name: Name,
}

impl Resource {
    /// Whether an object of this resource, which its maker exports, is one of `wanted`, which another
    /// component imports.
    fn answers_for(&self, wanted: &Resource) -> bool {
        let is_named_so = *self.name == *wanted.name;
        is_named_so
            && match (&wanted.interface, &self.interface) {
                (None, None) => true,
                (Some(imported), Some(exported)) => is_compatible(imported, exported),
                _ => false,
            }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            None => formatter.write_str(&self.name),
            Some(interface) => write!(formatter, "{interface}.{}", self.name),
        }
    }
}

/// An object that lives in none of the instances, as whoever put it here knows it. When it is dropped, nobody
/// here holds it any more.
pub type Abroad = Arc<dyn Any + Send + Sync>;

/// Where an object lives, and what it is there.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) place: Place,
    pub(super) kind: Resource,
}

/// Where an object lives.
#[derive(Clone, Debug)]
pub enum Whereabouts {
    /// In this instance.
    In(InstanceId),
    /// In none of the instances of the root.
    Abroad(Abroad),
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In an instance.
    Here {
        owner: InstanceId,
        resource: ResourceAny,
    },
    /// Elsewhere.
    Abroad(Abroad),
}

impl Object {
    /// What it is in this instance, if it lives there.
    pub(super) fn within(&self, instance: InstanceId) -> Option<ResourceAny> {
        match &self.place {
            Place::Here { owner, resource } if *owner == instance => Some(*resource),
            _ => None,
        }
    }

    fn lives_in(&self, instance: InstanceId) -> bool {
        self.within(instance).is_some()
    }
}

impl Handles {
    /// None yet, and so many at most.
    pub fn new(max_objects: u64) -> Self {
        Handles {
            table: Mutex::default(),
            max_objects,
        }
    }

    /// How many there may be.
    pub(super) fn max_objects(&self) -> u64 {
        self.max_objects
    }

    /// Where an object lives.
    pub fn whereabouts(&self, object: Handle) -> Option<Whereabouts> {
        let number = u32::try_from(object.number()).ok()?;
        let table = self.table();
        Some(match &table.objects.get(&number)?.place {
            Place::Here { owner, .. } => Whereabouts::In(*owner),
            Place::Abroad(abroad) => Whereabouts::Abroad(Arc::clone(abroad)),
        })
    }

    /// A number for an object that lives in no instance, and is one of this resource. `None` when there are too
    /// many.
    pub fn insert_abroad(&self, abroad: Abroad, kind: Resource) -> Option<Handle> {
        let place = Place::Abroad(abroad);
        self.insert(Object { place, kind })
    }

    /// Takes an object that lives in no instance out of here: nobody holds it by this number any more.
    pub fn remove_abroad(&self, object: Handle) -> Option<Abroad> {
        let Whereabouts::Abroad(abroad) = self.whereabouts(object)? else {
            return None;
        };
        let gone = self.remove(object);
        drop(gone);
        Some(abroad)
    }

    /// Of what resource an object is.
    pub fn kind(&self, object: Handle) -> Option<Resource> {
        self.get(object).map(|object| object.kind)
    }

    /// Whether anybody holds an object that lives in this instance.
    pub fn are_held_of(&self, owner: InstanceId) -> bool {
        let table = self.table();
        let mut objects = table.objects.values();
        objects.any(|object| object.lives_in(owner))
    }

    /// Whether an object is one of a resource that a component imports.
    pub fn answers_for(&self, object: Handle, imported: &Resource) -> bool {
        self.with(object, |object| object.kind.answers_for(imported))
    }

    /// Whether an object lives in this instance and is there one of the resource of this name.
    pub(super) fn is_of(&self, object: Handle, owner: InstanceId, name: &Name) -> bool {
        self.with(object, |object| {
            object.lives_in(owner) && same_resource(&object.kind.name, name)
        })
    }

    fn with(&self, object: Handle, is_so: impl FnOnce(&Object) -> bool) -> bool {
        let number = u32::try_from(object.number()).ok();
        let table = self.table();
        number
            .and_then(|number| table.objects.get(&number))
            .is_some_and(is_so)
    }

    /// A number for an object that leaves its instance. `None` when there are too many.
    pub(super) fn insert(&self, object: Object) -> Option<Handle> {
        let mut table = self.table();
        if table.objects.len() as u64 >= self.max_objects {
            return None;
        }
        // A number does not come back before all others were used.
        let mut number = table.last.wrapping_add(1);
        while table.objects.contains_key(&number) {
            number = number.wrapping_add(1);
        }
        table.last = number;
        table.objects.insert(number, object);
        Some(Handle::Host(u64::from(number)))
    }

    pub(super) fn get(&self, object: Handle) -> Option<Object> {
        let number = u32::try_from(object.number()).ok()?;
        self.table().objects.get(&number).cloned()
    }

    /// An object that nobody holds by this number any more.
    pub(super) fn remove(&self, object: Handle) -> Option<Object> {
        let number = u32::try_from(object.number()).ok()?;
        self.table().objects.remove(&number)
    }

    /// An object that was removed, and is held by its number all the same.
    pub(super) fn restore(&self, object: Handle, of: Object) {
        if let Ok(number) = u32::try_from(object.number()) {
            self.table().objects.insert(number, of);
        }
    }

    /// Forgets all of them: where they lived is gone.
    pub fn forget(&self) {
        let gone = std::mem::take(&mut self.table().objects);
        drop(gone);
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

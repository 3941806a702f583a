//! Live objects on their way between the instances of one call.
//!
//! An object lives in the instance that made it. Others hold a number for it, which the engine keeps for
//! them as it keeps any handle of a guest: they can neither make one up nor use one twice. Here stands
//! what each number means. A number has one owner at a time, so it is let go of exactly once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rpc_host_protocol::value::Handle;
use wasmtime::component::ResourceAny;

use super::InstanceId;

/// The objects of one call. All its instances share them.
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

/// Where an object lives, and what it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub(super) owner: InstanceId,
    pub(super) resource: ResourceAny,
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

    /// The instance that an object lives in.
    pub fn owner(&self, object: Handle) -> Option<InstanceId> {
        self.get(object).map(|object| object.owner)
    }

    /// Whether anybody holds an object that lives in this instance.
    pub fn are_held_of(&self, owner: InstanceId) -> bool {
        let table = self.table();
        table.objects.values().any(|object| object.owner == owner)
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
        self.table().objects.get(&number).copied()
    }

    /// An object that nobody holds by this number any more.
    pub(super) fn remove(&self, object: Handle) -> Option<Object> {
        let number = u32::try_from(object.number()).ok()?;
        self.table().objects.remove(&number)
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

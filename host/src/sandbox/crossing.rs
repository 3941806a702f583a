//! Live objects at the border of one instance.

use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::Handle;
use wasmtime::StoreContextMut;
use wasmtime::component::{ResourceAny, ResourceDynamic, Val};

use super::State;
use super::handles::{Object, Place, Resource};
use super::types::same_resource;
use super::values::{Objects, Unfit};

/// Objects that go into an instance, or come out of it, with one call.
pub(super) struct Crossing<'a> {
    store: StoreContextMut<'a, State>,
    passed: Passed,
}

/// What has passed into an instance, and is not its own before the call begins.
#[derive(Default)]
pub(super) struct Passed {
    /// Made for objects that are lent for the time of the call.
    lent: Vec<ResourceAny>,
    /// Made for objects of others that change hands.
    given: Vec<ResourceAny>,
    /// Objects of its own that come back to it.
    back: Vec<(Handle, Object)>,
}

impl<'a> Crossing<'a> {
    pub(super) fn new(store: StoreContextMut<'a, State>) -> Self {
        Crossing {
            store,
            passed: Passed::default(),
        }
    }

    /// The state of the instance.
    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    /// What has passed.
    pub(super) fn passed(self) -> Passed {
        self.passed
    }
}

impl Passed {
    /// The call has ended well. What was lent is taken back: the engine forgets it, and its owner keeps it.
    pub(super) fn take_back_lent(self, store: StoreContextMut<'_, State>) {
        forget(self.lent, store);
    }

    /// The call has not begun: everything is as it was.
    pub(super) fn undo(self, mut store: StoreContextMut<'_, State>) {
        if let Some(handles) = &store.data().handles {
            for (handle, object) in self.back {
                handles.restore(handle, object);
            }
        }
        forget(self.lent, &mut store);
        forget(self.given, &mut store);
    }
}

fn forget(objects: Vec<ResourceAny>, mut store: impl wasmtime::AsContextMut<Data = State>) {
    for object in objects {
        // Where the engine has none such, there is nothing to forget.
        let _rep = ResourceDynamic::try_from_resource_any(object, &mut store);
    }
}

impl Objects for Crossing<'_> {
    fn lower(&mut self, handle: Handle, name: &Name, is_borrowed: bool) -> Result<Val, Unfit> {
        let state = self.store.data();
        let handles = state.handles.as_ref().ok_or(Unfit::Shape)?;
        let object = handles.get(handle).ok_or(Unfit::Shape)?;
        let imported = state
            .resources
            .iter()
            .position(|known| same_resource(&known.name, name));
        let Some(imported) = imported else {
            // A resource of its own: only what lives here can be one.
            let resource = object.within(state.id).ok_or(Unfit::Foreign)?;
            if !is_borrowed {
                handles.remove(handle);
                self.passed.back.push((handle, object));
            }
            return Ok(Val::Resource(resource));
        };
        let rep = u32::try_from(handle.number()).map_err(|_| Unfit::Shape)?;
        let number = u32::try_from(imported).map_err(|_| Unfit::Shape)?;
        let foreign = ResourceDynamic::new_own(rep, number);
        let foreign = foreign.try_into_resource_any(&mut self.store);
        let foreign = foreign.map_err(|_| Unfit::Full)?;
        match is_borrowed {
            true => self.passed.lent.push(foreign),
            false => self.passed.given.push(foreign),
        }
        Ok(Val::Resource(foreign))
    }

    fn lift(&mut self, object: ResourceAny, name: &Name) -> Result<Handle, Unfit> {
        if let Ok(foreign) = ResourceDynamic::try_from_resource_any(object, &mut self.store) {
            return Ok(Handle::Host(u64::from(foreign.rep())));
        }
        if !object.owned() {
            return Err(Unfit::Foreign);
        }
        let state = self.store.data();
        let handles = state.handles.as_ref().ok_or(Unfit::Shape)?;
        let exported = state.exported.iter();
        let kind = exported
            .into_iter()
            .find(|one| same_resource(&one.name, name));
        let object = Object {
            place: Place::Here {
                owner: state.id,
                resource: object,
            },
            kind: kind.cloned().unwrap_or_else(|| Resource {
                interface: None,
                name: name.clone(),
            }),
        };
        handles.insert(object).ok_or(Unfit::Full)
    }
}

//! Live objects at the border of one instance.

use rpc_host_protocol::types::Name;
use rpc_host_protocol::value::Handle;
use wasmtime::StoreContextMut;
use wasmtime::component::{ResourceAny, ResourceDynamic, Val};

use super::State;
use super::handles::Object;
use super::types::same_resource;
use super::values::{Objects, Unfit};

/// Objects that go into an instance, or come out of it, with one call.
pub(super) struct Crossing<'a> {
    store: StoreContextMut<'a, State>,
    /// Made for objects that are lent for the time of the call.
    lent: Vec<ResourceAny>,
}

impl<'a> Crossing<'a> {
    pub(super) fn new(store: StoreContextMut<'a, State>) -> Self {
        Crossing {
            store,
            lent: Vec::new(),
        }
    }

    /// The state of the instance.
    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    /// What has to be taken back when the call has ended well.
    pub(super) fn lent(self) -> Vec<ResourceAny> {
        self.lent
    }
}

/// Takes back what was lent: the engine forgets it, and its owner keeps it.
pub(super) fn take_back(lent: Vec<ResourceAny>, mut store: StoreContextMut<'_, State>) {
    for object in lent {
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
            .position(|known| same_resource(known, name));
        let Some(imported) = imported else {
            // A resource of its own: only what lives here can be one.
            if object.owner != state.id {
                return Err(Unfit::Foreign);
            }
            if !is_borrowed {
                handles.remove(handle);
            }
            return Ok(Val::Resource(object.resource));
        };
        let rep = u32::try_from(handle.number()).map_err(|_| Unfit::Shape)?;
        let number = u32::try_from(imported).map_err(|_| Unfit::Shape)?;
        let foreign = ResourceDynamic::new_own(rep, number);
        let foreign = foreign.try_into_resource_any(&mut self.store);
        let foreign = foreign.map_err(|_| Unfit::Full)?;
        if is_borrowed {
            self.lent.push(foreign);
        }
        Ok(Val::Resource(foreign))
    }

    fn lift(&mut self, object: ResourceAny) -> Result<Handle, Unfit> {
        if let Ok(foreign) = ResourceDynamic::try_from_resource_any(object, &mut self.store) {
            return Ok(Handle::Host(u64::from(foreign.rep())));
        }
        if !object.owned() {
            return Err(Unfit::Foreign);
        }
        let state = self.store.data();
        let handles = state.handles.as_ref().ok_or(Unfit::Shape)?;
        let object = Object {
            owner: state.id,
            resource: object,
        };
        handles.insert(object).ok_or(Unfit::Full)
    }
}

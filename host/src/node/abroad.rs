//! Objects that live in clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::value::Handle;

use crate::sandbox::{Abroad, Handles, Resource, Whereabouts};
use crate::session::{Reach, SessionId};

/// An object of a client's, held once more for each time that it was received. Dropped, it is let go of.
pub(super) struct ClientObject {
    reach: Reach,
    /// The client's own.
    number: u64,
    /// Whether the client counts it: what it sends with a call that fails, it has not given.
    is_counted: AtomicBool,
}

impl ClientObject {
    /// One that came with an answer.
    pub(super) fn answered(reach: &Reach, number: u64) -> Arc<Self> {
        Self::received(reach, number, true)
    }

    /// One that came with a call that has yet to go well.
    pub(super) fn sent(reach: &Reach, number: u64) -> Arc<Self> {
        Self::received(reach, number, false)
    }

    fn received(reach: &Reach, number: u64, is_counted: bool) -> Arc<Self> {
        Arc::new(ClientObject {
            reach: reach.clone(),
            number,
            is_counted: AtomicBool::new(is_counted),
        })
    }

    /// The object of this number in a root, if it lives in a client.
    pub(super) fn of(handles: &Handles, object: Handle) -> Option<Arc<Self>> {
        match handles.whereabouts(object)? {
            Whereabouts::Abroad(abroad) => Self::known(abroad),
            Whereabouts::In(_) => None,
        }
    }

    /// One that lives abroad, if that is in a client.
    pub(super) fn known(abroad: Abroad) -> Option<Arc<Self>> {
        abroad.downcast().ok()
    }

    /// A number for it in a root. `None` when there are too many objects there.
    pub(super) fn enlist(self: &Arc<Self>, handles: &Handles, kind: Resource) -> Option<Handle> {
        handles.insert_abroad(Arc::clone(self) as Abroad, kind)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn session(&self) -> SessionId {
        self.reach.session()
    }

    /// The call went well that it came with.
    fn count(&self) {
        self.is_counted.store(true, Ordering::Relaxed);
    }
}

impl Drop for ClientObject {
    fn drop(&mut self) {
        if self.is_counted.load(Ordering::Relaxed) {
            self.reach.release(self.number);
        }
    }
}

/// The reply is on its way to the call that these came with, or that they came back in. Those that nobody holds
/// any more are let go of, after it.
pub(super) fn given(objects: Vec<Arc<ClientObject>>, exchange: ExchangeId) {
    let Some(reach) = objects.first().map(|object| object.reach.clone()) else {
        return;
    };
    let mut numbers = Vec::new();
    for object in objects {
        object.count();
        if let Some(object) = Arc::into_inner(object) {
            // It is let go of here.
            object.is_counted.store(false, Ordering::Relaxed);
            numbers.push(object.number);
        }
    }
    reach.release_behind(numbers, exchange);
}

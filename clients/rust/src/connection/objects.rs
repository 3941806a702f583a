//! Objects of either side: what is held of the host's, and what the host holds of this client's.
//!
//! What a message brings is noted before anybody reads it, by the reader itself: the counts of
//! [`rpc_host_protocol::holding`] ask for that, and what the host gives back has to be found before its release
//! of it is. Releases wait until something is written, and then go out many at a time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_host_protocol::Message;
use rpc_host_protocol::cbor::handles;
use rpc_host_protocol::holding::{Grip, Held};
use rpc_host_protocol::message::Release;
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ExchangeId, assembler::RawMessage};

use super::Shared;
use crate::error::Error;
use crate::object::Implementation;

/// Objects in one release. They take less than a frame, so that nothing else waits and the host never has it
/// half.
const RELEASED_AT_ONCE: usize = 1024;

/// What of this is part of a connection. Never locked together with its state.
#[derive(Default)]
pub(super) struct Objects {
    held: Held,
    /// This client's own, by the numbers under which the host holds them.
    own: HashMap<u64, Arc<Implementation>>,
}

/// A part in an object of the host's. Dropped, it is let go of.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    /// Always there, but for the time of being dropped.
    grip: Option<Grip>,
    number: u64,
}

/// The objects that one message brought. Those that nobody has taken out of it are let go of with it.
pub(crate) struct Arrival {
    shared: Arc<Shared>,
    grips: HashMap<u64, Grip>,
    own: HashMap<u64, Arc<Implementation>>,
}

/// The objects in a message that is to be sent.
#[derive(Clone, Default)]
pub(crate) struct Passed {
    /// The host's: held until the message has been dealt with.
    pub(crate) proxies: Vec<Arc<Proxy>>,
    /// This client's own, each under a number that is used for this once.
    pub(crate) own: Vec<(u64, Arc<Implementation>)>,
}

/// What goes with a message that has been sent, until it is known what became of it.
pub(super) struct Sent {
    shared: Arc<Shared>,
    passed: Passed,
    is_taken: bool,
}

impl Passed {
    pub(crate) fn is_empty(&self) -> bool {
        self.proxies.is_empty() && self.own.is_empty()
    }
}

impl Sent {
    /// The host has taken them: what is this client's own is the host's until it releases it.
    pub(super) fn taken(&mut self) {
        self.is_taken = true;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.is_taken && !self.passed.own.is_empty() {
            let numbers = self.passed.own.iter().map(|(number, _)| *number);
            self.shared.forget_own(numbers);
        }
    }
}

impl Proxy {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is one of this connection.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Whether both are of the same object.
    pub(crate) fn is_same(&self, other: &Proxy) -> bool {
        self.number == other.number && self.is_of(&other.shared)
    }

    /// Why it cannot be used any more, if that is so.
    pub(crate) fn gone(&self) -> Option<Error> {
        let problem = if self.shared.state().end.is_some() {
            "is gone, because its connection has ended; make it anew"
        } else if self.is_held() {
            return None;
        } else {
            "is closed"
        };
        Some(Error::object(self.number, problem))
    }

    /// Whether nobody has closed it.
    pub(crate) fn is_held(&self) -> bool {
        let objects = self.shared.objects();
        self.grip
            .as_ref()
            .is_some_and(|grip| objects.held.is_held(grip))
    }

    /// Lets go of it for all that use it; gives what has to be said to the host.
    pub(super) fn close(&self) -> Option<Release> {
        let grip = self.grip.as_ref()?;
        let handles = self.shared.objects().held.close(grip);
        (!handles.is_empty()).then_some(Release { handles })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(grip) = self.grip.take() {
            self.shared.let_go(std::iter::once(grip));
        }
    }
}

impl Arrival {
    /// The host's object of this number, if it was brought.
    pub(crate) fn proxy(&self, number: u64) -> Option<Proxy> {
        let grip = self.grips.get(&number)?;
        let grip = self.shared.objects().held.share(grip);
        Some(Proxy {
            shared: self.shared.clone(),
            grip: Some(grip),
            number,
        })
    }

    /// This client's own object of this number, if it was brought.
    pub(crate) fn own(&self, number: u64) -> Option<Arc<Implementation>> {
        self.own.get(&number).cloned()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let grips = self.grips.drain().map(|(_, grip)| grip);
        self.shared.let_go(grips);
    }
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        let objects: &Mutex<Objects> = &self.objects;
        objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the objects that a message brings, before anything else is done with it.
    pub(super) fn arrived(self: &Arc<Self>, items: &[u8]) -> Option<Arc<Arrival>> {
        let mut brought = handles(items).peekable();
        brought.peek()?;
        let (mut grips, mut own, mut again) = (HashMap::new(), HashMap::new(), Vec::new());
        {
            let mut objects = self.objects();
            for handle in brought {
                match handle {
                    Handle::Host(number) => {
                        let grip = objects.held.receive(number);
                        again.extend(grips.insert(number, grip));
                    }
                    Handle::Client(number) => {
                        let implementation = objects.own.get(&number).cloned();
                        own.extend(implementation.map(|found| (number, found)));
                    }
                }
            }
            for grip in again {
                objects.held.let_go(grip);
            }
        }
        Some(Arc::new(Arrival {
            shared: self.clone(),
            grips,
            own,
        }))
    }

    fn let_go(&self, grips: impl Iterator<Item = Grip>) {
        let is_due = {
            let held = &mut self.objects().held;
            // Each of them has to go, whether or not one was due before.
            grips.fold(false, |is_due, grip| held.let_go(grip) | is_due)
        };
        if is_due && !self.is_release_due.swap(true, Ordering::AcqRel) {
            self.writer_wanted.notify_one();
        }
    }

    /// The next release of those that are due, as a message. Nothing is said to a host that is gone.
    pub(super) fn release_due(&self) -> Option<RawMessage> {
        if !self.is_release_due.swap(false, Ordering::AcqRel) {
            return None;
        }
        let handles = self.objects().held.take_due(RELEASED_AT_ONCE);
        if handles.len() == RELEASED_AT_ONCE {
            // There may be more.
            self.is_release_due.store(true, Ordering::Release);
        }
        if handles.is_empty() {
            return None;
        }
        let release = Message::Release(Release { handles });
        Some(release.encode(ExchangeId::CONNECTION))
    }

    /// Makes this client's own objects known by the numbers by which a message names them.
    pub(super) fn sending(self: &Arc<Self>, passed: Passed) -> Option<Sent> {
        if passed.is_empty() {
            return None;
        }
        if !passed.own.is_empty() {
            self.objects().own.extend(passed.own.iter().cloned());
        }
        Some(Sent {
            shared: self.clone(),
            passed,
            is_taken: false,
        })
    }

    /// This client's own object of a number.
    pub(super) fn own_object(&self, number: u64) -> Option<Arc<Implementation>> {
        self.objects().own.get(&number).cloned()
    }

    /// The host has let go of objects of this client.
    pub(super) fn released(&self, release: Release) {
        self.forget_own(release.handles.into_iter().map(|(number, _)| number));
    }

    fn forget_own(&self, numbers: impl Iterator<Item = u64>) {
        let forgotten: Vec<_> = {
            let own = &mut self.objects().own;
            numbers.filter_map(|number| own.remove(&number)).collect()
        };
        // Without a lock: an implementation may hold anything.
        drop(forgotten);
    }

    /// The connection is over, and with it all that either side held of the other.
    pub(super) fn end_objects(&self) {
        let own = std::mem::take(&mut self.objects().own);
        drop(own);
    }
}

//! Who writes down what is said in a call.

use std::fmt;
use std::sync::Arc;

use rpc_host_protocol::message::OutputStream;

use super::shelf::Shelf;
use super::{CallName, Line, Room};
use crate::clock::WallClock;

/// Hears what is said in a call while it is said. It must not wait: whoever says something would wait with it.
pub trait Ear: Send + Sync + fmt::Debug {
    /// A guest has said this.
    fn hear(&self, line: &Line);
}

/// Writes down what is said in one call. A clone writes to the same place; one that nobody gave a place writes nothing.
#[derive(Clone, Default)]
pub struct Scribe(Option<Arc<Inner>>);

struct Inner {
    clock: Arc<dyn WallClock>,
    shelf: Arc<Shelf>,
    call: CallName,
    ear: Option<Arc<dyn Ear>>,
}

impl Scribe {
    pub(super) fn new(
        clock: Arc<dyn WallClock>,
        shelf: Arc<Shelf>,
        call: CallName,
        ear: Option<Arc<dyn Ear>>,
    ) -> Self {
        Scribe(Some(Arc::new(Inner {
            clock,
            shelf,
            call,
            ear,
        })))
    }

    /// A guest of the registration `name` has said this.
    pub fn write(
        &self,
        name: &Arc<str>,
        room: Room,
        stream: OutputStream,
        level: Option<&'static str>,
        text: &str,
    ) {
        let Some(inner) = &self.0 else {
            return;
        };
        let line = Arc::new(Line {
            at: inner.clock.now(),
            call: inner.call,
            stream,
            level,
            text: Arc::from(text),
        });
        // Whoever hears it may ask at once for what is kept.
        inner.shelf.add(name, Arc::clone(&line), room);
        if let Some(ear) = &inner.ear {
            ear.hear(&line);
        }
    }
}

impl fmt::Debug for Scribe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scribe")
    }
}

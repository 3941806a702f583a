//! Whether what a reply tells of came to be told.

use std::fmt;

/// What has to be undone if the client never gets a reply: the objects in it would be held by nobody who knows
/// of them.
#[derive(Default)]
#[must_use = "dropped, what the reply tells of is undone"]
pub struct Told(Option<Box<dyn FnOnce() + Send>>);

impl Told {
    /// This is to be done where the reply is dropped.
    pub fn or_else(undo: impl FnOnce() + Send + 'static) -> Self {
        Told(Some(Box::new(undo)))
    }

    /// The reply is on its way, or nothing in it needs to be undone.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(undo) = self.0.take() {
            undo();
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Told")
    }
}

//! The objects that a session holds: what each number means that its client was told.
//!
//! How numbers are counted is both sides' affair, and stands in [`rpc_host_protocol::holding`]. Here stands what
//! only the host has to know: whether a call has an object at this moment, and that a session which has ended
//! holds nothing. An object is let go of once, when its count comes to nothing, when a guest takes it over, or at
//! the end of the session, whichever comes first; what comes later finds nothing.
//!
//! What an object is, and how it ends, is nothing to this layer: it keeps a home for each, of whatever kind.

mod error;

use std::collections::HashMap;
use std::hash::Hash;

use rpc_host_protocol::holding::{Given, GivenError};

pub use error::{Gone, ObjectError};

/// The objects of one session, each by its home.
#[derive(Debug)]
pub struct Table<H> {
    given: Given<H>,
    /// Calls under way that have an object of the session's.
    lent: HashMap<u64, u32>,
    max: u64,
    is_over: bool,
    /// Releases of what is not held so often.
    ignored: u64,
}

impl<H: Clone + Eq + Hash> Table<H> {
    /// None yet, and so many at most.
    pub fn new(max: u64) -> Self {
        Table {
            given: Given::new(max),
            lent: HashMap::new(),
            max,
            is_over: false,
            ignored: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// How often something was released that was not held.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Where they are.
    pub fn homes(&self) -> impl Iterator<Item = &H> {
        self.given.objects()
    }

    /// That the session has not ended.
    ///
    /// # Errors
    /// When it has.
    pub fn check_begun(&self) -> Result<(), ObjectError> {
        match self.is_over {
            true => Err(ObjectError::SessionOver),
            false => Ok(()),
        }
    }

    /// That there is room for one more.
    ///
    /// # Errors
    /// When there is none, or the session has ended.
    pub fn check_room(&self) -> Result<(), ObjectError> {
        self.check_begun()?;
        if self.given.len() as u64 >= self.max {
            return Err(ObjectError::TooMany { limit: self.max });
        }
        Ok(())
    }

    /// The number by which the client is told of an object, and told once more.
    ///
    /// # Errors
    /// When there are too many, or the session has ended.
    pub fn tell(&mut self, home: H) -> Result<u64, ObjectError> {
        self.check_begun()?;
        Ok(self.given.send(home)?)
    }

    /// A number for an object that the client has for the time of one call only, until [`Table::forget`].
    ///
    /// # Errors
    /// When there are too many, or the session has ended.
    pub fn tell_for_a_call(&mut self, home: H) -> Result<u64, ObjectError> {
        self.check_begun()?;
        Ok(self.given.lend(home)?)
    }

    /// Where an object is.
    ///
    /// # Errors
    /// When the session does not hold it.
    pub fn find(&self, number: u64) -> Result<&H, ObjectError> {
        Ok(self.given.get(number)?)
    }

    /// Notes that a call has an object.
    pub fn lend(&mut self, number: u64) {
        let lent = self.lent.entry(number).or_default();
        *lent = lent.saturating_add(1);
    }

    /// The call is over that had it.
    pub fn take_back(&mut self, number: u64) {
        if let Some(lent) = self.lent.get_mut(&number) {
            *lent = lent.saturating_sub(1);
            if *lent == 0 {
                self.lent.remove(&number);
            }
        }
    }

    /// That an object can change hands.
    ///
    /// # Errors
    /// When the session does not hold it, has it for the time of a call only, or a call under way has it.
    pub fn check_free(&self, number: u64) -> Result<(), ObjectError> {
        self.given.check_owned(number)?;
        match self.lent.contains_key(&number) {
            true => Err(ObjectError::Lent { number }),
            false => Ok(()),
        }
    }

    /// The session holds this number no more. Gives the object if it did.
    pub fn forget(&mut self, number: u64) -> Option<H> {
        self.given.end(number)
    }

    /// Takes a count off. Gives the object where it is let go of with that: what the session had for the time of a
    /// call only is not the session's to let go of, and its owner has it still, so no instance ends with it here.
    pub fn release(&mut self, number: u64, count: u64) -> Option<H> {
        match self.given.release(number, count) {
            Ok(released) => released,
            Err(_not_held_so_often) => {
                self.ignored = self.ignored.saturating_add(1);
                None
            }
        }
    }

    /// The same of several, or of none of them.
    ///
    /// # Errors
    /// When the session does not hold one of them, or was told of it less often.
    pub fn release_all(&mut self, counts: &[(u64, u32)]) -> Result<Vec<H>, ObjectError> {
        Ok(self.given.release_all(counts)?)
    }

    /// The session has ended. Gives what it held, but for what it had for the time of a call only; from now on it
    /// holds nothing.
    pub fn end(&mut self) -> Vec<H> {
        self.is_over = true;
        self.given.end_all()
    }
}

impl From<GivenError> for ObjectError {
    fn from(error: GivenError) -> Self {
        match error {
            GivenError::NotHeld(number) => ObjectError::NotHeld { number },
            GivenError::TooMany { number, sent, .. } => {
                ObjectError::ReleasedTooOften { number, told: sent }
            }
            GivenError::Lent(number) => ObjectError::Lent { number },
            GivenError::Full(limit) => ObjectError::TooMany { limit },
        }
    }
}

#[cfg(test)]
mod tests;

//! The objects that a session holds: what each number means that its client was told.
//!
//! A number is told of one object only, for as long as the session is. How often it was told is counted, and a
//! release takes its count off: so one that crosses another telling of the same object does not end it. An
//! object is let go of once, when its count comes to nothing, when a guest takes it over, or at the end of the
//! session, whichever comes first; what comes later finds nothing.
//!
//! What an object is, and how it ends, is nothing to this layer: it keeps a home for each, of whatever kind.

mod error;

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

pub use error::{Gone, ObjectError};

/// Where an object is. Two homes are of the same object when they are equal.
pub trait Home: Clone + Eq + Hash {}

impl<H: Clone + Eq + Hash> Home for H {}

/// The objects of one session.
#[derive(Debug)]
pub struct Table<H> {
    held: HashMap<u64, Held<H>>,
    numbers: HashMap<H, u64>,
    /// 0 is none.
    last: u64,
    max: u64,
    is_over: bool,
    /// Releases of what is not held.
    ignored: u64,
}

#[derive(Debug)]
struct Held<H> {
    home: H,
    /// How often the client was told of it, less what it has released.
    told: u64,
    /// Calls under way that it is lent to.
    lent: u32,
}

impl<H: Home> Table<H> {
    /// None yet, and so many at most.
    pub fn new(max: u64) -> Self {
        Table {
            held: HashMap::new(),
            numbers: HashMap::new(),
            last: 0,
            max,
            is_over: false,
            ignored: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where they are.
    pub fn homes(&self) -> impl Iterator<Item = &H> {
        self.held.values().map(|held| &held.home)
    }

    /// How often something was released that was not held.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// That there is room for one more.
    ///
    /// # Errors
    /// When there is none, or the session has ended.
    pub fn check_room(&self) -> Result<(), ObjectError> {
        if self.is_over {
            return Err(ObjectError::SessionOver);
        }
        if self.held.len() as u64 >= self.max {
            return Err(ObjectError::TooMany { limit: self.max });
        }
        Ok(())
    }

    /// The number by which the client is told of an object, and told once more.
    ///
    /// # Errors
    /// When there are too many, or the session has ended.
    pub fn tell(&mut self, home: H) -> Result<u64, ObjectError> {
        if let Some(number) = self.numbers.get(&home)
            && let Some(held) = self.held.get_mut(number)
        {
            held.told = held.told.saturating_add(1);
            return Ok(*number);
        }
        self.check_room()?;
        // At a billion a second this takes centuries.
        let number = self.last.saturating_add(1);
        self.last = number;
        self.numbers.insert(home.clone(), number);
        let held = Held {
            home,
            told: 1,
            lent: 0,
        };
        self.held.insert(number, held);
        Ok(number)
    }

    /// Where an object is.
    ///
    /// # Errors
    /// When the session does not hold it.
    pub fn find(&self, number: u64) -> Result<&H, ObjectError> {
        let held = self.held.get(&number);
        held.map(|held| &held.home)
            .ok_or(ObjectError::NotHeld { number })
    }

    /// Notes that an object is lent to a call, if the session holds it (still).
    pub fn lend(&mut self, number: u64) {
        if let Some(held) = self.held.get_mut(&number) {
            held.lent = held.lent.saturating_add(1);
        }
    }

    /// The call is over that it was lent to.
    pub fn take_back(&mut self, number: u64) {
        if let Some(held) = self.held.get_mut(&number) {
            held.lent = held.lent.saturating_sub(1);
        }
    }

    /// That an object can change hands.
    ///
    /// # Errors
    /// When the session does not hold it, or it is lent to a call under way.
    pub fn check_free(&self, number: u64) -> Result<(), ObjectError> {
        match self.held.get(&number) {
            None => Err(ObjectError::NotHeld { number }),
            Some(held) if held.lent > 0 => Err(ObjectError::Lent { number }),
            Some(_) => Ok(()),
        }
    }

    /// The number of an object that the session holds.
    pub fn number(&self, home: &H) -> Option<u64> {
        self.numbers.get(home).copied()
    }

    /// A guest has taken an object over: the session holds it no more. Gives it.
    pub fn give(&mut self, number: u64) -> Option<H> {
        let held = self.held.remove(&number)?;
        self.numbers.remove(&held.home);
        Some(held.home)
    }

    /// Takes a count off. Gives the object where the session holds it no more.
    pub fn release(&mut self, number: u64, count: u64) -> Option<H> {
        let Some(held) = self.held.get_mut(&number).filter(|held| held.told >= count) else {
            self.ignored = self.ignored.saturating_add(1);
            return None;
        };
        held.told -= count;
        if held.told > 0 {
            return None;
        }
        let held = self.held.remove(&number)?;
        self.numbers.remove(&held.home);
        Some(held.home)
    }

    /// The same of several, or of none of them.
    ///
    /// # Errors
    /// When the session does not hold one of them, or was told of it less often.
    pub fn release_all(&mut self, counts: &[(u64, u32)]) -> Result<Vec<H>, ObjectError> {
        let mut total: HashMap<u64, u64> = HashMap::with_capacity(counts.len());
        for (number, count) in counts {
            let total = total.entry(*number).or_default();
            *total = total.saturating_add(u64::from(*count));
        }
        for (number, count) in &total {
            match self.held.get(number) {
                None => return Err(ObjectError::NotHeld { number: *number }),
                Some(held) if held.told < *count => {
                    return Err(ObjectError::ReleasedTooOften {
                        number: *number,
                        told: held.told,
                    });
                }
                Some(_) => {}
            }
        }
        let released = total
            .into_iter()
            .filter_map(|(number, count)| self.release(number, count));
        Ok(released.collect())
    }

    /// The session has ended. Gives what it held; from now on it holds nothing.
    pub fn end(&mut self) -> Vec<H> {
        self.is_over = true;
        self.numbers.clear();
        let held = mem::take(&mut self.held);
        held.into_values().map(|held| held.home).collect()
    }
}

#[cfg(test)]
mod tests;

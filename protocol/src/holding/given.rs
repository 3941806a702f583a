//! The side that has the objects.

use std::collections::HashMap;
use std::hash::Hash;

/// Why something cannot be done with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// The other side does not hold it: it never did, or has let go of it. One text for all.
    #[error("no object {0} in this session")]
    NotHeld(u64),
    /// More is let go of than was given.
    #[error("object {number} was received {sent} times, and {count} are let go of")]
    TooMany {
        /// The number.
        number: u64,
        /// How often it was given and not yet let go of.
        sent: u64,
        /// How often it is let go of.
        count: u64,
    },
    /// It is lent, and cannot be given away.
    #[error("object {0} is lent for a call, and cannot be given away")]
    Lent(u64),
    /// So many may be held, and no more.
    #[error("more than {0} objects are held")]
    Full(u64),
}

/// What the other side of a session was given, and how often. `T` says which object it is.
///
/// A number is never used for two objects, and 0 for none.
#[derive(Debug)]
pub struct Given<T> {
    objects: HashMap<u64, Entry<T>>,
    /// The number of each object that is not lent.
    numbers: HashMap<T, u64>,
    last: u64,
    max_objects: u64,
}

#[derive(Debug)]
struct Entry<T> {
    object: T,
    sent: u64,
    is_lent: bool,
}

impl<T: Clone + Eq + Hash> Given<T> {
    /// Nothing yet, and so many objects at most.
    pub fn new(max_objects: u64) -> Self {
        Given {
            objects: HashMap::new(),
            numbers: HashMap::new(),
            last: 0,
            max_objects,
        }
    }

    /// How many numbers the other side holds.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether the other side holds nothing.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object of this number, for the time of a call.
    pub fn get(&self, number: u64) -> Result<&T, GivenError> {
        let entry = self.objects.get(&number);
        let entry = entry.ok_or(GivenError::NotHeld(number))?;
        Ok(&entry.object)
    }

    /// All objects that the other side holds, one that is lent beside being given twice.
    pub fn objects(&self) -> impl Iterator<Item = &T> {
        self.objects.values().map(|entry| &entry.object)
    }

    /// That the other side can give this object away.
    pub fn check_owned(&self, number: u64) -> Result<(), GivenError> {
        match self.objects.get(&number) {
            None => Err(GivenError::NotHeld(number)),
            Some(Entry { is_lent: true, .. }) => Err(GivenError::Lent(number)),
            Some(_) => Ok(()),
        }
    }

    /// The number under which an object is sent, once more if the other side holds it already. If the message
    /// does not go out after all, this is undone by [`release`](Given::release) of one.
    pub fn send(&mut self, object: T) -> Result<u64, GivenError> {
        if let Some(number) = self.numbers.get(&object)
            && let Some(entry) = self.objects.get_mut(number)
        {
            entry.sent = entry.sent.saturating_add(1);
            return Ok(*number);
        }
        let number = self.insert(object.clone(), false)?;
        self.numbers.insert(object, number);
        Ok(number)
    }

    /// A number of its own for an object that is sent for a time: until [`end`](Given::end), or until the other
    /// side lets go of it.
    pub fn lend(&mut self, object: T) -> Result<u64, GivenError> {
        self.insert(object, true)
    }

    fn insert(&mut self, object: T, is_lent: bool) -> Result<u64, GivenError> {
        let full = GivenError::Full(self.max_objects);
        if self.objects.len() as u64 >= self.max_objects {
            return Err(full);
        }
        // In 2^64 objects there is no end; if there is, it is one.
        self.last = self.last.checked_add(1).ok_or(full)?;
        let entry = Entry {
            object,
            sent: 1,
            is_lent,
        };
        self.objects.insert(self.last, entry);
        Ok(self.last)
    }

    /// Takes the count of a release off one number; gives the object if it is let go of with that. One that was
    /// only lent is not: its number ends, and it is its owner's as before.
    pub fn release(&mut self, number: u64, count: u64) -> Result<Option<T>, GivenError> {
        let entry = self.objects.get_mut(&number);
        let entry = entry.ok_or(GivenError::NotHeld(number))?;
        let sent = entry.sent;
        entry.sent = sent.checked_sub(count).ok_or(GivenError::TooMany {
            number,
            sent,
            count,
        })?;
        let (is_over, is_lent) = (entry.sent == 0, entry.is_lent);
        let ended = is_over.then(|| self.end(number)).flatten();
        Ok(ended.filter(|_| !is_lent))
    }

    /// Takes a whole release off, or nothing of it: where a number occurs twice, its counts are added. Gives the
    /// objects that are let go of with that, as [`release`](Given::release) does.
    pub fn release_all(&mut self, handles: &[(u64, u32)]) -> Result<Vec<T>, GivenError> {
        let mut counts: HashMap<u64, u64> = HashMap::with_capacity(handles.len());
        for (number, count) in handles {
            let sum = counts.entry(*number).or_default();
            *sum = sum.saturating_add(u64::from(*count));
        }
        for (number, count) in &counts {
            let (number, count) = (*number, *count);
            match self.objects.get(&number) {
                None => return Err(GivenError::NotHeld(number)),
                Some(Entry { sent, .. }) if *sent < count => {
                    let sent = *sent;
                    return Err(GivenError::TooMany {
                        number,
                        sent,
                        count,
                    });
                }
                Some(_) => {}
            }
        }
        let mut gone = Vec::new();
        // In the order of the release, so that destructors run in it.
        for (number, _) in handles {
            if let Some(count) = counts.remove(number) {
                gone.extend(self.release(*number, count)?);
            }
        }
        Ok(gone)
    }

    /// Takes objects that the other side gives away, all of them or none. A number that occurs twice is not held
    /// the second time.
    pub fn consume(&mut self, numbers: &[u64]) -> Result<Vec<T>, GivenError> {
        let mut seen = std::collections::HashSet::with_capacity(numbers.len());
        for number in numbers {
            match self.objects.get(number) {
                Some(Entry { is_lent: true, .. }) => return Err(GivenError::Lent(*number)),
                Some(_) if seen.insert(*number) => {}
                _ => return Err(GivenError::NotHeld(*number)),
            }
        }
        Ok(numbers
            .iter()
            .filter_map(|number| self.end(*number))
            .collect())
    }

    /// The other side holds this number no more, whatever was sent. Gives the object if it did.
    pub fn end(&mut self, number: u64) -> Option<T> {
        let entry = self.objects.remove(&number)?;
        if !entry.is_lent {
            self.numbers.remove(&entry.object);
        }
        Some(entry.object)
    }

    /// The session is over: all that the other side held, but for what it was only lent.
    pub fn end_all(&mut self) -> Vec<T> {
        self.numbers.clear();
        let objects = std::mem::take(&mut self.objects);
        let held = objects.into_values().filter(|entry| !entry.is_lent);
        held.map(|entry| entry.object).collect()
    }
}

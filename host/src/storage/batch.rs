//! A batch: what must hold, and what is written if it does.

use super::{Key, KeyRevision, Prefix};

/// What a key must look like for a batch to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists, whatever it holds.
    Present,
    /// The key was last written by exactly this commit.
    At(KeyRevision),
}

#[derive(Debug)]
pub(super) enum Write {
    Put(Key, Vec<u8>),
    Delete(Key),
    DeleteBelow(Prefix),
}

/// Writes that are applied together, guarded by expectations. Writes are applied in the order
/// given; expectations are all checked before the first.
#[derive(Debug, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    pub(super) expectations: Vec<(Key, Expect)>,
    pub(super) writes: Vec<Write>,
}

impl Batch {
    /// A batch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies only if `key` is as expected.
    pub fn expect(mut self, key: Key, expect: Expect) -> Self {
        self.expectations.push((key, expect));
        self
    }

    /// Writes a key, new or not.
    pub fn put(mut self, key: Key, value: Vec<u8>) -> Self {
        self.writes.push(Write::Put(key, value));
        self
    }

    /// Deletes a key, present or not.
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Deletes all keys below a prefix, including those that nobody has read yet: that is why
    /// this is one write and not a scan followed by deletes.
    pub fn delete_below(mut self, prefix: Prefix) -> Self {
        self.writes.push(Write::DeleteBelow(prefix));
        self
    }
}

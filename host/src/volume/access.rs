//! What may be done in a volume.

/// What may be done in a volume. The default is the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// List and read.
    #[default]
    ReadOnly,
    /// And change.
    ReadWrite,
}

impl Access {
    /// The lesser of both.
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// Whether anything may be changed.
    pub fn may_write(self) -> bool {
        self == Self::ReadWrite
    }
}

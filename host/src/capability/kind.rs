//! The kinds of grants.

use std::fmt;

/// What sort of power a grant gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Lines in the node's log.
    Log,
    /// A variable of the environment.
    Env,
    /// Another clock than the coarse one.
    Clock,
    /// Random numbers that can be had again.
    Random,
    /// A volume of files.
    Fs,
    /// A bucket of keys and values.
    Kv,
    /// A host on the network, by HTTP.
    Http,
}

impl Kind {
    /// All that there are.
    pub const ALL: [Self; 7] = [
        Self::Log,
        Self::Env,
        Self::Clock,
        Self::Random,
        Self::Fs,
        Self::Kv,
        Self::Http,
    ];

    /// The kind as text: how its grants begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Env => "env",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Fs => "fs",
            Self::Kv => "kv",
            Self::Http => "http",
        }
    }

    /// How a grant of this kind is written.
    pub fn form(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Env => "env:KEY=VALUE",
            Self::Clock => "clock:precise or clock:frozen",
            Self::Random => "random:seeded=N",
            Self::Fs => "fs:VOLUME=ro or =rw",
            Self::Kv => "kv:BUCKET=ro or =rw",
            Self::Http => "http:HOST[:PORT] or http:*.DOMAIN[:PORT]",
        }
    }

    /// Whether this node has such grants to give.
    pub fn is_served(self) -> bool {
        match self {
            Self::Log | Self::Env | Self::Clock | Self::Random | Self::Fs | Self::Kv => true,
            Self::Http => cfg!(feature = "http"),
        }
    }

    /// The kind that is called so.
    pub(crate) fn called(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether its power comes by interfaces of its own, which a component imports. The others change what
    /// stands behind interfaces that are served to every module.
    fn has_interfaces(self) -> bool {
        matches!(self, Self::Log | Self::Kv | Self::Http)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The kinds by which a component is linked. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kinds {
    bits: u8,
}

impl Kinds {
    /// Whether a kind is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.bits & Self::bit(kind) != 0
    }

    fn bit(kind: Kind) -> u8 {
        1 << kind as u8
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        let linked = kinds.into_iter().filter(|kind| kind.has_interfaces());
        Kinds {
            bits: linked.fold(0, |bits, kind| bits | Self::bit(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_linked_by_default_and_each_by_itself() {
        for kind in Kind::ALL {
            assert!(!Kinds::default().has(kind));
            let kinds = Kinds::from_iter([kind]);
            for other in Kind::ALL {
                assert_eq!(kinds.has(other), other == kind && kind.has_interfaces());
            }
            assert_eq!(Kind::called(kind.as_str()), Some(kind));
        }
    }
}

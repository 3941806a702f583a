//! What may be granted: patterns of grants, as the node, a tenant and a caller write them.
//!
//! A policy only ever narrows. What is in force for an instance is what its registration was granted, as
//! far as the node's policy, the tenant's and the caller's leave it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rpc_host_protocol::error::printable;

use super::subject::{Access, Clock, Destination, EnvKey, Reason, SubjectName};
use super::{Grant, Kind};

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such kind of grants.
    #[error("`{pattern}` matches no grant; patterns begin with {}", kinds())]
    Unknown {
        /// What was written.
        pattern: String,
    },
    /// A pattern of a known kind that is not written as it should be.
    #[error("`{pattern}` is no pattern: {reason}")]
    Malformed {
        /// What was written.
        pattern: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A word that says all, beside others.
    #[error("`{word}` stands alone; leave the other patterns out")]
    NotAlone {
        /// Which word.
        word: &'static str,
    },
    /// More patterns than a policy may have.
    #[error("at most {limit} patterns may be allowed; leave some out")]
    TooMany {
        /// How many it may have.
        limit: u64,
    },
    /// More than the node allows.
    #[error(
        "the node does not allow `{pattern}`; its configuration says what it does, `[grants] allow`"
    )]
    Wider {
        /// What was written.
        pattern: String,
    },
}

fn kinds() -> String {
    Kind::ALL.map(Kind::as_str).join(", ")
}

/// Grants that have something in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// All of a kind: `kv`.
    All(Kind),
    /// All of a kind, to look only: `kv=ro`.
    AllTo(Kind, Access),
    /// A variable, whatever it holds: `env:KEY`.
    Env(EnvKey),
    /// A clock: `clock:frozen`.
    Clock(Clock),
    /// A volume: `fs:VOLUME`, `fs:VOLUME=ro`.
    Fs(SubjectName, Option<Access>),
    /// A bucket: `kv:BUCKET`, `kv:BUCKET=ro`.
    Kv(SubjectName, Option<Access>),
    /// A host, with one port or with any: `http:HOST`.
    Http(Destination),
}

impl Pattern {
    /// How far a pattern lets a grant be opened; all the way where that plays no part.
    fn most(&self, grant: &Grant) -> Option<Access> {
        match (self, grant) {
            (Self::All(kind), _) => (*kind == grant.kind()).then_some(Access::ReadWrite),
            (Self::AllTo(kind, most), _) => (*kind == grant.kind()).then_some(*most),
            (
                Self::Fs(name, most),
                Grant::Fs {
                    volume: granted, ..
                },
            )
            | (
                Self::Kv(name, most),
                Grant::Kv {
                    bucket: granted, ..
                },
            ) => (name == granted).then(|| most.unwrap_or(Access::ReadWrite)),
            (Self::Env(key), Grant::Env { key: granted, .. }) => {
                (key == granted).then_some(Access::ReadWrite)
            }
            (Self::Clock(clock), Grant::Clock(granted)) => {
                (clock == granted).then_some(Access::ReadWrite)
            }
            (Self::Http(one), Grant::Http(granted)) => {
                one.covers(granted).then_some(Access::ReadWrite)
            }
            _ => None,
        }
    }

    /// Whether all that the other matches is matched by this one, as far.
    fn covers(&self, other: &Self) -> bool {
        let (of, most) = other.reach();
        let is_within = |limit: Access| most.is_some_and(|most| most <= limit);
        match (self, other) {
            (Self::All(kind), _) => *kind == of,
            (Self::AllTo(kind, limit), _) => *kind == of && is_within(*limit),
            (Self::Fs(name, limit), Self::Fs(named, _))
            | (Self::Kv(name, limit), Self::Kv(named, _)) => {
                name == named && is_within(limit.unwrap_or(Access::ReadWrite))
            }
            (Self::Http(one), Self::Http(other)) => one.covers(other),
            _ => self == other,
        }
    }

    /// The kind of what is matched, and how far, where that plays a part.
    fn reach(&self) -> (Kind, Option<Access>) {
        let whole = Some(Access::ReadWrite);
        match self {
            Self::All(kind @ (Kind::Fs | Kind::Kv)) => (*kind, whole),
            Self::All(kind) => (*kind, None),
            Self::AllTo(kind, most) => (*kind, Some(*most)),
            Self::Env(_) => (Kind::Env, None),
            Self::Clock(_) => (Kind::Clock, None),
            Self::Fs(_, most) => (Kind::Fs, most.or(whole)),
            Self::Kv(_, most) => (Kind::Kv, most.or(whole)),
            Self::Http(_) => (Kind::Http, None),
        }
    }
}

/// A grant, opened no further than so.
fn at_most(grant: &Grant, most: Access) -> Grant {
    let mut grant = grant.clone();
    if let Grant::Fs { access, .. } | Grant::Kv { access, .. } = &mut grant {
        *access = most.min(*access);
    }
    grant
}

impl FromStr for Pattern {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        // What an operator writes in the place of a pattern may be a grant, with a value in it.
        let shown = || match text.split_once('=') {
            Some((subject, _)) if !subject.starts_with("fs") && !subject.starts_with("kv") => {
                printable(subject, 128)
            }
            _ => printable(text, 128),
        };
        let end = text.find([':', '=']).unwrap_or(text.len());
        let (kind, rest) = text.split_at(end);
        let kind = Kind::called(kind).ok_or_else(|| PolicyError::Unknown { pattern: shown() })?;
        read(kind, rest).map_err(|reason| PolicyError::Malformed {
            pattern: shown(),
            reason,
        })
    }
}

fn read(kind: Kind, rest: &str) -> Result<Pattern, Reason> {
    if rest.is_empty() {
        return Ok(Pattern::All(kind));
    }
    if let (Kind::Fs | Kind::Kv, Some(access)) = (kind, rest.strip_prefix('=')) {
        return Ok(Pattern::AllTo(kind, access.parse()?));
    }
    let parameters = rest
        .strip_prefix(':')
        .ok_or("an access is of `fs` and `kv` only")?;
    let (name, access) = match parameters.split_once('=') {
        Some((name, access)) => (name, Some(access)),
        None => (parameters, None),
    };
    let access = || access.map(str::parse).transpose();
    match kind {
        Kind::Log => Err("`log` has no parameters"),
        Kind::Random => Err("`random` is allowed as a whole"),
        // What it holds plays no part, and may be a secret.
        Kind::Env => Ok(Pattern::Env(parameters.parse()?)),
        Kind::Clock => Ok(Pattern::Clock(parameters.parse()?)),
        Kind::Fs => Ok(Pattern::Fs(name.parse()?, access()?)),
        Kind::Kv => Ok(Pattern::Kv(name.parse()?, access()?)),
        Kind::Http => Ok(Pattern::Http(parameters.parse()?)),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named = |kind: Kind, name: &SubjectName, access: &Option<Access>| {
            write!(formatter, "{kind}:{}", name.as_str())?;
            access.map_or(Ok(()), |access| write!(formatter, "={}", access.as_str()))
        };
        match self {
            Self::All(kind) => write!(formatter, "{kind}"),
            Self::AllTo(kind, access) => write!(formatter, "{kind}={}", access.as_str()),
            Self::Env(key) => write!(formatter, "env:{}", key.as_str()),
            Self::Clock(clock) => write!(formatter, "clock:{}", clock.as_str()),
            Self::Fs(name, access) => named(Kind::Fs, name, access),
            Self::Kv(name, access) => named(Kind::Kv, name, access),
            Self::Http(destination) => write!(formatter, "http:{destination}"),
        }
    }
}

const ANY: &str = "any";
const NONE: &str = "none";

/// What may be granted. The default is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever others leave: it narrows nothing.
    Any,
    /// What matches one of these.
    Only(BTreeSet<Pattern>),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Policy {
    /// What a node allows whose configuration says nothing: all that stays on the node, but for a clock
    /// that is fine enough to time a neighbour with.
    pub fn of_node() -> Self {
        let kinds = [Kind::Log, Kind::Env, Kind::Random, Kind::Fs, Kind::Kv];
        let patterns = kinds.into_iter().map(Pattern::All);
        Self::Only(patterns.chain([Pattern::Clock(Clock::Frozen)]).collect())
    }

    /// Reads patterns, at most so many. `any` alone narrows nothing, `none` alone allows nothing, as no
    /// pattern does.
    ///
    /// # Errors
    /// When one of them is none, or when they are too many.
    pub fn parse<T: AsRef<str>>(texts: &[T], limit: u64) -> Result<Self, PolicyError> {
        if texts.len() as u64 > limit {
            return Err(PolicyError::TooMany { limit });
        }
        let words = [(ANY, Self::Any), (NONE, Self::default())];
        for (word, policy) in words {
            if texts.iter().any(|text| text.as_ref() == word) {
                return match texts.len() {
                    1 => Ok(policy),
                    _ => Err(PolicyError::NotAlone { word }),
                };
            }
        }
        let patterns = texts.iter().map(|text| text.as_ref().parse());
        Ok(Self::Only(patterns.collect::<Result<_, _>>()?))
    }

    /// What it is read from.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Any => vec![ANY.to_owned()],
            Self::Only(patterns) => patterns.iter().map(Pattern::to_string).collect(),
        }
    }

    /// What the policy leaves of a grant: all of it, a narrower one, or nothing.
    pub fn meet(&self, grant: &Grant) -> Option<Grant> {
        self.most(grant).map(|most| at_most(grant, most))
    }

    /// The widest of what the patterns leave: they are added up.
    fn most(&self, grant: &Grant) -> Option<Access> {
        match self {
            Self::Any => Some(Access::ReadWrite),
            Self::Only(patterns) => patterns.iter().filter_map(|one| one.most(grant)).max(),
        }
    }

    /// Whether it leaves anything of any grant of this kind.
    pub fn knows(&self, kind: Kind) -> bool {
        match self {
            Self::Any => true,
            Self::Only(patterns) => patterns.iter().any(|one| one.reach().0 == kind),
        }
    }

    /// Whether the policy leaves a grant as it is.
    pub fn allows(&self, grant: &Grant) -> bool {
        let access = grant.access();
        let most = self.most(grant);
        most.is_some_and(|most| access.is_none_or(|access| access <= most))
    }

    /// The same policy, if `other` allows as much.
    ///
    /// # Errors
    /// When it allows more, with the pattern that does.
    pub fn within(self, other: &Self) -> Result<Self, PolicyError> {
        let (Self::Only(patterns), Self::Only(most)) = (&self, other) else {
            return Ok(self);
        };
        let is_wider = |one: &&Pattern| !most.iter().any(|other| other.covers(one));
        match patterns.iter().find(is_wider) {
            Some(wider) => Err(PolicyError::Wider {
                pattern: wider.to_string(),
            }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests;

//! All that a registration may do beyond computing.

use std::collections::{BTreeMap, BTreeSet};

use super::subject::{Access, Clock, SubjectName};
use super::{Grant, Kind, Kinds};
use crate::volume::{self, VolumeName};

/// What is no grant, or not together with the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is none of that kind.
    #[error("there is no grant `{grant}`; known grants are {}", known())]
    Unknown {
        /// What was asked for: its kind alone.
        grant: String,
    },
    /// One of a known kind that is not written as it should be.
    #[error("a grant of kind `{kind}` is written {}: {reason}", .kind.form())]
    Malformed {
        /// Which kind.
        kind: Kind,
        /// What is wrong.
        reason: &'static str,
    },
    /// Two that contradict each other.
    #[error("`{subject}` is granted twice; leave one of the two out")]
    Twice {
        /// What both are about.
        subject: String,
    },
    /// More than a registration may have.
    #[error("a registration has at most {limit} grants; leave some out")]
    TooMany {
        /// How many it may have.
        limit: u64,
    },
    /// Longer than all of a registration may be.
    #[error("the grants of a registration have at most {limit_bytes} bytes; shorten their values")]
    TooLong {
        /// How many bytes.
        limit_bytes: u64,
    },
    /// One of a kind that is not to be had here.
    #[error("{}; leave it out", lacking(*.kind))]
    NotServed {
        /// Which kind.
        kind: Kind,
    },
}

fn lacking(kind: Kind) -> String {
    match kind {
        Kind::Http => "this node is built without `http`".to_owned(),
        other => format!("this node has no grant of kind `{other}` to give"),
    }
}

fn known() -> String {
    Kind::ALL.map(Kind::form).join(", ")
}

/// The grants of a registration, at most one for each subject. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// These grants.
    ///
    /// # Errors
    /// When two of them are about the same and differ.
    pub fn collect(grants: impl IntoIterator<Item = Grant>) -> Result<Self, GrantError> {
        let mut by_subject = BTreeMap::new();
        for grant in grants {
            let subject = grant.subject();
            match by_subject.get(&subject) {
                None => by_subject.insert(subject, grant),
                Some(known) if *known == grant => None,
                Some(_) => return Err(GrantError::Twice { subject }),
            };
        }
        Ok(Self(by_subject.into_values().collect()))
    }

    /// Reads a list of grants.
    ///
    /// # Errors
    /// When one of them is none, or two of them are about the same and differ.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, GrantError> {
        let grants = texts.into_iter().map(|text| text.as_ref().parse());
        Self::collect(grants.collect::<Result<Vec<_>, _>>()?)
    }

    /// The same grants, if they are no more than so many, and no longer than so many bytes as text.
    ///
    /// # Errors
    /// When they are more, or longer.
    pub fn within(self, limit: u64, limit_bytes: u64) -> Result<Self, GrantError> {
        if self.0.len() as u64 > limit {
            return Err(GrantError::TooMany { limit });
        }
        let bytes: usize = self.0.iter().map(|grant| grant.to_string().len()).sum();
        if bytes as u64 > limit_bytes {
            return Err(GrantError::TooLong { limit_bytes });
        }
        Ok(self)
    }

    /// Whether this node has such grants to give.
    ///
    /// # Errors
    /// When it does not have one of them.
    pub fn check_served(&self) -> Result<(), GrantError> {
        match self.0.iter().find(|grant| !grant.kind().is_served()) {
            Some(grant) => Err(GrantError::NotServed { kind: grant.kind() }),
            None => Ok(()),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of this kind is among them.
    pub fn has(&self, kind: Kind) -> bool {
        self.0.iter().any(|grant| grant.kind() == kind)
    }

    /// The kinds by which a component is linked that has these grants.
    pub fn kinds(&self) -> Kinds {
        self.0.iter().map(Grant::kind).collect()
    }

    /// How far a bucket may be opened.
    pub fn bucket(&self, name: &SubjectName) -> Option<Access> {
        self.0.iter().find_map(|grant| match grant {
            Grant::Kv { bucket, access } => (bucket == name).then_some(*access),
            _ => None,
        })
    }

    /// The volumes, each with what may be done in it.
    pub fn volumes(&self) -> impl Iterator<Item = (VolumeName, volume::Access)> {
        self.0.iter().filter_map(|grant| match grant {
            Grant::Fs { volume, access } => {
                let access = match access {
                    Access::ReadOnly => volume::Access::ReadOnly,
                    Access::ReadWrite => volume::Access::ReadWrite,
                };
                // Both are named by the same rule; a name that only one of them took would be denied.
                Some((volume.as_str().parse().ok()?, access))
            }
            _ => None,
        })
    }

    /// What the environment holds.
    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|grant| match grant {
            Grant::Env { key, value } => Some((key.as_str(), value.expose())),
            _ => None,
        })
    }

    /// The clock in the place of the coarse one.
    pub fn clock(&self) -> Option<Clock> {
        self.0.iter().find_map(|grant| match grant {
            Grant::Clock(clock) => Some(*clock),
            _ => None,
        })
    }

    /// Which random numbers are drawn again and again.
    pub fn seed(&self) -> Option<u64> {
        self.0.iter().find_map(|grant| match grant {
            Grant::Random { seed } => Some(*seed),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default() {
        let none = Grants::default();
        for kind in Kind::ALL {
            assert!(!none.has(kind) && !none.kinds().has(kind));
        }
        assert!(none.is_empty() && none.clock().is_none() && none.seed().is_none());
        assert_eq!(none.env().count(), 0);
        let grants = Grants::parse(["log", "log"]).unwrap();
        assert!(grants.has(Kind::Log) && grants.kinds().has(Kind::Log));
        assert_eq!(grants.iter().count(), 1);
    }

    #[test]
    fn a_subject_is_granted_once() {
        for twice in [
            ["env:A=1", "env:A=2"],
            ["clock:precise", "clock:frozen"],
            ["random:seeded=1", "random:seeded=2"],
            ["fs:data=ro", "fs:data=rw"],
            ["kv:data=rw", "kv:data=ro"],
        ] {
            let refused = Grants::parse(twice).unwrap_err();
            assert!(matches!(refused, GrantError::Twice { .. }), "{twice:?}");
        }
        let apart = [
            "env:A=1",
            "env:a=1",
            "fs:data=ro",
            "kv:data=rw",
            "fs:data-2=rw",
            "http:a.b",
            "http:a.b:80",
        ];
        assert_eq!(Grants::parse(apart).unwrap().iter().count(), apart.len());
    }

    #[test]
    fn grants_are_counted_and_measured() {
        let grants = Grants::parse(["log", "env:A=123"]).unwrap();
        assert_eq!(grants.clone().within(2, 12).unwrap(), grants);
        assert_eq!(
            grants.clone().within(1, 12),
            Err(GrantError::TooMany { limit: 1 })
        );
        assert_eq!(
            grants.within(2, 11),
            Err(GrantError::TooLong { limit_bytes: 11 })
        );
    }

    #[test]
    fn an_unknown_grant_is_refused_with_the_known_ones() {
        let refused = Grants::parse(["log", "*"]).unwrap_err().to_string();
        assert!(
            refused.starts_with("there is no grant `*`; known grants are log, env:KEY=VALUE, "),
            "{refused}"
        );
        let long = Grants::parse(["x".repeat(10_000)]).unwrap_err();
        assert!(long.to_string().len() < 300, "{long}");
        let malformed = Grants::parse(["kv:a=r"]).unwrap_err().to_string();
        assert_eq!(
            malformed,
            "a grant of kind `kv` is written kv:BUCKET=ro or =rw: the access is `ro` or `rw`"
        );
    }
}

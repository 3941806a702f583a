//! What a registration may do beyond computing, one capability at a time.

use std::fmt;
use std::str::FromStr;

use rpc_host_protocol::error::printable;

use super::subject::{Access, Clock, Destination, EnvKey, EnvValue, Reason, SubjectName, decimal};
use super::{GrantError, Kind};

/// One capability with its parameters. There is none for "everything".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Write lines to the node's log.
    Log,
    /// See a variable in the environment.
    Env {
        /// Its key.
        key: EnvKey,
        /// What it holds.
        value: EnvValue,
    },
    /// Read another clock than the coarse one.
    Clock(Clock),
    /// Draw random numbers that are the same each time.
    Random {
        /// Which ones.
        seed: u64,
    },
    /// Open the files of a volume.
    Fs {
        /// Which volume.
        volume: SubjectName,
        /// How far.
        access: Access,
    },
    /// Open a bucket of keys and values.
    Kv {
        /// Which bucket.
        bucket: SubjectName,
        /// How far.
        access: Access,
    },
    /// Send HTTP requests to a host.
    Http(Destination),
}

impl Grant {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Log => Kind::Log,
            Self::Env { .. } => Kind::Env,
            Self::Clock(_) => Kind::Clock,
            Self::Random { .. } => Kind::Random,
            Self::Fs { .. } => Kind::Fs,
            Self::Kv { .. } => Kind::Kv,
            Self::Http(_) => Kind::Http,
        }
    }

    /// What it is about. A registration has one grant for a subject at most. It shows no value of the
    /// environment, so it is what logs and messages name a grant by.
    pub fn subject(&self) -> String {
        match self {
            Self::Log | Self::Clock(_) | Self::Random { .. } => self.kind().to_string(),
            Self::Env { key, .. } => format!("env:{}", key.as_str()),
            Self::Fs { volume, .. } => format!("fs:{}", volume.as_str()),
            Self::Kv { bucket, .. } => format!("kv:{}", bucket.as_str()),
            Self::Http(destination) => format!("http:{destination}"),
        }
    }

    /// How far it opens what it is about, where there is more than one way.
    pub fn access(&self) -> Option<Access> {
        match self {
            Self::Fs { access, .. } | Self::Kv { access, .. } => Some(*access),
            _ => None,
        }
    }

    /// The grant as text for those who may not see what the environment holds.
    pub fn redacted(&self) -> String {
        match self {
            Self::Env { .. } => self.subject(),
            other => other.to_string(),
        }
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (kind, parameters) = match text.split_once(':') {
            Some((kind, parameters)) => (kind, Some(parameters)),
            None => (text, None),
        };
        let Some(kind) = Kind::called(kind) else {
            // An outsider's text, so no more of it than a message can bear, and nothing that may be a value.
            let begin = kind.split('=').next().unwrap_or_default();
            return Err(GrantError::Unknown {
                grant: printable(begin, 64),
            });
        };
        let grant = match parameters {
            None if kind == Kind::Log => Ok(Self::Log),
            None => Err("it lacks its parameters"),
            Some(parameters) => read(kind, parameters),
        };
        grant.map_err(|reason| GrantError::Malformed { kind, reason })
    }
}

fn read(kind: Kind, parameters: &str) -> Result<Grant, Reason> {
    let pair = || parameters.split_once('=').ok_or("it lacks its `=`");
    Ok(match kind {
        Kind::Log => return Err("it has no parameters"),
        Kind::Env => {
            let (key, value) = pair()?;
            Grant::Env {
                key: key.parse()?,
                value: value.parse()?,
            }
        }
        Kind::Clock => Grant::Clock(parameters.parse()?),
        Kind::Random => {
            let seed = parameters.strip_prefix("seeded=").and_then(decimal);
            let seed = seed.ok_or("its seed is a whole number below 2^64")?;
            Grant::Random { seed }
        }
        Kind::Fs => {
            let (volume, access) = pair()?;
            Grant::Fs {
                volume: volume.parse()?,
                access: access.parse()?,
            }
        }
        Kind::Kv => {
            let (bucket, access) = pair()?;
            Grant::Kv {
                bucket: bucket.parse()?,
                access: access.parse()?,
            }
        }
        Kind::Http => Grant::Http(parameters.parse()?),
    })
}

/// The text that it was read from. It shows what the environment holds: for the store, and for those who
/// may deploy. Others get [`Grant::redacted`].
impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.subject())?;
        match self {
            Self::Log | Self::Http(_) => Ok(()),
            Self::Env { value, .. } => write!(formatter, "={}", value.expose()),
            Self::Clock(clock) => write!(formatter, ":{}", clock.as_str()),
            Self::Random { seed } => write!(formatter, ":seeded={seed}"),
            Self::Fs { access, .. } | Self::Kv { access, .. } => {
                write!(formatter, "={}", access.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_its_text_and_has_one_spelling() {
        let (long_key, long_name) = ("K".repeat(128), "v".repeat(63));
        for text in [
            "log",
            "env:A=",
            "env:_key_9=a=b:c\n\td é",
            &format!("env:{long_key}={}", "x".repeat(4096)),
            "clock:precise",
            "clock:frozen",
            "random:seeded=0",
            "random:seeded=18446744073709551615",
            "fs:data=ro",
            &format!("fs:{long_name}=rw"),
            "kv:cache-2=rw",
            "http:example.com",
            "http:*.example.com",
            "http:*.example.com:8443",
            "http:10.0.0.7:8080",
            "http:xn--bcher-kva.example:65535",
        ] {
            let grant: Grant = text.parse().unwrap();
            assert_eq!(grant.to_string(), text);
            assert_eq!(
                Kind::ALL
                    .iter()
                    .filter(|kind| **kind == grant.kind())
                    .count(),
                1
            );
            assert!(text.starts_with(grant.kind().as_str()));
        }
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for text in [
            "",
            "*",
            "all",
            "Log",
            " log",
            "log ",
            "log:",
            "log:x",
            "env",
            "env:",
            "env:=x",
            "env:A",
            "env:1A=x",
            "env:A-B=x",
            "env:A\0=x",
            "env:A=x\0",
            "env:A=\u{1b}[2J",
            &format!("env:{}=x", "K".repeat(129)),
            &format!("env:A={}", "x".repeat(4097)),
            "clock",
            "clock:",
            "clock:coarse",
            "clock:precise=1",
            "random",
            "random:seeded",
            "random:seeded=",
            "random:seeded=-1",
            "random:seeded=01",
            "random:seeded=+1",
            "random:seeded=18446744073709551616",
            "random:secure",
            "fs",
            "fs:",
            "fs:data",
            "fs:data=",
            "fs:data=r",
            "fs:data=RW",
            "fs:=ro",
            "fs:../x=ro",
            "fs:/etc=ro",
            "fs:a/b=ro",
            "fs:-a=ro",
            "fs:a.b=ro",
            "fs:Data=ro",
            "fs:9=ro",
            "fs:a\0=ro",
            "fs:*=ro",
            &format!("fs:{}=ro", "v".repeat(64)),
            "kv:a|b=rw",
            "kv:a=rw=rw",
            "http",
            "http:",
            "http:*",
            "http:*.com",
            "http:*.0.1",
            "http:*example.com",
            "http:*.*.example.com",
            "http:api.*.example.com",
            "http:*.",
            "http:EXAMPLE.com",
            "http:example.com.",
            "http:a..b",
            "http:-a.com",
            "http:a-.com",
            "http:a_b.com",
            "http:example.com:",
            "http:example.com:0",
            "http:example.com:080",
            "http:example.com:65536",
            "http:example.com:1:2",
            "http:[::1]:80",
            "http://example.com",
            "http:example.com/path",
            "http:user@example.com",
            &format!("http:{}.com", "x".repeat(64)),
            &format!("http:{}com", "abcdefg.".repeat(32)),
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_the_environment_holds_is_in_no_message() {
        for text in [
            "env:1A=hunter2",
            "env:KEY=hunter2\0",
            "env=hunter2",
            "environ=hunter2",
            "env:hunter2",
            "Env:KEY=hunter2",
        ] {
            let refused = text.parse::<Grant>().unwrap_err();
            assert!(
                !format!("{refused} {refused:?}").contains("hunter2"),
                "{refused}"
            );
        }
        let grant: Grant = "env:KEY=hunter2".parse().unwrap();
        assert!(!format!("{grant:?} {} {}", grant.subject(), grant.redacted()).contains("hunter2"));
        assert!(
            grant.redacted().parse::<Grant>().is_err(),
            "what is redacted is no grant"
        );
        let fs: Grant = "fs:data=ro".parse().unwrap();
        assert_eq!(
            (fs.redacted(), fs.subject()),
            ("fs:data=ro".to_owned(), "fs:data".to_owned())
        );
    }
}

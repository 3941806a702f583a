//! The parts of a grant that name what it is about.

use std::fmt;
use std::str::FromStr;

const MAX_NAME_BYTES: usize = 63;
const MAX_KEY_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 4096;
const MAX_HOST_BYTES: usize = 253;
const MAX_HOST_LABEL_BYTES: usize = 63;

/// Why a text is no such part.
pub(super) type Reason = &'static str;

/// What a volume or a bucket is called: 1 to 63 of `a-z`, `0-9` and `-`, a letter first. So it can stand as
/// the name of a directory too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectName(String);

impl SubjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubjectName {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let of_the_alphabet =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        if begins_well && text.len() <= MAX_NAME_BYTES && text.bytes().all(of_the_alphabet) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a volume or bucket is named by 1 to 63 of a-z, 0-9 and `-`, a letter first")
        }
    }
}

/// What a variable of the environment is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvKey(String);

impl EnvKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvKey {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let of_the_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins_well = !text.starts_with(|first: char| first.is_ascii_digit());
        let good = begins_well && (1..=MAX_KEY_BYTES).contains(&text.len());
        if good && text.bytes().all(of_the_alphabet) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a key is 1 to 128 of letters, digits and `_`, no digit first")
        }
    }
}

/// What a variable of the environment holds, which may be a secret: it is shown to nobody by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvValue(String);

impl EnvValue {
    /// The value, for the guest, for the store, and for those who may deploy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvValue {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let is_bad = |one: char| one.is_control() && !matches!(one, '\n' | '\r' | '\t');
        if text.len() <= MAX_VALUE_BYTES && !text.contains(is_bad) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "a value is at most 4096 bytes, without control characters but line breaks and tabs",
            )
        }
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EnvValue(…)")
    }
}

/// How far a grant opens a volume or a bucket. The smaller one is the narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To look.
    ReadOnly,
    /// To look and to change.
    ReadWrite,
}

impl Access {
    /// The access as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        }
    }
}

impl FromStr for Access {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "ro" => Ok(Self::ReadOnly),
            "rw" => Ok(Self::ReadWrite),
            _ => Err("the access is `ro` or `rw`"),
        }
    }
}

/// Which clock a guest has in the place of the coarse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clock {
    /// As good as the system's.
    Precise,
    /// One that stands at the time at which the call began.
    Frozen,
}

impl Clock {
    /// The clock as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Precise => "precise",
            Self::Frozen => "frozen",
        }
    }
}

impl FromStr for Clock {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "precise" => Ok(Self::Precise),
            "frozen" => Ok(Self::Frozen),
            _ => Err("the clock is `precise` or `frozen`"),
        }
    }
}

/// A host on the network by its name in lower case, or all names below one, and a port, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    host: String,
    port: Option<u16>,
}

impl Destination {
    /// Its name, or its address of IPv4; all names below one begin with `*.`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is for the host of this name, in lower case.
    pub(super) fn covers_host(&self, name: &str) -> bool {
        match self.host.strip_prefix('*') {
            // The dot is still there, so it is a whole label that comes before.
            Some(below) => name.len() > below.len() && name.ends_with(below),
            None => self.host == name,
        }
    }

    /// Whether all hosts of the other are among those of this one, at the same port if this one is bound
    /// to a port.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.covers_host(&other.host) && (self.port.is_none() || self.port == other.port)
    }

    /// The port, if it is bound to one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Destination {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(self::port(port)?)),
            None => (text, None),
        };
        let is_label = |label: &str| {
            (1..=MAX_HOST_LABEL_BYTES).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        // Below a top-level domain there is everything, and addresses are not below one another.
        let is_too_wide = name.len() != host.len()
            && (!name.contains('.') || name.rsplit('.').next().is_some_and(is_number));
        if host.len() > MAX_HOST_BYTES || !name.split('.').all(is_label) || is_too_wide {
            return Err(
                "a host is named as in the DNS, in lower case and without a dot at its end, or \
                 `*.` and such a name of two labels",
            );
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn port(text: &str) -> Result<u16, Reason> {
    let number = decimal(text).and_then(|number| u16::try_from(number).ok());
    let number = number.filter(|number| *number != 0);
    number.ok_or("a port is a number from 1 to 65535")
}

/// A number in its only spelling: digits, without a sign and without zeros before it.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.host)?;
        self.port
            .map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

//! What a line says.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use rpc_host_protocol::ErrorCode;
use rpc_host_protocol::error::printable;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Bytes of a line, its end included: what a pipe takes as a whole or not at all.
pub const MAX_LINE_BYTES: usize = 4096;

// All texts at their longest, and each character of them escaped once more for JSON, fit into a line.
const MAX_OBJECT_BYTES: usize = 256;
const MAX_DETAIL_BYTES: usize = 320;
const MAX_WHY_BYTES: usize = 448;
const MAX_GRANT_BYTES: usize = 96;
const MAX_GRANTS_BYTES: usize = 560;

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was allowed, and done.
    Allowed,
    /// A rule forbids it.
    Refused,
    /// The node could not do it.
    Failed,
    /// Whoever asked for it was gone before its end. It may have been done.
    Unknown,
}

impl Outcome {
    /// The outcome as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A decision: who asked for what, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// What was asked for, by its verb.
    pub event: Cow<'static, str>,
    /// What came of it.
    pub outcome: Outcome,
    /// The tenant of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it came in by: the public id of its token, or its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The session that it came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Where that comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The name of what it is about: a registration, a digest, a token's public id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The tenant that it is about, where the verb names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_tenant: Option<String>,
    /// The module that a name is pointed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The grants that are asked for, without their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it was not done, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it is told each time, however often it is caused.
    #[serde(skip)]
    is_kept: bool,
    /// Whether it is told once a second, however often it is caused.
    #[serde(skip)]
    is_once: bool,
}

impl Entry {
    /// A decision about `event`.
    pub fn new(event: &'static str, outcome: Outcome) -> Self {
        Entry {
            event: Cow::Borrowed(event),
            outcome,
            tenant: None,
            credential: None,
            role: None,
            session: None,
            address: None,
            object: None,
            of_tenant: None,
            digest: None,
            grants: Vec::new(),
            detail: None,
            code: None,
            why: None,
            is_kept: false,
            is_once: false,
        }
    }

    /// With how it ended.
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// By somebody of this tenant.
    pub fn tenant(mut self, tenant: Option<String>) -> Self {
        self.tenant = tenant;
        self
    }

    /// By the holder of this token or certificate.
    pub fn credential(mut self, credential: impl ToString) -> Self {
        self.credential = Some(credential.to_string());
        self
    }

    /// With this role.
    pub fn role(mut self, role: &str) -> Self {
        self.role = Some(role.to_owned());
        self
    }

    /// By way of this session.
    pub fn origin(mut self, session: impl ToString, address: impl ToString) -> Self {
        self.session = Some(session.to_string());
        self.address = Some(address.to_string());
        self
    }

    /// About this, a text of anybody's.
    pub fn object(mut self, object: &str) -> Self {
        self.object = Some(printable(object, MAX_OBJECT_BYTES));
        self
    }

    /// About this tenant, a text of anybody's.
    pub fn of_tenant(mut self, tenant: &str) -> Self {
        self.of_tenant = Some(printable(tenant, MAX_GRANT_BYTES));
        self
    }

    /// With this module, a text of anybody's.
    pub fn digest(mut self, digest: &str) -> Self {
        self.digest = Some(printable(digest, MAX_GRANT_BYTES));
        self
    }

    /// With these grants, texts of anybody's. What may be secret in one is left out.
    pub fn grants<T: AsRef<str>>(mut self, grants: impl IntoIterator<Item = T>) -> Self {
        self.grants.clear();
        let mut left = MAX_GRANTS_BYTES;
        for text in grants {
            let text = grant(text.as_ref());
            let Some(rest) = left.checked_sub(text.len()) else {
                self.grants.push("…".to_owned());
                break;
            };
            left = rest;
            self.grants.push(text);
        }
        self
    }

    /// With more to say.
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = Some(printable(detail, MAX_DETAIL_BYTES));
        self
    }

    /// Not done, for this reason.
    pub fn code(mut self, code: ErrorCode) -> Self {
        self.code = Some(code.name().to_owned());
        self
    }

    /// Not done, for this reason in words.
    pub fn why(mut self, why: Option<&str>) -> Self {
        self.why = why.map(|why| printable(why, MAX_WHY_BYTES));
        self
    }

    /// Told each time. For what a tenant cannot cause at will: what is on the disk before it is told.
    pub fn kept(mut self) -> Self {
        self.is_kept = true;
        self
    }

    /// Told once a second: the next of its kind says nothing new.
    pub fn once(mut self) -> Self {
        self.is_once = true;
        self
    }

    pub(super) fn is_bounded(&self) -> bool {
        !self.is_kept
    }

    pub(super) fn is_once(&self) -> bool {
        self.is_once
    }
}

/// A grant without what may be secret in it: of `KIND:NAME=VALUE`, the value. That a volume or bucket may
/// be written to is no secret.
pub fn grant(text: &str) -> String {
    let shown = match text.split_once('=') {
        // Meant for one with a value, perhaps.
        None if !is_without_value(text) => {
            let kind = text.split_once(':').map(|(kind, _)| format!("{kind}:…"));
            Cow::Owned(kind.unwrap_or_else(|| "…".to_owned()))
        }
        None => Cow::Borrowed(text),
        Some((name, "ro" | "rw")) if is_place(name) => Cow::Borrowed(text),
        Some((name, _)) => Cow::Owned(format!("{name}=…")),
    };
    printable(&shown, MAX_GRANT_BYTES)
}

/// Kinds that need no value, and words of policies.
fn is_without_value(text: &str) -> bool {
    let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
    match kind {
        "log" | "clock" | "random" | "fs" | "kv" | "http" => true,
        "env" | "any" | "none" => kind == text,
        _ => false,
    }
}

/// Volumes and buckets.
fn is_place(name: &str) -> bool {
    ["fs:", "kv:"].iter().any(|kind| name.starts_with(kind))
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Counts all lines, over all starts of the node. One that is missing was lost.
    pub seq: u64,
    /// When: RFC 3339, UTC.
    pub time: String,
    /// How many lines were lost since the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// The decision.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Record {
    pub(super) fn new(seq: u64, at: Timestamp, entry: Entry) -> Self {
        // A clock that far off is shown as the end of time.
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(at.unix_ms().min(LAST_MS)));
        let time = humantime::format_rfc3339_millis(time.unwrap_or(UNIX_EPOCH)).to_string();
        Record {
            seq,
            time,
            lost: None,
            entry,
        }
    }

    /// The line, with its end.
    pub(super) fn text(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// The end of the year 9999, beyond which a time has no text.
const LAST_MS: u64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_printable_and_stands_alone_whatever_it_is_told() {
        for nasty in [
            "\u{1b}[2J\n",
            "\"",
            "\\",
            "\u{202e}",
            "𝄞",
            "\0",
            "{\"seq\":1}\n",
        ] {
            let long = nasty.repeat(10_000);
            let entry = Entry::new("tenant-remove", Outcome::Unknown)
                .tenant(Some("t".repeat(63)))
                .credential("0123456789abcdef")
                .role("deployer")
                .origin(
                    "0123456789abcdef",
                    "ff02:1111:2222:3333:4444:5555:6666:7777",
                )
                .object(&long)
                .of_tenant(&long)
                .digest(&long)
                .grants(std::iter::repeat_n(&long, 100))
                .detail(&long)
                .code(ErrorCode::FailedPrecondition)
                .why(Some(&long));
            let mut record = Record::new(u64::MAX, Timestamp::from_unix_ms(u64::MAX), entry);
            record.lost = Some(u64::MAX);
            let text = record.text().unwrap();
            assert!(text.len() <= MAX_LINE_BYTES, "{nasty:?}: {}", text.len());
            let line = text.strip_suffix('\n').unwrap();
            assert!(
                !line.contains(|one: char| one.is_control() || one == '\u{202e}'),
                "{line}"
            );
            assert_eq!(serde_json::from_str::<Record>(line).unwrap(), record);
        }
    }

    #[test]
    fn values_of_grants_are_not_shown() {
        let shown = |text: &str| grant(text);
        for harmless in [
            "log",
            "fs:data=rw",
            "kv:cart=ro",
            "http:api.example.com:443",
            "clock:frozen",
        ] {
            assert_eq!(shown(harmless), harmless);
        }
        assert_eq!(shown("env:TOKEN=hunter2"), "env:TOKEN=…");
        assert_eq!(shown("ENV:TOKEN=a=rw"), "ENV:TOKEN=…");
        assert_eq!(shown("random:seeded=7"), "random:seeded=…");
        // One who mistyped it meant a secret all the same.
        assert_eq!(shown("env:TOKEN:hunter2"), "env:…");
        assert_eq!(shown("hunter2"), "…");
        for harmless in [
            "log",
            "env",
            "clock:precise",
            "fs:data",
            "kv:cache=ro",
            "any",
            "http:example.com:8443",
        ] {
            assert_eq!(shown(harmless), harmless);
        }
        assert_eq!(shown("env:TOKEN=rw"), "env:TOKEN=…");
        assert_eq!(shown("fs:x\n=rw"), "fs:x\\n=rw");
    }
}

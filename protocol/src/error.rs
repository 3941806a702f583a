//! Error codes, whose fault an error is, and the failure message that carries both.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, retryable: $retryable:literal;)+) => {
        /// What went wrong, for programs. The names are gRPC's canonical ones in kebab-case, and
        /// three of our own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[doc = $doc])+ #[serde(rename = $text)] $name),+ }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// The name on the wire, in logs and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text),+ }
            }

            /// Whether the same call may succeed later though nobody changed anything.
            pub fn is_retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retryable),+ }
            }
        }
    };
}

codes! {
    /// The caller ended the call.
    Cancelled = "cancelled", retryable: false;
    /// What was called failed and did not say how; or nobody knows, and the host's log does.
    Unknown = "unknown", retryable: false;
    /// What was sent is wrong whatever the state: a type, a name, bytes that are no component.
    InvalidArgument = "invalid-argument", retryable: false;
    /// The time for the call ran out.
    DeadlineExceeded = "deadline-exceeded", retryable: false;
    /// No such name (or not one that this tenant can see).
    NotFound = "not-found", retryable: false;
    /// The name is taken.
    AlreadyExists = "already-exists", retryable: false;
    /// Authenticated, but not allowed.
    PermissionDenied = "permission-denied", retryable: false;
    /// A limit or quota is reached.
    ResourceExhausted = "resource-exhausted", retryable: true;
    /// Right in itself, but not in the present state; the message says what to change.
    FailedPrecondition = "failed-precondition", retryable: false;
    /// Somebody else changed it first.
    Aborted = "aborted", retryable: true;
    /// Past the end of what there is.
    OutOfRange = "out-of-range", retryable: false;
    /// This build does not do it.
    Unimplemented = "unimplemented", retryable: false;
    /// A fault of the host.
    Internal = "internal", retryable: false;
    /// The host cannot take calls now (it is stopping or overloaded).
    Unavailable = "unavailable", retryable: true;
    /// Stored data is damaged.
    DataLoss = "data-loss", retryable: false;
    /// No or no valid token.
    Unauthenticated = "unauthenticated", retryable: false;
    /// The guest was ended by the engine: a panic, an out-of-bounds access, a stack overflow.
    Trapped = "trapped", retryable: false;
    /// The call would re-enter an instance that waits for it.
    WouldDeadlock = "would-deadlock", retryable: false;
    /// The client that served the name is gone.
    ProviderLost = "provider-lost", retryable: true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose doing an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The other side of the connection sent something wrong.
    Peer,
    /// The tenant's set-up is wrong: a name, a grant, a quota.
    Tenant,
    /// The module itself failed.
    Guest,
    /// The tenant's own program failed that serves a name over its connection.
    Application,
    /// The host failed.
    Host,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Peer => "peer",
            Fault::Tenant => "tenant",
            Fault::Guest => "guest",
            Fault::Application => "application",
            Fault::Host => "host",
        })
    }
}

/// The most bytes that message and backtrace of a failure have together.
pub const MAX_FAILURE_TEXT_BYTES: usize = 4096;

/// How an exchange ends that did not end with a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "ReceivedFailure")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// One line for a person, saying what to do next where that is known. Never holds control
    /// characters.
    pub message: String,
    /// Whose doing it is.
    pub fault: Fault,
    /// Whether trying again unchanged may help.
    pub retryable: bool,
    /// When to try again, in milliseconds from now, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Frames of the guest, innermost first, demangled; only with [`ErrorCode::Trapped`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// A failure as the other side wrote it, which need not keep to what is promised of one.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ReceivedFailure {
    code: ErrorCode,
    message: String,
    fault: Fault,
    retryable: bool,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    backtrace: Vec<String>,
}

impl From<ReceivedFailure> for Failure {
    fn from(received: ReceivedFailure) -> Self {
        let failure = Failure::new(received.code, received.fault, received.message);
        Failure {
            retryable: received.retryable,
            retry_after_ms: received.retry_after_ms,
            ..failure.with_backtrace(received.backtrace)
        }
    }
}

impl Failure {
    /// A failure without a backtrace. The text is cut and escaped so that it is safe to print.
    pub fn new(code: ErrorCode, fault: Fault, message: impl AsRef<str>) -> Self {
        Failure {
            code,
            message: printable(message.as_ref(), MAX_FAILURE_TEXT_BYTES),
            fault,
            retryable: code.is_retryable(),
            retry_after_ms: None,
            backtrace: Vec::new(),
        }
    }

    /// The same, with the time after which it may succeed.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same with guest frames, cut so that text and frames stay within
    /// [`MAX_FAILURE_TEXT_BYTES`].
    pub fn with_backtrace(mut self, frames: impl IntoIterator<Item = String>) -> Self {
        const MAX_FRAME_TEXT_BYTES: usize = 512;
        let mut left = MAX_FAILURE_TEXT_BYTES.saturating_sub(self.message.len());
        for frame in frames {
            let frame = printable(&frame, MAX_FRAME_TEXT_BYTES);
            let Some(rest) = left.checked_sub(frame.len()) else {
                break;
            };
            left = rest;
            self.backtrace.push(frame);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// `text` with control characters escaped, at most `max_bytes` long.
pub fn printable(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: char = '…';
    let room = max_bytes.saturating_sub(ELLIPSIS.len_utf8());
    let mut out = String::new();
    for character in text.chars() {
        let before = out.len();
        if character.is_control() || is_direction_mark(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        if out.len() > room {
            out.truncate(before);
            out.push(ELLIPSIS);
            break;
        }
    }
    out
}

/// Characters that make a terminal show text in another order than it has.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{decode_envelope, encode_envelope};

    #[test]
    fn failure_text_is_bounded_and_printable() {
        let long = "x\u{1b}[31m\n".repeat(10_000);
        let failure = Failure::new(ErrorCode::Trapped, Fault::Guest, &long[..700])
            .with_backtrace(std::iter::repeat_n(long.clone(), 100));
        let text: usize =
            failure.message.len() + failure.backtrace.iter().map(String::len).sum::<usize>();
        assert!(text <= MAX_FAILURE_TEXT_BYTES, "{text}");
        assert!(!failure.backtrace.is_empty());
        assert!(!failure.message.contains(['\u{1b}', '\n']));
        assert!(
            Failure::new(ErrorCode::Internal, Fault::Host, &long)
                .message
                .len()
                <= 4096
        );
        assert_eq!(printable("a\u{202e}b", 100), "a\\u{202e}b");
        assert_eq!(printable("äöü", 6), "ä…");
    }

    #[test]
    fn what_the_other_side_wrote_is_bounded_and_printable_too() {
        let honest = Failure::new(ErrorCode::Trapped, Fault::Guest, "it failed")
            .with_backtrace(["calc::div".to_owned()]);
        let hostile = Failure {
            message: "\u{1b}[2J".repeat(10_000),
            backtrace: vec!["a\nb".to_owned(); 10_000],
            ..honest.clone()
        };
        let received =
            |failure: &Failure| -> Failure { decode_envelope(&encode_envelope(failure)).unwrap() };
        assert_eq!(received(&honest), honest);
        let received = received(&hostile);
        assert!(received.message.len() <= MAX_FAILURE_TEXT_BYTES);
        assert!(!received.message.contains('\u{1b}'));
        assert!(received.backtrace.iter().all(|frame| !frame.contains('\n')));
    }

    #[test]
    fn code_names_are_kebab_case_and_unique() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for name in names {
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                "{name}"
            );
        }
    }
}

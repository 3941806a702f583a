//! What is said on stderr when something did not work, and the exit code.

use std::io::Write;
use std::process::ExitCode;

use rpc_host_client::{Error, ErrorCode, Fault, ProfileError};
use rpc_host_protocol::error::{MAX_FAILURE_TEXT_BYTES, printable};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// 128 and the number of the signal, as shells have it.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Why a command did not work.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    /// Frames of the guest, innermost first.
    frames: Vec<String>,
    exit_code: u8,
}

impl Problem {
    /// The operation failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Problem {
            message: message.into(),
            hint: None,
            frames: Vec::new(),
            exit_code: FAILED,
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Problem {
            exit_code: USAGE,
            ..Problem::new(message)
        }
    }

    /// Somebody pressed Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Problem {
            exit_code: INTERRUPTED,
            ..Problem::new("interrupted")
        }
    }

    /// Somebody asked the command to stop.
    pub(crate) fn terminated() -> Self {
        Problem {
            exit_code: TERMINATED,
            ..Problem::new("terminated")
        }
    }

    /// What to do about it, where nothing better is known yet. Some messages of a node name a command
    /// themselves.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        if !self.message.contains("`rpc-host ") {
            self.hint.get_or_insert_with(|| hint.into());
        }
        self
    }

    /// An error of the node. If it is that something named is not there, `hint` is what to do about it.
    pub(crate) fn or_missing(error: Error, hint: impl Into<String>) -> Self {
        let is_missing = error.code() == ErrorCode::NotFound;
        let problem = Problem::from(error);
        if is_missing {
            problem.or_hint(hint)
        } else {
            problem
        }
    }

    /// What is printed: one line, then a hint, then frames.
    fn text(&self) -> String {
        let mut text = format!("error: {}\n", line(&self.message));
        if let Some(hint) = &self.hint {
            text += &format!("hint: {}\n", line(hint));
        }
        for (index, frame) in self.frames.iter().enumerate() {
            text += &format!("  {index}: {}\n", line(frame));
        }
        text
    }

    /// Prints it, and gives the code to exit with.
    pub(crate) fn report(self) -> ExitCode {
        // If stderr is gone, the exit code still tells.
        let _unread = std::io::stderr().write_all(self.text().as_bytes());
        ExitCode::from(self.exit_code)
    }
}

/// What came from elsewhere must not move the cursor.
fn line(text: &str) -> String {
    printable(text, MAX_FAILURE_TEXT_BYTES)
}

/// The exit code of a library that has it as an integer.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(FAILED))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = match &error {
            // These begin with the host's code already.
            Error::Remote(_) | Error::Unauthenticated(_) | Error::Guest(_) => error.to_string(),
            other => format!("{}: {other}", other.code()),
        };
        Problem {
            hint: hint(&error).map(str::to_owned),
            frames: error
                .failure()
                .map(|failure| failure.backtrace.clone())
                .unwrap_or_default(),
            ..Problem::new(message)
        }
    }
}

/// What helps, whatever the command was.
fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Profile(ProfileError::NotFound(_)) => Some(
            "start a node here with `rpc-host serve`, or name its profile with `--profile FILE`",
        ),
        Error::Connect { .. } => {
            Some("is the node running? `rpc-host serve` starts one; `--profile FILE` names another")
        }
        Error::Tls { .. } => Some(
            "the profile is not of this node; copy the `client.toml` of its data directory again",
        ),
        Error::Lost { .. } => {
            Some("what was under way may or may not have happened; look before you repeat it")
        }
        _ => match error.code() {
            // What a module lacks is a grant, and the message names it; no other token would help.
            ErrorCode::PermissionDenied if is_of_tenant(error) => None,
            ErrorCode::Unauthenticated => Some(
                "the token or certificate is not valid (any more); an admin makes a token with `rpc-host token create`",
            ),
            ErrorCode::PermissionDenied => Some(
                "the role does not allow this; an admin makes one that does with `rpc-host token create --role ROLE`",
            ),
            // What is exhausted may stay so; the message says what to make room with.
            ErrorCode::Unavailable => Some("try again in a moment"),
            _ => None,
        },
    }
}

fn is_of_tenant(error: &Error) -> bool {
    error
        .failure()
        .is_some_and(|failure| failure.fault == Fault::Tenant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_client::Failure;

    #[test]
    fn an_error_has_a_code_a_hint_and_frames() {
        let failure = Failure::new(ErrorCode::Trapped, Fault::Guest, "unreachable")
            .with_backtrace(["calc::div".to_owned(), "main\u{1b}[2J".to_owned()]);
        let problem = Problem::from(Error::Remote(failure)).or_hint("divide by something else");
        assert_eq!(
            problem.text(),
            "error: trapped: unreachable\nhint: divide by something else\n  0: calc::div\n  1: main\\u{1b}[2J\n"
        );
        let failure = Failure::new(ErrorCode::NotFound, Fault::Peer, "see `rpc-host list`");
        let problem = Problem::from(Error::Remote(failure)).or_hint("said already");
        assert_eq!(problem.text(), "error: not-found: see `rpc-host list`\n");
        let failure = Failure::new(ErrorCode::NotFound, Fault::Peer, "no client serves it");
        assert_eq!(
            Problem::or_missing(Error::Remote(failure), "look").text(),
            "error: not-found: no client serves it\nhint: look\n"
        );
        let failure = Failure::new(ErrorCode::Aborted, Fault::Peer, "changed");
        assert_eq!(
            Problem::or_missing(Error::Remote(failure), "look").text(),
            "error: aborted: changed\n"
        );
        let missing = Error::Profile(ProfileError::NotFound(vec!["a/client.toml".into()]));
        assert_eq!(
            Problem::from(missing).or_hint("never shown").text(),
            "error: failed-precondition: no profile found; looked at a/client.toml\n\
             hint: start a node here with `rpc-host serve`, or name its profile with `--profile FILE`\n"
        );
        let failure = Failure::new(ErrorCode::Unauthenticated, Fault::Peer, "no valid token");
        assert!(
            Problem::from(Error::Unauthenticated(failure))
                .text()
                .starts_with("error: unauthenticated: no valid token\nhint: ")
        );
    }
}

//! One command of several that are run one after the other, shown as a person would type it.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus};

use anyhow::Context as _;

/// A command that ran and did not succeed.
#[derive(Debug)]
pub(crate) struct StepFailed {
    line: String,
    status: ExitStatus,
}

impl StepFailed {
    pub(crate) fn new(command: &Command, status: ExitStatus) -> Self {
        Self {
            line: line(command),
            status,
        }
    }

    /// The command's own exit code; none if a signal ended it.
    pub(crate) fn code(&self) -> Option<u8> {
        u8::try_from(self.status.code()?).ok()
    }
}

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` failed ({})", self.line, self.status)
    }
}

impl std::error::Error for StepFailed {}

/// Show `command`, run it in this terminal, and want it to succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("$ {}", line(command));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(StepFailed::new(command, status).into())
    }
}

/// Cargo for a build of the workspace.
///
/// What the person says about such a build in the environment holds for this one too. Only what
/// cargo tells a program that it runs is taken away, for that is about this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        if is_about_this_program(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_about_this_program(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_it_can_be_repeated() {
        let mut command = Command::new("rpc-host");
        command.args(["call", "calc", "add(2, 3)", "it's", "", "--timeout=5s"]);
        assert_eq!(
            line(&command),
            r"rpc-host call calc 'add(2, 3)' 'it'\''s' '' --timeout=5s"
        );
    }

    #[test]
    fn a_failure_keeps_the_code_of_the_command() {
        let failure = run(Command::new("sh").args(["-c", "exit 42"])).unwrap_err();
        let failure = failure.downcast::<StepFailed>().unwrap();
        assert_eq!(failure.code(), Some(42));
        let shown = failure.to_string();
        assert!(shown.starts_with("`sh -c 'exit 42'` failed"), "{shown}");
    }

    #[test]
    fn settings_of_a_person_stay() {
        for name in ["CARGO", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(is_about_this_program(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "RUSTFLAGS", "PATH"] {
            assert!(!is_about_this_program(OsStr::new(name)), "{name}");
        }
    }
}

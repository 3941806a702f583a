//! What a person would see: commands, and what they print.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::node;
use crate::step::quoted;
use crate::workspace::Workspace;

/// Far longer than any command takes.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Runs `rpc-host` as a person would.
pub(super) struct Terminal {
    root: PathBuf,
    program: PathBuf,
    profile: PathBuf,
    /// What the running command prints goes here: unlike a pipe, a file is never full.
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Terminal {
    pub(super) fn new(
        workspace: &Workspace,
        program: &Path,
        profile: PathBuf,
        folder: &Path,
    ) -> Self {
        Self {
            root: workspace.root().to_owned(),
            program: program.to_owned(),
            profile,
            stdout: folder.join("stdout"),
            stderr: folder.join("stderr"),
        }
    }

    /// Say something between the commands. It is a comment, so that all of it can be pasted.
    pub(super) fn say(&self, text: &str) {
        println!("\n# {text}");
    }

    /// The program that all commands are of, with what it needs to reach the node.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("RPC_HOST_PROFILE", &self.profile)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    /// Show and run one command.
    pub(super) fn rpc_host(&self, words: &[&str]) -> anyhow::Result<Answer> {
        let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let line = format!("rpc-host {}", line.join(" "));
        println!("$ {line}");
        let started = Instant::now();
        let mut child = self
            .command()
            .args(words)
            .stdout(File::create(&self.stdout)?)
            .stderr(File::create(&self.stderr)?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let Some(status) = node::wait(&mut child, COMMAND_LIMIT)? else {
            child.kill()?;
            child.wait()?;
            bail!("`{line}` did not end within {} s", COMMAND_LIMIT.as_secs());
        };
        let answer = Answer {
            line,
            status,
            took: started.elapsed(),
            stdout: std::fs::read_to_string(&self.stdout)?,
            stderr: std::fs::read_to_string(&self.stderr)?,
        };
        print!("{}{}", answer.stdout, answer.stderr);
        Ok(answer)
    }
}

/// How one command ended, and what it printed.
pub(super) struct Answer {
    line: String,
    status: ExitStatus,
    took: Duration,
    stdout: String,
    stderr: String,
}

impl Answer {
    /// It worked, and printed exactly this.
    pub(super) fn is(&self, text: &str) -> anyhow::Result<()> {
        self.check(
            self.status.success() && self.stdout.trim_end() == text,
            text,
        )
    }

    /// It worked, and printed this among other things.
    pub(super) fn contains(&self, text: &str) -> anyhow::Result<()> {
        self.check(self.status.success() && self.stdout.contains(text), text)
    }

    /// It failed as an operation does, not as a wrong command line or a crash, and said this.
    pub(super) fn fails_with(&self, text: &str) -> anyhow::Result<()> {
        let failed = self.status.code() == Some(1);
        self.check(failed && self.stderr.contains(text), text)
    }

    /// It ended in time.
    pub(super) fn took_less_than(&self, limit: Duration) -> anyhow::Result<()> {
        ensure!(
            self.took < limit,
            "`{}` took {} ms, longer than {} ms",
            self.line,
            self.took.as_millis(),
            limit.as_millis()
        );
        Ok(())
    }

    fn check(&self, holds: bool, expected: &str) -> anyhow::Result<()> {
        ensure!(
            holds,
            "`{}` ended with {} and what is above; expected was: {expected}",
            self.line,
            self.status
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(script: &str) -> Answer {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        Answer {
            line: script.to_owned(),
            status: output.status,
            took: Duration::from_millis(20),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[test]
    fn a_wrong_answer_is_an_error() {
        assert!(answer("echo 5").is("5").is_ok());
        assert!(answer("echo 55").is("5").is_err());
        assert!(answer("echo 55").contains("5").is_ok());
        assert!(answer("echo 5; exit 1").is("5").is_err());
        assert!(answer("echo 5; exit 1").contains("5").is_err());
    }

    #[test]
    fn a_failure_must_be_the_expected_one() {
        assert!(answer("echo no >&2; exit 1").fails_with("no").is_ok());
        assert!(answer("echo no >&2; exit 2").fails_with("no").is_err());
        assert!(answer("echo no >&2").fails_with("no").is_err());
        assert!(answer("exit 1").fails_with("no").is_err());
    }

    #[test]
    fn time_is_checked() {
        let answer = answer("true");
        assert!(answer.took_less_than(Duration::from_millis(21)).is_ok());
        assert!(answer.took_less_than(Duration::from_millis(20)).is_err());
    }
}

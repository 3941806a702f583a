//! The command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::guest::profile_directory;
use crate::{PATIENCE, in_time};

/// How the command line is run: with an environment that holds nothing of this machine's.
pub struct Cli {
    command: Command,
    shown: String,
}

/// What a command gave.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// What was run.
    pub command: String,
    /// Its result.
    pub stdout: String,
    /// What it said beside it.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// A command that is running.
pub struct CliProcess {
    child: Child,
    shown: String,
}

/// The binary under test.
///
/// # Panics
/// When it is not there, with the command to run.
pub(crate) fn binary() -> PathBuf {
    let path = profile_directory().join("rpc-host");
    assert!(
        path.exists(),
        "there is no {}; run: cargo build",
        path.display()
    );
    path
}

impl Cli {
    /// `rpc-host ARGUMENTS` in `directory`, which is also the home directory.
    pub fn new<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(binary());
        let mut shown = "rpc-host".to_owned();
        for argument in arguments {
            shown.push(' ');
            shown.push_str(&argument.as_ref().to_string_lossy());
            command.arg(argument);
        }
        command
            .env_clear()
            .env("HOME", directory)
            .current_dir(directory)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Cli { command, shown }
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub async fn run(self) -> CliOutput {
        self.start().end().await
    }

    /// Starts it.
    pub fn start(mut self) -> CliProcess {
        let child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        CliProcess {
            child,
            shown: self.shown,
        }
    }
}

impl CliProcess {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// The next line that it prints, without its end.
    pub async fn line(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().expect("stdout is piped");
        // Byte by byte, so that the rest is left for its end.
        let line = async {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.push(stdout.read_u8().await.expect("it prints a line"));
            }
            String::from_utf8(line).expect("output is UTF-8")
        };
        in_time("a line", line).await.trim_end().to_owned()
    }

    /// Sends it a signal by name, as `kill -NAME` does.
    pub async fn signal(&self, name: &str) {
        signal(self.pid(), name).await;
    }

    /// Its end.
    pub async fn end(self) -> CliOutput {
        let CliProcess { child, shown } = self;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("`{shown}` did not end in {PATIENCE:?}"));
        let output = output.expect("a child can be waited for");
        CliOutput {
            command: shown,
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
            status: output.status,
        }
    }
}

/// Sends a signal by name to one process, which the caller started.
pub(crate) async fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    let status = in_time("kill", kill).await.expect("kill can be run");
    assert!(status.success(), "kill -{name} {pid}");
}

impl CliOutput {
    /// What it printed, without the line break at its end; it has to have succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.status.success(), "{self:#?}");
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout)
    }

    /// What it printed as JSON; it has to have succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// What it said, after it ended with the status `code` and printed nothing.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        &self.stderr
    }

    /// The error that it ended with: status 1, and a line `error: …` that holds `code` and all of
    /// `parts`.
    #[track_caller]
    pub fn error(&self, code: &str, parts: &[&str]) -> &str {
        let said = self.failed(1);
        assert!(
            said.lines().any(|line| line.starts_with("error: ")),
            "{self:#?}"
        );
        for part in parts.iter().chain([&code]) {
            assert!(said.contains(part), "no {part:?} in {self:#?}");
        }
        said
    }
}

//! A program of this machine that serves a name to the node, in the background.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::node;
use super::terminal::Terminal;

/// How long a beginning, an end, or a line may take: far longer than any does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a line is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// `rpc-host provide`, with its program. Ended with the demo, whatever happens.
pub(super) struct Serving {
    child: Child,
    /// What the program tells.
    told: PathBuf,
}

/// How a program ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Asked to, it gives the name back.
    Interrupted,
    /// Nobody is asked.
    Killed,
}

impl Serving {
    /// Show the command and start it; it serves when this returns.
    pub(super) fn start(
        terminal: &Terminal,
        told: &Path,
        secret: Option<&str>,
        name: &str,
        script: &str,
    ) -> anyhow::Result<Self> {
        let before = secret.map_or_else(String::new, |secret| format!("SECRET={secret} "));
        println!("$ {before}rpc-host provide {name} --exec {script} &");
        let mut command = terminal.command();
        if let Some(secret) = secret {
            command.env("SECRET", secret);
        }
        let mut child = command
            .args(["provide", name, "--exec", script])
            .stdout(Stdio::piped())
            .stderr(File::create(told)?)
            .spawn()
            .context("cannot run rpc-host")?;
        let stdout = child.stdout.take().context("the command has no stdout")?;
        let serving = Serving {
            child,
            told: told.to_owned(),
        };
        let (sender, ready) = mpsc::channel();
        // Not joined: it ends with the command's output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Only the first line is waited for.
                let _unheard = sender.send(line);
            }
        });
        let line = ready.recv_timeout(PATIENCE);
        let line = line.with_context(|| format!("{script} does not serve: {}", serving.said()))?;
        println!("{line}");
        ensure!(line.starts_with("serving "), "it said something else");
        Ok(serving)
    }

    /// Show what the program told that has `text` in it; there must be such a line.
    pub(super) fn tells(&self, text: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let said = self.said();
            if let Some(line) = said.lines().find(|line| line.contains(text)) {
                println!("{line}");
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the program did not tell `{text}`, but: {said}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// End it.
    pub(super) fn end(mut self, how: End) -> anyhow::Result<()> {
        let signal = match how {
            End::Interrupted => "INT",
            End::Killed => "KILL",
        };
        let line = format!("kill -{signal} {}", self.child.id());
        println!("$ {line}");
        let sent = Command::new("sh").args(["-c", &line]).status()?;
        ensure!(sent.success(), "cannot signal the command");
        if node::wait(&mut self.child, PATIENCE)?.is_none() {
            bail!("`rpc-host provide` did not end");
        }
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

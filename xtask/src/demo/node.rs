//! The demo's node: a process with a data directory of its own, which is stopped whatever happens.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::workspace::Workspace;

/// How long a start or a stop may take: far longer than either does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of the log that are shown when something went wrong.
const LOG_END_LINES: usize = 15;

pub(super) struct Node {
    root: PathBuf,
    program: PathBuf,
    /// As shown to people.
    shown: Shown,
    data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

struct Shown {
    programs: String,
    data: String,
    log: String,
    profile: String,
}

impl Node {
    pub(super) fn prepare(workspace: &Workspace, program: &Path, folder: &Path) -> Self {
        let (data, log) = (folder.join("data"), folder.join("node.log"));
        let programs = program.parent().unwrap_or(program);
        Self {
            root: workspace.root().to_owned(),
            program: program.to_owned(),
            shown: Shown {
                programs: programs.display().to_string(),
                data: workspace.shown(&data),
                log: workspace.shown(&log),
                profile: workspace.shown(&data.join("client.toml")),
            },
            data,
            log,
            child: None,
        }
    }

    /// What clients need to reach it.
    pub(super) fn profile(&self) -> PathBuf {
        self.data.join("client.toml")
    }

    /// Start it on a port that the system chooses, and wait until it serves.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let Shown {
            programs,
            data,
            log,
            profile,
        } = &self.shown;
        println!("\n# Start a node. The first start makes its certificates and an admin token.");
        println!("$ cd {}", self.root.display());
        println!("$ export PATH=\"{programs}:$PATH\"");
        println!("$ rpc-host serve --listen 127.0.0.1:0 --data {data} 2> {log} &");
        let mut child = Command::new(&self.program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&self.log)?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let stdout = child.stdout.take().context("the node has no stdout")?;
        self.child = Some(child);

        let (sender, ready) = mpsc::channel();
        // Not joined: it ends with the node's output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Only the first line is waited for.
                let _unheard = sender.send(line);
            }
        });
        let line = ready
            .recv_timeout(PATIENCE)
            .context("the node did not say that it serves")?;
        println!("{line}");
        ensure!(
            line.starts_with("listening on 127.0.0.1:"),
            "the node said something else than where it listens"
        );
        println!("$ export RPC_HOST_PROFILE={profile}");
        Ok(())
    }

    /// Show the lines of the node's log that have `text` in them; there must be one.
    pub(super) fn show_in_log(&self, text: &str) -> anyhow::Result<()> {
        println!("$ grep {} {}", crate::step::quoted(text), self.shown.log);
        let log = std::fs::read_to_string(&self.log)?;
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
        ensure!(!lines.is_empty(), "nothing in the log has `{text}`");
        println!("{}", lines.join("\n"));
        Ok(())
    }

    /// The end of the log.
    pub(super) fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(LOG_END_LINES)..);
        end.unwrap_or_default().join("\n")
    }

    /// Ask it to stop, as a service manager would, and want exit code 0.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else {
            bail!("the node was not started");
        };
        println!("\n# Stop the node: it finishes what is under way, and ends with exit code 0.");
        let line = format!("kill -TERM {}", child.id());
        println!("$ {line}");
        // The shell's own `kill`: a bare machine has no program of that name.
        let sent = Command::new("sh").args(["-c", &line]).status()?;
        ensure!(sent.success(), "cannot signal the node");
        let Some(status) = wait(child, PATIENCE)? else {
            bail!("the node did not stop within {} s", PATIENCE.as_secs());
        };
        self.child = None;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then there is nothing to kill.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// Wait for the end of `child`, but not longer than `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

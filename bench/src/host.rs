//! A node of its own for a run: a temporary data directory and a free port.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) struct Host {
    child: Child,
    data: tempfile::TempDir,
    address: String,
}

impl Host {
    pub(crate) async fn start(program: &Path) -> Result<Host> {
        let data = tempfile::tempdir()?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let stdout = child.stdout.take().context("the node has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.context("the node did not start")?.to_owned();
        Ok(Host {
            child,
            data,
            address,
        })
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.data.path().join("data/client.toml")
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

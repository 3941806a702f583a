//! A node of its own for a run: a temporary data directory and a free port.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Time that a node gets to go of itself.
const END_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Host {
    program: PathBuf,
    child: Child,
    data: tempfile::TempDir,
    address: String,
}

impl Host {
    pub(crate) async fn start(program: &Path) -> Result<Host> {
        let data = tempfile::tempdir()?;
        let (child, address) = serve(program, &data, "127.0.0.1:0").await?;
        Ok(Host {
            program: program.to_owned(),
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

    /// Ends the node as an operator does, and starts it again with what it has, where it was.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let id = self.child.id().context("the node has gone")?;
        let asked = Command::new("kill").arg(id.to_string()).status().await?;
        ensure!(asked.success(), "the node cannot be told to end");
        tokio::time::timeout(END_TIMEOUT, self.child.wait()).await??;
        (self.child, self.address) = serve(&self.program, &self.data, &self.address).await?;
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

async fn serve(program: &Path, data: &tempfile::TempDir, address: &str) -> Result<(Child, String)> {
    let mut child = Command::new(program)
        .args(["serve", "--listen", address, "--data"])
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
    Ok((child, address))
}

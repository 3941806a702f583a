//! A node that serves one client over its stdin and stdout.

use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, Join, join};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cli::{binary, signal};
use crate::host::{HostOptions, data};
use crate::in_time;
use crate::log::Log;

/// The process. Killed when dropped.
pub struct StdioHost {
    child: Child,
    log: Log,
}

/// The other end of its streams.
pub type StdioStream = Join<ChildStdout, Stdin>;

/// The stdin of a process, which ends when it is shut down.
pub struct Stdin(Option<ChildStdin>);

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(open) => Pin::new(open).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

impl StdioHost {
    /// `rpc-host serve --stdio ARGUMENTS` on the data directory that a [`TestHost`](crate::TestHost) has in
    /// `directory`.
    pub fn start<const N: usize>(
        directory: &Path,
        options: HostOptions,
        arguments: [&str; N],
    ) -> (Self, StdioStream) {
        let streams = (Stdio::piped(), Stdio::piped());
        let mut host = Self::start_over(directory, options, arguments, streams);
        let (stdin, stdout) = (host.child.stdin.take(), host.child.stdout.take());
        let stream = join(stdout.expect("a pipe"), Stdin(stdin));
        (host, stream)
    }

    /// The command that starts such a node on the data directory in `directory`, for a shell.
    pub fn command(directory: &Path) -> String {
        let (binary, data) = (binary(), data(directory));
        format!(
            "'{}' serve --stdio --data '{}'",
            binary.display(),
            data.display()
        )
    }

    /// The same over any streams.
    pub fn start_over<const N: usize>(
        directory: &Path,
        options: HostOptions,
        arguments: [&str; N],
        (stdin, stdout): (impl Into<Stdio>, impl Into<Stdio>),
    ) -> Self {
        std::fs::write(directory.join("node.toml"), options.text()).expect("a configuration");
        let mut child = Command::new(binary())
            .args(["serve", "--stdio", "--config", "node.toml", "--data"])
            .arg(data(directory))
            .args(arguments)
            .env_clear()
            .env("HOME", directory)
            .current_dir(directory)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary can be run");
        let stderr = child.stderr.take().and_then(|it| it.into_owned_fd().ok());
        let log = Log::of(File::from(stderr.expect("a pipe")), None);
        StdioHost { child, log }
    }

    /// What it logs, and whatever else it would have printed.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Sends it a signal by name.
    pub async fn signal(&self, name: &str) {
        signal(self.pid(), name).await;
    }

    /// Waits for its end.
    pub async fn end(mut self) -> ExitStatus {
        let ended = in_time("the end of a node", self.child.wait()).await;
        self.log.over().await;
        ended.expect("a child can be waited for")
    }
}

//! How the commands that talk to a node find and reach it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use rpc_host_client::{Client, Profile};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tracing_subscriber::filter::LevelFilter;

use super::problem::Problem;

/// Which node to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The profile of the node to talk to [default: the file that RPC_HOST_PROFILE names, else
    /// ./rpc-host-data/client.toml, else rpc-host/client.toml in the configuration directory]
    #[arg(long, value_name = "FILE", global = true)]
    profile: Option<PathBuf>,

    /// Talk to the node that this command starts, over its stdin and stdout, in the place of a profile's:
    /// 'ssh HOST rpc-host serve --stdio'
    #[arg(long, value_name = "COMMAND", global = true)]
    connect_command: Option<String>,

    /// What that started.
    #[arg(skip)]
    node: Mutex<Option<Child>>,
}

/// How long a node may take to end with its streams.
const END_TIMEOUT: Duration = Duration::from_secs(20);

impl Connect {
    pub(crate) async fn client(&self) -> Result<Client, Problem> {
        if let Some(command) = &self.connect_command {
            if self.profile.is_some() {
                let problem = "--connect-command is in the place of --profile: say one of them";
                return Err(Problem::usage(problem));
            }
            return self.over(command).await;
        }
        let profile = match &self.profile {
            Some(path) => Profile::from_file(path),
            None => Profile::load(),
        };
        let profile =
            profile.map_err(|error| Problem::from(rpc_host_client::Error::from(error)))?;
        Ok(Client::connect(profile).await?)
    }

    /// A client of the node at the other end of a command's stdin and stdout.
    async fn over(&self, command: &str) -> Result<Client, Problem> {
        let failed =
            |error: std::io::Error| Problem::new(format!("cannot run `{command}`: {error}"));
        let mut node = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let streams = (node.stdout.take(), node.stdin.take());
        *self.node() = Some(node);
        let (Some(stdout), Some(stdin)) = streams else {
            return Err(Problem::new("the command has no streams"));
        };
        Ok(Client::from_streams(stdout, stdin).await?)
    }

    /// Waits for the end of a node that was started for this program, whose clients are gone: whoever starts the
    /// next one needs what it has.
    pub(crate) async fn end(&self) {
        let node = self.node().take();
        if let Some(mut node) = node {
            // If it does not end, that is nothing that could be done about here.
            let _ended = timeout(END_TIMEOUT, node.wait()).await;
        }
    }

    fn node(&self) -> MutexGuard<'_, Option<Child>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client library has to tell, as far as it is asked for.
pub(crate) fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

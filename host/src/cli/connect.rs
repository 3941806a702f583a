//! How the commands that talk to a node find and reach it.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use rpc_host_client::{Client, Profile};
use tracing_subscriber::filter::LevelFilter;

use super::problem::Problem;

/// Which node to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The profile of the node to talk to [default: the file that RPC_HOST_PROFILE names, else
    /// ./rpc-host-data/client.toml, else rpc-host/client.toml in the configuration directory]
    #[arg(long, value_name = "FILE", global = true)]
    profile: Option<PathBuf>,
}

impl Connect {
    pub(crate) async fn client(&self) -> Result<Client, Problem> {
        let profile = match &self.profile {
            Some(path) => Profile::from_file(path),
            None => Profile::load(),
        };
        let profile =
            profile.map_err(|error| Problem::from(rpc_host_client::Error::from(error)))?;
        Ok(Client::connect(profile).await?)
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

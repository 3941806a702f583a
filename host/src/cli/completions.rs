//! Completion scripts.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::problem::Problem;
use super::{Cli, print};

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that will read it
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Problem> {
        let mut script = Vec::new();
        let mut command = Cli::command();
        clap_complete::generate(self.shell, &mut command, "rpc-host", &mut script);
        print::stdout(&String::from_utf8_lossy(&script))
    }
}

//! `compile-worker`: the compiler's process. The node starts it; nobody types it.

use std::process::ExitCode;

use super::print;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CompileWorker {
    /// Read an interface as WIT text instead, and write its functions as data
    #[arg(long)]
    describe: bool,
}

/// Does the one thing that it was started for, from stdin to stdout.
pub(crate) fn run(worker: CompileWorker) -> ExitCode {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let done = if worker.describe {
        rpc_host::run_describe_worker(input, output)
    } else {
        rpc_host::run_compile_worker(input, output)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            // If the node does not read it, it is gone and nobody needs it.
            print::note(&line);
            ExitCode::FAILURE
        }
    }
}

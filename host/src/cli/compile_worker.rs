//! `compile-worker`: the compiler's process. The node starts it; nobody types it.

use std::num::NonZeroU64;
use std::process::ExitCode;

use rpc_host::confinement::{self, WorkerLimits};

use super::print;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CompileWorker {
    /// Read an interface as WIT text instead, and write its functions as data
    #[arg(long)]
    describe: bool,
    /// Read nothing, and write what the kernel enforces
    #[arg(long, conflicts_with = "describe")]
    probe: bool,
    /// Bytes of memory that it may use
    #[arg(long)]
    max_memory_bytes: NonZeroU64,
    /// Seconds of processor time that it may use
    #[arg(long)]
    max_cpu_seconds: NonZeroU64,
}

/// Does the one thing that it was started for, from stdin to stdout.
pub(crate) fn run(worker: CompileWorker) -> ExitCode {
    // Before the first byte of what a stranger sent.
    let enforcement = confinement::worker(WorkerLimits {
        max_memory_bytes: worker.max_memory_bytes,
        max_cpu_seconds: worker.max_cpu_seconds,
    });
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let done = if worker.probe {
        rpc_host::run_probe_worker(&enforcement, output)
    } else if worker.describe {
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

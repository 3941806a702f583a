//! `compile-worker`: the compiler's process. The node starts it; nobody types it.

use std::process::ExitCode;

use super::print;

/// Compiles the component on stdin to stdout.
pub(crate) fn run() -> ExitCode {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    match rpc_host::run_compile_worker(input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            // If the node does not read it, it is gone and nobody needs it.
            print::note(&line);
            ExitCode::FAILURE
        }
    }
}

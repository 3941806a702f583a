//! The `rpc-host` program: parse, run, and turn what came of it into an exit code.
#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}

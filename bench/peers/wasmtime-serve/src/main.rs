//! `wasmtime serve`, built of its own library, so that neither a tool nor a download has to be there.
#![forbid(unsafe_code)]

use clap::Parser as _;
use wasmtime_cli::commands::ServeCommand;

fn main() -> anyhow::Result<()> {
    Ok(ServeCommand::parse().execute()?)
}

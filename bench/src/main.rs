//! What calls cost, beside what other ways to call cost, and what tenants can do to one another.
//!
//! `cargo xtask bench` and `cargo xtask neighbour` build everything in the release profile and run this; `cargo xtask
//! rpyc` uses a part of it. Servers and clients that are measured are processes of their own, so this program is
//! also some of them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

mod book;
mod chart;
mod cold;
mod compare;
mod generated;
mod host;
mod links;
mod machine;
mod neighbour;
mod ours;
mod rates;
mod raw;
mod registrations;
mod report;
mod scale;
mod side;
mod spread;
mod swaps;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rpc_host_bench_measure::obey;

const USAGE: &str = "usage: rpc-host-bench compare RPC-HOST MODULES [OPTION]… (as `cargo xtask bench` calls it), \
    rpc-host-bench neighbour|scale RPC-HOST MODULES [--short] (`cargo xtask neighbour`, `cargo xtask scale`), \
    or rpc-host-bench rates PROFILE (`cargo xtask rpyc`)";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().context(USAGE)?;
    let rest: Vec<OsString> = arguments.collect();
    let text: Vec<&str> = rest.iter().filter_map(|word| word.to_str()).collect();
    match (first.to_str().context(USAGE)?, text.as_slice()) {
        (COMPARE, _) => {
            let (program, modules, options) = paths(rest)?;
            let wish = compare::Wish::parse(options.into_iter())?;
            let run = async move { compare::measure(&program, &modules, &wish).await };
            // On a worker of the runtime, where a program's own calls are made too.
            tokio::spawn(run).await?
        }
        (NEIGHBOUR, _) => {
            let (program, modules, options) = paths(rest)?;
            let extent = match options.as_slice() {
                [] => neighbour::Extent::FULL,
                [short] if short == SHORT => neighbour::Extent::SHORT,
                _ => bail!(USAGE),
            };
            let run = async move { neighbour::measure(&program, &modules, extent).await };
            tokio::spawn(run).await?
        }
        (SCALE, _) => {
            let (program, modules, options) = paths(rest)?;
            let extent = match options.as_slice() {
                [] => scale::Extent::FULL,
                [short] if short == SHORT => scale::Extent::SHORT,
                _ => bail!(USAGE),
            };
            let run = async move { scale::measure(&program, &modules, extent).await };
            tokio::spawn(run).await?
        }
        (rates::RATES, &[profile]) => {
            let profile = PathBuf::from(profile);
            tokio::spawn(async move { rates::measure(&profile).await }).await?
        }
        (neighbour::attack::ATTACKERS, &[kind]) => neighbour::attack::run(kind).await,
        ("serve", &["raw", manner, certificate, key]) => {
            raw::serve(certificate, key, raw::Manner::from_name(manner)?).await
        }
        ("client", &["raw", manner, address, certificate]) => {
            let manner = raw::Manner::from_name(manner)?;
            obey(raw::Echoes::new(manner, address, certificate)?).await
        }
        ("client", &[book::OURS, profile]) => obey(ours::Sessions::new(Path::new(profile))?).await,
        _ => bail!(USAGE),
    }
}

/// The argument after which it is measured what calls cost.
const COMPARE: &str = "compare";
/// The argument after which it is measured what tenants can do to one another.
const NEIGHBOUR: &str = "neighbour";
/// The argument after which it is measured what many registrations and connections cost.
const SCALE: &str = "scale";
/// And after either, the one for a glance at all of it.
const SHORT: &str = "--short";

/// The node, the components, and what else there is.
fn paths(words: Vec<OsString>) -> Result<(PathBuf, PathBuf, Vec<OsString>)> {
    let mut words = words.into_iter();
    let program = words.next().context(USAGE)?;
    let modules = words.next().context(USAGE)?;
    Ok((program.into(), modules.into(), words.collect()))
}

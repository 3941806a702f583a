//! What a call costs, beside the floor of what any call over TLS costs, in the same run.
//!
//! `cargo xtask bench` builds everything in the release profile and runs this. The rounds of both sides
//! are interleaved, so that whatever else the machine does meets both; the ratio is what to look at.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

mod echo;
mod host;
mod links;
mod neighbour;
mod rates;
mod scale;
mod spread;
mod swaps;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rpc_host_client::{Client, Module, Options, Profile};

use spread::{Spread, heading};

/// Rounds, and calls of each side in a round.
const ROUNDS: usize = 40;
const CALLS: usize = 250;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().context(USAGE)?;
    if first == echo::SERVER {
        return echo::serve().await;
    }
    let second = arguments.next().context(USAGE)?;
    if first == neighbour::attack::ATTACKERS {
        let kind = second.into_string().ok().context(USAGE)?;
        return neighbour::attack::run(&kind).await;
    }
    if first == rates::RATES {
        return tokio::spawn(async move { rates::measure(second.as_ref()).await }).await?;
    }
    let (program, modules) = (PathBuf::from(first), PathBuf::from(second));
    // On a worker of the runtime, where a program's own calls are made too.
    let measured = match arguments.next() {
        None => tokio::spawn(measure(program, modules)),
        Some(wish) if wish == NEIGHBOUR => {
            let extent = match arguments.next() {
                None => neighbour::Extent::FULL,
                Some(short) if short == SHORT => neighbour::Extent::SHORT,
                Some(_) => bail!(USAGE),
            };
            tokio::spawn(async move { neighbour::measure(&program, &modules, extent).await })
        }
        Some(wish) if wish == SCALE => {
            let extent = match arguments.next() {
                None => scale::Extent::FULL,
                Some(short) if short == SHORT => scale::Extent::SHORT,
                Some(_) => bail!(USAGE),
            };
            tokio::spawn(async move { scale::measure(&program, &modules, extent).await })
        }
        Some(_) => bail!(USAGE),
    };
    measured.await?
}

/// The argument after which it is measured what tenants can do to one another.
const NEIGHBOUR: &str = "neighbour";
/// The argument after which it is measured what many registrations and connections cost.
const SCALE: &str = "scale";
/// And after either, the one for a glance at all of it.
const SHORT: &str = "--short";
const USAGE: &str = "usage: rpc-host-bench RPC-HOST MODULES [neighbour|scale [--short]] (`cargo xtask bench`, \
    `cargo xtask neighbour` and `cargo xtask scale` call it so), or rpc-host-bench rates PROFILE (`cargo xtask rpyc`)";

async fn measure(program: PathBuf, modules: PathBuf) -> Result<()> {
    let host = host::Host::start(&program).await?;
    let profile = Profile::from_file(host.profile())?;
    let client = Client::connect(profile.clone()).await?;
    let guests = Guests {
        profile,
        client,
        modules,
    };
    beside_the_floor(&guests).await?;
    links::measure(&guests).await?;
    swaps::measure(&guests.client).await?;
    host.stop().await
}

/// The components that are measured, and the node that runs them.
struct Guests {
    profile: Profile,
    client: Client,
    modules: PathBuf,
}

impl Guests {
    async fn register(&self, file: &str, name: &str) -> Result<Module> {
        let path = self.modules.join(file).with_extension("wasm");
        let wasm = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let module = self.client.upload_module(wasm).await?;
        self.client
            .register(name, &module, Options::default())
            .await?;
        Ok(module)
    }
}

async fn beside_the_floor(guests: &Guests) -> Result<()> {
    guests.register("calc", "calc").await?;
    let calc = guests.client.module("calc");
    let mut echo = echo::Echo::start().await?;

    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for _ in 0..CALLS {
            let started = Instant::now();
            echo.round_trip().await?;
            // The first round warms both up.
            if round > 0 {
                floor.push(started.elapsed());
            }
        }
        for _ in 0..CALLS {
            let started = Instant::now();
            let sum: i64 = calc.call("add", (2, 3)).await?;
            if round > 0 {
                ours.push(started.elapsed());
            }
            ensure!(sum == 5, "2 + 3 is {sum}");
        }
    }
    let (ours, floor) = (Spread::of(ours), Spread::of(floor));
    heading("one call after the other, over TLS, loopback");
    floor.print("raw rustls echo of 40 bytes");
    ours.print("add(s64, s64) in a fresh instance");
    println!(
        "ratio of the medians: {:.2}",
        ours.p50.as_secs_f64() / floor.p50.as_secs_f64()
    );
    Ok(())
}

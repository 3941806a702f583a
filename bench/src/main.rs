//! What a call costs, beside the floor of what any call over TLS costs, in the same run.
//!
//! `cargo xtask bench` builds everything in the release profile and runs this. The rounds of both sides
//! are interleaved, so that whatever else the machine does meets both; the ratio is what to look at.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program whose output is its result")]

mod echo;
mod host;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rpc_host_client::{Client, Options, Profile};

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
    // On a worker of the runtime, where a program's own calls are made too.
    tokio::spawn(compare(first.into(), second.into())).await?
}

const USAGE: &str = "usage: rpc-host-bench RPC-HOST CALC.WASM (`cargo xtask bench` calls it so)";

async fn compare(program: PathBuf, calc: PathBuf) -> Result<()> {
    let host = host::Host::start(&program).await?;
    let client = Client::connect(Profile::from_file(host.profile())?).await?;
    let wasm = std::fs::read(&calc).with_context(|| calc.display().to_string())?;
    let module = client.upload_module(wasm).await?;
    client.register("calc", &module, Options::default()).await?;
    let calc = client.module("calc");
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
    println!(
        "{:<44} {:>10} {:>10} {:>10}",
        "one call after the other, over TLS, loopback", "p50 µs", "p90 µs", "p99 µs"
    );
    floor.print("raw rustls echo of 40 bytes");
    ours.print("add(s64, s64) in a fresh instance");
    println!(
        "ratio of the medians: {:.2}",
        ours.p50.as_secs_f64() / floor.p50.as_secs_f64()
    );
    host.stop().await
}

struct Spread {
    p50: Duration,
    p90: Duration,
    p99: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |percent: usize| {
            times
                .get(times.len() * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        Spread {
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }

    fn print(&self, name: &str) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{name:<44} {:>10.1} {:>10.1} {:>10.1}",
            micros(self.p50),
            micros(self.p90),
            micros(self.p99)
        );
    }
}

//! What a call costs that a module makes: of another module, and of a client that serves the name.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rpc_host_client::{Client, Incoming, ProviderError, Scope};

use crate::Guests;
use crate::spread::{Spread, heading};

/// Rounds; the first warms up.
const ROUNDS: usize = 40;
/// Calls that the module makes within one call.
const INNER_CALLS: u64 = 200;
/// Calls of the function itself in a round.
const DIRECT_CALLS: usize = 100;

/// What is called, wherever it is: it gives back its argument.
const TICKER: &str = "module:ticker/ticker";

pub(crate) async fn measure(guests: &Guests) -> Result<()> {
    guests.register("ticker", TICKER).await?;
    guests.register("caller", "caller").await?;
    let client = &guests.client;
    // A session of its own: what it serves to itself, the other one does not see.
    let serving = Client::connect(guests.profile.clone()).await?;
    let ping = |call: Incoming| async move {
        let (number,): (u64,) = call.args()?;
        Ok::<u64, ProviderError>(number)
    };
    let _lease = serving.provide(TICKER, ping, Scope::Session).await?;

    let (mut direct, mut inner, mut reverse) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let mut in_round = Vec::new();
        for number in 0..DIRECT_CALLS as u64 {
            let started = Instant::now();
            let back: u64 = client.module(TICKER).call("ping", (number,)).await?;
            in_round.push(started.elapsed());
            ensure!(back == number, "{number} came back as {back}");
        }
        let (module, served) = (each(client).await?, each(&serving).await?);
        if round > 0 {
            direct.append(&mut in_round);
            inner.push(module);
            reverse.push(served);
        }
    }
    let (direct, inner) = (Spread::of(direct), Spread::of(inner));
    let reverse = Spread::of(reverse);
    println!();
    heading("ping(u64), by whom it is answered");
    direct.print("client → module, a fresh instance each");
    inner.print("module → module, within one call");
    reverse.print("module → client, within one call");
    let ratio = |one: &Spread| one.p50.as_secs_f64() / direct.p50.as_secs_f64();
    println!(
        "beside the direct call: module → module {:.3}, module → client {:.2}",
        ratio(&inner),
        ratio(&reverse)
    );
    Ok(())
}

/// How long each of many calls takes that one call makes. What the one call costs itself is taken off.
async fn each(client: &Client) -> Result<Duration> {
    let alone = pings(client, 1).await?;
    let all = pings(client, 1 + INNER_CALLS).await?;
    let inner = u32::try_from(INNER_CALLS)?;
    Ok(all.saturating_sub(alone) / inner)
}

async fn pings(client: &Client, count: u64) -> Result<Duration> {
    let started = Instant::now();
    let back: u64 = client.module("caller").call("pings", (count,)).await?;
    ensure!(back == count, "{back} of {count} came back");
    Ok(started.elapsed())
}

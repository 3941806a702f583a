//! What a call costs that a module makes: of another module, and of a client that serves the name. And one of an
//! object, whose instance is there already.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rpc_host_client::{Client, Incoming, ProviderError, Scope};

use crate::book::{Book, Row};
use crate::compare::Guests;
use crate::spread::nanoseconds;

/// Rounds; the first warms up.
const ROUNDS: usize = 40;
/// Calls that the module makes within one call.
const INNER_CALLS: u64 = 200;
/// Calls of the function itself in a round.
const DIRECT_CALLS: u64 = 100;

/// What is called, wherever it is: it gives back its argument.
const TICKER: &str = "module:ticker/ticker";

pub(crate) async fn measure(guests: &Guests, book: &mut Book) -> Result<()> {
    guests.register("ticker", TICKER).await?;
    guests.register("caller", "caller").await?;
    guests.register("counter", "counter").await?;
    let client = &guests.client;
    // A session of its own: what it serves to itself, the other one does not see.
    let serving = Client::connect(guests.profile.clone()).await?;
    let ping = |call: Incoming| async move {
        let (number,): (u64,) = call.args()?;
        Ok::<u64, ProviderError>(number)
    };
    let _lease = serving.provide(TICKER, ping, Scope::Session).await?;
    let counter = client.module("counter").object("counter", (7,)).await?;

    let mut row = Row::own("links", "a number there and back, by whom");
    for round in 0..=ROUNDS {
        let (mut direct, mut of_object) = (Vec::new(), Vec::new());
        for number in 0..DIRECT_CALLS {
            let started = Instant::now();
            let back: u64 = client.module(TICKER).call("ping", (number,)).await?;
            direct.push(nanoseconds(started.elapsed()));
            ensure!(back == number, "{number} came back as {back}");
        }
        for _ in 0..DIRECT_CALLS {
            let started = Instant::now();
            let value: u64 = counter.call("value", ()).await?;
            of_object.push(nanoseconds(started.elapsed()));
            ensure!(value == 7, "a counter at 7 stands at {value}");
        }
        let (module, served) = (each(client).await?, each(&serving).await?);
        if round > 0 {
            row.add("client → module, a fresh instance", direct);
            row.add("client → object, a method", of_object);
            row.add(
                "module → module, within one call",
                vec![nanoseconds(module)],
            );
            row.add(
                "module → client, within one call",
                vec![nanoseconds(served)],
            );
        }
    }
    book.enter(row);
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

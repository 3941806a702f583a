//! A tenant that minds its own business, and how long it waits for each answer.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rpc_host_client::Client;
use tokio::runtime::Handle;

/// Calls come at this pace, however long each takes.
const INTERVAL: Duration = Duration::from_millis(2);

/// Calls `add` for so long. Each time is counted from when the call was meant to begin, so that one that
/// is held up counts for all that should have been made meanwhile.
pub(super) async fn load(client: &Client, time: Duration) -> Result<Vec<Duration>> {
    let calc = client.module("calc");
    let count = u32::try_from(time.as_millis() / INTERVAL.as_millis())?.max(1);
    let (times, ended) = mpsc::channel();
    let runtime = Handle::current();
    // A thread that sleeps is on time; a timer of the runtime has a grain of a millisecond.
    let pace = move || {
        let begun = Instant::now();
        for number in 0..count {
            let meant = begun + INTERVAL * number;
            std::thread::sleep(meant.saturating_duration_since(Instant::now()));
            let (calc, times) = (calc.clone(), times.clone());
            runtime.spawn(async move {
                let sum = calc.call::<i64>("add", (2, 3)).await;
                // Read as long as there are senders.
                let _unread = times.send(sum.map(|sum| (sum, meant.elapsed())));
            });
        }
    };
    tokio::task::spawn_blocking(pace).await?;
    let collected = tokio::task::spawn_blocking(move || ended.iter().collect::<Vec<_>>());
    let mut times = Vec::new();
    for outcome in collected.await? {
        let (sum, took) = outcome.context("a call of the victim failed")?;
        ensure!(sum == 5, "2 + 3 is {sum}");
        times.push(took);
    }
    Ok(times)
}

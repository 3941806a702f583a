//! How long after its deadline a guest is gone that never ends by itself, wherever it loops.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rpc_host_client::{Client, ErrorCode, Options};

use crate::book::Row;
use crate::spread::nanoseconds;

const DEADLINE: Duration = Duration::from_millis(50);

/// Where a guest can be when it loops.
const ENTRIES: [(&str, &str); 5] = [
    ("start", include_str!("../../../tests/runaway/start.wat")),
    ("call", include_str!("../../../tests/runaway/call.wat")),
    (
        "realloc",
        include_str!("../../../tests/runaway/realloc.wat"),
    ),
    (
        "post-return",
        include_str!("../../../tests/runaway/post-return.wat"),
    ),
    (
        "destructor",
        include_str!("../../../tests/runaway/destructor.wat"),
    ),
];

/// Prints how late the answers are, alone and when `at_once` such guests run.
pub(super) async fn measure(client: &Client, rounds: usize, at_once: usize) -> Result<()> {
    println!();
    let mut row = Row::own("runaway", "endless guest: deadline to answer");
    for (entry, text) in ENTRIES {
        let module = client.upload_module(wat::parse_str(text)?).await?;
        client.register(entry, &module, Options::default()).await?;
        for others in [1, at_once] {
            let mut late = Vec::new();
            for _ in 0..rounds.div_ceil(others) {
                let calls = (0..others).map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { lateness(&client, entry).await })
                });
                for call in calls.collect::<Vec<_>>() {
                    late.push(nanoseconds(call.await??));
                }
            }
            row.add(&format!("in its {entry}, {others} at once"), late);
        }
    }
    row.print();
    Ok(())
}

async fn lateness(client: &Client, entry: &str) -> Result<Duration> {
    let module = client.module(entry);
    let mut call = module.function("run").timeout(DEADLINE);
    if entry == "realloc" {
        call = call.arg("some text");
    }
    let begun = Instant::now();
    match call.call::<serde_json::Value>().await {
        Err(error) if error.code() == ErrorCode::DeadlineExceeded => {
            Ok(begun.elapsed().saturating_sub(DEADLINE))
        }
        other => bail!("a guest that loops in its {entry} ended with {other:?}"),
    }
}

//! Calls a second of this client, for the comparison with RPyC: the same rows as `rpyc/compare.py` has.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rpc_host_client::{Client, NamedModule, Object, Profile};
use rpc_host_protocol::Value;
use rpc_host_protocol::cbor::encode_arguments;

/// How long a row is measured.
const TIME: Duration = Duration::from_millis(400);
/// Callers at once, on one connection.
const CALLERS: usize = 8;

/// The argument after which a profile is named.
pub(crate) const RATES: &str = "rates";

/// Measures at the node of a profile, which has the modules that the rows need, and prints JSON.
pub(crate) async fn measure(profile: &Path) -> Result<()> {
    let client = Client::connect(Profile::from_file(profile)?).await?;
    let sink = client.module("sink");
    let mut rates = BTreeMap::new();
    rates.insert("echo of a number, one thread", numbers(sink.clone()).await?);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(numbers(sink.clone()));
    }
    let mut together = 0.0;
    while let Some(rate) = callers.join_next().await {
        together += rate??;
    }
    rates.insert("echo of a number, 8 threads", together);
    let counter = client.module("counter").object("counter", (7,)).await?;
    rates.insert("attribute / method of a handle", values(&counter).await?);
    rates.insert("method of a netref / of a handle", values(&counter).await?);
    for (row, length) in [
        ("echo of 1 MiB", 1 << 20),
        ("echo of 16 MiB", (16 << 20) - 1024),
    ] {
        rates.insert(row, bytes(&sink, length).await?);
    }
    println!("{}", serde_json::to_string(&rates)?);
    Ok(())
}

async fn numbers(sink: NamedModule) -> Result<f64> {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < TIME {
        let number: i64 = sink.call("echo_s64", (42,)).await?;
        ensure!(number == 42, "42 came back as {number}");
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// A handle has methods alone, so this is beside an attribute of RPyC's as well.
async fn values(counter: &Object) -> Result<f64> {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < TIME {
        let value: u64 = counter.call("value", ()).await?;
        ensure!(value == 7, "a counter at 7 stands at {value}");
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

async fn bytes(sink: &NamedModule, length: usize) -> Result<f64> {
    let sent = vec![0xa5; length];
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < TIME {
        let arguments = encode_arguments(&[Value::Bytes(sent.clone())], &[]);
        let reply = sink.function("echo_bytes").call_raw(arguments).await?;
        ensure!(reply.value.ends_with(&sent), "other bytes came back");
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

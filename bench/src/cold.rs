//! What is done once: uploads, and the first call of all.

use std::time::Instant;

use anyhow::{Result, ensure};
use rpc_host_client::{Client, Component, Options};

use crate::book::{Book, Row};
use crate::compare::Guests;
use crate::host::Host;
use crate::spread::nanoseconds;
use crate::{generated, ours};

/// Modules that are uploaded and then called for the first time.
const FIRST_CALLS: u64 = 30;
/// Restarts of the node.
const RESTARTS: usize = 10;
/// Sizes that are uploaded, and how often.
const UPLOADS: &[(&str, usize, u64)] = &[
    ("60 kB", 60_000, 10),
    ("2 MB", 2_000_000, 5),
    ("10 MB", 10_000_000, 3),
];
/// How often what is there already is uploaded again.
const AGAIN: usize = 30;

pub(crate) async fn measure(guests: &Guests, book: &mut Book) -> Result<()> {
    first_calls(guests, book).await?;
    uploads(&guests.client, book).await
}

async fn first_calls(guests: &Guests, book: &mut Book) -> Result<()> {
    let calc = guests.component("calc")?;
    let mut row = Row::own("first-call", "add of a module just uploaded");
    for number in 0..FIRST_CALLS {
        let wasm = generated::another(&calc, number);
        guests.add(wasm, "cold").await?;
        let (first, next) = (
            add(&guests.client, "cold").await?,
            add(&guests.client, "cold").await?,
        );
        row.add("the first call", vec![first]);
        row.add("the next", vec![next]);
    }
    book.enter(row);
    Ok(())
}

/// What a call takes that finds nothing ready but the node itself.
pub(crate) async fn restarts(host: &mut Host, guests: &Guests, book: &mut Book) -> Result<()> {
    let mut row = Row::own("restart", "a node started again");
    for _ in 0..RESTARTS {
        let started = Instant::now();
        host.restart().await?;
        row.add(
            "from the end of the old to the new",
            vec![nanoseconds(started.elapsed())],
        );
        let client = Client::connect(guests.profile.clone()).await?;
        row.add(
            "the first call of add",
            vec![add(&client, ours::CALC).await?],
        );
        row.add("the next", vec![add(&client, ours::CALC).await?]);
    }
    book.enter(row);
    Ok(())
}

async fn add(client: &Client, name: &str) -> Result<f64> {
    let started = Instant::now();
    let sum: i64 = client.module(name).call("add", (2, 3)).await?;
    ensure!(sum == 5, "2 + 3 is {sum}");
    Ok(nanoseconds(started.elapsed()))
}

async fn uploads(client: &Client, book: &mut Book) -> Result<()> {
    let mut row = Row::own("upload", "an upload, until it may be registered");
    for (size, bytes, count) in UPLOADS {
        for number in 0..*count {
            let wasm = generated::component(*bytes, number)?;
            let started = Instant::now();
            let module = client.upload_module(&wasm).await?;
            row.add(size, vec![nanoseconds(started.elapsed())]);
            ensure!(!module.was_known(), "it was there already");
            client
                .register("uploaded", &module, Options::default())
                .await?;
            let result: i32 = client.module("uploaded").call("run", (2, 3)).await?;
            std::hint::black_box(result);
        }
        let wasm = generated::component(*bytes, 0)?;
        let component = Component::new(wasm.clone());
        component.digest();
        let again = format!("{size}, known already");
        let by_digest = format!("{size}, known already, and its digest here");
        for _ in 0..AGAIN {
            let started = Instant::now();
            let module = client.upload_module(&wasm).await?;
            row.add(&again, vec![nanoseconds(started.elapsed())]);
            ensure!(module.was_known(), "it was not known");
            let started = Instant::now();
            let module = client.upload_component(&component).await?;
            row.add(&by_digest, vec![nanoseconds(started.elapsed())]);
            ensure!(module.was_known(), "it was not known");
        }
    }
    book.enter(row);
    Ok(())
}

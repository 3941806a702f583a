//! How long a swap takes, and how soon the new module answers.

use std::time::Instant;

use anyhow::{Result, ensure};
use rpc_host_client::{ChangeOptions, Client, Module, Options, SwapTo};

use crate::book::{Book, Row};
use crate::spread::nanoseconds;

const ROUNDS: usize = 20;
const SWAPS: usize = 10;
const NAME: &str = "swapped";

pub(crate) async fn measure(client: &Client, book: &mut Book) -> Result<()> {
    let modules = [upload(client, 0).await?, upload(client, 1).await?];
    client
        .register(NAME, &modules[0], Options::default())
        .await?;
    let mut row = Row::own("swap", "a name pointed at another module");
    for _ in 0..ROUNDS {
        let (mut swaps, mut answers) = (Vec::new(), Vec::new());
        for swap in 1..=SWAPS {
            let version = swap % 2;
            let Some(module) = modules.get(version) else {
                continue;
            };
            let target = SwapTo::Digest(module.digest().to_owned());
            let started = Instant::now();
            client.swap(NAME, target, ChangeOptions::default()).await?;
            swaps.push(nanoseconds(started.elapsed()));
            let acknowledged = Instant::now();
            let answer: u32 = client.module(NAME).call("version", ()).await?;
            answers.push(nanoseconds(acknowledged.elapsed()));
            ensure!(answer as usize == version, "the old module answered");
        }
        row.add("until it is acknowledged, on disk", swaps);
        row.add("from there to the first answer of the new", answers);
    }
    book.enter(row);
    Ok(())
}

/// A module that says which one it is.
async fn upload(client: &Client, version: usize) -> Result<Module> {
    let text = format!(
        r#"(component
            (core module $m (func (export "version") (result i32) (i32.const {version})))
            (core instance $i (instantiate $m))
            (func (export "version") (result u32) (canon lift (core func $i "version"))))"#
    );
    Ok(client.upload_module(wat::parse_str(text)?).await?)
}

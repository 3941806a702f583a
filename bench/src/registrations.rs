//! Whether a call takes longer where there are many registrations.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure, format_err};
use rpc_host_client::{Module, NamedModule, Options};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::book::{ACROSS_MANY, Book, OF_MANY, OF_ONE, REGISTRATIONS, Row};
use crate::compare::Guests;
use crate::host::Host;
use crate::spread::nanoseconds;

const MANY: usize = 10_000;
/// Registered at the same time.
const AT_ONCE: usize = 16;
const ROUNDS: usize = 60;
/// Calls of each kind in a round.
const CALLS: usize = 200;

/// Two nodes at the same time, one with a single registration, one with many of the same module.
///
/// They and whoever calls them share one processor: a call takes twice as long where the system happens to place the
/// two ends of a connection on two, and it may do so with one node and not with the other.
pub(crate) async fn measure(program: &Path, modules: &Path, book: &mut Book) -> Result<()> {
    let (program, modules) = (program.to_owned(), modules.to_owned());
    let measuring = std::thread::spawn(move || {
        keep_to_one_processor()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(on_one_processor(&program, &modules))
    });
    let measured = tokio::task::spawn_blocking(move || measuring.join()).await?;
    let row =
        measured.map_err(|_panic| format_err!("the measurement of registrations panicked"))?;
    book.enter(row?);
    Ok(())
}

/// Of this thread, and of the programs that it starts.
fn keep_to_one_processor() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is no processor")?);
    Ok(sched_setaffinity(None, &one)?)
}

async fn on_one_processor(program: &Path, modules: &Path) -> Result<Row> {
    let (few, many) = (Host::start(program).await?, Host::start(program).await?);
    let of_few = Guests::new(&few, modules).await?;
    let of_many = Guests::new(&many, modules).await?;
    of_few.register("calc", "calc").await?;
    let module = of_many.register("calc", "calc").await?;
    let began = Instant::now();
    register(&of_many, &module).await?;
    println!(
        "{MANY} registrations made in {:.1} s\n",
        began.elapsed().as_secs_f64()
    );

    let all: Vec<_> = (1..MANY)
        .map(|number| of_many.client.module(name(number)))
        .collect();
    // Each of them has been called once.
    for one in &all {
        add(one).await?;
    }
    let (alone, among) = (of_few.client.module("calc"), of_many.client.module("calc"));
    let mut row = Row::own(REGISTRATIONS, "add(s64, s64) of");
    let mut in_turn = all.iter().cycle();
    for round in 0..=ROUNDS {
        let mut times = [const { Vec::new() }; 3];
        let [of_one, of_many, across] = &mut times;
        // What came before a node's calls can be seen in them, so they take turns at that.
        let mut both = [(&alone, of_one), (&among, of_many)];
        both.rotate_left(round % 2);
        for (module, times) in both {
            for _ in 0..CALLS {
                times.push(add(module).await?);
            }
        }
        for one in in_turn.by_ref().take(CALLS) {
            across.push(add(one).await?);
        }
        if round > 0 {
            for (side, times) in [OF_ONE, OF_MANY, ACROSS_MANY].into_iter().zip(times) {
                row.add(side, times);
            }
        }
    }
    few.stop().await?;
    many.stop().await?;
    Ok(row)
}

fn name(number: usize) -> String {
    format!("calc-{number}")
}

async fn register(guests: &Guests, module: &Module) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 1..=AT_ONCE {
        let (client, module) = (guests.client.clone(), module.clone());
        tasks.spawn(async move {
            for number in (first..MANY).step_by(AT_ONCE) {
                client
                    .register(&name(number), &module, Options::default())
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn add(module: &NamedModule) -> Result<f64> {
    let started = Instant::now();
    let sum: i64 = module.call("add", (2, 3)).await?;
    let took = nanoseconds(started.elapsed());
    ensure!(sum == 5, "2 + 3 is {sum}");
    Ok(took)
}

//! How calls are timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::caller::{Caller, check, send};
use crate::work::{Request, Work};

/// Large replies that come at least while small calls are timed beside them.
const LARGE_REPLIES: u64 = 3;

/// How long each of so many calls takes, one after the other.
pub(crate) async fn each(
    caller: &impl Caller,
    request: &Request,
    count: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        times.push(one(caller, request).await?);
    }
    Ok(times)
}

/// How long a call takes. What comes back is looked at when the time was taken.
async fn one(caller: &impl Caller, request: &Request) -> Result<Duration> {
    let sent = request.clone();
    let started = Instant::now();
    let answer = send(caller, sent).await?;
    let took = started.elapsed();
    check(request, &answer)?;
    Ok(took)
}

/// How many calls of `add` end in that time, and how long it was until the last of them did: so many are under way
/// at any moment, each of them on the next connection in turn.
pub(crate) async fn together<C: Caller>(
    callers: Vec<C>,
    in_flight: usize,
    time: Duration,
) -> Result<(u64, Duration)> {
    let callers: Arc<[C]> = callers.into();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for first in 0..in_flight {
        let callers = callers.clone();
        tasks.spawn(async move {
            let mut count = 0_u64;
            for caller in callers.iter().cycle().skip(first % callers.len().max(1)) {
                if started.elapsed() >= time {
                    break;
                }
                let sum = caller.add(2, 3).await?;
                ensure!(sum == 5, "2 + 3 is {sum}");
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut calls = 0;
    while let Some(count) = tasks.join_next().await {
        calls += count??;
    }
    Ok((calls, started.elapsed()))
}

/// How long at least so many calls of `add` take on a connection on which replies of `length` bytes come, one after
/// the other and never none; of length 0, alone.
pub(crate) async fn beside(
    caller: &impl Caller,
    length: u32,
    count: usize,
) -> Result<Vec<Duration>> {
    let request = Work::Add.request();
    if length == 0 {
        return each(caller, &request, count).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let (came, coming) = watch::channel(0_u64);
    let large = tokio::spawn({
        let (caller, over) = (caller.clone(), over.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                let made = caller.make(length).await?;
                ensure!(made.len() == length as usize, "a reply of another length");
                came.send_modify(|count| *count += 1);
            }
            anyhow::Ok(())
        }
    });
    let small = small_calls(caller, &request, count, coming).await;
    over.store(true, Ordering::Relaxed);
    // What went wrong with these is why the others ended.
    large.await.context("the large replies")??;
    small
}

async fn small_calls(
    caller: &impl Caller,
    request: &Request,
    count: usize,
    mut large: watch::Receiver<u64>,
) -> Result<Vec<Duration>> {
    // The first one has made ready what there is to make ready.
    large.changed().await?;
    let before = *large.borrow();
    let mut times = Vec::with_capacity(count);
    while times.len() < count || *large.borrow() < before + LARGE_REPLIES {
        ensure!(large.has_changed().is_ok(), "the large replies ended");
        times.push(one(caller, request).await?);
    }
    Ok(times)
}

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

/// Between the beginnings of small calls beside them.
const PACE: Duration = Duration::from_millis(4);

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
///
/// The calls begin at a pace that does not depend on their answers, so that what holds one up holds up all that should
/// have been made meanwhile.
pub(crate) async fn beside(
    caller: &impl Caller,
    length: u32,
    count: usize,
) -> Result<Vec<Duration>> {
    if length == 0 {
        return paced(caller, |begun| Ok(begun < count)).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let (came, mut coming) = watch::channel(0_u64);
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
    let small = async {
        // The first one has made ready what there is to make ready.
        coming.changed().await?;
        let enough = *coming.borrow() + LARGE_REPLIES;
        let goes_on = |begun| {
            ensure!(coming.has_changed().is_ok(), "the large replies ended");
            Ok(begun < count || *coming.borrow() < enough)
        };
        paced(caller, goes_on).await
    };
    let small = small.await;
    over.store(true, Ordering::Relaxed);
    // What went wrong with these is why the others ended.
    large.await.context("the large replies")??;
    small
}

/// How long calls of `add` take that begin one after the other, as long as `goes_on` of so many that have begun.
async fn paced(
    caller: &impl Caller,
    goes_on: impl Fn(usize) -> Result<bool>,
) -> Result<Vec<Duration>> {
    let mut pace = tokio::time::interval(PACE);
    let mut calls = JoinSet::new();
    let mut begun = 0;
    while goes_on(begun)? {
        pace.tick().await;
        let caller = caller.clone();
        calls.spawn(async move { one(&caller, &Work::Add.request()).await });
        begun += 1;
    }
    let mut times = Vec::with_capacity(begun);
    while let Some(time) = calls.join_next().await {
        times.push(time??);
    }
    Ok(times)
}

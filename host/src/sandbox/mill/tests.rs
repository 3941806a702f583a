use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::*;
use crate::account::Allowance;
use crate::sandbox::{SandboxLimits, engine};

fn mill(threads: usize) -> Mill {
    let limits = SandboxLimits {
        max_live_instances: 1,
        ..SandboxLimits::default()
    };
    let engine = engine::runtime(&limits).unwrap();
    let ticker = Ticker::start(&engine).unwrap();
    Mill::start(threads, Arc::new(QuickWay::new(threads)), ticker).unwrap()
}

fn account(tenant: u64, weight: u32) -> Arc<Account> {
    let allowance = Allowance {
        weight,
        ..Allowance::for_tests(0)
    };
    Arc::new(Account::new(tenant, Arc::from("acme"), &allowance))
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Keeps its thread for a while, at work.
fn at_work(time: Duration) {
    let before = processor::time_of_this_thread();
    while processor::time_of_this_thread() - before < time {
        std::hint::spin_loop();
    }
}

#[tokio::test]
async fn work_goes_on_where_it_was_and_uses_the_timers_of_its_runtime() {
    let mill = mill(1);
    let work = async {
        let mut sum = 0;
        for number in 0..100 {
            yield_now().await;
            sum += number;
        }
        sleep(Duration::from_millis(1)).await;
        tokio::spawn(async move { sum }).await.unwrap()
    };
    assert_eq!(mill.work(&account(1, 100), later(), work).await, 4950);
    assert!(mill.shared.state().jobs.is_empty());
}

#[tokio::test]
async fn a_panic_in_what_is_dropped_leaves_the_thread_there() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    let mill = mill(1);
    let account = account(1, 100);
    let (begun, started) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let work = async move {
        let _bomb = Bomb;
        begun.send(()).unwrap();
        // Its turn lasts until it was given up.
        released.recv().unwrap();
        pending::<()>().await;
    };
    let mut working = Box::pin(mill.work(&account, later(), work));
    tokio::select! {
        () = &mut working => unreachable!(),
        started = started => started.unwrap(),
    }
    drop(working);
    release.send(()).unwrap();
    assert_eq!(mill.work(&account, later(), async { 5 }).await, 5);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_dropped() {
    struct Gone(Option<oneshot::Sender<()>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let mill = mill(1);
    let account = account(1, 100);
    // One that rests, one that has the only thread turn by turn, one that waits for it.
    for busy in [false, true] {
        let (gone, heard) = oneshot::channel();
        let (begun, started) = oneshot::channel();
        let work = async move {
            let _gone = Gone(Some(gone));
            begun.send(()).unwrap();
            if !busy {
                pending::<()>().await;
            }
            loop {
                at_work(Duration::from_millis(2));
                yield_now().await;
            }
        };
        let mut working = Box::pin(mill.work(&account, later(), work));
        tokio::select! {
            () = &mut working => unreachable!(),
            started = started => started.unwrap(),
        }
        drop(working);
        heard.await.unwrap();
    }
    assert!(mill.shared.state().jobs.is_empty());
}

#[tokio::test]
async fn a_panic_is_the_callers_and_the_threads_go_on() {
    let mill = Arc::new(mill(1));
    let account = account(1, 100);
    let failing = {
        let (mill, account) = (Arc::clone(&mill), Arc::clone(&account));
        tokio::spawn(async move {
            let work = async {
                yield_now().await;
                panic!("meant to happen");
            };
            mill.work::<()>(&account, later(), work).await;
        })
    };
    assert!(failing.await.unwrap_err().is_panic());
    assert_eq!(mill.work(&account, later(), async { 7 }).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_tenants_have_the_threads_by_weight() {
    let mill = Arc::new(mill(1));
    let stop = Arc::new(AtomicBool::new(false));
    let counts = [(1, 100), (2, 300)].map(|(tenant, weight)| {
        let turns = Arc::new(AtomicU64::new(0));
        let account = account(tenant, weight);
        for _ in 0..2 {
            let (mill, account) = (Arc::clone(&mill), Arc::clone(&account));
            let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
            tokio::spawn(async move {
                let work = async move {
                    while !stop.load(Ordering::Relaxed) {
                        at_work(Duration::from_millis(1));
                        turns.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                };
                mill.work(&account, later(), work).await;
            });
        }
        turns
    });
    let both = || counts.each_ref().map(|turns| turns.load(Ordering::Relaxed));
    while both().iter().sum::<u64>() < 400 {
        sleep(Duration::from_millis(5)).await;
    }
    let [one, three] = both();
    stop.store(true, Ordering::Relaxed);
    assert!(one * 2 < three && three < one * 4, "{one} : {three}");
}

#[tokio::test]
async fn a_job_that_is_late_is_told_so_before_those_that_wait() {
    let mill = Arc::new(mill(1));
    let greedy = account(1, 1000);
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..200 {
        let (mill, greedy, stop) = (Arc::clone(&mill), Arc::clone(&greedy), Arc::clone(&stop));
        tokio::spawn(async move {
            let work = async move {
                while !stop.load(Ordering::Relaxed) {
                    at_work(Duration::from_millis(2));
                    yield_now().await;
                }
            };
            mill.work(&greedy, later(), work).await;
        });
    }
    let deadline = Instant::now() + Duration::from_millis(50);
    let turns = Arc::new(AtomicU64::new(0));
    let work = {
        let turns = Arc::clone(&turns);
        async move {
            // The like of a guest: at work in each turn, and at rest when its time is over.
            let endless = poll_fn(|context| {
                if Instant::now() < deadline {
                    at_work(Duration::from_millis(2));
                    turns.fetch_add(1, Ordering::Relaxed);
                    context.waker().wake_by_ref();
                }
                Poll::<()>::Pending
            });
            timeout_at(deadline, endless).await
        }
    };
    // Of the same tenant, behind two hundred others: a round of all takes 400 ms.
    let ended = mill.work(&greedy, deadline, work).await;
    let late = deadline.elapsed();
    stop.store(true, Ordering::Relaxed);
    assert!(ended.is_err());
    assert!(turns.load(Ordering::Relaxed) <= 30);
    assert!(late < Duration::from_millis(350), "{late:?} late");
}

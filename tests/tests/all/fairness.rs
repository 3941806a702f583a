//! Tenants that would have more of the processors than their share.

use std::time::{Duration, Instant};

use rpc_host_client::Client;
use rpc_host_tests::{TestHost, TestTenant, built, in_time};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How long a call computes, about: many turns.
const LONG: Duration = Duration::from_millis(40);

/// How many rounds take so long on this machine.
async fn rounds(client: &Client) -> u64 {
    let mut rounds = 100_000;
    loop {
        let begun = Instant::now();
        let done: u64 = client
            .module("spin")
            .call("rounds", (rounds,))
            .await
            .unwrap();
        assert_eq!(done, rounds);
        if begun.elapsed() >= LONG {
            return rounds;
        }
        rounds *= 2;
    }
}

/// Keeps so many calls under way, one after another, and tells of each that has ended.
fn keep_busy(tenant: &TestTenant, calls: usize, rounds: u64, ended: &UnboundedSender<usize>) {
    for _ in 0..calls {
        let (client, ended) = (tenant.client.clone(), ended.clone());
        tokio::spawn(async move {
            loop {
                let done = client.module("spin").call::<u64>("rounds", (rounds,)).await;
                assert_eq!(done.unwrap(), rounds);
                if ended.send(calls).is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::test]
async fn many_calls_give_a_tenant_no_more_of_the_processors_than_few() {
    let host = TestHost::start().await;
    let (greedy, modest) = (host.tenant().await, host.tenant().await);
    for tenant in [&greedy, &modest] {
        tenant.register("spin", built("spin")).await;
    }
    let rounds = rounds(&modest.client).await;
    // Enough for every processor, each of them.
    let few = std::thread::available_parallelism().map_or(1, usize::from);
    let many = 8 * few;
    let (ended, mut ends) = unbounded_channel();
    keep_busy(&greedy, many, rounds, &ended);
    keep_busy(&modest, few, rounds, &ended);
    // The first calls come while not all are there yet.
    let (mut much, mut little) = (0, 0);
    while much < many || little < few {
        let of_few = in_time("a call", ends.recv()).await == Some(few);
        *(if of_few { &mut little } else { &mut much }) += 1;
    }
    (much, little) = (0, 0);
    while little < 12 * few {
        let of_few = in_time("a call", ends.recv()).await == Some(few);
        *(if of_few { &mut little } else { &mut much }) += 1;
    }
    // By the order of coming it would be eight times as many.
    assert!(much < 3 * little, "{much} calls beside {little}");
    assert!(little < 3 * much, "{much} calls beside {little}");
}

//! Tenants that would have more of the processors than their share.

use std::time::{Duration, Instant};

use rpc_host_client::{Client, TenantOptions};
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

/// Both keep more calls under way than there are processors; gives how many of each have ended, when
/// there are so many of the second.
async fn ended_of(
    first: (&TestTenant, usize),
    second: (&TestTenant, usize),
    enough: usize,
) -> (usize, usize) {
    for (tenant, _) in [first, second] {
        tenant.register("spin", built("spin")).await;
    }
    let rounds = rounds(&second.0.client).await;
    let (ended, mut ends) = unbounded_channel();
    for (tenant, calls) in [first, second] {
        keep_busy(tenant, calls, rounds, &ended);
    }
    let (mut of_first, mut of_second) = (0, 0);
    let mut count = async |until: &dyn Fn(usize, usize) -> bool| {
        (of_first, of_second) = (0, 0);
        while !until(of_first, of_second) {
            let is_first = in_time("a call", ends.recv()).await == Some(first.1);
            *(if is_first {
                &mut of_first
            } else {
                &mut of_second
            }) += 1;
        }
        (of_first, of_second)
    };
    // The first calls come while not all are there yet.
    count(&|one, two| one >= first.1 && two >= second.1).await;
    count(&|_, two| two >= enough).await
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[tokio::test]
async fn tenants_have_the_processors_by_weight() {
    let host = TestHost::start().await;
    let (heavy, light) = (host.tenant().await, host.tenant().await);
    let options = TenantOptions {
        weight: Some(300),
        ..TenantOptions::default()
    };
    let operator = host.client().await;
    operator.tenant_set(&heavy.name, options).await.unwrap();
    let calls = 2 * processors();
    let (much, little) = ended_of((&heavy, calls + 1), (&light, calls), 6 * calls).await;
    // Three to one, and neither two to one nor six to one.
    assert!(much > 2 * little, "{much} calls beside {little}");
    assert!(much < 5 * little, "{much} calls beside {little}");
}

#[tokio::test]
async fn many_calls_give_a_tenant_no_more_of_the_processors_than_few() {
    let host = TestHost::start().await;
    let (greedy, modest) = (host.tenant().await, host.tenant().await);
    let few = processors();
    let (much, little) = ended_of((&greedy, 8 * few), (&modest, few), 12 * few).await;
    // By the order of coming it would be eight times as many.
    assert!(much < 3 * little, "{much} calls beside {little}");
    assert!(little < 3 * much, "{much} calls beside {little}");
}

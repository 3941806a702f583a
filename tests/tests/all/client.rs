//! The Rust client, beyond what all other tests use of it.

use std::time::Duration;

use rpc_host_client::{Client, Error, ErrorCode, Fault, NamedModule};
use rpc_host_tests::{TestHost, built};

use crate::failure;

fn is_shareable<T: Clone + Send + Sync + 'static>() {}

#[tokio::test]
async fn a_client_is_cheap_to_share() {
    is_shareable::<Client>();
    is_shareable::<NamedModule>();
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let sessions = || host.log().text().matches("session begins").count();
    let before = sessions();
    // A hundred calls at once, from clones in many tasks, over the one connection.
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100_i64 {
        let client = tenant.client.clone();
        calls.spawn(async move {
            let sum: i64 = client
                .module("calc")
                .call("add", (number, 1000))
                .await
                .unwrap();
            assert_eq!(sum, number + 1000);
        });
    }
    assert_eq!(calls.join_all().await.len(), 100);
    assert_eq!(sessions(), before);
}

#[tokio::test]
async fn slow_calls_do_not_hold_up_quick_ones() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    tenant.register("calc", built("calc")).await;
    let slow: Vec<_> = (0..99)
        .map(|_| {
            let sleeper = tenant.client.module("sleeper");
            tokio::spawn(async move { sleeper.call::<u64>("sleep", (600_000_u64,)).await })
        })
        .collect();
    let sum: i64 = tenant
        .client
        .module("calc")
        .call("add", (2, 3))
        .await
        .unwrap();
    assert_eq!(sum, 5);
    for call in slow {
        assert!(!call.is_finished());
        call.abort();
    }
}

#[tokio::test]
async fn errors_have_types() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = tenant.client.module("calc");
    let remote = failure(
        tenant
            .client
            .module("nope")
            .call::<i64>("add", (2, 3))
            .await,
    );
    assert_eq!(
        (remote.code, remote.fault),
        (ErrorCode::NotFound, Fault::Peer)
    );
    let guest = calc.call::<i64>("div", (1, 0)).await.unwrap_err();
    assert!(matches!(guest, Error::Guest(_)), "{guest:?}");
    assert!(
        guest.to_string().contains("cannot divide 1 by zero"),
        "{guest}"
    );
    let decode = calc.call::<String>("add", (2, 3)).await.unwrap_err();
    assert!(
        decode.to_string().starts_with("result: expected"),
        "{decode}"
    );
    assert!(matches!(decode, Error::Decode(_)), "{decode:?}");
    let encode = calc.call::<i64>("add", (i128::MAX, 3)).await.unwrap_err();
    assert!(matches!(encode, Error::Encode(_)), "{encode:?}");
    let no_result = calc
        .call_result::<i64, String>("add", (2, 3))
        .await
        .unwrap_err();
    assert!(
        no_result
            .to_string()
            .contains("does not return a result; use `call`"),
        "{no_result}"
    );
    let nobody = rpc_host_client::Profile::new("127.0.0.1:1").ca_pem(tenant.host.ca_pem());
    let connect = Client::connect(nobody).await.unwrap_err();
    assert!(matches!(connect, Error::Connect { .. }), "{connect:?}");
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_under_way_and_the_next_call_connects_anew() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    let sleeper = tenant.client.module("sleeper");
    let call = tokio::spawn({
        let sleeper = sleeper.clone();
        async move { sleeper.call::<u64>("sleep", (600_000_u64,)).await }
    });
    let slept: u64 = sleeper.call("sleep", (1_u64,)).await.unwrap();
    assert!(slept >= 1);
    host.kill().await;
    let lost = call.await.unwrap().unwrap_err();
    assert!(
        matches!(lost, Error::Lost { .. }),
        "never repeated: {lost:?}"
    );
    assert_eq!(lost.code(), ErrorCode::Unavailable);
    // The address of this client's profile is nobody's now; the same token at the new address works.
    assert!(tenant.client.list().await.is_err());
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    assert_eq!(client.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_timeout_below_the_unit_of_the_wire_is_one() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    let call = tenant
        .client
        .module("sleeper")
        .function("sleep")
        .arg(600_000_u64);
    let outcome = call.timeout(Duration::from_nanos(1)).call::<u64>().await;
    let failure = failure(outcome);
    assert!(
        matches!(
            failure.code,
            ErrorCode::DeadlineExceeded | ErrorCode::Unavailable
        ),
        "{failure:?}"
    );
}

//! Objects that clients hold, as the Rust client has them, and objects of clients that modules hold.
//!
//! What a node makes of the numbers on the wire is held by `handles`.

use std::sync::atomic::Ordering;

use rpc_host_client::{
    Error, ErrorCode, Fault, FunctionDescription, Instancing, NamedModule, Object, Options,
};
use rpc_host_tests::storm::{Course, storm};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, in_time};
use serde::{Deserialize, Serialize};

use crate::handles::until_nothing_lives;
use crate::{failure, refused};

async fn counter() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", built("counter")).await;
    tenant
}

/// The module with one instance for each session, so that all objects of one can meet.
async fn counter_of_session(options: HostOptions) -> TestTenant {
    let tenant = TestHost::start_with(options).await.tenant().await;
    let options = Options {
        instancing: Instancing::Session,
        ..Options::default()
    };
    tenant
        .register_with("counter", built("counter"), options)
        .await;
    tenant
}

/// Waits until so many counters are left where these calls go.
async fn until_live(module: &NamedModule, expected: u32) {
    let left = async {
        while module.call::<u32>("live", ()).await.unwrap() != expected {
            tokio::task::yield_now().await;
        }
    };
    in_time("destructors to run", left).await;
}

#[tokio::test]
async fn what_belongs_to_a_resource_is_described_by_its_name_in_wit() {
    let tenant = counter().await;
    let description = tenant.client.describe("counter", None).await.unwrap();
    let signature = |name: &str| {
        let is_it = |function: &&FunctionDescription| function.name == name;
        let found = description.functions.iter().find(is_it);
        found.map(|function| function.signature.to_string())
    };
    let signatures = [
        ("[constructor]counter", "func(start: u64) -> counter"),
        (
            "[method]counter.increment",
            "func(self: borrow<counter>) -> u64",
        ),
        (
            "[static]counter.merge",
            "func(a: counter, b: counter) -> counter",
        ),
        (
            "emit",
            "func(handler: borrow<handler>, event: string, times: u32) -> list<result<string, string>>",
        ),
    ];
    for (name, expected) in signatures {
        assert_eq!(signature(name).as_deref(), Some(expected), "{name}");
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Pair {
    name: String,
    left: Object,
    right: Option<Object>,
}

#[tokio::test]
async fn objects_are_made_used_passed_and_let_go_of() {
    let tenant = counter_of_session(HostOptions::new()).await;
    let module = tenant.client.module("counter");
    let ten = module.object("counter", (10,)).await.unwrap();
    let five = module.object("counters.counter", (5,)).await.unwrap();
    let full = "demo:counter/counters@0.1.0.counter";
    let one = module.object(full, (1,)).await.unwrap();
    assert_eq!(ten.call::<u64>("increment", ()).await.unwrap(), 11);
    assert_eq!(ten.call::<u64>("counter.value", ()).await.unwrap(), 11);
    assert_eq!(one.call::<u64>("add", (2,)).await.unwrap(), 3);
    let too_much = one.call_result::<u64, String>("add", (u64::MAX,)).await;
    assert_eq!(
        too_much.unwrap(),
        Err(format!("3 and {} is too much", u64::MAX))
    );
    // Lent, alone and in a list.
    let larger: u64 = module.call("counter.larger", (&ten, &five)).await.unwrap();
    assert_eq!(larger, 11);
    let sum: u64 = module.call("sum", ([&ten, &five, &ten],)).await.unwrap();
    assert_eq!(sum, 27);
    // In records, options, results and lists.
    let pair: Pair = module.call("couple", ("both", 7, Some(8))).await.unwrap();
    assert_eq!(
        pair.right
            .as_ref()
            .unwrap()
            .call::<u64>("value", ())
            .await
            .unwrap(),
        8
    );
    let alone: Pair = module
        .call("couple", ("one", 7, None::<u64>))
        .await
        .unwrap();
    assert!(alone.right.is_none());
    let many: Vec<Object> = module.call("make", ([1, 2, 3],)).await.unwrap();
    let none: Option<Object> = module.call("maybe", (None::<u64>,)).await.unwrap();
    let some: Option<Object> = module.call("maybe", (Some(9),)).await.unwrap();
    assert!(none.is_none() && some.is_some());
    let checked = module.call_result::<Object, String>("checked", (-1,)).await;
    assert_eq!(checked.unwrap().unwrap_err(), "-1 is below nought");
    let checked = module.call_result::<Object, String>("checked", (4,)).await;
    assert_eq!(
        checked
            .unwrap()
            .unwrap()
            .call::<u64>("value", ())
            .await
            .unwrap(),
        4
    );
    until_live(&module, 10).await;
    // Given away: by itself, within a record, to a static, to a method.
    assert_eq!(module.call::<u64>("sum-pair", (pair,)).await.unwrap(), 15);
    assert_eq!(
        module.call::<u64>("consume", (alone.left,)).await.unwrap(),
        7
    );
    let merged: Object = module.call("counter.merge", (ten, five)).await.unwrap();
    assert_eq!(merged.call::<u64>("value", ()).await.unwrap(), 16);
    assert_eq!(merged.call::<u64>("absorb", (one,)).await.unwrap(), 19);
    let same: Object = module.call("same", (merged,)).await.unwrap();
    assert_eq!(same.call::<u64>("value", ()).await.unwrap(), 19);
    until_live(&module, 5).await;
    // Put by, it is the module's alone.
    assert_eq!(module.call::<u32>("keep", (same,)).await.unwrap(), 1);
    let kept: Option<Object> = module.call("take", ()).await.unwrap();
    assert_eq!(kept.unwrap().call::<u64>("value", ()).await.unwrap(), 19);
    drop((many, some));
    until_live(&module, 0).await;
}

#[tokio::test]
async fn an_object_that_is_closed_or_given_away_is_of_no_more_use() {
    let tenant = counter_of_session(HostOptions::new()).await;
    let module = tenant.client.module("counter");
    let counter = module.object("counter", (1,)).await.unwrap();
    let clone = counter.clone();
    counter.close().await.unwrap();
    assert_eq!(
        module.call::<u32>("live", ()).await.unwrap(),
        0,
        "it was waited for"
    );
    for closed in [&counter, &clone] {
        let error = closed.close().await.unwrap_err();
        assert!(matches!(error, Error::Object { .. }), "{error}");
        let error = closed.call::<u64>("value", ()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("args[0]: object {} is closed", closed.number())
        );
    }
    let given = module.object("counter", (2,)).await.unwrap();
    let clone = given.clone();
    module.call::<u64>("consume", (given,)).await.unwrap();
    let text = format!("no object {} in this session", clone.number());
    let gone = refused(
        clone.call::<u64>("value", ()).await,
        ErrorCode::NotFound,
        &[&text],
    );
    assert_eq!(gone.fault, Fault::Peer);
    refused(clone.close().await, ErrorCode::NotFound, &[&text]);
}

#[tokio::test]
async fn objects_of_another_session_or_instance_or_of_one_that_died_are_refused() {
    let tenant = counter().await;
    let module = tenant.client.module("counter");
    let one = module.object("counter", (1,)).await.unwrap();
    let elsewhere = module.object("counter", (2,)).await.unwrap();
    let apart = module
        .call::<u64>("counter.larger", (&one, &elsewhere))
        .await;
    refused(apart, ErrorCode::FailedPrecondition, &["session"]);

    let other = tenant.client_again().await;
    let theirs = other
        .module("counter")
        .object("counter", (3,))
        .await
        .unwrap();
    let mixed = module.call::<u64>("counter.larger", (&one, &theirs)).await;
    assert!(matches!(mixed, Err(Error::Encode(_))), "{mixed:?}");
    assert_eq!(theirs.call::<u64>("value", ()).await.unwrap(), 3);

    let twin: Object = one.call("copy", ()).await.unwrap();
    refused(one.call::<()>("fail", ()).await, ErrorCode::Trapped, &[]);
    for dead in [&one, &twin] {
        let gone = failure(dead.call::<u64>("value", ()).await);
        assert_eq!(
            (gone.code, gone.fault),
            (ErrorCode::FailedPrecondition, Fault::Guest),
            "{gone}"
        );
    }
    assert_eq!(
        elsewhere.call::<u64>("value", ()).await.unwrap(),
        2,
        "it lives elsewhere"
    );
    drop((one, twin, elsewhere, theirs));
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn a_session_holds_so_many_objects_and_no_more() {
    const MAX: u64 = 100;
    let tenant = counter_of_session(HostOptions::new().limit("max-handles-per-session", MAX)).await;
    let module = tenant.client.module("counter");
    let mut held = Vec::new();
    let full = loop {
        match module.object("counter", (1,)).await {
            Ok(object) => held.push(object),
            Err(error) => break error,
        }
    };
    assert_eq!(held.len() as u64, MAX);
    refused::<()>(
        Err(full),
        ErrorCode::ResourceExhausted,
        &["max-handles-per-session"],
    );
    let more: Result<Vec<Object>, _> = module.call("make", ([1, 2],)).await;
    refused(
        more,
        ErrorCode::ResourceExhausted,
        &["max-handles-per-session"],
    );
    assert_eq!(
        held[7].call::<u64>("increment", ()).await.unwrap(),
        2,
        "all else goes on"
    );
    held.truncate(10);
    until_live(&module, 10).await;
    let more: Vec<Object> = module.call("make", (vec![0_u64; 90],)).await.unwrap();
    drop((more, held));
    until_live(&module, 0).await;
}

#[tokio::test]
async fn twenty_thousand_that_are_dropped_at_once_are_all_let_go_of() {
    const MANY: usize = 20_000;
    let options = HostOptions::new()
        .limit("max-handles-per-instance", 100_000)
        .limit("max-objects-per-call", 100_000);
    let tenant = counter_of_session(options).await;
    let module = tenant.client.module("counter");
    let many: Vec<Object> = module.call("make", (vec![1_u64; MANY],)).await.unwrap();
    assert_eq!(module.call::<u32>("live", ()).await.unwrap() as usize, MANY);
    drop(many);
    until_live(&module, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_storm_of_objects_loses_none_and_leaves_none() {
    let tenant = TestHost::start().await.tenant().await;
    tenant.register("counter", built("counter")).await;
    let course = Course {
        handles: 20_000,
        tasks: 8,
        seed: 1,
    };
    let outcome = storm(&tenant, course, |_| {}).await;
    assert!(outcome.counts.received.load(Ordering::Relaxed) >= course.handles);
}

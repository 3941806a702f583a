//! Guests that never end, wherever the host enters them.

use std::time::Duration;

use rpc_host_client::ErrorCode;
use rpc_host_tests::{TestHost, built, component};
use serde_json::Value;

use crate::refused;

const ENTRIES: [(&str, &str); 5] = [
    ("start", include_str!("../../runaway/start.wat")),
    ("call", include_str!("../../runaway/call.wat")),
    ("realloc", include_str!("../../runaway/realloc.wat")),
    ("post-return", include_str!("../../runaway/post-return.wat")),
    ("destructor", include_str!("../../runaway/destructor.wat")),
];

#[tokio::test]
async fn a_guest_that_never_ends_is_ended_wherever_it_was_entered() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = tenant.client.module("calc");
    for (entry, text) in ENTRIES {
        tenant.register(entry, component(text)).await;
        let module = tenant.client.module(entry);
        // One after another, and many at once.
        for at_once in [1, 1, 12] {
            let calls = (0..at_once).map(|_| {
                let call = module.function("run").timeout(Duration::from_millis(100));
                let call = match entry {
                    "realloc" => call.arg("some text"),
                    _ => call,
                };
                tokio::spawn(async move { call.call::<Value>().await })
            });
            for call in calls.collect::<Vec<_>>() {
                let ended = call.await.unwrap();
                let told = ["the call did not end within 100 ms"];
                refused(ended, ErrorCode::DeadlineExceeded, &told);
            }
            let sum: i64 = calc.call("add", (2, 3)).await.unwrap();
            assert_eq!(sum, 5, "after a loop in {entry}");
        }
    }
}

//! Objects that clients hold, and objects of clients that modules hold.

use rpc_host_client::FunctionDescription;
use rpc_host_tests::{TestHost, TestTenant, built};

async fn counter() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", built("counter")).await;
    tenant
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

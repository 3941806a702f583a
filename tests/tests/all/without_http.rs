//! A node that is built without the feature `http`, as it is by default.

use rpc_host_client::{ErrorCode, Options};
use rpc_host_tests::{Cli, TestHost, built};

use crate::refused;

#[tokio::test]
async fn a_grant_of_requests_is_refused_and_says_that_the_node_is_built_without() {
    let tenant = TestHost::shared().await.tenant().await;
    let module = tenant.client.upload_module(built("fetch")).await.unwrap();
    let granted = |grant: &str| Options {
        grants: vec![grant.to_owned()],
        ..Options::default()
    };
    let asked = tenant
        .client
        .register("fetch", &module, granted("http:example.com"));
    refused(
        asked.await,
        ErrorCode::FailedPrecondition,
        &["this node is built without `http`"],
    );
    // Without it, the module is as good as any other until it asks.
    tenant
        .client
        .register("fetch", &module, granted("log"))
        .await
        .unwrap();
    let asked = tenant.client.module("fetch");
    let asked = asked.call::<String>("get", ("https://example.com/",)).await;
    refused(
        asked,
        ErrorCode::PermissionDenied,
        &["wasi:http/", "grant `http`"],
    );
}

#[tokio::test]
async fn a_configuration_of_requests_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("node.toml"),
        "[http]\nports = [443]\n",
    )
    .unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", "node.toml"];
    let output = Cli::new(directory.path(), arguments).run().await;
    let said = output.failed(2);
    assert!(said.contains("this node is built without `http`"), "{said}");
}

//! Compiled code on disk: used if it is this node's own and whole, and else never run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rpc_host_client::{Client, ErrorCode};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, in_time};

use crate::refused;

/// The compiled files of a node.
fn artifacts(host: &TestHost) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for tenant in std::fs::read_dir(host.data().join("tenants")).unwrap() {
        let folder = tenant.unwrap().path().join("artifacts");
        let files = std::fs::read_dir(folder).unwrap();
        found.extend(files.map(|file| file.unwrap().path()));
    }
    found.sort();
    found
}

fn recompiled(host: &TestHost) -> usize {
    let lines = host.log().lines();
    lines
        .iter()
        .filter(|line| line.message() == "compiling a module")
        .count()
}

/// Changes the artifact while the node is down, and counts how often it compiles when it is back.
async fn compiles_after(host: &TestHost, tenant: &TestTenant, change: impl FnOnce(&Path)) -> usize {
    host.kill().await;
    let [artifact] = &artifacts(host)[..] else {
        panic!("one artifact")
    };
    change(artifact);
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    for _ in 0..2 {
        let sum: i64 = client.module("calc").call("add", (2, 3)).await.unwrap();
        assert_eq!(sum, 5);
    }
    recompiled(host)
}

#[tokio::test]
async fn an_artifact_is_run_only_if_it_is_untouched() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    // The one that this node made is used as it is.
    assert_eq!(compiles_after(&host, &tenant, |_| {}).await, 0);

    let flip = |place: usize| {
        move |path: &Path| {
            let mut bytes = std::fs::read(path).unwrap();
            let place = place.min(bytes.len() - 1);
            bytes[place] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    };
    let size = usize::try_from(std::fs::metadata(&artifacts(&host)[0]).unwrap().len()).unwrap();
    for place in [0, 20, 60, size / 2, size] {
        let count = compiles_after(&host, &tenant, flip(place)).await;
        assert_eq!(count, 1, "byte {place} changed");
    }
    // What was compiled again is good for the next start.
    assert_eq!(compiles_after(&host, &tenant, |_| {}).await, 0);

    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    assert_eq!(compiles_after(&host, &tenant, cut).await, 1);
    let empty = |path: &Path| std::fs::write(path, b"").unwrap();
    assert_eq!(compiles_after(&host, &tenant, empty).await, 1);
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    assert_eq!(compiles_after(&host, &tenant, remove).await, 1);
    let long = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, [&bytes[..], b"x"].concat()).unwrap();
    };
    assert_eq!(compiles_after(&host, &tenant, long).await, 1);
}

#[tokio::test]
async fn an_artifact_of_another_node_is_foreign() {
    let (host, other) = (TestHost::start().await, TestHost::start().await);
    let (tenant, their) = (host.tenant().await, other.tenant().await);
    tenant.register("calc", built("calc")).await;
    their.register("calc", built("calc")).await;
    let foreign = std::fs::read(&artifacts(&other)[0]).unwrap();
    let count = compiles_after(&host, &tenant, |path| {
        std::fs::write(path, foreign).unwrap()
    })
    .await;
    assert_eq!(count, 1);
}

#[tokio::test]
async fn an_artifact_of_another_module_or_tenant_is_foreign() {
    let host = TestHost::start().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    one.register("calc", built("calc")).await;
    one.register("plain", built("plain-bindgen")).await;
    other.register("calc", built("calc")).await;
    host.kill().await;
    // Round in a circle: each file gets what the one before it held.
    let files = artifacts(&host);
    assert_eq!(files.len(), 3);
    let contents: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for (file, content) in files.iter().zip(contents.iter().cycle().skip(1)) {
        std::fs::write(file, content).unwrap();
    }
    host.start_again().await;
    for (tenant, name) in [(&one, "calc"), (&one, "plain"), (&other, "calc")] {
        let client = Client::connect(tenant.profile()).await.unwrap();
        let sum: i64 = client.module(name).call("add", (2, 3)).await.unwrap();
        assert_eq!(sum, 5);
    }
    assert_eq!(recompiled(&host), 3);
}

#[tokio::test]
async fn a_node_with_another_key_believes_nothing_of_before() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let key = host.data().join("node.key");
    let count = compiles_after(&host, &tenant, |_| std::fs::remove_file(&key).unwrap()).await;
    assert_eq!(count, 1);
    assert!(key.exists());
}

#[tokio::test]
async fn a_module_whose_bytes_have_changed_is_not_compiled() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    host.kill().await;
    let [artifact] = &artifacts(&host)[..] else {
        panic!("one artifact")
    };
    let wasm = artifact.parent().unwrap().with_file_name("modules");
    let wasm = std::fs::read_dir(wasm)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&wasm).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&wasm, bytes).unwrap();
    std::fs::remove_file(artifact).unwrap();
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    refused(
        client.module("calc").call::<i64>("add", (2, 3)).await,
        ErrorCode::DataLoss,
        &["the stored module is damaged"],
    );
}

async fn call_calc(tenant: &TestTenant) {
    let sum: i64 = tenant
        .client
        .module("calc")
        .call("add", (2, 3))
        .await
        .unwrap();
    assert_eq!(sum, 5);
}

fn remove_artifacts(host: &TestHost) {
    for artifact in artifacts(host) {
        std::fs::remove_file(artifact).unwrap();
    }
}

/// A module that is loaded anew when it is called has to be compiled anew where its artifact is gone.
#[tokio::test]
async fn so_many_modules_stay_in_memory_and_no_more() {
    for (limit, value, goes) in [
        ("max-loaded-modules", 2, false),
        ("max-loaded-modules", 1, true),
        ("max-loaded-module-bytes", 1 << 30, false),
        ("max-loaded-module-bytes", 1, true),
    ] {
        let host = TestHost::start_with(HostOptions::new().limit(limit, value)).await;
        let tenant = host.tenant().await;
        tenant.register("calc", built("calc")).await;
        tenant.register("text", built("text")).await;
        call_calc(&tenant).await;
        let text = tenant.client.module("text").function("line_length");
        let length: Option<u64> = text
            .arg("one\nthree")
            .named("line", 1)
            .call()
            .await
            .unwrap();
        assert_eq!(length, Some(5));
        assert_eq!(recompiled(&host), 0);
        remove_artifacts(&host);
        call_calc(&tenant).await;
        assert_eq!(recompiled(&host), usize::from(goes), "{limit} = {value}");
    }
}

#[tokio::test]
async fn a_module_that_nobody_calls_does_not_stay_in_memory() {
    let options = HostOptions::new().limit("loaded-module-idle-timeout-ms", 1);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    call_calc(&tenant).await;
    let goes = async {
        while recompiled(&host) == 0 {
            remove_artifacts(&host);
            // Nobody calls meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            call_calc(&tenant).await;
        }
    };
    in_time("it is loaded anew", goes).await;
}

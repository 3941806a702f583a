//! What must never be seen: tokens and keys, in no log and in no file but the one that is theirs.

use std::path::Path;

use rpc_host_client::{Client, Options};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, built};

pub(crate) fn search(folder: &Path, needle: &[u8], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, needle, found);
        } else if std::fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
        {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test]
async fn tokens_are_neither_logged_nor_stored() {
    let host = TestHost::start_with(HostOptions::new().log_level("trace")).await;
    let admin = host.client().await;
    let tenant = host.tenant().await;
    let calc = tenant.client.upload_module(built("calc")).await.unwrap();
    tenant
        .client
        .register("calc", &calc, Options::default())
        .await
        .unwrap();
    let secret_argument = "an argument that is nobody's business";
    tenant.register("text", built("text")).await;
    let words: Option<u64> = tenant
        .client
        .module("text")
        .call("line_length", (secret_argument, 0))
        .await
        .unwrap();
    assert!(words.is_some());
    let made = tenant.client.token_create(rpc_host_client::TokenRequest {
        tenant: None,
        role: "caller".to_owned(),
        expires_in: None,
    });
    let made = made.await.unwrap();
    Client::connect(host.profile(&made.token))
        .await
        .unwrap()
        .list()
        .await
        .unwrap();
    tenant.client.token_revoke(&made.entry.id).await.unwrap();
    Client::connect(host.profile(&made.token))
        .await
        .unwrap_err();
    // Wrong in other ways.
    let almost = format!("{}0", made.token);
    for token in [&almost, "rpch_not_a_token_but_still_secret"] {
        RawPeer::connect(&host)
            .await
            .enter(Some(token))
            .await
            .unwrap_err();
    }
    let cli = tenant.cli(["-vv", "call", "calc", "add(2, 3)"]).run().await;
    assert_eq!(cli.ok(), "5");
    let secret = |token: &str| token.rsplit_once('_').unwrap().1.to_owned();
    assert!(
        !cli.stderr.contains(&secret(&tenant.token)),
        "the client's log"
    );
    drop(admin);
    host.signal("TERM").await;
    assert!(host.end().await.success());

    let log = host.log().text();
    assert!(log.lines().count() > 10, "there is a log: {log}");
    let key = std::fs::read_to_string(host.data().join("ca.key")).unwrap();
    let key_line = key.lines().nth(1).unwrap();
    let admin_secret = secret(&host.admin_token());
    let secrets = [
        &admin_secret,
        &secret(&tenant.token),
        &secret(&made.token),
        "still_secret",
        key_line,
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "a secret in the log");
    }
    assert!(!log.contains(secret_argument), "an argument in the log");

    let mut found = Vec::new();
    search(&host.data(), admin_secret.as_bytes(), &mut found);
    assert_eq!(found, [host.client_profile_path().display().to_string()]);
    for token in [&tenant.token, &made.token] {
        let mut found = Vec::new();
        search(&host.data(), secret(token).as_bytes(), &mut found);
        assert_eq!(found, [""; 0]);
    }
}

#[tokio::test]
async fn errors_tell_nothing_of_the_nodes_files() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    host.kill().await;
    // The module itself is gone: the node's own fault, and its own affair.
    for entry in std::fs::read_dir(host.data().join("tenants")).unwrap() {
        let tenant = entry.unwrap().path();
        std::fs::remove_dir_all(tenant.join("artifacts")).unwrap();
        for module in std::fs::read_dir(tenant.join("modules")).unwrap() {
            std::fs::write(module.unwrap().path(), "damaged").unwrap();
        }
    }
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    let failure = crate::failure(client.module("calc").call::<i64>("add", (2, 3)).await);
    let data = host.data().display().to_string();
    assert!(
        !failure.message.contains(&data) && !failure.message.contains("artifacts"),
        "{failure:?}"
    );
}

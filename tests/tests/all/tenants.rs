//! Tenants, and what one can learn of another.

use rpc_host_client::{Client, Error, ErrorCode, Failure, RevisionEntry};
use rpc_host_protocol::Operation;
use rpc_host_protocol::operation::Register;
use rpc_host_tests::{TestHost, built};

use crate::{failure, refused};

#[tokio::test]
async fn tenants_come_and_go_by_the_command_line() {
    let host = TestHost::shared().await;
    let name = host.fresh_name("team");
    let run = async |arguments: [&str; 3]| host.cli(arguments).run().await;
    run(["tenant", "create", &name]).await.ok();
    run(["tenant", "create", &name]).await.error(
        "already-exists",
        &[&format!(
            "there is already a tenant `{name}`; choose another name"
        )],
    );
    let shown = host
        .cli(["tenant", "show", &name, "--output", "json"])
        .run()
        .await
        .json();
    assert_eq!(shown["name"], *name);
    assert_eq!(shown["modules"], 0);
    let listed = host
        .cli(["tenant", "list", "--output", "json"])
        .run()
        .await
        .json();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|tenant| &tenant["name"])
        .collect();
    assert!(
        names.iter().any(|listed| **listed == *name) && names.iter().any(|n| **n == *"default")
    );
    let text = host.cli(["tenant", "list"]).run().await;
    assert!(text.ok().contains(&name));
    run(["tenant", "remove", &name]).await.ok();
    run(["tenant", "show", &name]).await.error(
        "not-found",
        &[
            &format!("there is no tenant `{name}`"),
            "rpc-host tenant list",
        ],
    );
    run(["tenant", "remove", &name])
        .await
        .error("not-found", &[&name]);
    run(["tenant", "remove", "default"]).await.error(
        "failed-precondition",
        &["tenant `default` belongs to the node and cannot be removed"],
    );
    for bad in ["Team", "a/b", "../x", "a b", ""] {
        run(["tenant", "create", bad]).await.error(
            "invalid-argument",
            &["1 to 63 characters of a-z, 0-9 and `-`"],
        );
    }
}

#[tokio::test]
async fn a_removed_tenant_leaves_nothing_behind() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let folders = || {
        std::fs::read_dir(host.data().join("tenants"))
            .unwrap()
            .count()
    };
    assert_eq!(folders(), 1);
    let sum: i64 = tenant
        .client
        .module("calc")
        .call("add", (2, 3))
        .await
        .unwrap();
    assert_eq!(sum, 5);

    host.client()
        .await
        .tenant_remove(&tenant.name)
        .await
        .unwrap();
    assert_eq!(folders(), 0);
    let on_open_session = tenant.client.list().await;
    let gone = failure(on_open_session);
    assert_eq!(gone.code, ErrorCode::Unauthenticated, "{gone:?}");
    let anew = Client::connect(tenant.profile()).await;
    assert!(matches!(anew, Err(Error::Unauthenticated(_))), "{anew:?}");

    // The same name again is another tenant.
    host.client()
        .await
        .tenant_create(&tenant.name)
        .await
        .unwrap();
    let anew = Client::connect(tenant.profile()).await;
    assert!(matches!(anew, Err(Error::Unauthenticated(_))), "{anew:?}");
    let shown = host.client().await.tenant_show(&tenant.name).await.unwrap();
    assert_eq!(
        (shown.modules, shown.registrations, shown.tokens),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn names_of_two_tenants_have_nothing_to_do_with_each_other() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    one.register("thing", built("calc")).await;
    other.register("thing", built("text")).await;
    let sum: i64 = one
        .client
        .module("thing")
        .call("add", (2, 3))
        .await
        .unwrap();
    let length: Option<u64> = other
        .client
        .module("thing")
        .call("line_length", ("abc", 0))
        .await
        .unwrap();
    assert_eq!((sum, length), (5, Some(3)));
    refused(
        one.client
            .module("thing")
            .call::<u64>("line_length", ("abc", 0))
            .await,
        ErrorCode::InvalidArgument,
        &["there is no function `line_length`"],
    );
    one.client.remove("thing").await.unwrap();
    assert_eq!(other.client.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_another_tenant_has_and_what_nobody_has_are_answered_alike() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let module = one.register("theirs", built("calc")).await;
    let absent = format!("sha256:{}", "0".repeat(64));
    // Each pair: what there is elsewhere, what there is nowhere. Names are cut out of the answer.
    let same = |theirs: Failure, nobodys: Failure| {
        let mut theirs = theirs;
        theirs.message = theirs
            .message
            .replace(module.digest(), &absent)
            .replace("theirs", "nobodys")
            .replace(&one.name, "no-such-tenant");
        assert_eq!(theirs, nobodys);
    };
    let client = &other.client;
    same(
        failure(client.show("theirs").await),
        failure(client.show("nobodys").await),
    );
    same(
        failure(client.inspect("theirs").await),
        failure(client.inspect("nobodys").await),
    );
    same(
        failure(client.history("theirs").await),
        failure(client.history("nobodys").await),
    );
    same(
        failure(client.remove("theirs").await),
        failure(client.remove("nobodys").await),
    );
    same(
        failure(client.describe("theirs", None).await),
        failure(client.describe("nobodys", None).await),
    );
    same(
        failure(client.module("theirs").call::<i64>("add", (2, 3)).await),
        failure(client.module("nobodys").call::<i64>("add", (2, 3)).await),
    );
    same(
        failure(client.remove_module(module.digest()).await),
        failure(client.remove_module(&absent).await),
    );
    let mut peer = other.raw_peer().await;
    let mut register = async |digest: &str| -> Failure {
        let register = Operation::Register(Register {
            name: "mine".to_owned(),
            digest: digest.to_owned(),
            ..Register::default()
        });
        peer.operate::<RevisionEntry>(register).await.unwrap_err()
    };
    same(register(module.digest()).await, register(&absent).await);
    // Nor can an admin ask about tenants other than its own.
    same(
        failure(client.tenant_show(&one.name).await),
        failure(client.tenant_show("no-such-tenant").await),
    );
    same(
        failure(client.tenant_remove(&one.name).await),
        failure(client.tenant_remove("no-such-tenant").await),
    );
    same(
        failure(client.token_list(Some(&one.name)).await),
        failure(client.token_list(Some("no-such-tenant")).await),
    );
    refused(
        client.tenant_list().await,
        ErrorCode::PermissionDenied,
        &["tenant `default`"],
    );
    assert_eq!(
        client.tenant_show(&other.name).await.unwrap().name,
        other.name
    );

    // The same bytes are not known to be there because somebody else has them.
    let uploaded = client.upload_module(built("calc")).await.unwrap();
    assert!(!uploaded.was_known());
    assert_eq!(uploaded.digest(), module.digest());
}

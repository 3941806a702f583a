//! Tokens and roles.

use std::time::{Duration, Instant};

use rpc_host_client::{ChangeOptions, Client, Error, ErrorCode, Options, SwapTo, TokenRequest};
use rpc_host_tests::{PATIENCE, TestHost, TestTenant, built};

use crate::{failure, refused};

fn request(role: &str) -> TokenRequest {
    TokenRequest {
        tenant: None,
        role: role.to_owned(),
        expires_in: None,
    }
}

#[tokio::test]
async fn tokens_come_and_go_by_the_command_line() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let created = host
        .cli([
            "token",
            "create",
            "--tenant",
            &tenant.name,
            "--role",
            "caller",
        ])
        .run()
        .await;
    let token = created.ok().to_owned();
    assert!(
        token.starts_with("rpch_"),
        "a script can take it as it is: {created:?}"
    );
    let client = Client::connect(host.profile(&token)).await.unwrap();
    assert!(client.list().await.unwrap().is_empty());

    let listed = tenant
        .cli(["token", "list", "--output", "json"])
        .run()
        .await;
    let entries = listed.json();
    let entry = entries
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["role"] == "caller")
        .unwrap();
    let id = entry["id"].as_str().unwrap();
    assert!(token.contains(id));
    let secret = token.rsplit_once('_').unwrap().1;
    assert!(!listed.stdout.contains(secret));
    assert!(tenant.cli(["token", "list"]).run().await.ok().contains(id));

    tenant.cli(["token", "revoke", id]).run().await.ok();
    tenant
        .cli(["token", "revoke", id])
        .run()
        .await
        .error("not-found", &[id]);
    tenant
        .cli(["token", "revoke", "xyz"])
        .run()
        .await
        .error("invalid-argument", &["16 hexadecimal digits"]);
    let king = tenant
        .cli(["token", "create", "--role", "king"])
        .run()
        .await;
    assert!(
        king.failed(2).contains("reader, caller, deployer, admin"),
        "{king:?}"
    );
    let king = failure(tenant.client.token_create(request("king")).await);
    assert_eq!(
        king.message,
        "a role is one of reader, caller, deployer, admin"
    );
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing_at_once() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let made = tenant.client.token_create(request("caller")).await.unwrap();
    let client = Client::connect(tenant.host.profile(&made.token))
        .await
        .unwrap();
    let sum: i64 = client.module("calc").call("add", (2, 3)).await.unwrap();
    assert_eq!(sum, 5);
    tenant.client.token_revoke(&made.entry.id).await.unwrap();
    let next = failure(client.module("calc").call::<i64>("add", (2, 3)).await);
    assert_eq!(
        next.code,
        ErrorCode::Unauthenticated,
        "on the open session: {next:?}"
    );
    let anew = Client::connect(tenant.host.profile(&made.token)).await;
    assert!(matches!(anew, Err(Error::Unauthenticated(_))), "{anew:?}");
}

#[tokio::test]
async fn a_token_expires() {
    let tenant = TestHost::shared().await.tenant().await;
    let started = Instant::now();
    let created = tenant
        .cli(["token", "create", "--role", "reader", "--expires", "2s"])
        .run()
        .await;
    let client = Client::connect(tenant.host.profile(created.ok()))
        .await
        .unwrap();
    client.list().await.unwrap();
    // The open session ends when the token does, and the client says why when it comes back.
    let why = loop {
        match client.list().await {
            Ok(_) if started.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(_) => panic!("the token never expired"),
            Err(why) => break why,
        }
    };
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(why.code(), ErrorCode::Unauthenticated, "{why:?}");
    let anew = Client::connect(tenant.host.profile(created.ok())).await;
    assert!(matches!(anew, Err(Error::Unauthenticated(_))), "{anew:?}");
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let host = TestHost::start().await;
    let admin = host.client().await;
    let id = admin.token_list(None).await.unwrap()[0].id.clone();
    refused(
        admin.token_revoke(&id).await,
        ErrorCode::FailedPrecondition,
        &["the last admin token of tenant `default`; create another one first"],
    );
    let other = admin.token_create(request("admin")).await.unwrap();
    admin.token_revoke(&id).await.unwrap();
    let other = Client::connect(host.profile(&other.token)).await.unwrap();
    assert_eq!(other.token_list(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_of_another_tenant_cannot_be_revoked() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let id = one.client.token_list(None).await.unwrap()[0].id.clone();
    let theirs = failure(other.client.token_revoke(&id).await);
    let nobodys = failure(other.client.token_revoke("0123456789abcdef").await);
    assert_eq!(theirs.code, ErrorCode::NotFound);
    assert_eq!(
        theirs.message.replace(&id, "0123456789abcdef"),
        nobodys.message
    );
    one.client.list().await.unwrap();
    host.client().await.token_revoke(&id).await.unwrap();
}

/// What each role may do: every operation, by every role.
#[tokio::test]
async fn each_role_may_do_what_it_says() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let module = tenant.register("calc", built("calc")).await;
    let roles = ["reader", "caller", "deployer", "admin"];
    for (rank, role) in roles.into_iter().enumerate() {
        let client = tenant.client_of(role).await;
        let name = format!("{role}s");
        let may = |least: usize, what: &str, outcome: Result<(), Error>| {
            if rank >= least {
                outcome.unwrap_or_else(|error| panic!("{role} {what}: {error}"));
            } else {
                let needs = format!("role `{}` or above, this one has `{role}`", roles[least]);
                refused(outcome, ErrorCode::PermissionDenied, &[&needs]);
            }
        };
        let calc = client.module("calc");
        may(0, "list", client.list().await.map(drop));
        may(0, "show", client.show("calc").await.map(drop));
        may(0, "history", client.history("calc").await.map(drop));
        may(0, "inspect", client.inspect("calc").await.map(drop));
        may(0, "describe", client.describe("calc", None).await.map(drop));
        may(0, "modules", client.modules().await.map(drop));
        may(
            0,
            "own tenant",
            client.tenant_show(&tenant.name).await.map(drop),
        );
        may(1, "call", calc.call::<i64>("add", (2, 3)).await.map(drop));
        may(
            2,
            "upload",
            client.upload_module(built("text")).await.map(drop),
        );
        let registered = client.register(&name, &module, Options::default()).await;
        may(2, "register", registered.map(drop));
        let to = SwapTo::Digest(module.digest().to_owned());
        let conditions = ChangeOptions::default();
        let swapped = client.swap(&name, to, conditions).await;
        may(2, "swap", swapped.map(drop));
        let log = Options {
            grants: vec!["log".to_owned()],
            ..Options::default()
        };
        let registered = client.register(&name, &module, log).await;
        may(2, "register", registered.map(drop));
        let back = client.rollback(&name, conditions).await;
        may(2, "rollback", back.map(drop));
        may(2, "remove", client.remove(&name).await);
        let text = client.modules().await.unwrap();
        let text = text.iter().find(|one| one.digest != module.digest());
        if let Some(text) = text {
            may(2, "remove module", client.remove_module(&text.digest).await);
        }
        may(3, "list tokens", client.token_list(None).await.map(drop));
        may(
            3,
            "make tokens",
            client.token_create(request("reader")).await.map(drop),
        );
        may(3, "revoke tokens", revoke_one(&tenant, &client).await);
        // Tenants are for the node's own admins.
        for outcome in [
            client.tenant_list().await.map(drop),
            client.tenant_create("mine").await.map(drop),
            client.tenant_remove(&tenant.name).await,
            client.tenant_show("default").await.map(drop),
        ] {
            refused(
                outcome,
                ErrorCode::PermissionDenied,
                &["an admin token of tenant `default`"],
            );
        }
    }
}

async fn revoke_one(tenant: &TestTenant, client: &Client) -> Result<(), Error> {
    let made = tenant.client.token_create(request("reader")).await?;
    client.token_revoke(&made.entry.id).await
}

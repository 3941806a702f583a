//! Programs that serve a name and are killed or stopped, as processes are: what answers meanwhile, and when.

use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode};
use rpc_host_tests::{CliProcess, PATIENCE, TestHost, TestTenant, in_time};
use tokio::task::JoinHandle;

use crate::refused;
use crate::stand_ins::{ADA, VERIFIER, another, nobody_serves, tenant_with_app, user, whoami};

/// Vouches for everybody, as whom its first argument says.
const VOUCH: &str =
    r#"n=0; while read -r call; do n=$((n + 1)); echo "{\"id\": $n, \"ok\": \"$0\"}"; done"#;

/// The same, but the first answer has to wait until there is a file of the name that its second argument
/// says.
const VOUCH_LATER: &str = r#"
    n=0
    while read -r call; do
        n=$((n + 1))
        while [ ! -e "$1" ]; do sleep 0.02; done
        echo "{\"id\": $n, \"ok\": \"$0\"}"
    done"#;

async fn apps() -> TestTenant {
    tenant_with_app(TestHost::shared().await).await
}

/// A program that serves the verifier, in a process of its own.
async fn provide(tenant: &TestTenant, flags: &[&str], script: [&str; 3]) -> CliProcess {
    let flags = flags.iter().copied();
    let exec = ["--exec", "/bin/sh", "--", "-c"].into_iter().chain(script);
    let arguments = ["provide", VERIFIER].into_iter().chain(flags).chain(exec);
    let mut process = tenant.command(arguments).start();
    let line = process.line().await;
    assert!(line.starts_with("serving acme:auth/verifier"), "{line}");
    process
}

type Answer = Result<Result<String, String>, Error>;

/// A call that the program has got.
async fn waiting_call(client: &Client) -> JoinHandle<Answer> {
    let caller = client.clone();
    let waiting = tokio::spawn(async move { whoami(&caller, ADA).await });
    in_time("the call at the program", async {
        let in_flight = async || {
            let entries = client.providers().await.unwrap();
            entries.iter().map(|entry| entry.in_flight).sum::<u32>()
        };
        while in_flight().await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    waiting
}

/// Far less than the lease of those that are to be noticed without it, and far more than it takes.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_waits_for_a_program_that_is_killed_is_told_at_once_and_others_have_the_module() {
    let tenant = apps().await;
    let client = another(&tenant).await;
    let gate = tenant.host.fresh_name("gate");
    let script = [VOUCH_LATER, "eve", gate.as_str()];
    let process = provide(&tenant, &["--lease", "2m"], script).await;
    let waiting = waiting_call(&client).await;
    let began = Instant::now();
    process.signal("KILL").await;
    refused(
        in_time("the end of the call", waiting).await.unwrap(),
        ErrorCode::ProviderLost,
        &["ended with its connection"],
    );
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    for client in [&client, &another(&tenant).await] {
        assert_eq!(user(whoami(client, ADA).await), "ada");
    }
    nobody_serves(&client).await;
    // The program of a command that is gone ends when it has something to say.
    tenant.host.file(&gate, "");
    process.end().await;
}

#[tokio::test]
async fn a_program_that_was_stopped_is_given_up_within_its_lease_and_its_late_answer_is_nobodys() {
    let tenant = apps().await;
    let client = another(&tenant).await;
    let gate = tenant.host.fresh_name("gate");
    let script = [VOUCH_LATER, "eve", gate.as_str()];
    let mut process = provide(&tenant, &["--lease", "1s"], script).await;
    let waiting = waiting_call(&client).await;
    let stopped = Instant::now();
    process.signal("STOP").await;
    // The program itself runs on, and answers; but nobody carries that to the node.
    tenant.host.file(&gate, "");
    refused(
        in_time("the end of the call", waiting).await.unwrap(),
        ErrorCode::ProviderLost,
        &["nothing was heard of the client for 1000 ms"],
    );
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(1) + PATIENCE / 3, "{took:?}");
    // The calls that came meanwhile have the module's answer, and keep it.
    assert_eq!(user(whoami(&client, ADA).await), "ada");
    nobody_serves(&client).await;

    process.signal("CONT").await;
    let line = process.line().await;
    assert!(line.starts_with("serving acme:auth/verifier"), "{line}");
    for _ in 0..10 {
        assert_eq!(user(whoami(&client, ADA).await), "eve");
    }
    process.signal("TERM").await;
    let end = process.end().await;
    assert_eq!(end.status.code(), Some(143), "{end:#?}");
    assert!(
        end.stderr.contains("lost acme:auth/verifier: ") && end.stderr.contains("expired"),
        "{end:#?}"
    );
    assert_eq!(user(whoami(&client, ADA).await), "ada");
}

#[tokio::test]
async fn who_wants_nobody_to_stand_in_leaves_an_error_until_it_is_withdrawn() {
    let tenant = apps().await;
    let flags = ["--lease", "1s", "--fallback", "error"];
    for signal in ["KILL", "STOP"] {
        let mut process = provide(&tenant, &flags, [VOUCH, "eve", ""]).await;
        assert_eq!(user(whoami(&tenant.client, ADA).await), "eve");
        process.signal(signal).await;
        // Lost, at the latest when the lease is over; and then again and again.
        for _ in 0..3 {
            refused(
                whoami(&tenant.client, ADA).await,
                ErrorCode::ProviderLost,
                &["`acme:auth/verifier` was served by the client of session"],
            );
        }
        let listed = tenant.cli(["list"]).run().await;
        assert!(
            listed.ok().contains("lost; calls end with an error"),
            "{listed:#?}"
        );
        let withdraw = tenant.cli(["withdraw", VERIFIER, "--steal"]).run().await;
        withdraw.ok();
        assert_eq!(user(whoami(&tenant.client, ADA).await), "ada");
        if signal == "STOP" {
            // Awake, it takes the name that nobody else has taken.
            process.signal("CONT").await;
            process.line().await;
            assert_eq!(user(whoami(&tenant.client, ADA).await), "eve");
            process.signal("TERM").await;
        }
        process.end().await;
    }
}

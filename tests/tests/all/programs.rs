//! Names served by programs, from the command line: `provide`, `call --provide`, `withdraw`.

use rpc_host_client::Options;
use rpc_host_tests::{CliProcess, TestHost, TestTenant, built};

const VERIFIER: &str = "acme:auth/verifier";
const CALL: [&str; 3] = ["call", "app", r#"handle("secret", "whoami")"#];

/// Vouches for everybody, as whom its first argument says.
const VOUCH: &str =
    r#"n=0; while read -r call; do n=$((n + 1)); echo "{\"id\": $n, \"ok\": \"$0\"}"; done"#;

/// A tenant in which `app` asks the registered verifier, which vouches for nobody here.
async fn tenant() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    for (name, file) in [
        ("app", "app"),
        ("acme:log/logger", "logger"),
        (VERIFIER, "verifier"),
    ] {
        let options = Options {
            grants: vec!["log".to_owned()],
            ..Options::default()
        };
        tenant.register_with(name, built(file), options).await;
    }
    tenant
}

async fn answer(tenant: &TestTenant) -> String {
    let output = tenant.cli(CALL).run().await;
    output.stdout.trim_end().to_owned()
}

/// Serves the verifier, vouching for `user`.
async fn provide(tenant: &TestTenant, user: &str) -> CliProcess {
    let arguments = [
        "provide", VERIFIER, "--exec", "/bin/sh", "--lease", "1s", "--", "-c", VOUCH, user,
    ];
    let mut process = tenant.cli(arguments).start();
    assert_eq!(
        process.line().await,
        "serving acme:auth/verifier (lease 1s, 16 calls at once): verify"
    );
    process
}

/// What the registered verifier says.
const UNSERVED: &str = r#"err("a token is NAME.SIGNATURE, and this has no dot")"#;

#[tokio::test]
async fn a_program_serves_the_tenant_until_it_is_interrupted() {
    let tenant = tenant().await;
    assert_eq!(answer(&tenant).await, UNSERVED);
    let ada = provide(&tenant, "ada").await;
    assert_eq!(answer(&tenant).await, r#"ok("ada")"#);

    let listed = tenant.cli(["list", "--output", "json"]).run().await.json();
    let listed = listed.as_array().unwrap();
    let entry = listed.iter().find(|entry| entry["name"] == VERIFIER);
    let entry = entry.unwrap();
    assert_eq!(entry["provider"]["scope"], "tenant");
    assert_eq!(entry["provider"]["serving"], true);
    assert_eq!(entry["current"]["revision"], 1);
    let listed = tenant.cli(["list"]).run().await;
    assert!(listed.ok().contains("\n\nSERVED BY CLIENT"), "{listed:#?}");

    ada.signal("INT").await;
    let end = ada.end().await;
    assert_eq!(end.status.code(), Some(130), "{end:#?}");
    assert!(end.stderr.contains("error: interrupted"), "{end:#?}");
    assert_eq!(answer(&tenant).await, UNSERVED);
}

#[tokio::test]
async fn a_name_falls_back_when_its_program_is_killed_or_its_command() {
    let tenant = tenant().await;
    let ada = provide(&tenant, "ada").await;
    ada.signal("KILL").await;
    ada.end().await;
    // A call that is quicker than the end of the connection is lost with it.
    answer(&tenant).await;
    assert_eq!(answer(&tenant).await, UNSERVED);

    let arguments = [
        "provide",
        VERIFIER,
        "--exec",
        "/bin/sh",
        "--",
        "-c",
        "read -r call; exit 7",
    ];
    let mut process = tenant.cli(arguments).start();
    process.line().await;
    let failed = tenant.cli(CALL).run().await;
    assert_eq!(failed.status.code(), Some(1), "{failed:#?}");
    let end = process.end().await;
    assert_eq!(end.status.code(), Some(1), "{end:#?}");
    assert!(
        end.stderr.contains("error: /bin/sh ended: exit status: 7"),
        "{end:#?}"
    );
    assert_eq!(answer(&tenant).await, UNSERVED);
}

#[tokio::test]
async fn a_command_that_was_stopped_loses_the_name_and_takes_it_again() {
    let tenant = tenant().await;
    let mut ada = provide(&tenant, "ada").await;
    ada.signal("STOP").await;
    // The call waits for the stopped one until its lease is over, and may then fail.
    answer(&tenant).await;
    assert_eq!(answer(&tenant).await, UNSERVED);
    ada.signal("CONT").await;
    assert_eq!(
        ada.line().await,
        "serving acme:auth/verifier (lease 1s, 16 calls at once): verify"
    );
    assert_eq!(answer(&tenant).await, r#"ok("ada")"#);

    // Who is sent away stays away.
    let withdrawn = tenant.cli(["withdraw", VERIFIER, "--steal"]).run().await;
    withdrawn.ok();
    let end = ada.end().await;
    assert_eq!(end.status.code(), Some(1), "{end:#?}");
    assert!(
        end.stderr.contains("is not served any more: aborted"),
        "{end:#?}"
    );
    assert_eq!(answer(&tenant).await, UNSERVED);
    let again = tenant.cli(["withdraw", VERIFIER, "--steal"]).run().await;
    again.error("not-found", &[]);
}

#[tokio::test]
async fn one_call_has_a_program_to_itself() {
    let tenant = tenant().await;
    let script = format!("#!/bin/sh\nset -- eve; {}\n", VOUCH.replace("$0", "$1"));
    let program = tenant.host.file("vouch-for-eve", script);
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let stand_in = format!("{VERIFIER}={}", program.display());
    let [call, app, text] = CALL;
    let output = tenant
        .cli([call, app, text, "--provide", &stand_in])
        .run()
        .await;
    assert_eq!(output.ok(), r#"ok("eve")"#);
    assert_eq!(answer(&tenant).await, UNSERVED);
    // A program that was not used is told of, as its answer is not the one that is seen.
    tenant.register("calc", built("calc")).await;
    let unused = format!("calc={}", program.display());
    let output = tenant
        .cli([call, app, text, "--provide", &unused])
        .run()
        .await;
    assert_eq!(output.stdout.trim_end(), UNSERVED);
    let noted = "warning: the call did not ask calc of your program";
    assert!(output.stderr.contains(noted), "{output:#?}");
    let output = tenant
        .cli([call, app, text, "--provide", &unused, "--provide", &unused])
        .run()
        .await;
    assert!(
        output.failed(2).contains("--provide calc is given twice"),
        "{output:#?}"
    );
    let missing = format!("{VERIFIER}=/no/such/program");
    let output = tenant
        .cli([call, app, text, "--provide", &missing])
        .run()
        .await;
    assert!(
        output.failed(1).contains("cannot start /no/such/program"),
        "{output:#?}"
    );
}

//! The command line's own contract: exit codes, where what is said, help and completions.

use rpc_host_tests::{Cli, TestHost, built};
use serde_json::Value;

#[tokio::test]
async fn help_and_version_are_results() {
    let directory = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| Cli::new(directory.path(), arguments).run().await;
    let help = run(&["--help"]).await;
    for verb in [
        "serve",
        "upload",
        "call",
        "provide",
        "promote",
        "withdraw",
        "list",
        "show",
        "inspect",
        "history",
        "remove",
        "tenant",
        "token",
        "completions",
    ] {
        assert!(
            help.ok().contains(&format!("\n  {verb}")),
            "no {verb} in {help:?}"
        );
        let help = run(&[verb, "--help"]).await;
        assert!(help.ok().contains("Usage: rpc-host"), "{help:?}");
    }
    let version = run(&["--version"]).await;
    assert_eq!(
        version.ok(),
        concat!("rpc-host ", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_status_2_and_on_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let table: [(&[&str], &str); 9] = [
        (&[], "Usage:"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["list", "--output", "xml"], "invalid value 'xml'"),
        (&["list", "too-much"], "unexpected argument 'too-much'"),
        (&["show"], "<NAME>"),
        (&["call", "calc"], "FUNCTION(ARGS)"),
        (&["upload", "x.wasm", "--grant", "log"], "--name"),
        (
            &["upload", "x.wasm", "--name", "x", "--limit", "power"],
            "--limit",
        ),
        (&["token", "create", "--expires", "soon"], "--expires"),
    ];
    for (arguments, part) in table {
        let output = Cli::new(directory.path(), arguments).run().await;
        assert!(
            output.failed(2).contains(part),
            "no {part:?} in {output:#?}"
        );
    }
}

#[tokio::test]
async fn every_listing_is_json_when_asked() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let json = async |arguments: &[&str]| -> Value {
        let all = arguments.iter().chain(&["--output", "json"]).copied();
        let cli =
            Cli::new(tenant.host.directory(), all).env("RPC_HOST_PROFILE", tenant.profile_path());
        cli.run().await.json()
    };
    for (arguments, key) in [
        (&["list"][..], "/0/current/name"),
        (&["show", "calc"], "/current/digest"),
        (&["history", "calc"], "/0/revision"),
        (&["inspect", "calc"], "/exports/0/signature"),
        (&["tenant", "show", &tenant.name], "/stored-bytes"),
        (&["token", "list"], "/0/role"),
    ] {
        let value = json(arguments).await;
        assert!(value.pointer(key).is_some(), "no {key} in {value:#}");
    }
    let of_admin = tenant
        .host
        .cli(["tenant", "list", "--output", "json"])
        .run()
        .await
        .json();
    assert!(of_admin.pointer("/0/created-at-ms").is_some(), "{of_admin}");
    let made = json(&["token", "create", "--role", "reader", "--expires", "1h"]).await;
    assert!(
        made["token"]
            .as_str()
            .is_some_and(|token| token.starts_with("rpch_")),
        "keys only"
    );
    let entry = &made["entry"];
    let at = |key: &str| entry[key].as_u64().unwrap();
    let life_ms = at("expires-at-ms") - at("created-at-ms");
    assert!((3_599_000..=3_600_000).contains(&life_ms), "{life_ms}");
}

#[tokio::test]
async fn output_is_for_scripts_and_notes_are_beside_it() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let file = host.file("script.wasm", built("calc"));
    let upload = tenant
        .cli(["upload", file.to_str().unwrap(), "--name", "calc"])
        .run()
        .await;
    assert_eq!(
        upload.ok().lines().count(),
        1,
        "the digest alone: {upload:?}"
    );
    assert!(
        upload.stderr.contains("calc is now revision 1"),
        "{upload:?}"
    );
    assert!(
        !upload.stderr.contains('\u{1b}'),
        "no bar where there is no terminal: {upload:?}"
    );
    let call = tenant.cli(["call", "calc", "add(2, 3)"]).run().await;
    assert_eq!((&*call.stdout, &*call.stderr), ("5\n", ""));
    let error = tenant.cli(["call", "calc", "add(2)"]).run().await;
    assert!(
        error
            .failed(1)
            .starts_with("error: invalid-argument: args[1]"),
        "{error:?}"
    );
}

#[tokio::test]
async fn there_are_completions_for_each_shell() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = Cli::new(directory.path(), ["completions", shell])
            .run()
            .await;
        for word in ["rpc-host", "upload", "inspect"] {
            assert!(output.ok().contains(word), "no {word} for {shell}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_said_with_what_to_do() {
    let host = TestHost::start().await;
    let profile = host.client_profile_path();
    host.kill().await;
    let output = Cli::new(host.directory(), ["list"])
        .env("RPC_HOST_PROFILE", profile)
        .run()
        .await;
    output.error(
        "error: unavailable: ",
        &[
            "cannot connect to",
            &host.address(),
            "hint: ",
            "rpc-host serve",
        ],
    );
}

#[tokio::test]
async fn a_missing_right_and_a_missing_grant_are_told_apart() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("greeter", built("greeter")).await;
    let reader = tenant.host.profile_file(
        &format!("{}-reader", tenant.name),
        &tenant.token("reader").await,
    );
    let call = ["call", "greeter", "greet(\"Ada\", english)"];
    let no_right = tenant.cli(call).env("RPC_HOST_PROFILE", reader).run().await;
    no_right.error(
        "error: permission-denied: ",
        &["role `caller` or above", "rpc-host token create --role"],
    );
    let no_grant = tenant.cli(call).run().await;
    let said = no_grant.error("error: permission-denied: ", &["needs the grant `log`"]);
    assert!(!said.contains("role"), "no token would help: {said}");
}

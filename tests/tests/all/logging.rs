//! What guests write into the node's log.

use rpc_host_client::{Client, ErrorCode, Options};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, component};

use crate::refused;

fn with_log() -> Options {
    Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    }
}

async fn greet(
    client: &Client,
    name: &str,
) -> Result<Result<String, String>, rpc_host_client::Error> {
    client
        .module("greeter")
        .call_result("greet", (name, "english"))
        .await
}

#[tokio::test]
async fn lines_carry_tenant_name_and_call() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register_with("greeter", built("greeter"), with_log())
        .await;
    let greeting = greet(&tenant.client, "Ada").await.unwrap();
    assert_eq!(greeting.unwrap(), "Hello, Ada!");
    let log = tenant.host.log();
    let of_mine = |level: &'static str| {
        let name = tenant.name.clone();
        move |line: &rpc_host_tests::LogLine| line.field("tenant") == name && line.level() == level
    };
    let line = log.line("of the greeter", of_mine("INFO")).await;
    assert_eq!((line.message(), line.target()), ("greeted Ada", "guest"));
    assert_eq!(line.field("module"), "greeter");
    assert_eq!(line.field("fields"), "language=\"en\" name-bytes=\"3\"");
    assert!(!line.field("call").is_empty(), "{line:?}");
    greet(&tenant.client, "").await.unwrap().unwrap_err();
    let line = log.line("that warns", of_mine("WARN")).await;
    assert_eq!(line.message(), "nobody to greet");

    let greet_by_cli = "greet(\"Grace\", language = german)";
    assert_eq!(
        tenant
            .cli(["call", "greeter", greet_by_cli])
            .run()
            .await
            .ok(),
        "ok(\"Hallo, Grace!\")"
    );
    let second = log
        .line("of another call", |line| line.message() == "greeted Grace")
        .await;
    assert_ne!(second.field("call"), line.field("call"));
}

#[tokio::test]
async fn without_the_grant_the_call_ends_and_nothing_is_logged() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("greeter", built("greeter")).await;
    refused(
        greet(&tenant.client, "Eve").await,
        ErrorCode::PermissionDenied,
        &[
            "rpc-host:guest/log@0.1.0.log",
            "needs the grant `log`",
            "`--grant log`",
        ],
    );
    assert!(!tenant.host.log().text().contains("greeted Eve"));
    // The same module with the grant, and without it again.
    tenant
        .register_with("greeter", built("greeter"), with_log())
        .await;
    greet(&tenant.client, "Eve").await.unwrap().unwrap();
    tenant.register("greeter", built("greeter")).await;
    refused(
        greet(&tenant.client, "Eve").await,
        ErrorCode::PermissionDenied,
        &["grant `log`"],
    );
}

/// A component whose `flood` logs so many lines.
fn flooding() -> Vec<u8> {
    component(
        r#"(component
            (import "rpc-host:guest/log@0.1.0" (instance $log
                (type $level' (enum "trace" "debug" "info" "warn" "error"))
                (export "level" (type $level (eq $level')))
                (type $field' (record (field "key" string) (field "value" string)))
                (export "field" (type $field (eq $field')))
                (export "log" (func (param "level" $level) (param "message" string) (param "fields" (list $field))))))
            (core module $memory (memory (export "memory") 1)
                (data (i32.const 0) "a line of the flood"))
            (core instance $memory (instantiate $memory))
            (core func $log (canon lower (func $log "log") (memory $memory "memory")))
            (core module $m
                (import "log" "log" (func $log (param i32 i32 i32 i32 i32)))
                (func (export "flood") (param $left i32)
                    (loop $next
                        (if (local.get $left) (then
                            (call $log (i32.const 2) (i32.const 0) (i32.const 19) (i32.const 0) (i32.const 0))
                            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                            (br $next))))))
            (core instance $i (instantiate $m (with "log" (instance (export "log" (func $log))))))
            (func (export "flood") (param "lines" u32) (canon lift (core func $i "flood"))))"#,
    )
}

fn lines_of(tenant: &TestTenant) -> usize {
    let lines = tenant.host.log().lines();
    let mine = lines
        .iter()
        .filter(|line| line.field("tenant") == tenant.name);
    mine.filter(|line| line.message() == "a line of the flood")
        .count()
}

#[tokio::test]
async fn a_call_logs_so_many_lines_and_no_more() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register_with("flooding", flooding(), with_log())
        .await;
    let flooding = tenant.client.module("flooding");
    flooding.call::<()>("flood", (5000,)).await.unwrap();
    let dropped = tenant
        .host
        .log()
        .line("about the limit", |line| {
            line.field("tenant") == tenant.name
                && line.message() == "lines over the limit are dropped"
        })
        .await;
    assert_eq!(dropped.level(), "WARN");
    assert_eq!(lines_of(&tenant), 1000);
}

#[tokio::test]
async fn a_registration_may_log_and_print_less_than_the_node_allows() {
    let tenant = TestHost::shared().await.tenant().await;
    let options = Options {
        limits: [("max-log-lines-per-instance".to_owned(), 7)].into(),
        ..with_log()
    };
    tenant.register_with("flooding", flooding(), options).await;
    let flooding = tenant.client.module("flooding");
    flooding.call::<()>("flood", (7,)).await.unwrap();
    assert_eq!(lines_of(&tenant), 7);
    flooding.call::<()>("flood", (20,)).await.unwrap();
    let log = tenant.host.log();
    let dropped = log.line("about the limit", |line| {
        line.field("tenant") == tenant.name && line.message() == "lines over the limit are dropped"
    });
    assert_eq!(dropped.await.0["fields"]["limit"], 7);
    assert_eq!(lines_of(&tenant), 14);

    let options = Options {
        limits: [("max-output-bytes-per-instance".to_owned(), 10)].into(),
        ..Options::default()
    };
    tenant
        .register_with("probe", built("wasi-probe"), options)
        .await;
    let probe = tenant.client.module("probe");
    let _said: String = probe.call("print", ("0123456789abcdef",)).await.unwrap();
    let printed = log.line("of stdout", |line| {
        line.field("tenant") == tenant.name && line.field("stream") == "stdout"
    });
    assert_eq!(printed.await.message(), "0123456789");
    let cut = log.line("about what was cut", |line| {
        line.field("tenant") == tenant.name && line.message() == "output over the limit was dropped"
    });
    assert_eq!(cut.await.0["fields"]["dropped_bytes"], 7);
}

#[tokio::test]
async fn a_line_is_so_long_and_no_longer() {
    let tenant = TestHost::shared().await.tenant().await;
    let options = Options {
        limits: [("max-log-line-bytes".to_owned(), 64)].into(),
        ..with_log()
    };
    tenant
        .register_with("greeter", built("greeter"), options)
        .await;
    let name = "long\n".repeat(1000);
    greet(&tenant.client, &name).await.unwrap().unwrap();
    let is_mine = |line: &rpc_host_tests::LogLine| line.field("tenant") == tenant.name;
    let line = tenant.host.log().line("cut", is_mine).await;
    assert!(line.message().starts_with("greeted long\\n"), "{line:?}");
    assert!(line.message().ends_with('…'), "{line:?}");
    assert!(line.message().len() <= 64, "{line:?}");
}

#[tokio::test]
async fn people_get_a_log_for_people() {
    let host = TestHost::start_with(HostOptions::new().log_for_people()).await;
    let tenant = host.tenant().await;
    tenant
        .register_with("greeter", built("greeter"), with_log())
        .await;
    greet(&tenant.client, "Ada\u{1b}[2J\nforged line")
        .await
        .unwrap()
        .unwrap();
    host.signal("TERM").await;
    host.end().await;
    let text = host.log().text();
    let line = text
        .lines()
        .find(|line| line.contains("greeted Ada"))
        .unwrap();
    assert!(
        line.contains(&tenant.name) && line.contains("greeter"),
        "{line}"
    );
    assert!(
        line.contains("forged line"),
        "a line break is no way to begin a line: {line}"
    );
    assert!(serde_json::from_str::<serde_json::Value>(line).is_err());
    assert!(
        !text.contains('\u{1b}'),
        "no colours where nobody looks: {text}"
    );
}

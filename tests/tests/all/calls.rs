//! Functions, and how a call names them and fits them.

use std::collections::HashSet;

use rpc_host_client::{Error, ErrorCode, Fault};
use rpc_host_tests::{TestHost, TestTenant, built, component};
use serde::{Deserialize, Serialize};

use crate::refused;

async fn with(module: &str) -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("it", built(module)).await;
    tenant
}

#[tokio::test]
async fn a_function_answers_to_its_short_and_long_names() {
    let tenant = with("plain-bindgen").await;
    let it = tenant.client.module("it");
    for path in [
        "add",
        "calc.add",
        "calc@0.1.0.add",
        "demo:calc/calc.add",
        "demo:calc/calc@0.1.0.add",
    ] {
        let sum: i64 = it.call(path, (2, 3)).await.unwrap();
        assert_eq!(sum, 5, "{path}");
        let call = format!("{path}(2, 3)");
        assert_eq!(tenant.cli(["call", "it", &call]).run().await.ok(), "5");
    }
    // At world level there is no interface to name.
    let product: u32 = it.call("multiply", (6, 7)).await.unwrap();
    assert_eq!(product, 42);
    let greeting: String = it.call("greet", ("Ada",)).await.unwrap();
    assert_eq!(greeting, "hello, Ada");
    // `describe` is in two interfaces, `shout` in one of them.
    let shouted: String = it.call("shout", ("abc",)).await.unwrap();
    assert_eq!(shouted, "ABC");
    refused(
        it.call::<String>("describe", ()).await,
        ErrorCode::InvalidArgument,
        &[
            "`describe` is ambiguous; say which: demo:calc/calc@0.1.0.describe, demo:calc/names@0.1.0.describe",
        ],
    );
    for (path, answer) in [
        ("calc.describe", "calc"),
        ("demo:calc/names@0.1.0.describe", "names"),
    ] {
        assert_eq!(it.call::<String>(path, ()).await.unwrap(), answer);
    }
    let ambiguous = tenant.cli(["call", "it", "describe()"]).run().await;
    ambiguous.error(
        "invalid-argument",
        &["say which: demo:calc/calc@0.1.0.describe"],
    );
}

#[tokio::test]
async fn a_function_that_is_not_there_is_told_with_those_that_are() {
    let tenant = with("calc").await;
    let it = tenant.client.module("it");
    for path in [
        "nope",
        "calc.nope",
        "calc@0.2.0.add",
        "other.add",
        "",
        ".",
        "add.",
        "ADD",
    ] {
        refused(
            it.call::<i64>(path, (2, 3)).await,
            ErrorCode::InvalidArgument,
            &[&format!(
                "there is no function `{path}`; there are module:calc/calc.add, module:calc/calc.sub"
            )],
        );
    }
    let output = tenant.cli(["call", "it", "nope()"]).run().await;
    output.error(
        "invalid-argument",
        &["there is no function `nope`", "module:calc/calc.add"],
    );
    refused(
        tenant.client.upload_module(component("(component)")).await,
        ErrorCode::InvalidArgument,
        &[
            "exports no function",
            "upload a component that implements something",
        ],
    );
}

#[tokio::test]
async fn arguments_go_by_place_and_by_name() {
    let tenant = with("calc").await;
    let sub = || tenant.client.module("it").function("sub");
    let calls = [
        sub().arg(7).arg(2),
        sub().arg(7).named("b", 2),
        sub().named("b", 2).named("a", 7),
    ];
    for call in calls {
        assert_eq!(call.call::<i64>().await.unwrap(), 5);
    }
    for call in ["sub(7, 2)", "sub(7, b = 2)", "sub(b = 2, a = 7)"] {
        assert_eq!(
            tenant.cli(["call", "it", call]).run().await.ok(),
            "5",
            "{call}"
        );
    }
    // Either spelling of a name of several words.
    tenant.register("text", built("text")).await;
    for call in ["line-length(\"ab\", line = 0)", "line_length(\"ab\", 0)"] {
        assert_eq!(
            tenant.cli(["call", "text", call]).run().await.ok(),
            "some(2)"
        );
    }
}

#[derive(Serialize)]
struct Point<X, Y> {
    x: X,
    y: Y,
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_named_with_what_was_expected() {
    let tenant = with("calc").await;
    let it = tenant.client.module("it");
    let signature = "func(a: s64, b: s64) -> s64";
    let add = || it.function("add");
    let distance = || it.function("distance");
    let origin = Point { x: 0, y: 0 };
    let point = "record { x: s32, y: s32 }";
    #[derive(Serialize)]
    struct Half {
        x: i32,
    }
    #[derive(Serialize)]
    struct Three {
        x: i32,
        y: i32,
        z: i32,
    }
    let table = [
        (
            add().arg(1).arg(2).arg(3),
            format!("args: expected 2 arguments, got 3: {signature}"),
        ),
        (
            add().arg(1),
            format!("args[1]: missing argument `b`: expected s64; the function is {signature}"),
        ),
        (
            add(),
            format!("args[0]: missing argument `a`: expected s64; the function is {signature}"),
        ),
        (
            add().arg(1).named("c", 2),
            format!("args.c: no such parameter; the function is {signature}"),
        ),
        (add().arg(1).named("a", 2), "args.a: given twice".to_owned()),
        (
            add().arg(1).arg("2"),
            "args[1]: expected s64, got text".to_owned(),
        ),
        (
            add().arg(1.5).arg(2),
            "args[0]: expected s64, got float".to_owned(),
        ),
        (
            add().arg(true).arg(2),
            "args[0]: expected s64, got bool".to_owned(),
        ),
        (
            add().arg(u64::MAX).arg(2),
            "args[0]: 18446744073709551615 is out of range of s64".to_owned(),
        ),
        (
            add().arg(1).named("b", [1, 2]),
            "args.b: expected s64, got".to_owned(),
        ),
        (
            distance().arg(&origin).arg(Point { x: 1, y: "2" }),
            "args[1].y: expected s32, got text".to_owned(),
        ),
        (
            distance().arg(&origin).arg(Point { x: i64::MAX, y: 0 }),
            "args[1].x: 9223372036854775807 is out of range of s32".to_owned(),
        ),
        (
            distance().arg(&origin).arg(Half { x: 1 }),
            "args[1]".to_owned(),
        ),
        (
            distance().arg(&origin).arg(Three { x: 1, y: 2, z: 3 }),
            format!("args[1].z: no such field in {point}"),
        ),
        (
            distance().arg(&origin).arg((1, 2)),
            format!("args[1]: expected {point}, got array"),
        ),
        (
            distance().arg(1),
            format!("args[0]: expected {point}, got integer"),
        ),
    ];
    for (call, message) in table {
        let shown = format!("{call:?}");
        let failure = refused(
            call.call::<f64>().await,
            ErrorCode::InvalidArgument,
            &[&message],
        );
        assert_eq!(failure.fault, Fault::Peer, "{shown}");
        assert!(!failure.retryable);
    }
}

#[tokio::test]
async fn the_command_line_says_the_same() {
    let tenant = with("calc").await;
    let table: [(&str, &[&str]); 8] = [
        (
            "add(1, 2, 3)",
            &["args: expected 2", "got 3", "func(a: s64, b: s64) -> s64"],
        ),
        ("add(1)", &["args[1]: missing argument `b`: expected s64"]),
        (
            "add(1, c = 2)",
            &["args.c: no such parameter", "func(a: s64, b: s64) -> s64"],
        ),
        ("add(1, \"2\")", &["args[1]: expected s64"]),
        ("add(1, 99999999999999999999)", &["args[1]: expected s64"]),
        (
            "distance({x: 1, y: 2}, {x: 1, y: \"2\"})",
            &["args[1].y: expected s32, got \"2\""],
        ),
        (
            "distance({x: 1, y: 2}, {x: 1})",
            &["args[1].y: missing: expected s32"],
        ),
        ("add(one, 2)", &["args[0]: expected s64"]),
    ];
    for (call, parts) in table {
        tenant
            .cli(["call", "it", call])
            .run()
            .await
            .error("invalid-argument", parts);
    }
    for call in ["add(1", "add 1", "(1)", "add(1,,2)", "add(b = 1, 2)"] {
        let output = tenant.cli(["call", "it", call]).run().await;
        assert!(output.failed(2).contains("single quotes"), "{output:?}");
    }
}

#[tokio::test]
async fn a_guest_error_is_a_result_and_not_a_failure() {
    let tenant = with("calc").await;
    let it = tenant.client.module("it");
    let quotient: Result<i64, String> = it.call_result("div", (7, 2)).await.unwrap();
    assert_eq!(quotient, Ok(3));
    let refusal: Result<i64, String> = it.call_result("div", (7, 0)).await.unwrap();
    assert_eq!(refusal, Err("cannot divide 7 by zero".to_owned()));
    let Err(Error::Guest(error)) = it.call::<i64>("div", (7, 0)).await else {
        panic!("a guest error")
    };
    assert_eq!(error.value::<String>().unwrap(), "cannot divide 7 by zero");

    assert_eq!(
        tenant.cli(["call", "it", "div(7, 2)"]).run().await.ok(),
        "ok(3)"
    );
    let output = tenant.cli(["call", "it", "div(7, 0)"]).run().await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stdout, "err(\"cannot divide 7 by zero\")\n",
        "it is a value"
    );
    assert!(
        output
            .stderr
            .contains("error: guest error: \"cannot divide 7 by zero\""),
        "{output:?}"
    );
    let output = tenant
        .cli(["call", "it", "div(7, 0)", "--output", "json"])
        .run()
        .await;
    let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(json, serde_json::json!({"err": "cannot divide 7 by zero"}));
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn each_call_has_an_instance_of_its_own() {
    let tenant = TestHost::shared().await.tenant().await;
    let counting = component(
        r#"(component
            (core module $m
                (global $calls (mut i32) (i32.const 0))
                (memory 1)
                (func (export "count") (result i32)
                    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                    (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
                    (i32.add (global.get $calls) (i32.load8_u (i32.const 0)))))
            (core instance $i (instantiate $m))
            (func (export "count") (result u32) (canon lift (core func $i "count"))))"#,
    );
    tenant.register("counting", counting).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let counting = tenant.client.module("counting");
        calls.spawn(async move { counting.call::<u32>("count", ()).await.unwrap() });
    }
    let counts: HashSet<u32> = calls.join_all().await.into_iter().collect();
    assert_eq!(
        counts,
        HashSet::from([2]),
        "neither globals nor memory are seen by another call"
    );
}

#[tokio::test]
async fn a_number_is_no_object() {
    let tenant = with("kitchen-sink").await;
    let it = tenant.client.module("it");
    refused(
        it.call::<i64>("consume", (1,)).await,
        ErrorCode::InvalidArgument,
        &["args[0]: expected a handle of counter"],
    );
}

#[tokio::test]
async fn a_description_tells_all_that_a_caller_needs() {
    let tenant = with("calc").await;
    let all = tenant.client.describe("it", None).await.unwrap();
    let names: Vec<_> = all
        .functions
        .iter()
        .map(|function| &*function.name)
        .collect();
    assert_eq!(names, ["add", "sub", "div", "distance"]);
    let one = tenant
        .client
        .describe("it", Some("calc.div"))
        .await
        .unwrap();
    assert_eq!(
        one.functions[0].signature.to_string(),
        "func(a: s64, b: s64) -> result<s64, string>"
    );
    refused(
        tenant.client.describe("it", Some("nope")).await,
        ErrorCode::InvalidArgument,
        &["there is no function `nope`"],
    );
}

#[tokio::test]
async fn a_record_comes_back_by_its_fields() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Size {
        lines: u64,
        words: u64,
        chars: u64,
        bytes: u64,
    }
    let tenant = with("text").await;
    let size: Size = tenant
        .client
        .module("it")
        .call("count", ("ä b\ncd",))
        .await
        .unwrap();
    assert_eq!(
        size,
        Size {
            lines: 2,
            words: 3,
            chars: 6,
            bytes: 7
        }
    );
    let none: Option<u64> = tenant
        .client
        .module("it")
        .call("line_length", ("a", 9))
        .await
        .unwrap();
    assert_eq!(none, None);
    let wrong = tenant
        .client
        .module("it")
        .call::<String>("count", ("a",))
        .await;
    assert!(matches!(wrong, Err(Error::Decode(_))), "{wrong:?}");
}

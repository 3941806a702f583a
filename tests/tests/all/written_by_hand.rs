//! A component that no toolchain made: everything that a Rust guest would not do by itself.

use std::collections::BTreeMap;

use rpc_host_client::{ErrorCode, NamedModule};
use rpc_host_protocol::Value;
use rpc_host_protocol::cbor::{decode_value, encode_arguments};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_tests::{TestHost, TestTenant, component};
use serde::{Deserialize, Serialize};

use crate::refused;

/// Echoes: what comes in flat is written to memory and pointed at, what comes by pointer is pointed at.
const BY_HAND: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 4096))
        (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and
                (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                (i32.sub (i32.const 0) (local.get $align))))
            (global.set $next (i32.add (local.get $at) (local.get $size)))
            (block $enough
                (loop $more
                    (br_if $enough (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
                    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
                    (unreachable)))
            (local.get $at))
        (func (export "i32") (param i32) (result i32) (local.get 0))
        (func (export "i64") (param i64) (result i64) (local.get 0))
        (func (export "f32") (param f32) (result f32) (local.get 0))
        (func (export "f64") (param f64) (result f64) (local.get 0))
        (func (export "two") (param i32 i32) (result i32)
            (i32.store (i32.const 16) (local.get 0))
            (i32.store (i32.const 20) (local.get 1))
            (i32.const 16))
        (func (export "three") (param i32 i32 i32) (result i32)
            (i32.store (i32.const 16) (local.get 0))
            (i32.store (i32.const 20) (local.get 1))
            (i32.store (i32.const 24) (local.get 2))
            (i32.const 16))
        (func (export "variant") (param i32 i64 i32) (result i32)
            (i32.store (i32.const 16) (local.get 0))
            (i64.store (i32.const 24) (local.get 1))
            (if (i32.eq (local.get 0) (i32.const 1))
                (then (i32.store (i32.const 28) (local.get 2))))
            (i32.const 16))
        (func (export "nan") (result f64) (f64.reinterpret_i64 (i64.const 0x7ff4_dead_beef_0001)))
        (func (export "bad-char") (result i32) (i32.const 0xd800))
        (func (export "bad-text") (result i32)
            (i32.store (i32.const 16) (i32.const 32))
            (i32.store (i32.const 20) (i32.const 2))
            (i32.store (i32.const 32) (i32.const 0xffff))
            (i32.const 16))
        (func (export "out-of-bounds") (result i32)
            (i32.store (i32.const 16) (i32.const 65000))
            (i32.store (i32.const 20) (i32.const 65000))
            (i32.const 16))
        (func (export "bad-case") (result i32) (i32.const 77))
        (func (export "twice") (result i32)
            ;; [(1, 2), (1, 3)] of u8
            (i32.store (i32.const 16) (i32.const 32))
            (i32.store (i32.const 20) (i32.const 2))
            (i32.store (i32.const 32) (i32.const 0x03010201))
            (i32.const 16)))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))

    (func (export "echo-s8") (param "value" s8) (result s8) (canon lift (core func $i "i32")))
    (func (export "echo-u32") (param "value" u32) (result u32) (canon lift (core func $i "i32")))
    (func (export "echo-s64") (param "value" s64) (result s64) (canon lift (core func $i "i64")))
    (func (export "echo-u64") (param "value" u64) (result u64) (canon lift (core func $i "i64")))
    (func (export "echo-f32") (param "value" f32) (result f32) (canon lift (core func $i "f32")))
    (func (export "echo-f64") (param "value" f64) (result f64) (canon lift (core func $i "f64")))
    (func (export "echo-char") (param "value" char) (result char) (canon lift (core func $i "i32")))
    (func (export "echo-result") (param "value" (result)) (result (result)) (canon lift (core func $i "i32")))

    (func (export "echo-text") (param "value" string) (result string)
        (canon lift (core func $i "two") (memory $memory) (realloc $realloc)))
    (func (export "echo-map") (param "value" (map string u32)) (result (map string u32))
        (canon lift (core func $i "two") (memory $memory) (realloc $realloc)))
    (func (export "echo-map-of-lists") (param "value" (map u64 (list (option (option string))))) (result (map u64 (list (option (option string)))))
        (canon lift (core func $i "two") (memory $memory) (realloc $realloc)))
    (func (export "echo-result-ok") (param "value" (result u32)) (result (result u32))
        (canon lift (core func $i "two") (memory $memory) (realloc $realloc)))
    (func (export "echo-option-option") (param "value" (option (option u32))) (result (option (option u32)))
        (canon lift (core func $i "three") (memory $memory) (realloc $realloc)))
    (func (export "echo-result-both") (param "value" (result u32 (error string))) (result (result u32 (error string)))
        (canon lift (core func $i "three") (memory $memory) (realloc $realloc)))
    (func (export "echo-result-err") (param "value" (result (error string))) (result (result (error string)))
        (canon lift (core func $i "three") (memory $memory) (realloc $realloc)))
    (func (export "echo-fixed") (param "value" (list u16 3)) (result (list u16 3))
        (canon lift (core func $i "fixed") (memory $memory) (realloc $realloc)))
    (func (export "echo-many") (param "value" (tuple u8 u16 u32 u64 s8 s16 s32 s64 f32 f64 char bool u8 u8 u8 u8 u8 string)) (result (tuple u8 u16 u32 u64 s8 s16 s32 s64 f32 f64 char bool u8 u8 u8 u8 u8 string))
        (canon lift (core func $i "i32") (memory $memory) (realloc $realloc)))
    (type $flags-type (flags FLAGS))
    (export $flags "switches" (type $flags-type))
    (func (export "echo-flags") (param "value" $flags) (result $flags) (canon lift (core func $i "i32")))
    (type $variant-type (variant (case "number" f64) (case "text" string) (case "sign" char) (case "nothing")))
    (export $variant "choice" (type $variant-type))
    (func (export "echo-variant") (param "value" $variant) (result $variant)
        (canon lift (core func $i "variant") (memory $memory) (realloc $realloc)))
    (type $enum-type (enum "one" "two"))
    (export $enum "some-enum" (type $enum-type))

    (func (export "nan") (result f64) (canon lift (core func $i "nan")))
    (func (export "bad-char") (result char) (canon lift (core func $i "bad-char")))
    (func (export "bad-text") (result string) (canon lift (core func $i "bad-text") (memory $memory)))
    (func (export "out-of-bounds") (result (list u8)) (canon lift (core func $i "out-of-bounds") (memory $memory)))
    (func (export "bad-case") (result $enum) (canon lift (core func $i "bad-case")))
    (func (export "twice") (result (map u8 u8)) (canon lift (core func $i "twice") (memory $memory)))

    (func $add (param "left" u32) (param "right" u32) (result u32) (canon lift (core func $adder "add")))
    (instance $api (export "add" (func $add)))
    (export "hand:made/api@1.2.3" (instance $api)))"#;

/// The text with what would be tedious to write.
fn by_hand() -> Vec<u8> {
    let flags: Vec<_> = (1..=32).map(|number| format!("\"f{number}\"")).collect();
    let text = BY_HAND
        .replace("FLAGS", &flags.join(" "))
        .replace(
            "(core instance $i (instantiate $m))",
            r#"(core instance $i (instantiate $m))
            (core module $adding (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
            (core instance $adder (instantiate $adding))"#,
        )
        .replace(
            r#"        (func (export "nan")"#,
            r#"        (func (export "fixed") (param i32 i32 i32) (result i32)
            (i32.store16 (i32.const 16) (local.get 0))
            (i32.store16 (i32.const 18) (local.get 1))
            (i32.store16 (i32.const 20) (local.get 2))
            (i32.const 16))
        (func (export "nan")"#,
        );
    component(&text)
}

async fn hand() -> (TestTenant, NamedModule) {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("hand", by_hand()).await;
    let module = tenant.client.module("hand");
    (tenant, module)
}

macro_rules! echoes {
    ($module:expr, $function:literal, $type:ty: $($value:expr),+ $(,)?) => {
        for value in [$($value),+] {
            let back: $type = $module.call($function, (&value,)).await.unwrap();
            assert_eq!(back, value, $function);
        }
    };
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Number(f64),
    Text(String),
    Sign(char),
    Nothing,
}

#[tokio::test]
async fn every_kind_of_value_goes_through() {
    let (_tenant, hand) = hand().await;
    echoes!(hand, "echo_s8", i8: i8::MIN, -1, i8::MAX);
    echoes!(hand, "echo_u32", u32: 0, 1 << 31, u32::MAX);
    echoes!(hand, "echo_s64", i64: i64::MIN, -1, 0, (1 << 53) + 1, i64::MAX);
    echoes!(hand, "echo_u64", u64: 0, (1 << 53) + 1, 1 << 63, u64::MAX);
    echoes!(hand, "echo_f32", f32: 0.1, f32::MAX, f32::NEG_INFINITY);
    echoes!(hand, "echo_f64", f64: 0.1, f64::MAX, 5e-324, f64::INFINITY);
    echoes!(hand, "echo_char", char: '\0', '\u{d7ff}', '\u{e000}', '\u{10ffff}');
    echoes!(hand, "echo_text", String: String::new(), "zwölf\0".to_owned());
    echoes!(hand, "echo_map", BTreeMap<String, u32>: BTreeMap::new(), BTreeMap::from([("a".to_owned(), 1), ("ä".to_owned(), u32::MAX)]));
    let nested = BTreeMap::from([
        (0_u64, vec![]),
        (u64::MAX, vec![None, Some(None), Some(Some("x".to_owned()))]),
    ]);
    echoes!(hand, "echo_map_of_lists", BTreeMap<u64, Vec<Option<Option<String>>>>: nested);
    echoes!(hand, "echo_option_option", Option<Option<u32>>: None, Some(None), Some(Some(0)), Some(Some(u32::MAX)));
    let flags: Vec<String> = (1..=32).map(|number| format!("f{number}")).collect();
    echoes!(hand, "echo_flags", Vec<String>: vec![], vec!["f32".to_owned()], flags);
    echoes!(hand, "echo_variant", Choice: Choice::Number(-0.5), Choice::Text("zwölf".to_owned()), Choice::Sign('😀'), Choice::Nothing);
    echoes!(hand, "echo_fixed", [u16; 3]: [0, 1, u16::MAX]);
    assert!(
        hand.call::<f64>("echo_f64", (f64::NAN,))
            .await
            .unwrap()
            .is_nan()
    );
    assert!(hand.call::<f64>("nan", ()).await.unwrap().is_nan());
}

#[tokio::test]
async fn all_four_forms_of_result_go_through() {
    let (_tenant, hand) = hand().await;
    type Both = Result<u32, String>;
    for value in [
        Ok(0),
        Ok(u32::MAX),
        Err(String::new()),
        Err("no".to_owned()),
    ] {
        let back: Both = hand
            .call_result("echo_result_both", (&value,))
            .await
            .unwrap();
        assert_eq!(back, value);
    }
    for value in [Ok(7), Err(())] {
        let back: Result<u32, ()> = hand.call_result("echo_result_ok", (&value,)).await.unwrap();
        assert_eq!(back, value);
    }
    for value in [Ok(()), Err("no".to_owned())] {
        let back: Result<(), String> = hand
            .call_result("echo_result_err", (&value,))
            .await
            .unwrap();
        assert_eq!(back, value);
    }
    for value in [Ok(()), Err(())] {
        let back: Result<(), ()> = hand.call_result("echo_result", (&value,)).await.unwrap();
        assert_eq!(back, value);
    }
}

#[tokio::test]
async fn more_than_sixteen_values_go_by_pointer() {
    let (tenant, hand) = hand().await;
    let described = tenant
        .client
        .describe("hand", Some("echo-many"))
        .await
        .unwrap();
    let ty = &described.functions[0].signature.parameters[0].ty;
    let many = Value::Tuple(vec![
        Value::U8(1),
        Value::U16(2),
        Value::U32(3),
        Value::U64(u64::MAX),
        Value::S8(-1),
        Value::S16(-2),
        Value::S32(-3),
        Value::S64(i64::MIN),
        Value::F32(0.5),
        Value::F64(0.25),
        Value::Char('😀'),
        Value::Bool(true),
        Value::U8(13),
        Value::U8(14),
        Value::U8(15),
        Value::U8(16),
        Value::U8(17),
        Value::String("zwölf".to_owned()),
    ]);
    let arguments = encode_arguments(std::slice::from_ref(&many), &[]);
    let reply = hand
        .function("echo-many")
        .call_raw(arguments)
        .await
        .unwrap();
    assert!(!reply.is_result);
    assert_eq!(
        decode_value(&reply.value, ty, "result", ValueLimits::default()).unwrap(),
        many
    );
}

#[tokio::test]
async fn an_interface_by_hand_has_names_like_any_other() {
    let (tenant, hand) = hand().await;
    for path in [
        "add",
        "api.add",
        "hand:made/api.add",
        "hand:made/api@1.2.3.add",
    ] {
        assert_eq!(hand.call::<u32>(path, (2, 3)).await.unwrap(), 5, "{path}");
    }
    let call = "add(right = 3, left = 2)";
    assert_eq!(tenant.cli(["call", "hand", call]).run().await.ok(), "5");
}

#[tokio::test]
async fn what_a_guest_may_not_return_ends_its_call_alone() {
    let (_tenant, hand) = hand().await;
    for function in ["bad_char", "bad_text", "out_of_bounds", "bad_case"] {
        let outcome = hand.call::<String>(function, ()).await;
        let failure = refused(outcome, ErrorCode::Trapped, &[]);
        assert!(!failure.message.is_empty(), "{function}: {failure:?}");
    }
    // Of a key that comes twice, the last one counts.
    let map: BTreeMap<u8, u8> = hand.call("twice", ()).await.unwrap();
    assert_eq!(map, BTreeMap::from([(1, 3)]));
    assert_eq!(hand.call::<u32>("add", (2, 3)).await.unwrap(), 5);
}

#[tokio::test]
async fn types_that_components_cannot_have_are_refused_by_name() {
    let tenant = TestHost::shared().await.tenant().await;
    let many: Vec<_> = (0..33).map(|number| format!("\"f{number}\"")).collect();
    let table = [
        (format!("(flags {})", many.join(" ")), "more than 32 flags"),
        (
            "(record)".to_owned(),
            "record type must have at least one field",
        ),
        (
            "(tuple)".to_owned(),
            "tuple type must have at least one type",
        ),
        (
            "(variant)".to_owned(),
            "variant type must have at least one case",
        ),
    ];
    for (ty, problem) in table {
        let wasm = component(&format!(
            "(component (type $t {ty}) (export \"t\" (type $t)))"
        ));
        let outcome = tenant.client.upload_module(wasm).await;
        refused(
            outcome,
            ErrorCode::InvalidArgument,
            &["the component is not valid", problem],
        );
    }
    // What needs an asynchronous host is refused too, and not at the first call.
    let stream = component("(component (type $t (stream u8)) (export \"t\" (type $t)))");
    let outcome = tenant.client.upload_module(stream).await;
    refused(outcome, ErrorCode::InvalidArgument, &["not valid"]);
}

#[tokio::test]
async fn wave_writes_it_all() {
    let (tenant, _) = hand().await;
    for (call, printed) in [
        (r#"echo-map([("b", 1)])"#, r#"[("b", 1)]"#),
        ("echo-flags({f1, f32})", "{f1, f32}"),
        ("echo-option-option(some(none))", "some(none)"),
        ("echo-variant(text(\"a\"))", "text(\"a\")"),
        ("echo-fixed([1, 2, 3])", "[1, 2, 3]"),
        ("nan()", "nan"),
        ("echo-result(ok)", "ok"),
        ("echo-result-err(ok)", "ok"),
        ("echo-u64(18446744073709551615)", "18446744073709551615"),
        ("twice()", "[(1, 3)]"),
    ] {
        assert_eq!(
            tenant.cli(["call", "hand", call]).run().await.ok(),
            printed,
            "{call}"
        );
    }
}

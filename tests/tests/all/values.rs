//! Every WIT type, there and back: by the client and by the command line, in WAVE and in JSON, and from
//! one module to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use rpc_host_client::{ErrorCode, Options};
use rpc_host_protocol::Value;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_tests::{TestHost, TestTenant, built};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{bound, refused};

/// Whatever is called here is called of both: of `sink` itself, and of `relay`, which passes it on to
/// `sink` as one module to another.
const BOTH: [&str; 2] = ["sink", "relay"];

async fn sink() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sink", built("kitchen-sink")).await;
    tenant.register("maps", built("maps")).await;
    let bindings = [
        ("demo:kitchen/sink@0.1.0", "sink"),
        ("ping", "sink"),
        ("echo-map", "maps"),
    ];
    tenant
        .register_with("relay", built("relay"), bound(bindings))
        .await;
    tenant
}

impl Sink {
    async fn echo<T: Serialize + DeserializeOwned>(&self, function: &str, value: &T) -> T {
        let [answer, relayed] = BOTH.map(|module| async move {
            let answer = self
                .0
                .client
                .module(module)
                .call::<T>(function, (value,))
                .await;
            answer.unwrap_or_else(|error| panic!("{function} of {module}: {error}"))
        });
        let (answer, relayed) = (answer.await, relayed.await);
        // As text, in which what is no number equals itself.
        let text = |value: &T| serde_json::to_string(value).unwrap();
        assert_eq!(text(&relayed), text(&answer), "{function}");
        answer
    }

    async fn echoes<T>(&self, function: &str, values: impl IntoIterator<Item = T>)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        for value in values {
            assert_eq!(self.echo(function, &value).await, value, "{function}");
        }
    }
}

struct Sink(TestTenant);

#[tokio::test]
async fn numbers_keep_their_edges() {
    let sink = Sink(sink().await);
    sink.echoes("echo_bool", [true, false]).await;
    sink.echoes("echo_u8", [0, 1, u8::MAX]).await;
    sink.echoes("echo_u16", [0, u16::MAX]).await;
    sink.echoes("echo_u32", [0, 1 << 31, u32::MAX]).await;
    sink.echoes("echo_u64", [0, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX])
        .await;
    sink.echoes("echo_s8", [i8::MIN, -1, 0, i8::MAX]).await;
    sink.echoes("echo_s16", [i16::MIN, -1, i16::MAX]).await;
    sink.echoes("echo_s32", [i32::MIN, -1, i32::MAX]).await;
    sink.echoes("echo_s64", [i64::MIN, -(1 << 53) - 1, -1, i64::MAX])
        .await;
    sink.echoes(
        "echo_f32",
        [
            0.0,
            -0.0,
            0.1,
            f32::MIN,
            f32::MAX,
            f32::MIN_POSITIVE,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ],
    )
    .await;
    sink.echoes(
        "echo_f64",
        [
            0.0,
            0.1,
            5e-324,
            f64::MIN,
            f64::MAX,
            f64::EPSILON,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ],
    )
    .await;
    assert!(sink.echo("echo_f64", &-0.0_f64).await.is_sign_negative());
    assert!(sink.echo("echo_f32", &f32::NAN).await.is_nan());
    assert!(sink.echo("echo_f64", &f64::NAN).await.is_nan());
    assert!(sink.echo("echo_floats", &vec![1.0, f64::NAN]).await[1].is_nan());
    sink.echoes("echo_numbers", [vec![], vec![i64::MIN, 0, i64::MAX]])
        .await;
}

#[tokio::test]
async fn text_keeps_its_characters() {
    let sink = Sink(sink().await);
    // The edges of what is a character: surrogates lie between the two in the middle.
    sink.echoes(
        "echo_char",
        [
            '\0',
            'a',
            '\'',
            '\u{7f}',
            'ß',
            '\u{d7ff}',
            '\u{e000}',
            '\u{ffff}',
            '😀',
            '\u{10ffff}',
        ],
    )
    .await;
    let long = "x".repeat(100_000);
    for text in [
        "",
        "a",
        "\0",
        "zwölf\n\t\"\\",
        "\u{feff}",
        "👩‍👩‍👧",
        "\u{202e}abc",
        &long,
    ] {
        sink.echoes("echo_string", [text.to_owned()]).await;
    }
    sink.echoes("echo_texts", [vec![], vec![String::new(), "ä".to_owned()]])
        .await;
    sink.echoes(
        "echo_bytes",
        [vec![], (0..=u8::MAX).collect(), vec![0_u8; 100_000]],
    )
    .await;
    for (module, function) in [("sink", "ping"), ("relay", "relay_ping")] {
        let module = sink.0.client.module(module);
        let ping: String = module.call(function, ("pong",)).await.unwrap();
        assert_eq!(ping, "pong");
    }
}

#[tokio::test]
async fn bytes_alone_are_bounded_by_the_limits_of_messages_and_replies() {
    const FITS: usize = (16 << 20) - 1024;
    let sink = Sink(sink().await);
    let echo = |length: usize| {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        let arguments = encode_arguments(&[Value::Bytes(bytes)], &[]);
        let call = sink.0.client.module("sink").function("echo_bytes");
        // What is in the array of positional arguments, before the map of named ones.
        let item = arguments[1..arguments.len() - 1].to_vec();
        async move { (item, call.call_raw(arguments).await) }
    };
    let (sent, reply) = echo(FITS).await;
    assert!(reply.unwrap().value == sent);
    let options = Options {
        limits: [("max-reply-bytes".to_owned(), 1_000_000)].into(),
        ..Options::default()
    };
    sink.0
        .register_with("sink", built("kitchen-sink"), options)
        .await;
    let (_, reply) = echo(1_000_001).await;
    refused(
        reply,
        ErrorCode::ResourceExhausted,
        &["the limit of 1000000 bytes"],
    );
    let (sent, reply) = echo(900_000).await;
    assert!(reply.unwrap().value == sent);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Color {
    Red,
    Green,
    DarkBlue,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Corners(Point, Point),
    Named(String),
    Colored(Color),
    Maybe(Option<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Permission {
    Read,
    Write,
    Execute,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapper {
    inner: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nested {
    name: String,
    wrappers: Vec<Wrapper>,
    place: (Point, Color),
    outcome: Result<Shape, String>,
    allowed: BTreeSet<Permission>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wide {
    f0: bool,
    f1: u8,
    f2: u16,
    f3: u32,
    f4: u64,
    f5: i8,
    f6: i16,
    f7: i32,
    f8: i64,
    f9: f32,
    f10: f64,
    f11: char,
    f12: String,
    f13: bool,
    f14: u8,
    f15: u16,
    f16: u32,
    f17: u64,
    f18: i8,
    f19: i16,
    f20: i32,
    f21: i64,
    f22: f32,
    f23: f64,
    f24: char,
    f25: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Keywords {
    r#type: u8,
    list: String,
    #[serde(rename = "self")]
    this: bool,
    async_def: char,
    class: i8,
    from: Option<u16>,
}

#[tokio::test]
async fn options_and_results_keep_their_layers() {
    let sink = Sink(sink().await);
    sink.echoes("echo_option", [None, Some(0_u32), Some(u32::MAX)])
        .await;
    sink.echoes(
        "echo_option_text",
        [None, Some(String::new()), Some("null".to_owned())],
    )
    .await;
    sink.echoes("echo_nested_option", [None, Some(None), Some(Some(7_u32))])
        .await;
    sink.echoes(
        "echo_deep_option",
        [None, Some(None), Some(Some(None)), Some(Some(Some(true)))],
    )
    .await;
    sink.echoes("echo_options", [vec![None, Some(Point { x: 1, y: -1 })]])
        .await;
    sink.echoes(
        "echo_results",
        [vec![Ok(0_u8), Err(String::new()), Err("ok".to_owned())]],
    )
    .await;
    type Forms = (
        Result<u32, String>,
        Result<u32, ()>,
        Result<(), String>,
        Result<(), ()>,
    );
    let forms: [Forms; 2] = [
        (Ok(1), Ok(2), Ok(()), Ok(())),
        (Err("a".to_owned()), Err(()), Err("b".to_owned()), Err(())),
    ];
    sink.echoes("echo_result_forms", forms).await;
}

#[tokio::test]
async fn the_four_forms_of_result_end_a_call() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Problem {
        code: u32,
        reason: String,
    }
    let tenant = sink().await;
    for it in BOTH.map(|module| tenant.client.module(module)) {
        let both: [Result<u32, String>; 2] = [
            it.call_result("both", (false,)).await.unwrap(),
            it.call_result("both", (true,)).await.unwrap(),
        ];
        assert_eq!(both, [Ok(1), Err("as asked".to_owned())]);
        let ok_only: [Result<u32, ()>; 2] = [
            it.call_result("ok_only", (false,)).await.unwrap(),
            it.call_result("ok_only", (true,)).await.unwrap(),
        ];
        assert_eq!(ok_only, [Ok(1), Err(())]);
        let err_only: [Result<(), String>; 2] = [
            it.call_result("err_only", (false,)).await.unwrap(),
            it.call_result("err_only", (true,)).await.unwrap(),
        ];
        assert_eq!(err_only, [Ok(()), Err("as asked".to_owned())]);
        let neither: [Result<(), ()>; 2] = [
            it.call_result("neither", (false,)).await.unwrap(),
            it.call_result("neither", (true,)).await.unwrap(),
        ];
        assert_eq!(neither, [Ok(()), Err(())]);
        it.call::<()>("nothing", ()).await.unwrap();
        let problem: Result<u32, Problem> = it.call_result("fail_with_record", (7,)).await.unwrap();
        assert_eq!(
            problem,
            Err(Problem {
                code: 7,
                reason: "code 7".to_owned()
            })
        );
        let shape: Result<(), Shape> = it.call_result("fail_with_variant", ()).await.unwrap();
        assert_eq!(shape, Err(Shape::Circle(1.5)));
    }
}

#[tokio::test]
async fn records_variants_and_flags_keep_their_cases() {
    let sink = Sink(sink().await);
    sink.echoes("echo_pair", [(1_u8, "a".to_owned())]).await;
    sink.echoes("echo_single", [(i32::MIN,)]).await;
    sink.echoes(
        "echo_pairs",
        [vec![("a".to_owned(), 0.5_f32), (String::new(), -0.25)]],
    )
    .await;
    sink.echoes("echo_color", [Color::Red, Color::Green, Color::DarkBlue])
        .await;
    let shapes = vec![
        Shape::Nothing,
        Shape::Circle(0.5),
        Shape::Corners(Point { x: 1, y: 2 }, Point { x: -3, y: i32::MIN }),
        Shape::Named("nothing".to_owned()),
        Shape::Colored(Color::DarkBlue),
        Shape::Maybe(None),
        Shape::Maybe(Some(u64::MAX)),
    ];
    sink.echoes("echo_shape", shapes.clone()).await;
    sink.echoes("echo_shapes", [vec![], shapes]).await;
    use Permission::{Execute, Read, Write};
    let sets = [
        vec![],
        vec![Read],
        vec![Execute, Read],
        vec![Read, Write, Execute],
    ];
    sink.echoes("echo_permissions", sets.map(BTreeSet::from_iter))
        .await;
    let switches: Vec<String> = (0..32).map(|number| format!("switch{number:02}")).collect();
    sink.echoes(
        "echo_switches",
        [
            vec![],
            switches[31..].to_vec(),
            switches[..1].to_vec(),
            switches,
        ],
    )
    .await;
    sink.echoes("echo_one_flag", [vec![], vec!["only".to_owned()]])
        .await;
    sink.echoes(
        "echo_point",
        [Point {
            x: i32::MIN,
            y: i32::MAX,
        }],
    )
    .await;
    sink.echoes("echo_points", [vec![], vec![Point { x: 0, y: 1 }; 3]])
        .await;
    sink.echoes(
        "echo_lists",
        [vec![], vec![vec![], vec![1_u16, u16::MAX], vec![]]],
    )
    .await;
    sink.echoes(
        "echo_wrapper",
        [None, Some(vec![]), Some(vec![1, 2])].map(|inner| Wrapper { inner }),
    )
    .await;
    let nested = Nested {
        name: "näme".to_owned(),
        wrappers: vec![
            Wrapper { inner: None },
            Wrapper {
                inner: Some(vec![0, 255]),
            },
        ],
        place: (Point { x: 1, y: 2 }, Color::Green),
        outcome: Ok(Shape::Maybe(Some(3))),
        allowed: [Read, Execute].into(),
    };
    let failed = Nested {
        outcome: Err("no".to_owned()),
        allowed: BTreeSet::new(),
        ..nested.clone()
    };
    sink.echoes("echo_nested", [nested, failed]).await;
    sink.echoes(
        "echo_keywords",
        [None, Some(7)].map(|from| Keywords {
            r#type: 1,
            list: "list".to_owned(),
            this: true,
            async_def: 'a',
            class: -1,
            from,
        }),
    )
    .await;
    #[rustfmt::skip]
    sink.echoes("echo_wide", [Wide {
        f0: true, f1: 1, f2: 2, f3: 3, f4: 4, f5: -5, f6: -6, f7: -7, f8: -8, f9: 9.5, f10: 10.5,
        f11: 'l', f12: "m".into(), f13: false, f14: 14, f15: 15, f16: 16, f17: u64::MAX, f18: -18,
        f19: -19, f20: -20, f21: i64::MIN, f22: 22.5, f23: 23.5, f24: '😀', f25: "z".into(),
    }]).await;
}

#[tokio::test]
async fn many_parameters_arrive_in_their_places() {
    let tenant = sink().await;
    for module in BOTH {
        let call = tenant.client.module(module).function("many");
        let call = call.args((
            1_u8, 2_u16, 3_u32, 4_u64, -1_i8, -2_i16, -3_i32, -4_i64, 0.5_f32, 0.25_f64,
        ));
        let call = call.args((
            true,
            'x',
            "text",
            vec![7_u8],
            None::<u8>,
            Point { x: 8, y: 9 },
            Color::DarkBlue,
        ));
        let call = call.args((vec!["read", "execute"], (10_u8, 11_u8)));
        let text: String = call.call().await.unwrap();
        assert_eq!(
            text,
            "1 2 3 4 -1 -2 -3 -4 0.5 0.25 true x text [7] None 8,9 Color::DarkBlue 5 (10, 11)"
        );
    }
}

#[tokio::test]
async fn maps_keep_their_keys() {
    let tenant = sink().await;
    let maps = tenant.client.module("maps");
    let by_text = [
        BTreeMap::new(),
        BTreeMap::from([
            (String::new(), 0),
            ("a_b".to_owned(), u32::MAX),
            ("a-b".to_owned(), 1),
        ]),
    ];
    let relay = tenant.client.module("relay");
    for map in by_text {
        for (module, function) in [(&maps, "echo_map"), (&relay, "relay_map")] {
            let back: BTreeMap<String, u32> = module.call(function, (&map,)).await.unwrap();
            assert_eq!(back, map, "{function}");
        }
    }
    let by_number = BTreeMap::from([(0, vec![]), (u64::MAX, vec!["a".to_owned()])]);
    let back: BTreeMap<u64, Vec<String>> =
        maps.call("echo_by_number", (&by_number,)).await.unwrap();
    assert_eq!(back, by_number);
    let by_char = BTreeMap::from([('a', None), ('😀', Some(true))]);
    let back: BTreeMap<char, Option<bool>> = maps.call("echo_by_char", (&by_char,)).await.unwrap();
    assert_eq!(back, by_char);
    let cli = async |call: &str, output: &str| {
        tenant
            .cli(["call", "maps", call, "--output", output])
            .run()
            .await
    };
    let call = r#"echo-map([("a", 1), ("b", 2)])"#;
    assert_eq!(cli(call, "text").await.ok(), r#"[("a", 1), ("b", 2)]"#);
    assert_eq!(cli(call, "json").await.json(), json!({"a": 1, "b": 2}));
    assert_eq!(
        cli(r#"echo-by-number([(18446744073709551615, ["x"])])"#, "json")
            .await
            .json(),
        json!([[u64::MAX, ["x"]]])
    );
}

#[tokio::test]
async fn wave_and_json_of_every_type_on_the_command_line() {
    let tenant = sink().await;
    let table = [
        ("echo-bool", "true", json!(true)),
        ("echo-u8", "255", json!(255)),
        ("echo-u16", "65535", json!(65535)),
        ("echo-u32", "4294967295", json!(u32::MAX)),
        ("echo-u64", "18446744073709551615", json!(u64::MAX)),
        ("echo-s8", "-128", json!(-128)),
        ("echo-s16", "-32768", json!(-32768)),
        ("echo-s32", "-2147483648", json!(i32::MIN)),
        ("echo-s64", "-9223372036854775808", json!(i64::MIN)),
        ("echo-f32", "0.1", json!(0.1)),
        ("echo-f64", "1.5", json!(1.5)),
        ("echo-f64", "nan", json!("NaN")),
        ("echo-f64", "inf", json!("Infinity")),
        ("echo-f32", "-inf", json!("-Infinity")),
        ("echo-char", "'😀'", json!("😀")),
        ("echo-string", r#""zwölf \"\\\n""#, json!("zwölf \"\\\n")),
        ("echo-bytes", "[0, 255]", json!([0, 255])),
        ("echo-numbers", "[-1, 0, 1]", json!([-1, 0, 1])),
        ("echo-floats", "[0.5, nan]", json!([0.5, "NaN"])),
        ("echo-texts", r#"["", "a"]"#, json!(["", "a"])),
        ("echo-points", "[{x: 1, y: 2}]", json!([{"x": 1, "y": 2}])),
        ("echo-lists", "[[], [1]]", json!([[], [1]])),
        ("echo-option", "none", json!(null)),
        ("echo-option", "some(1)", json!(1)),
        ("echo-option-text", "some(\"none\")", json!("none")),
        ("echo-nested-option", "none", json!(null)),
        ("echo-nested-option", "some(none)", json!({"some": null})),
        ("echo-nested-option", "some(some(1))", json!({"some": 1})),
        (
            "echo-deep-option",
            "some(some(none))",
            json!({"some": {"some": null}}),
        ),
        (
            "echo-options",
            "[none, some({x: 1, y: 2})]",
            json!([null, {"x": 1, "y": 2}]),
        ),
        (
            "echo-results",
            r#"[ok(1), err("a")]"#,
            json!([{"ok": 1}, {"err": "a"}]),
        ),
        (
            "echo-result-forms",
            r#"(ok(1), err, ok, err)"#,
            json!([{"ok": 1}, {"err": null}, {"ok": null}, {"err": null}]),
        ),
        ("echo-pair", r#"(1, "a")"#, json!([1, "a"])),
        ("echo-single", "(-1)", json!([-1])),
        ("echo-pairs", r#"[("a", 0.5)]"#, json!([["a", 0.5]])),
        ("echo-color", "dark-blue", json!("dark-blue")),
        ("echo-shape", "nothing", json!("nothing")),
        ("echo-shape", "circle(0.5)", json!({"circle": 0.5})),
        (
            "echo-shape",
            "corners(({x: 1, y: 2}, {x: 3, y: 4}))",
            json!({"corners": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}),
        ),
        ("echo-shape", "maybe(none)", json!({"maybe": null})),
        (
            "echo-shapes",
            "[nothing, colored(red)]",
            json!(["nothing", {"colored": "red"}]),
        ),
        ("echo-permissions", "{}", json!([])),
        (
            "echo-permissions",
            "{read, execute}",
            json!(["read", "execute"]),
        ),
        (
            "echo-switches",
            "{switch00, switch31}",
            json!(["switch00", "switch31"]),
        ),
        ("echo-one-flag", "{only}", json!(["only"])),
        ("echo-point", "{x: -1, y: 1}", json!({"x": -1, "y": 1})),
        ("echo-wrapper", "{inner: some([1])}", json!({"inner": [1]})),
        (
            "echo-nested",
            r#"{name: "n", wrappers: [{inner: none}], place: ({x: 1, y: 2}, red), outcome: err("e"), allowed: {write}}"#,
            json!({"name": "n", "wrappers": [{"inner": null}], "place": [{"x": 1, "y": 2}, "red"], "outcome": {"err": "e"}, "allowed": ["write"]}),
        ),
        (
            "echo-keywords",
            r#"{type: 1, list: "l", self: true, async-def: 'a', class: -1, from: some(2)}"#,
            json!({"type": 1, "list": "l", "self": true, "async-def": "a", "class": -1, "from": 2}),
        ),
    ];
    let called: BTreeSet<&str> = table.iter().map(|(function, _, _)| *function).collect();
    let described = tenant.client.describe("sink", None).await.unwrap();
    let relay = tenant.client.describe("relay", None).await.unwrap();
    let relayed: BTreeSet<&str> = relay.functions.iter().map(|one| &*one.name).collect();
    for function in &described.functions {
        let name = &*function.name;
        if !name.starts_with("echo-") {
            continue;
        }
        // `wide` is the client's alone: its text would fill a page.
        assert!(name == "echo-wide" || called.contains(name), "{name}");
        assert!(relayed.contains(name), "{name}");
    }
    for (function, wave, json) in table {
        let call = format!("{function}({wave})");
        let text = tenant.cli(["call", "sink", &call]).run().await;
        let shown = text.ok();
        // What is printed is read back as the same value.
        let again = tenant
            .cli([
                "call",
                "sink",
                &format!("{function}({shown})"),
                "--output",
                "json",
            ])
            .run()
            .await;
        assert_eq!(again.json(), json, "{call}");
        if function != "echo-wrapper" && function != "echo-nested" {
            assert_eq!(shown, wave, "{call}");
        }
    }
    let nothing = tenant.cli(["call", "sink", "nothing()"]).run().await;
    assert_eq!(nothing.ok(), "");
    let nothing = tenant
        .cli(["call", "sink", "nothing()", "--output", "json"])
        .run()
        .await;
    assert_eq!(nothing.json(), json!(null));
    // Line breaks within text stay within the value.
    let odd = tenant
        .cli(["call", "sink", r#"echo-char('\u{d7ff}')"#])
        .run()
        .await;
    odd.ok();
    let surrogate = tenant
        .cli(["call", "sink", r#"echo-char('\u{d800}')"#])
        .run()
        .await;
    surrogate.error("invalid-argument", &["args[0]: expected char"]);
}

//! What is told about the exports of a module.

use std::process::Command;

use rpc_host_client::{Client, Description, FunctionDescription};
use rpc_host_protocol::message::{Fallback, Provide, ProvideScope};
use rpc_host_tests::{Cli, TestHost, built, component};

fn function<'d>(description: &'d Description, name: &str) -> &'d FunctionDescription {
    let mut functions = description.functions.iter();
    let found = functions.find(|function| function.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {description:?}"))
}

async fn described(client: &Client, name: &str) -> Description {
    client.describe(name, None).await.unwrap()
}

#[tokio::test]
async fn every_export_is_told_with_what_its_author_says() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = described(&tenant.client, "calc").await;
    assert_eq!(
        calc.docs.as_deref(),
        Some("Arithmetic on whole numbers, and distances.")
    );
    let add = function(&calc, "add");
    let said = "`a` plus `b`; past the ends of the range it goes round.";
    assert_eq!(add.docs.as_deref(), Some(said));
    assert_eq!(add.signature.to_string(), "func(a: s64, b: s64) -> s64");
    assert!(calc.resources.is_empty());

    tenant.register("kitchen-sink", built("kitchen-sink")).await;
    let sink = described(&tenant.client, "kitchen-sink").await;
    let resources: Vec<_> = sink
        .resources
        .iter()
        .map(|one| (one.interface.as_deref(), &*one.name, one.docs.as_deref()))
        .collect();
    let interface = Some("demo:kitchen/sink@0.1.0");
    assert_eq!(
        resources,
        [
            (
                interface,
                "counter",
                Some("A number that is kept between calls.")
            ),
            (
                interface,
                "gate",
                Some("A resource whose constructor may fail.")
            ),
        ]
    );
    for (name, docs) in [
        ("[constructor]counter", None),
        ("[method]counter.add", Some("Add `by`.")),
        ("[static]counter.larger", Some("The larger of two.")),
        ("nothing", Some("No parameters and no result.")),
        ("echo-bool", None),
        ("ping", Some("At world level, outside any interface.")),
    ] {
        assert_eq!(function(&sink, name).docs.as_deref(), docs, "{name}");
    }
    let one = tenant.client.describe("kitchen-sink", Some("counter.add"));
    let one = one.await.unwrap();
    assert_eq!((one.functions.len(), one.resources.len()), (1, 1));

    // A client that serves the name is told the same of what it has to serve.
    let mut peer = tenant.raw_peer().await;
    let leased = peer.provide(Provide {
        name: "calc".to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 10_000,
        window: 1,
        fallback: Fallback::Previous,
        wit: None,
    });
    let leased = leased.await.unwrap();
    let add = leased.functions.iter().find(|one| one.name == "add");
    assert_eq!(add.unwrap().docs.as_deref(), Some(said));
}

/// A component with a function that takes a record in a record in a record and so on, beside one that does not.
fn deep(levels: usize) -> Vec<u8> {
    let records = (1..levels).map(|level| {
        let inner = format!("$r{}", level - 1);
        format!("(type $r{level}' (record (field \"f\" {inner}))) (export $r{level} \"r{level}\" (type $r{level}'))")
    });
    let records: String = records.collect();
    let last = levels - 1;
    component(&format!(
        r#"(component
            (core module $m
                (func (export "deep") (param i32))
                (func (export "flat") (param i32)))
            (core instance $i (instantiate $m))
            (type $r0' (record (field "f" u8)))
            (export $r0 "r0" (type $r0'))
            {records}
            (func (export "deep") (param "x" $r{last}) (canon lift (core func $i "deep")))
            (func (export "flat") (param "x" u8) (canon lift (core func $i "flat"))))"#
    ))
}

#[tokio::test]
async fn types_of_any_depth_keep_nothing_from_being_told() {
    let tenant = TestHost::shared().await.tenant().await;
    for (levels, is_told) in [(32, true), (60, false), (99, false)] {
        let name = &format!("deep-{levels}");
        tenant.register(name, deep(levels)).await;
        let description = described(&tenant.client, name).await;
        assert_eq!(function(&description, "flat").signature.parameters.len(), 1);
        let deep = function(&description, "deep");
        assert_eq!(deep.undescribed.is_none(), is_told, "{deep:?}");
        assert_eq!(deep.signature.parameters.len(), usize::from(is_told));
        tenant
            .client
            .module(name.as_str())
            .call::<()>("flat", (7,))
            .await
            .unwrap();
        for output in ["text", "json", "python-stub"] {
            let cli = tenant.cli(["describe", name, "--output", output]);
            assert!(cli.run().await.ok().contains("flat"), "{output}");
        }
    }
}

#[tokio::test]
async fn the_command_line_tells_people_programs_and_type_checkers() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let text = tenant.cli(["describe", "calc"]).run().await;
    for part in [
        "/// Arithmetic on whole numbers, and distances.",
        "module:calc/calc\n",
        "  /// The length of the straight line between two points.\n  distance: func(from: record",
    ] {
        assert!(text.ok().contains(part), "no {part:?} in {text:?}");
    }
    let json = tenant.cli(["describe", "calc", "--function", "div", "--output", "json"]);
    let json = json.run().await.json();
    assert_eq!(json["functions"][0]["name"], "div");
    let missing = tenant.cli(["describe", "calc", "--function", "dive"]).run();
    missing.await.error("invalid-argument", &["dive"]);

    // A file is the same without any node.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("calc.wasm");
    std::fs::write(&file, built("calc")).unwrap();
    let offline = async |output: &str| {
        let arguments = ["describe", "./calc.wasm", "--output", output];
        let cli = Cli::new(directory.path(), arguments).run().await;
        cli.ok().to_owned()
    };
    assert_eq!(offline("text").await, text.ok());
    let stub = tenant.cli(["describe", "calc", "--output", "python-stub"]);
    assert_eq!(offline("python-stub").await, stub.run().await.ok());
}

#[tokio::test]
async fn a_stub_is_python() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("kitchen-sink", built("kitchen-sink")).await;
    let stub = tenant.cli(["describe", "kitchen-sink", "--output", "python-stub"]);
    let stub = stub.run().await;
    for part in [
        "class Counter:\n    \"\"\"A number that is kept between calls.\"\"\"\n",
        "    def __init__(self, start: int) -> None:\n",
        "    @staticmethod\n    def larger(a: Counter, b: Counter) -> int:\n",
        "    def __enter__(self) -> Counter: ...\n",
        "def echo_bytes(value: bytes) -> bytes:\n",
        "-> frozenset[Literal[\"read\", \"write\", \"execute\"]]:\n",
        "-> Literal[\"red\", \"green\", \"dark_blue\"]:\n",
        "def ping(text: str) -> str:\n",
    ] {
        assert!(stub.ok().contains(part), "no {part:?} in {}", stub.ok());
    }
    let file = tenant.host.file("kitchen_sink.pyi", stub.ok());
    let check = "import ast, sys; ast.parse(open(sys.argv[1], encoding='utf-8').read())";
    // Where there is no Python, its own package's tests have to do.
    let python = Command::new("python3")
        .args(["-c", check])
        .arg(file)
        .output();
    if let Ok(parsed) = python {
        let said = String::from_utf8_lossy(&parsed.stderr);
        assert!(parsed.status.success(), "{said}");
    }
}

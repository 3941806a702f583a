//! Names, revisions, inspection.

use std::collections::BTreeMap;

use rpc_host_client::{Client, ErrorCode, ImportStanding, Options};
use rpc_host_protocol::Value;
use rpc_host_tests::{Cli, TestHost, built};

use crate::refused;

#[tokio::test]
async fn a_name_points_at_one_module_after_another() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let client = &tenant.client;
    let calc = client.upload_module(built("calc")).await.unwrap();
    let text = client.upload_module(built("text")).await.unwrap();
    let options = |grants: &[&str]| Options {
        grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        ..Options::default()
    };

    let first = client.register("thing", &calc, options(&[])).await.unwrap();
    assert_eq!((first.revision, &*first.digest), (1, calc.digest()));
    assert!(first.created_at_ms > 1_700_000_000_000);
    let same = client.register("thing", &calc, options(&[])).await.unwrap();
    assert_eq!(same, first, "what is so already is not a change");
    let second = client.register("thing", &text, options(&[])).await.unwrap();
    let third = client
        .register("thing", &text, options(&["log"]))
        .await
        .unwrap();
    assert_eq!((second.revision, third.revision), (2, 3));
    assert_eq!(third.grants, ["log"]);

    let history = client.history("thing").await.unwrap();
    assert_eq!(history, [third.clone(), second, first], "newest first");
    let shown = client.show("thing").await.unwrap();
    assert_eq!(
        (&shown.current, shown.size_bytes),
        (&third, text.size_bytes())
    );
    assert_eq!(client.list().await.unwrap(), [shown]);

    // The same by the command line.
    let cli = async |arguments: [&str; 4]| tenant.cli(arguments).run().await;
    let shown = cli(["show", "thing", "--output", "json"]).await.json();
    assert_eq!(
        (
            &shown["current"]["revision"],
            &shown["current"]["grants"][0]
        ),
        (&3.into(), &"log".into())
    );
    let history = cli(["history", "thing", "--output", "json"]).await.json();
    let revisions: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["revision"])
        .collect();
    assert_eq!(revisions, [3, 2, 1]);
    let listed = tenant.cli(["list", "--output", "json"]).run().await.json();
    assert_eq!(listed[0]["current"]["name"], "thing");
    assert!(tenant.cli(["list"]).run().await.ok().contains("thing"));
    assert!(
        tenant
            .cli(["show", "thing"])
            .run()
            .await
            .ok()
            .contains(text.digest())
    );
    assert!(
        tenant
            .cli(["history", "thing"])
            .run()
            .await
            .ok()
            .contains("log")
    );

    tenant.cli(["remove", "thing"]).run().await.ok();
    let gone = "there is no registration `thing`; see `rpc-host list`";
    for command in ["show", "history", "remove", "inspect"] {
        tenant
            .cli([command, "thing"])
            .run()
            .await
            .error("not-found", &[gone]);
    }
    tenant
        .cli(["call", "thing", "add(1, 2)"])
        .run()
        .await
        .error("not-found", &[gone]);
    let empty = tenant.cli(["list"]).run().await;
    assert_eq!(empty.ok(), "");
    assert_eq!(
        tenant.cli(["list", "--output", "json"]).run().await.json(),
        serde_json::json!([])
    );
    assert_eq!(client.modules().await.unwrap().len(), 2, "modules stay");
}

#[tokio::test]
async fn an_upload_with_a_name_is_a_new_revision() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let one = host.file("revision-1.wasm", built("calc"));
    let two = host.file("revision-2.wasm", built("plain-bindgen"));
    for file in [&one, &two] {
        tenant
            .cli(["upload", file.to_str().unwrap(), "--name", "calc"])
            .run()
            .await
            .ok();
        assert_eq!(
            tenant.cli(["call", "calc", "add(2, 3)"]).run().await.ok(),
            "5"
        );
    }
    assert_eq!(
        tenant.client.show("calc").await.unwrap().current.revision,
        2
    );
    let late = tenant
        .cli([
            "upload",
            one.to_str().unwrap(),
            "--name",
            "calc",
            "--if-revision",
            "1",
        ])
        .run()
        .await;
    late.error("aborted", &["`calc` is at revision 2; look at it again"]);
    let taken = tenant
        .cli([
            "upload",
            one.to_str().unwrap(),
            "--name",
            "calc",
            "--if-revision",
            "0",
        ])
        .run()
        .await;
    taken.error("aborted", &["at revision 2"]);
    tenant
        .cli([
            "upload",
            one.to_str().unwrap(),
            "--name",
            "calc",
            "--if-revision",
            "2",
        ])
        .run()
        .await
        .ok();
}

#[tokio::test]
async fn what_a_registration_says_is_checked_and_kept() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let client = &tenant.client;
    let calc = client.upload_module(built("calc")).await.unwrap();
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    type Case = (fn(&mut Options), &'static [&'static str]);
    let table: [Case; 6] = [
        (
            |o| o.grants = vec!["*".into()],
            &["there is no grant `*`; known grants are log, env:KEY=VALUE"],
        ),
        (
            |o| o.grants = vec!["filesystem".into()],
            &["there is no grant `filesystem`"],
        ),
        (
            |o| o.limits = BTreeMap::from([("max-power".into(), 1)]),
            &[
                "a registration has no limit `max-power`; known limits are default-call-timeout-ms, ",
            ],
        ),
        (
            |o| o.limits = BTreeMap::from([("max-memory-bytes".into(), u64::MAX)]),
            &[
                "`max-memory-bytes` cannot be 18446744073709551615",
                "between 1 and 268435456",
            ],
        ),
        (
            |o| o.limits = BTreeMap::from([("max-memory-bytes".into(), 0)]),
            &["`max-memory-bytes` cannot be 0"],
        ),
        (
            |o| o.bindings = BTreeMap::from([("a b".into(), "log".into())]),
            &["an import is named as the component names it"],
        ),
    ];
    for (change, parts) in table {
        let outcome = client.register("calc", &calc, with(change)).await;
        refused(outcome, ErrorCode::InvalidArgument, parts);
    }
    for name in ["", "Calc", "../calc", "a b", "sha256:00", "revision:1"] {
        let outcome = client.register(name, &calc, Options::default()).await;
        refused(
            outcome,
            ErrorCode::InvalidArgument,
            &["1 to 128 of a-z, 0-9 and `-:/.@`"],
        );
    }
    assert!(client.list().await.unwrap().is_empty());

    let options = Options {
        grants: vec!["log".to_owned()],
        limits: BTreeMap::from([
            ("max-memory-bytes".to_owned(), 1 << 24),
            ("max-call-timeout-ms".to_owned(), 500),
        ]),
        if_revision: Some(0),
        ..Options::default()
    };
    let made = client
        .register("demo:calc/calc@0.1.0", &calc, options.clone())
        .await
        .unwrap();
    let kept = client.show("demo:calc/calc@0.1.0").await.unwrap().current;
    assert_eq!(made, kept);
    assert_eq!((kept.grants, kept.limits), (options.grants, options.limits));

    // A binding that could have no effect is no promise that is made.
    let bind = |import: &str| Options {
        bindings: BTreeMap::from([(import.to_owned(), "my-logger".to_owned())]),
        ..Options::default()
    };
    refused(
        client
            .register("bound", &calc, bind("acme:log/logger@1.0.0"))
            .await,
        ErrorCode::FailedPrecondition,
        &["the module does not import `acme:log/logger@1.0.0`"],
    );
    let greeter = client.upload_module(built("greeter")).await.unwrap();
    refused(
        client
            .register("bound", &greeter, bind("rpc-host:guest/log@0.1.0"))
            .await,
        ErrorCode::FailedPrecondition,
        &["`rpc-host:guest/log@0.1.0` cannot be bound: it is the node's own"],
    );

    // The same flags in the shell.
    let file = host.file("flags.wasm", built("calc"));
    let output = tenant
        .cli([
            "upload",
            file.to_str().unwrap(),
            "--name",
            "flags",
            "--grant",
            "log",
            "--limit",
            "max-memory-bytes=16MiB",
            "--limit",
            "max-call-timeout-ms=500",
        ])
        .run()
        .await;
    output.ok();
    let flags = client.show("flags").await.unwrap().current;
    assert_eq!((flags.limits, flags.grants), (made.limits, made.grants));
    let bound = tenant
        .cli([
            "upload",
            file.to_str().unwrap(),
            "--name",
            "flags",
            "--bind",
            "a:b/c=d",
        ])
        .run()
        .await;
    bound.error(
        "failed-precondition",
        &["the module does not import `a:b/c`"],
    );
}

#[tokio::test]
async fn a_call_under_way_ends_where_it_began() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("it", built("sleeper")).await;
    let mut peer = tenant.raw_peer().await;
    let running = peer.call("it", "sleep", &[Value::U64(1000)]).await;
    // The next answer on this connection says that the call has begun.
    let marker = peer.call("nobody", "home", &[]).await;
    assert_eq!(peer.message().await.0, marker);
    // Even what clients call may go, by those who mean it.
    let force = || Options {
        force: true,
        ..Options::default()
    };
    tenant.register_with("it", built("calc"), force()).await;
    let new = peer
        .call("it", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    assert_eq!(
        peer.outcome(new).await.unwrap(),
        [5],
        "the next call goes to the new module"
    );
    let slept = peer.outcome(running).await;
    assert!(slept.is_ok(), "{slept:?}");
    // Even the removal of a name leaves its calls alone.
    tenant.register_with("it", built("sleeper"), force()).await;
    let running = peer.call("it", "sleep", &[Value::U64(300)]).await;
    let marker = peer.call("nobody", "home", &[]).await;
    assert_eq!(peer.message().await.0, marker);
    tenant.client.remove("it").await.unwrap();
    assert!(peer.outcome(running).await.is_ok());
}

#[tokio::test]
async fn a_module_in_use_stays() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    let calc = tenant.register("calc", built("calc")).await;
    tenant.register("calc", built("text")).await;
    refused(
        client.remove_module(calc.digest()).await,
        ErrorCode::FailedPrecondition,
        &["is used by `calc`; remove that registration first"],
    );
    client.remove("calc").await.unwrap();
    client.remove_module(calc.digest()).await.unwrap();
    assert_eq!(client.modules().await.unwrap().len(), 1);
    let gone = client.register("calc", &calc, Options::default()).await;
    refused(
        gone,
        ErrorCode::NotFound,
        &["there is no module", "upload it first"],
    );
}

#[tokio::test]
async fn registrations_survive_a_restart_with_their_history() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    tenant.register("calc", built("plain-bindgen")).await;
    let before = tenant.client.history("calc").await.unwrap();
    host.signal("TERM").await;
    assert!(host.end().await.success());
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    assert_eq!(client.history("calc").await.unwrap(), before);
    let module = client.upload_module(built("calc")).await.unwrap();
    assert!(module.was_known());
    let next = client
        .register("calc", &module, Options::default())
        .await
        .unwrap();
    assert_eq!(next.revision, 3);
}

#[tokio::test]
async fn inspection_shows_exports_and_imports() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let module = tenant.register("greeter", built("greeter")).await;
    let found = tenant.client.inspect("greeter").await.unwrap();
    assert_eq!(
        (&*found.digest, found.size_bytes),
        (module.digest(), module.size_bytes())
    );
    let [greet] = &found.exports[..] else {
        panic!("{:?}", found.exports)
    };
    assert_eq!(
        (greet.interface.as_deref(), &*greet.name),
        (Some("module:greeter/greeter"), "greet")
    );
    assert!(
        greet
            .signature
            .starts_with("func(name: string, language: enum { english, german, spanish })"),
        "{greet:?}"
    );
    assert!(
        greet.signature.ends_with("-> result<string, string>"),
        "{greet:?}"
    );
    assert!(
        found.wit.contains("export module:greeter/greeter"),
        "{}",
        found.wit
    );
    assert!(
        found
            .wit
            .contains("greet: func(name: string, language: language)"),
        "{}",
        found.wit
    );
    let standing = |name: &str| {
        let import = found
            .imports
            .iter()
            .find(|import| import.name.starts_with(name));
        import.unwrap_or_else(|| panic!("{name} in {:?}", found.imports))
    };
    let log = standing("rpc-host:guest/log@");
    assert_eq!(log.standing, ImportStanding::Inert);
    assert!(log.note.contains("needs the grant `log`"), "{log:?}");
    assert_eq!(
        standing("wasi:io/streams@0.2").standing,
        ImportStanding::Granted
    );

    let options = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .client
        .register("greeter", &module, options)
        .await
        .unwrap();
    let found = tenant.client.inspect("greeter").await.unwrap();
    let log = found
        .imports
        .iter()
        .find(|import| import.name.starts_with("rpc-host:guest/log@"));
    assert_eq!(log.unwrap().standing, ImportStanding::Granted);

    let text = tenant.cli(["inspect", "greeter"]).run().await;
    for part in [
        module.digest(),
        "module:greeter/greeter",
        "greet: func(name: string",
        "granted by `log`",
    ] {
        assert!(text.ok().contains(part), "no {part} in {text:?}");
    }
    let json = tenant
        .cli(["inspect", "greeter", "--output", "json"])
        .run()
        .await
        .json();
    assert_eq!(json["digest"], module.digest());
    let wit = tenant.cli(["inspect", "greeter", "--wit"]).run().await;
    assert_eq!(wit.stdout, found.wit);
}

#[tokio::test]
async fn a_file_is_inspected_without_a_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("plain.wasm"), built("plain-bindgen")).unwrap();
    std::fs::write(path.join("text.wasm"), "hello").unwrap();
    let inspect = async |file: &str, output: &str| {
        Cli::new(path, ["inspect", file, "--output", output])
            .run()
            .await
    };
    let text = inspect("./plain.wasm", "text").await;
    for part in [
        "demo:calc/calc@0.1.0",
        "add: func(a: s64, b: s64) -> s64",
        "multiply: func(a: u32, b: u32) -> u32",
    ] {
        assert!(text.ok().contains(part), "no {part} in {text:?}");
    }
    let json = inspect("plain.wasm", "json").await.json();
    let names: Vec<_> = json["exports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    for name in ["add", "describe", "shout", "multiply", "greet"] {
        assert!(names.contains(&name), "{names:?}");
    }
    // The node says the same of the same bytes.
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("plain", built("plain-bindgen")).await;
    let theirs = tenant
        .cli(["inspect", "plain", "--output", "json"])
        .run()
        .await
        .json();
    assert_eq!(
        (&json["digest"], &json["wit"]),
        (&theirs["digest"], &theirs["wit"])
    );

    let no = inspect("text.wasm", "text").await;
    no.error("", &["text.wasm", "text file, not a WebAssembly component"]);
    inspect("absent.wasm", "text")
        .await
        .error("", &["absent.wasm"]);
}

//! Another target for a name: swaps, rollbacks, and what holds them back.

use std::fmt::Write;

use rpc_host_client::{
    ChangeOptions, Client, Error, ErrorCode, Fault, Module, Options, RevisionEntry, SwapTo,
};
use rpc_host_tests::{TestHost, TestTenant, built, component};

use crate::refused;

const LOGGER: &str = "acme:log/logger@0.1.0";

/// A component with one interface, whose functions take nothing and give these numbers.
fn giving(interface: &str, functions: &[(&str, u32)]) -> Vec<u8> {
    let mut text = String::from("(component (core module $m ");
    for (name, number) in functions {
        write!(
            text,
            r#"(func (export "{name}") (result i32) (i32.const {number})) "#
        )
        .unwrap();
    }
    text.push_str(") (core instance $i (instantiate $m)) ");
    for (name, _) in functions {
        write!(
            text,
            r#"(func ${name} (result u32) (canon lift (core func $i "{name}"))) "#
        )
        .unwrap();
    }
    text.push_str("(instance $exported ");
    for (name, _) in functions {
        write!(text, r#"(export "{name}" (func ${name})) "#).unwrap();
    }
    write!(text, r#") (export "{interface}" (instance $exported)))"#).unwrap();
    component(&text)
}

/// A component whose `run` calls this function of an imported interface and gives what that gives.
fn calling(interface: &str, function: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "{interface}" (instance $imported (export "{function}" (func (result u32)))))
            (core func $lowered (canon lower (func $imported "{function}")))
            (core module $m
                (import "outside" "function" (func $function (result i32)))
                (func (export "run") (result i32) (call $function)))
            (core instance $i (instantiate $m
                (with "outside" (instance (export "function" (func $lowered))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ))
}

/// A function of the same name as others have, and of another type.
fn otherwise(interface: &str, function: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $m (func (export "f") (param i32) (result i32) (local.get 0)))
            (core instance $i (instantiate $m))
            (func $f (param "level" u8) (result u32) (canon lift (core func $i "f")))
            (instance $exported (export "{function}" (func $f)))
            (export "{interface}" (instance $exported)))"#
    ))
}

fn to(module: &Module) -> SwapTo {
    SwapTo::Digest(module.digest().to_owned())
}

fn forced() -> ChangeOptions {
    ChangeOptions {
        force: true,
        ..ChangeOptions::default()
    }
}

async fn swap(client: &Client, name: &str, module: &Module) -> Result<RevisionEntry, Error> {
    client
        .swap(name, to(module), ChangeOptions::default())
        .await
}

async fn upload(tenant: &TestTenant, wasm: Vec<u8>) -> Module {
    tenant.client.upload_module(wasm).await.unwrap()
}

async fn run(tenant: &TestTenant, name: &str, function: &str) -> u32 {
    let number = tenant.client.module(name).call(function, ()).await;
    number.unwrap_or_else(|error| panic!("{name} {function}: {error}"))
}

#[tokio::test]
async fn a_name_is_swapped_by_file_digest_and_revision() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let one = giving("a:b/c", &[("version", 1)]);
    let granted = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    let first = tenant.register_with("it", one, granted).await;
    assert_eq!(run(&tenant, "it", "version").await, 1);

    let two = host.file("swap-two.wasm", giving("a:b/c", &[("version", 2)]));
    let by_file = tenant
        .cli(["swap", "it", "--to", two.to_str().unwrap()])
        .run()
        .await;
    let second = by_file.ok().to_owned();
    assert!(second.starts_with("sha256:") && second != first.digest());
    assert_eq!(by_file.stderr, "it is now revision 2\n");
    assert_eq!(run(&tenant, "it", "version").await, 2);

    let by_digest = tenant
        .cli(["swap", "it", "--to", first.digest()])
        .run()
        .await;
    assert_eq!(by_digest.ok(), first.digest());
    assert_eq!(run(&tenant, "it", "version").await, 1);

    let line = ["swap", "it", "--to", "revision:2", "--output", "json"];
    let by_revision = tenant.cli(line).run().await;
    assert_eq!(by_revision.stderr, "");
    let entry = by_revision.json();
    assert_eq!(
        (&entry["revision"], &entry["restores"], &entry["digest"]),
        (&4.into(), &2.into(), &second.clone().into())
    );
    assert_eq!(
        entry["grants"][0], "log",
        "what a swap does not name, it keeps"
    );
    assert_eq!(run(&tenant, "it", "version").await, 2);

    let again = tenant.cli(["swap", "it", "--to", &second]).run().await;
    again.ok();
    assert_eq!(again.stderr, "it is now revision 4\n", "it is so already");
    let shown = tenant.cli(["show", "it"]).run().await;
    assert!(shown.ok().contains("restores:    2\n"), "{shown:?}");
    let history = tenant.cli(["history", "it"]).run().await;
    let restores: Vec<_> = history
        .ok()
        .lines()
        .map(|line| line.split_whitespace().nth(3).unwrap())
        .collect();
    assert_eq!(restores, ["RESTORES", "2", "none", "none", "none"]);

    for (target, code, said) in [
        ("revision:9", "not-found", "revision 9 of `it` is not kept"),
        ("revision:0", "not-found", "revision 0 of `it` is not kept"),
        ("sha256:0", "invalid-argument", "a digest is"),
    ] {
        let refused = tenant.cli(["swap", "it", "--to", target]).run().await;
        refused.error(code, &[said]);
    }
    let absent = format!("sha256:{}", "0".repeat(64));
    let refused = tenant.cli(["swap", "it", "--to", &absent]).run().await;
    refused.error("not-found", &["there is no module sha256:0000"]);
    let refused = tenant
        .cli(["swap", "nobody", "--to", first.digest()])
        .run()
        .await;
    refused.error("not-found", &["there is no registration `nobody`"]);
    let refused = tenant
        .cli(["swap", "it", "--to", "absent.wasm"])
        .run()
        .await;
    refused.error("cannot read absent.wasm", &[]);
}

#[tokio::test]
async fn a_rollback_goes_back_and_another_forth() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    let refuse = client.rollback("it", ChangeOptions::default()).await;
    refused(
        refuse,
        ErrorCode::NotFound,
        &["there is no registration `it`"],
    );
    let first = tenant
        .register("it", giving("a:b/c", &[("version", 1)]))
        .await;
    let refuse = client.rollback("it", ChangeOptions::default()).await;
    refused(
        refuse,
        ErrorCode::FailedPrecondition,
        &["`it` is at its first revision"],
    );
    tenant
        .register_with(
            "it",
            giving("a:b/c", &[("version", 2)]),
            Options {
                grants: vec!["log".to_owned()],
                sealed: true,
                ..Options::default()
            },
        )
        .await;
    let back = client
        .rollback("it", ChangeOptions::default())
        .await
        .unwrap();
    assert_eq!((back.revision, back.restores), (3, Some(1)));
    assert_eq!((&*back.digest, back.sealed), (first.digest(), false));
    assert!(back.grants.is_empty(), "all of it came back: {back:?}");
    assert_eq!(run(&tenant, "it", "version").await, 1);

    let forth = tenant
        .cli(["rollback", "it", "--if-revision", "3"])
        .run()
        .await;
    forth.ok();
    assert_eq!(forth.stderr, "it is now revision 4\n");
    assert_eq!(run(&tenant, "it", "version").await, 2);
    let history = client.history("it").await.unwrap();
    let restores: Vec<_> = history.iter().map(|one| one.restores).collect();
    assert_eq!(restores, [Some(2), Some(1), None, None]);
    assert!(history[0].sealed && history[0].grants == ["log"]);

    // What a revision stands for may still be gone back to, so it stays.
    let refuse = client.remove_module(first.digest()).await;
    refused(refuse, ErrorCode::FailedPrecondition, &["is used by `it`"]);
}

#[tokio::test]
async fn of_many_who_insist_on_a_revision_one_makes_the_next() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register("it", giving("a:b/c", &[("version", 0)]))
        .await;
    let mut swapping = Vec::new();
    for number in 1..=8 {
        let module = upload(&tenant, giving("a:b/c", &[("version", number)])).await;
        let client = tenant.client.clone();
        let if_revision = ChangeOptions {
            if_revision: Some(1),
            ..ChangeOptions::default()
        };
        swapping.push(tokio::spawn(async move {
            client.swap("it", to(&module), if_revision).await
        }));
    }
    let mut made = 0;
    for swapped in swapping {
        match swapped.await.unwrap() {
            Ok(revision) => {
                made += 1;
                assert_eq!(revision.revision, 2);
            }
            refuse => {
                refused(refuse, ErrorCode::Aborted, &["`it` is at revision 2"]);
            }
        }
    }
    assert_eq!(made, 1);
    assert_eq!(tenant.client.history("it").await.unwrap().len(), 2);
    let late = tenant
        .cli(["rollback", "it", "--if-revision", "1"])
        .run()
        .await;
    late.error("aborted", &["`it` is at revision 2; look at it again"]);
}

#[tokio::test]
async fn what_dependents_import_cannot_be_taken_away_unnoticed() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    tenant
        .register(
            "acme:log/logger",
            giving(LOGGER, &[("log", 7), ("flush", 0)]),
        )
        .await;
    for name in ["app", "batch", "cron", "desk"] {
        tenant.register(name, calling(LOGGER, "log")).await;
    }
    let bound = Options {
        bindings: [(LOGGER.to_owned(), "acme:log/logger".to_owned())].into(),
        ..Options::default()
    };
    tenant
        .register_with("bound", calling(LOGGER, "log"), bound)
        .await;
    assert_eq!(run(&tenant, "app", "run").await, 7);

    let lacking = upload(&tenant, giving(LOGGER, &[("flush", 0)])).await;
    let other = upload(&tenant, otherwise(LOGGER, "log")).await;
    let major = upload(&tenant, giving("acme:log/logger@0.2.0", &[("log", 8)])).await;
    let lacks = "it would lack `acme:log/logger@0.1.0.log: func() -> u32`, which `app`, `batch`, \
                 `bound` and 2 more import";
    let differs = "it would have `acme:log/logger@0.1.0.log` as `func(level: u8) -> u32` and not as \
                   `func() -> u32`, which `app`";
    for (module, said) in [(&lacking, lacks), (&major, lacks), (&other, differs)] {
        let refuse = swap(client, "acme:log/logger", module).await;
        let parts = ["`acme:log/logger` is not changed: ", said, "`--force`"];
        let failure = refused(refuse, ErrorCode::FailedPrecondition, &parts);
        assert_eq!(failure.fault, Fault::Peer);
        let refuse = client
            .register("acme:log/logger", module, Options::default())
            .await;
        refused(refuse, ErrorCode::FailedPrecondition, &parts);
    }
    assert_eq!(
        client
            .show("acme:log/logger")
            .await
            .unwrap()
            .current
            .revision,
        1
    );
    let line = ["swap", "acme:log/logger", "--to", lacking.digest()];
    let refused_too = tenant.cli(line).run().await;
    refused_too.error("failed-precondition", &[lacks]);

    // Those who mean it may, and are taken at their word.
    let line = [
        "swap",
        "acme:log/logger",
        "--to",
        lacking.digest(),
        "--force",
    ];
    tenant.cli(line).run().await.ok();
    let lost = client.module("app").call::<u32>("run", ()).await;
    refused(lost, ErrorCode::FailedPrecondition, &["acme:log/logger"]);
    // What is missing already, nobody takes away; and the way back is open.
    client
        .rollback("acme:log/logger", ChangeOptions::default())
        .await
        .unwrap();
    assert_eq!(run(&tenant, "app", "run").await, 7);
    let refuse = client
        .rollback("acme:log/logger", ChangeOptions::default())
        .await;
    refused(refuse, ErrorCode::FailedPrecondition, &[lacks]);
    // Without dependents there is nothing to hold to.
    for name in ["app", "batch", "cron", "desk", "bound"] {
        client.remove(name).await.unwrap();
    }
    swap(client, "acme:log/logger", &lacking).await.unwrap();
}

#[tokio::test]
async fn more_functions_and_a_compatible_version_pass() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    tenant
        .register("acme:log/logger", giving(LOGGER, &[("log", 1)]))
        .await;
    tenant.register("app", calling(LOGGER, "log")).await;
    assert_eq!(run(&tenant, "app", "run").await, 1);
    let paths = [
        "log",
        "logger.log",
        "logger@0.1.0.log",
        "acme:log/logger@0.1.0.log",
    ];
    for path in paths {
        assert_eq!(run(&tenant, "acme:log/logger", path).await, 1);
    }
    let more = giving("acme:log/logger@0.1.1", &[("flush", 0), ("log", 2)]);
    let more = upload(&tenant, more).await;
    swap(client, "acme:log/logger", &more).await.unwrap();
    assert_eq!(run(&tenant, "app", "run").await, 2);
    for path in paths {
        assert_eq!(run(&tenant, "acme:log/logger", path).await, 2, "{path}");
    }
    // And back, as long as nobody has called what came with it.
    client
        .rollback("acme:log/logger", ChangeOptions::default())
        .await
        .unwrap();
    swap(client, "acme:log/logger", &more).await.unwrap();
    assert_eq!(run(&tenant, "acme:log/logger", "flush").await, 0);
    let refuse = client
        .rollback("acme:log/logger", ChangeOptions::default())
        .await;
    let said = "it would lack `flush: func() -> u32`, which clients have called";
    refused(refuse, ErrorCode::FailedPrecondition, &[said]);
}

#[tokio::test]
async fn what_clients_have_called_cannot_be_taken_away_unnoticed() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    let both = tenant
        .register("it", giving("a:b/c", &[("called", 1), ("unused", 2)]))
        .await;
    let called = upload(&tenant, giving("x:y/z", &[("called", 3)])).await;
    let unused = upload(&tenant, giving("a:b/c", &[("unused", 4)])).await;
    let other = upload(&tenant, otherwise("a:b/c", "called")).await;
    // Nobody has called anything yet, and a call that fails counts for nothing.
    swap(client, "it", &unused).await.unwrap();
    let absent = client.module("it").call::<u32>("called", ()).await;
    refused(absent, ErrorCode::InvalidArgument, &["called"]);
    swap(client, "it", &both).await.unwrap();
    assert_eq!(run(&tenant, "it", "called").await, 1);

    let lacks = "it would lack `called: func() -> u32`, which clients have called";
    let refuse = swap(client, "it", &unused).await;
    refused(refuse, ErrorCode::FailedPrecondition, &[lacks, "`--force`"]);
    let refuse = client.register("it", &unused, Options::default()).await;
    refused(refuse, ErrorCode::FailedPrecondition, &[lacks]);
    let differs = "it would have `called` as `func(level: u8) -> u32` and not as `func() -> u32`";
    let refuse = swap(client, "it", &other).await;
    refused(refuse, ErrorCode::FailedPrecondition, &[differs]);
    // Where it is found makes no difference to those who call it.
    swap(client, "it", &called).await.unwrap();
    assert_eq!(run(&tenant, "it", "called").await, 3);
    // By its full name it is only in the first.
    swap(client, "it", &both).await.unwrap();
    assert_eq!(run(&tenant, "it", "a:b/c.called").await, 1);
    let refuse = swap(client, "it", &called).await;
    let lacks = "it would lack `a:b/c.called: func() -> u32`, which clients have called";
    refused(refuse, ErrorCode::FailedPrecondition, &[lacks]);

    // What is taken by force is forgotten.
    client.swap("it", to(&unused), forced()).await.unwrap();
    swap(client, "it", &both).await.unwrap();
    swap(client, "it", &unused).await.unwrap();
    // A name that is made anew has no past.
    assert_eq!(run(&tenant, "it", "unused").await, 4);
    client.remove("it").await.unwrap();
    client
        .register("it", &unused, Options::default())
        .await
        .unwrap();
    swap(client, "it", &called).await.unwrap();
}

#[tokio::test]
async fn what_was_called_is_known_after_a_restart() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant
        .register("it", giving("a:b/c", &[("called", 1), ("unused", 2)]))
        .await;
    let unused = upload(&tenant, giving("a:b/c", &[("unused", 2)])).await;
    assert_eq!(run(&tenant, "it", "called").await, 1);
    host.signal("TERM").await;
    assert_eq!(host.end().await.code(), Some(0));
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    let refuse = swap(&client, "it", &unused).await;
    let lacks = "it would lack `called: func() -> u32`, which clients have called";
    refused(refuse, ErrorCode::FailedPrecondition, &[lacks]);
    // As is what was forgotten.
    client.swap("it", to(&unused), forced()).await.unwrap();
    client
        .rollback("it", ChangeOptions::default())
        .await
        .unwrap();
    host.signal("TERM").await;
    host.end().await;
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    swap(&client, "it", &unused).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant
        .register("it", giving("a:b/c", &[("version", 1)]))
        .await;
    let second = upload(&tenant, giving("a:b/c", &[("version", 2)])).await;
    swap(&tenant.client, "it", &second).await.unwrap();
    let back = tenant.client.rollback("it", ChangeOptions::default()).await;
    let back = back.unwrap();
    host.kill().await;
    host.start_again().await;
    let client = Client::connect(tenant.profile()).await.unwrap();
    assert_eq!(client.show("it").await.unwrap().current, back);
    let history = client.history("it").await.unwrap();
    let restores: Vec<_> = history.iter().map(|one| one.restores).collect();
    assert_eq!(restores, [Some(1), None, None]);
    let version: u32 = client.module("it").call("version", ()).await.unwrap();
    assert_eq!(version, 1);
}

#[tokio::test]
async fn a_module_is_held_to_those_who_are_to_answer_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    let app = upload(&tenant, calling(LOGGER, "log")).await;
    let binding = |import: &str, name: &str, force| Options {
        bindings: [(import.to_owned(), name.to_owned())].into(),
        force,
        ..Options::default()
    };
    // Who is not there yet may come.
    client
        .register("app", &app, Options::default())
        .await
        .unwrap();
    client.remove("app").await.unwrap();
    tenant
        .register("acme:log/logger", giving(LOGGER, &[("flush", 0)]))
        .await;
    tenant.register("good", giving(LOGGER, &[("log", 1)])).await;
    let said = |by: &str| {
        format!("it imports `acme:log/logger@0.1.0.log: func() -> u32`, which `{by}` does not have")
    };
    let refuse = client.register("app", &app, Options::default()).await;
    refused(
        refuse,
        ErrorCode::FailedPrecondition,
        &[&said("acme:log/logger")],
    );
    let bound = binding(LOGGER, "acme:log/logger", false);
    let refuse = client.register("app", &app, bound).await;
    refused(
        refuse,
        ErrorCode::FailedPrecondition,
        &[&said("acme:log/logger"), "--force"],
    );
    client
        .register("app", &app, binding(LOGGER, "good", false))
        .await
        .unwrap();
    assert_eq!(run(&tenant, "app", "run").await, 1);
    let forced = binding(LOGGER, "acme:log/logger", true);
    client.register("app", &app, forced).await.unwrap();

    for (import, said) in [
        (
            "acme:log/logger@0.1.1",
            "the module does not import `acme:log/logger@0.1.1`",
        ),
        ("hello", "the module does not import `hello`"),
    ] {
        for force in [false, true] {
            let bound = binding(import, "good", force);
            let refuse = client.register("app", &app, bound).await;
            refused(refuse, ErrorCode::FailedPrecondition, &[said]);
        }
    }
    // A swap keeps the bindings, so they have to fit.
    let plain = upload(&tenant, giving("a:b/c", &[("run", 1)])).await;
    let refuse = swap(client, "app", &plain).await;
    let said = "the module does not import `acme:log/logger@0.1.0`";
    refused(refuse, ErrorCode::FailedPrecondition, &[said]);
    // What the node answers itself is nobody else's.
    let calc = upload(&tenant, built("calc")).await;
    let bound = binding("wasi:cli/environment@0.2.6", "good", true);
    let refuse = client.register("calc", &calc, bound).await;
    refused(refuse, ErrorCode::FailedPrecondition, &["cannot be bound"]);
}

#[tokio::test]
async fn a_full_name_that_comes_between_is_held_to_the_same() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    tenant
        .register("acme:log/logger", giving(LOGGER, &[("log", 1)]))
        .await;
    tenant.register("app", calling(LOGGER, "log")).await;
    let lacking = upload(&tenant, giving(LOGGER, &[("flush", 0)])).await;
    let refuse = client.register(LOGGER, &lacking, Options::default()).await;
    let said = "it would lack `acme:log/logger@0.1.0.log: func() -> u32`, which `app` imports";
    refused(refuse, ErrorCode::FailedPrecondition, &[said]);
    tenant.register(LOGGER, giving(LOGGER, &[("log", 2)])).await;
    assert_eq!(run(&tenant, "app", "run").await, 2);
    // Now the short name is nobody's answer, and free to change.
    swap(client, "acme:log/logger", &lacking).await.unwrap();
}

#[tokio::test]
async fn a_dependent_and_a_swap_against_it_do_not_both_get_through() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = &tenant.client;
    let good = tenant
        .register("acme:log/logger", giving(LOGGER, &[("log", 1)]))
        .await;
    let lacking = upload(&tenant, giving(LOGGER, &[("flush", 0)])).await;
    let app = upload(&tenant, calling(LOGGER, "log")).await;
    let (mut dependents, mut swaps) = (0, 0);
    for _ in 0..30 {
        let (registered, swapped) = tokio::join!(
            client.register("app", &app, Options::default()),
            swap(client, "acme:log/logger", &lacking),
        );
        match (registered, swapped) {
            (Ok(_), refuse) => {
                dependents += 1;
                let said = "which `app` imports";
                refused(refuse, ErrorCode::FailedPrecondition, &[said]);
                client.remove("app").await.unwrap();
            }
            (refuse, Ok(_)) => {
                swaps += 1;
                let said = "which `acme:log/logger` does not have";
                refused(refuse, ErrorCode::FailedPrecondition, &[said]);
                swap(client, "acme:log/logger", &good).await.unwrap();
            }
            (Err(one), Err(other)) => panic!("one of both must get through: {one}, {other}"),
        }
    }
    assert_eq!(dependents + swaps, 30);
}

#[tokio::test]
async fn so_many_imports_are_answered_by_others_and_no_more() {
    let tenant = TestHost::shared().await.tenant().await;
    let importing = |count: usize| {
        let mut text = String::from("(component ");
        for number in 0..count {
            write!(
                text,
                r#"(import "a:b/i{number}" (instance (export "f" (func)))) "#
            )
            .unwrap();
        }
        text.push_str(
            r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
               (func (export "f") (canon lift (core func $i "f"))))"#,
        );
        component(&text)
    };
    let most = tenant.client.upload_module(importing(64)).await;
    most.unwrap();
    let more = tenant.client.upload_module(importing(65)).await;
    let said = "the module has 65 imports for registrations to answer, the most are 64";
    refused(more, ErrorCode::ResourceExhausted, &[said]);
}

//! Modules that use modules: who answers an import, and what passes between the two.
//!
//! That every type of value passes is held by `values`; chains of such calls are in `chains`.

use std::sync::Arc;

use rpc_host_client::{Error, ErrorCode, Fault, ImportEntry, ImportStanding, NamedModule, Options};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, component};
use tokio::task::JoinSet;

use crate::deadlines::runs;
use crate::{bound, refused};

/// A component that imports `call-me` of an interface, which gives a number, and passes it on in `run`.
fn asking(interface: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "{interface}" (instance $other (export "call-me" (func (result u32)))))
            (core func $call-me (canon lower (func $other "call-me")))
            (core module $m
                (import "other" "call-me" (func $call-me (result i32)))
                (func (export "run") (result i32) (call $call-me))
                (func (export "idle") (result i32) (i32.const 7)))
            (core instance $i (instantiate $m
                (with "other" (instance (export "call-me" (func $call-me))))))
            (func (export "run") (result u32) (canon lift (core func $i "run")))
            (func (export "idle") (result u32) (canon lift (core func $i "idle"))))"#
    ))
}

/// A component that exports an interface whose `call-me` gives this number, as a WIT type that has the
/// same form in core code.
fn answering_as(ty: &str, interface: &str, number: u32) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $m (func (export "f") (result i32) (i32.const {number})))
            (core instance $i (instantiate $m))
            (func $f (result {ty}) (canon lift (core func $i "f")))
            (instance $out (export "call-me" (func $f)))
            (export "{interface}" (instance $out)))"#
    ))
}

fn answering(interface: &str, number: u32) -> Vec<u8> {
    answering_as("u32", interface, number)
}

async fn run(asks: &NamedModule) -> Result<u32, Error> {
    asks.call("run", ()).await
}

async fn import(tenant: &TestTenant, name: &str) -> ImportEntry {
    let found = tenant.client.inspect(name).await.unwrap();
    let [import] = &found.imports[..] else {
        panic!("{:?}", found.imports)
    };
    import.clone()
}

const COUNT: &str = "acme:count/it@0.1.0";

fn forced() -> Options {
    Options {
        force: true,
        ..Options::default()
    }
}

#[tokio::test]
async fn who_is_bound_answers_and_else_who_is_named_like_the_import() {
    let tenant = TestHost::shared().await.tenant().await;
    let asks = tenant.register("asks", asking(COUNT)).await;
    let it = tenant.client.module("asks");
    tenant.register("other", answering(COUNT, 1)).await;
    refused(run(&it).await, ErrorCode::FailedPrecondition, &[COUNT]);

    // From the weakest claim to the strongest.
    tenant.register("acme:count/it", answering(COUNT, 2)).await;
    assert_eq!(run(&it).await.unwrap(), 2);
    assert_eq!(
        import(&tenant, "asks").await.note,
        "answered by `acme:count/it`"
    );
    tenant.register(COUNT, answering(COUNT, 3)).await;
    assert_eq!(run(&it).await.unwrap(), 3, "the name with the version");
    assert_eq!(
        import(&tenant, "asks").await.note,
        format!("answered by `{COUNT}`")
    );
    let client = &tenant.client;
    let to_other = bound([(COUNT, "other")]);
    client.register("asks", &asks, to_other).await.unwrap();
    assert_eq!(run(&it).await.unwrap(), 1, "the one that is bound");
    let found = import(&tenant, "asks").await;
    assert_eq!(found.standing, ImportStanding::Bound);
    assert_eq!(found.note, "answered by `other`");

    // And back.
    client
        .register("asks", &asks, Options::default())
        .await
        .unwrap();
    assert_eq!(run(&it).await.unwrap(), 3);
    client.remove(COUNT).await.unwrap();
    assert_eq!(run(&it).await.unwrap(), 2);
    client.remove("acme:count/it").await.unwrap();
    refused(run(&it).await, ErrorCode::FailedPrecondition, &[COUNT]);

    // The same by the command line.
    let file = tenant.host.file("asks.wasm", asking(COUNT));
    let upload = ["upload", file.to_str().unwrap(), "--name", "asks", "--bind"];
    let [a, b, c, d, e] = upload;
    let binding = format!("{COUNT}=other");
    tenant.cli([a, b, c, d, e, &binding]).run().await.ok();
    let called = tenant.cli(["call", "asks", "run()"]).run().await;
    assert_eq!(called.ok(), "1");
    let shown = tenant.cli(["inspect", "asks"]).run().await;
    assert!(shown.ok().contains("answered by `other`"), "{shown:?}");
}

#[tokio::test]
async fn an_import_that_nothing_answers_fails_only_the_calls_that_reach_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let module = tenant.register("asks", asking(COUNT)).await;
    let it = tenant.client.module("asks");
    let remedy =
        format!("register `acme:count/it`, or bind another name to it with `--bind {COUNT}=NAME`");
    let found = import(&tenant, "asks").await;
    assert_eq!(
        (found.standing, &found.note),
        (ImportStanding::Unbound, &remedy)
    );
    assert_eq!(it.call::<u32>("idle", ()).await.unwrap(), 7);
    let failure = refused(run(&it).await, ErrorCode::FailedPrecondition, &[]);
    assert_eq!(failure.fault, Fault::Tenant);
    let said = format!("`asks` called `{COUNT}`, which nothing answers; {remedy}");
    assert_eq!(failure.message, said);

    // Bound to a name that nobody has: that is the one that is missing.
    let none = bound([(COUNT, "none")]);
    tenant.client.register("asks", &module, none).await.unwrap();
    let found = import(&tenant, "asks").await;
    assert_eq!(found.standing, ImportStanding::Unbound);
    assert_eq!(found.note, "bound to `none`, which is not registered");
    tenant.register("acme:count/it", answering(COUNT, 2)).await;
    let failure = refused(run(&it).await, ErrorCode::FailedPrecondition, &[]);
    let said = format!(
        "`asks` called `{COUNT}`, which nothing answers; it is bound to `none`, so register that"
    );
    assert_eq!(failure.message, said);
    tenant.register("none", answering(COUNT, 4)).await;
    assert_eq!(run(&it).await.unwrap(), 4);
    assert_eq!(
        import(&tenant, "asks").await.standing,
        ImportStanding::Bound
    );

    // Nobody knows of a file alone who will answer.
    let file = tenant.host.file("unbound.wasm", asking(COUNT));
    let inspect = ["inspect", file.to_str().unwrap(), "--output", "json"];
    let inspected = tenant.cli(inspect).run().await.json();
    assert_eq!(inspected["imports"][0]["standing"], "unbound");
    assert_eq!(inspected["imports"][0]["note"], remedy);
}

#[tokio::test]
async fn a_function_outside_of_an_interface_is_an_import_of_its_own() {
    let tenant = TestHost::shared().await.tenant().await;
    let asks = component(
        r#"(component
            (import "hello" (func $hello (result u32)))
            (core func $hello' (canon lower (func $hello)))
            (core module $m
                (import "other" "hello" (func $hello (result i32)))
                (func (export "run") (result i32) (call $hello)))
            (core instance $i (instantiate $m
                (with "other" (instance (export "hello" (func $hello'))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#,
    );
    let answers = component(
        r#"(component
            (core module $m (func (export "f") (result i32) (i32.const 5)))
            (core instance $i (instantiate $m))
            (func (export "hello") (result u32) (canon lift (core func $i "f"))))"#,
    );
    let module = tenant.register("asks", asks).await;
    let it = tenant.client.module("asks");
    refused(
        run(&it).await,
        ErrorCode::FailedPrecondition,
        &["`asks` called `hello`, which nothing answers; register `hello`, or bind"],
    );
    tenant.register("hello", answers).await;
    assert_eq!(run(&it).await.unwrap(), 5);
    // A function of that name in an interface is another one.
    let options = Options {
        force: true,
        ..bound([("hello", "inside")])
    };
    tenant
        .register("inside", answering("acme:hello/hello", 6))
        .await;
    tenant
        .client
        .register("asks", &module, options)
        .await
        .unwrap();
    refused(
        run(&it).await,
        ErrorCode::FailedPrecondition,
        &["`asks` called `hello` of `inside`, which does not offer it"],
    );
}

#[tokio::test]
async fn a_later_version_answers_where_it_promises_to_be_compatible() {
    for (offered, answers) in [
        ("0.1.0", true),
        ("0.1.1", true),
        ("0.2.0", false),
        ("1.1.0", false),
        ("0.1.1-rc.1", false),
    ] {
        let tenant = TestHost::shared().await.tenant().await;
        tenant.register("asks", asking(COUNT)).await;
        let offers = answering(&format!("acme:count/it@{offered}"), 1);
        tenant
            .register_with("acme:count/it", offers, forced())
            .await;
        let outcome = run(&tenant.client.module("asks")).await;
        if answers {
            assert_eq!(outcome.unwrap(), 1, "{offered}");
            continue;
        }
        let said = format!(
            "`asks` called `{COUNT}.call-me` of `acme:count/it`, which does not offer it; swap or \
             bind another module"
        );
        let failure = refused(outcome, ErrorCode::FailedPrecondition, &[&said]);
        assert_eq!(failure.fault, Fault::Tenant);
    }
}

#[tokio::test]
async fn a_function_of_another_type_does_not_answer() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("asks", asking(COUNT)).await;
    let other = answering_as("s32", COUNT, 1);
    tenant.register_with("acme:count/it", other, forced()).await;
    let said = format!(
        "`asks` called `{COUNT}.call-me` of `acme:count/it`, which offers it as `func() -> s32` and \
         not as `func() -> u32`"
    );
    let outcome = run(&tenant.client.module("asks")).await;
    let failure = refused(outcome, ErrorCode::FailedPrecondition, &[&said]);
    assert_eq!(failure.fault, Fault::Tenant);
}

#[tokio::test]
async fn tenants_never_link_to_one_another() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    for (tenant, number) in [(&one, 1), (&other, 2)] {
        tenant.register("asks", asking(COUNT)).await;
        tenant
            .register("acme:count/it", answering(COUNT, number))
            .await;
    }
    for (tenant, number) in [(&one, 1), (&other, 2)] {
        let it = tenant.client.module("asks");
        assert_eq!(run(&it).await.unwrap(), number);
    }
    // A name that only the other has is as good as none.
    one.client.remove("acme:count/it").await.unwrap();
    refused(
        run(&one.client.module("asks")).await,
        ErrorCode::FailedPrecondition,
        &["which nothing answers"],
    );
    let found = import(&one, "asks").await;
    assert_eq!(found.standing, ImportStanding::Unbound);
    assert_eq!(run(&other.client.module("asks")).await.unwrap(), 2);
}

const ADA: &str = "ada.a13596a938c65f23b37cbf9d15edeba52a5fad4ad6ba4c57e43b96f64e635cad";

fn with_log() -> Options {
    Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    }
}

async fn handle(app: &NamedModule, request: &str) -> Result<Result<String, String>, Error> {
    app.call_result("handle", (ADA, request)).await
}

#[tokio::test]
async fn each_module_has_its_own_grants_whoever_calls_it() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register("acme:auth/verifier", built("verifier"))
        .await;
    let logger = tenant
        .register_with("acme:log/logger", built("logger"), with_log())
        .await;
    tenant.register("app", built("app")).await;
    let app = tenant.client.module("app");
    let refusal = handle(&app, "dance").await.unwrap().unwrap_err();
    assert!(refusal.starts_with("no such request"), "{refusal}");
    let log = tenant.host.log();
    let mut lines = Vec::new();
    for (level, number) in [("INFO", 1), ("ERROR", 2)] {
        let line = log.line("of the logger", |line| {
            line.field("tenant") == tenant.name && line.level() == level
        });
        let line = line.await;
        assert_eq!(line.field("module"), "acme:log/logger");
        assert_eq!(
            line.field("fields"),
            format!("line=\"{number}\""),
            "one logger in the whole call"
        );
        lines.push(line);
    }
    assert_eq!(lines[0].message(), "ada asks: dance");
    assert_eq!(lines[0].field("call"), lines[1].field("call"));

    // What the caller may, the called may not for that.
    let client = &tenant.client;
    client
        .register("acme:log/logger", &logger, Options::default())
        .await
        .unwrap();
    tenant.register_with("app", built("app"), with_log()).await;
    let failure = refused(
        handle(&app, "whoami").await,
        ErrorCode::PermissionDenied,
        &[
            "`acme:log/logger`: the module called `rpc-host:guest/log@0.1.0.",
            "grant `log`",
        ],
    );
    assert_eq!(failure.fault, Fault::Tenant);
    client
        .register("acme:log/logger", &logger, with_log())
        .await
        .unwrap();
    assert_eq!(handle(&app, "whoami").await.unwrap().as_deref(), Ok("ada"));
}

#[tokio::test]
async fn many_calls_that_lead_to_others_fit_on_one_connection() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register("acme:auth/verifier", built("verifier"))
        .await;
    tenant
        .register_with("acme:log/logger", built("logger"), with_log())
        .await;
    tenant.register("app", built("app")).await;
    let mut calls = JoinSet::new();
    for number in 0..256 {
        let app = tenant.client.module("app");
        calls.spawn(async move {
            let answer = handle(&app, &format!("shout n{number}")).await;
            assert_eq!(answer.unwrap(), Ok(format!("N{number}")));
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn a_call_has_one_instance_of_each_module_and_the_next_call_has_others() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register("module:ticker/ticker", built("ticker"))
        .await;
    tenant.register("caller", built("caller")).await;
    let caller = tenant.client.module("caller");
    for _ in 0..2 {
        let ticks: Vec<u32> = caller.call("ticks", (3,)).await.unwrap();
        assert_eq!(ticks, [1, 2, 3]);
    }
    let ticker = tenant.client.module("module:ticker/ticker");
    assert_eq!(ticker.call::<u32>("next", ()).await.unwrap(), 1);
    assert_eq!(
        caller.call::<u64>("pings", (1000_u64,)).await.unwrap(),
        1000
    );
}

/// What makes another revision of the same module, which other instances are of.
fn otherwise() -> Options {
    Options {
        limits: [("max-log-line-bytes".to_owned(), 100)].into(),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_swap_reaches_a_module_that_is_running_at_its_next_call() {
    let tenant = TestHost::shared().await.tenant().await;
    let ticker = tenant
        .register("module:ticker/ticker", built("ticker"))
        .await;
    tenant
        .register_with("caller", built("caller"), with_log())
        .await;
    let caller = tenant.client.module("caller");
    let ticking = tokio::spawn(async move { caller.call("ticks_until_reset", ()).await });
    let log = tenant.host.log();
    let of_mine = |line: &rpc_host_tests::LogLine| {
        line.field("tenant") == tenant.name && line.message() == "ticking"
    };
    log.line("of the first tick", of_mine).await;
    let client = &tenant.client;
    client
        .register("module:ticker/ticker", &ticker, otherwise())
        .await
        .unwrap();
    let (last, next): (u32, u32) = ticking.await.unwrap().unwrap();
    assert!(last >= 1);
    assert_eq!(next, 1, "after {last}");
}

#[tokio::test]
async fn what_is_swapped_goes_when_nobody_holds_anything_of_it() {
    // A module and one that it uses: no room for what the latter was before.
    let options = HostOptions::new().limit("max-instances-per-call", 2);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let swap = async |name: &str, module: &str| {
        tenant.register_with(name, built(module), otherwise()).await;
    };
    tenant
        .register("module:ticker/ticker", built("ticker"))
        .await;
    tenant
        .register_with("caller", built("caller"), with_log())
        .await;
    let caller = tenant.client.module("caller");
    let ticking =
        tokio::spawn(async move { caller.call::<(u32, u32)>("ticks_until_reset", ()).await });
    let log = host.log();
    log.line("of the first tick", |line| line.message() == "ticking")
        .await;
    swap("module:ticker/ticker", "ticker").await;
    assert_eq!(ticking.await.unwrap().unwrap().1, 1);

    // An object keeps the instance that it lives in.
    tenant.register("test:things/maker", built("maker")).await;
    tenant.register("user", built("user")).await;
    let user = tenant.client.module("user");
    let adding = tokio::spawn(async move { user.call::<(i64, i64, u32)>("outlive", ()).await });
    runs(&host).await;
    swap("test:things/maker", "maker").await;
    refused(
        adding.await.unwrap(),
        ErrorCode::ResourceExhausted,
        &["one call led to more than 2 modules"],
    );
}

#[tokio::test]
async fn an_object_is_as_good_as_before_when_its_maker_was_swapped() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    let maker = tenant.register("test:things/maker", built("maker")).await;
    tenant.register("user", built("user")).await;
    let user = tenant.client.module("user");
    let adding = tokio::spawn(async move { user.call("outlive", ()).await });
    runs(&host).await;
    let client = &tenant.client;
    client
        .register("test:things/maker", &maker, otherwise())
        .await
        .unwrap();
    let (added, value, live): (i64, i64, u32) = adding.await.unwrap().unwrap();
    assert!(added > 1);
    assert_eq!((value, live), (added, 0));
}

/// A user of things, their maker and their broker, each under the name of what it exports.
async fn things() -> (TestTenant, NamedModule) {
    things_on(TestHost::shared().await).await
}

async fn things_on(host: Arc<TestHost>) -> (TestTenant, NamedModule) {
    let tenant = host.tenant().await;
    for name in ["maker", "broker"] {
        tenant
            .register(&format!("test:things/{name}"), built(name))
            .await;
    }
    tenant.register("user", built("user")).await;
    let user = tenant.client.module("user");
    (tenant, user)
}

#[tokio::test]
async fn objects_live_where_they_were_made_and_as_long_as_somebody_holds_them() {
    let (_tenant, user) = things().await;
    // Every time the same: nothing of a call is there for the next one.
    for _ in 0..2 {
        let live: Vec<u32> = user.call("lifetimes", ()).await.unwrap();
        assert_eq!(live, [0, 3, 2, 1, 0]);
        let lent: Vec<i64> = user.call("lending", ()).await.unwrap();
        assert_eq!(lent, [4, 4, 9, 17, 0]);
        let given: (i64, u32, u32) = user.call("giving", ()).await.unwrap();
        assert_eq!(given, (23, 1, 0));
        let brokered: Vec<i64> = user.call("brokered", ()).await.unwrap();
        assert_eq!(brokered, [10, 16, 56, 2, 40, 16, 0]);
        let wrapped: Vec<String> = user.call("wrapped", ()).await.unwrap();
        let expected = [
            "Some(5)",
            "None",
            "Ok(6)",
            "Err(\"-6 is negative\")",
            "3",
            "3",
            "0 left of 5",
        ];
        assert_eq!(wrapped, expected);
        let found: (u32, u32) = user.call("leave_behind", (3,)).await.unwrap();
        assert_eq!(found, (0, 0), "a maker of this call alone");
        assert_eq!(user.call::<i64>("misplace", ()).await.unwrap(), 2);
        assert_eq!(user.call::<i64>("mislend", ()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_object_stays_with_the_instance_that_made_it() {
    let (tenant, user) = things().await;
    tenant.register("another-maker", built("maker")).await;
    let to_another = bound([("test:things/maker@0.1.0", "another-maker")]);
    tenant
        .register_with("test:things/broker", built("broker"), to_another)
        .await;
    // Methods are called of the object, wherever it lives.
    assert_eq!(user.call::<i64>("misplace", ()).await.unwrap(), 2);
    assert_eq!(user.call::<i64>("mislend", ()).await.unwrap(), 1);
    // A function is called of the maker, which can do nothing with another's object.
    let failure = refused(
        user.call::<Vec<i64>>("brokered", ()).await,
        ErrorCode::FailedPrecondition,
        &[
            "`test:things/maker`: `test:things/maker@0.1.0.sum` was given an object that another \
             module made",
        ],
    );
    assert_eq!(failure.fault, Fault::Tenant);
}

#[tokio::test]
async fn objects_are_bounded_in_number_and_their_room_is_given_back() {
    let (tenant, user) = things().await;
    assert_eq!(user.call::<u32>("churn", (20_000,)).await.unwrap(), 0);
    // So many in one instance, and so many in all of a call.
    tenant.register("another-maker", built("maker")).await;
    let to_another = bound([("test:things/maker@0.1.0", "another-maker")]);
    tenant
        .register_with("test:things/broker", built("broker"), to_another)
        .await;
    for (function, most, too_many) in [("hoard", 9_000, 11_000), ("stock", 4_900, 5_100)] {
        let held: u32 = user.call(function, (most,)).await.unwrap();
        assert_eq!(held, most);
        let failure = refused(
            user.call::<u32>(function, (too_many,)).await,
            ErrorCode::ResourceExhausted,
            &["more than 10000 objects are held at once"],
        );
        assert_eq!(failure.fault, Fault::Guest);
        assert_eq!(user.call::<u32>(function, (1,)).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_operator_may_allow_fewer_objects_than_the_default() {
    for (limit, function) in [
        ("max-handles-per-instance", "hoard"),
        ("max-objects-per-call", "hoard"),
        ("max-objects-per-call", "stock"),
    ] {
        let host = TestHost::start_with(HostOptions::new().limit(limit, 100)).await;
        let (tenant, user) = things_on(host).await;
        tenant.register("another-maker", built("maker")).await;
        let to_another = bound([("test:things/maker@0.1.0", "another-maker")]);
        tenant
            .register_with("test:things/broker", built("broker"), to_another)
            .await;
        assert_eq!(user.call::<u32>(function, (40,)).await.unwrap(), 40);
        refused(
            user.call::<u32>(function, (110,)).await,
            ErrorCode::ResourceExhausted,
            &["more than 100 objects are held at once"],
        );
    }
}

#[tokio::test]
async fn what_app_imports_is_shown_with_who_answers() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("acme:log/logger", built("logger")).await;
    tenant.register("app", built("app")).await;
    let found = tenant.client.inspect("app").await.unwrap();
    let of_acme = found
        .imports
        .iter()
        .filter(|one| one.name.starts_with("acme:"));
    let mut shown: Vec<_> = of_acme
        .map(|one| (one.name.as_str(), one.standing, one.note.as_str()))
        .collect();
    shown.sort_by_key(|(name, ..)| *name);
    let remedy = "register `acme:auth/verifier`, or bind another name to it with \
                  `--bind acme:auth/verifier@0.1.0=NAME`";
    let expected = [
        ("acme:auth/verifier@0.1.0", ImportStanding::Unbound, remedy),
        (
            "acme:log/logger@0.1.0",
            ImportStanding::Bound,
            "answered by `acme:log/logger`",
        ),
    ];
    assert_eq!(shown, expected);
}

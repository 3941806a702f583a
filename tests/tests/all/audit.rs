//! The audit log: what the node remembers of its decisions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rpc_host_client::{Client, ErrorCode, Options};
use rpc_host_protocol::message::{Fallback, Message, Provide, ProvideScope, UploadHeader};
use rpc_host_protocol::operation::{
    ByDigest, Named, Register, Rollback, Swap, SwapTo, TenantSettings, TokenCreate, TokenList,
    TokenRevoke,
};
use rpc_host_protocol::{Failure, Operation, Value as Argument};
use rpc_host_tests::{CliProcess, HostOptions, RawPeer, TestHost, TestTenant, built, component};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::{failure, refused};

/// Ends the node, and gives all that its audit log says.
async fn told(host: &TestHost) -> Vec<Value> {
    host.signal("TERM").await;
    assert!(host.end().await.success());
    lines(&host.data().join("audit/audit.jsonl"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("an audit log");
    let lines = text.lines().map(|line| {
        assert!(line.len() < 4096, "{line}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    lines.collect()
}

/// That there is a line of this event and outcome, with all of these fields.
#[track_caller]
fn has(lines: &[Value], event: &str, outcome: &str, fields: &[(&str, &str)]) {
    let is_it = |line: &&Value| {
        let has = |name: &str, value: &str| match &line[name] {
            Value::Array(all) => all.iter().any(|one| one == value),
            other => other == value,
        };
        has("event", event)
            && has("outcome", outcome)
            && fields.iter().all(|(name, value)| has(name, value))
    };
    let of_event: Vec<_> = lines.iter().filter(|line| line["event"] == event).collect();
    assert!(
        lines.iter().any(|line| is_it(&line)),
        "no {event} {outcome} {fields:?} in {of_event:#?}"
    );
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

fn register(name: &str, digest: &str, grants: &[&str]) -> Register {
    Register {
        name: name.to_owned(),
        digest: digest.to_owned(),
        grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
        ..Register::default()
    }
}

fn offer(name: &str, scope: ProvideScope) -> Provide {
    Provide {
        name: name.to_owned(),
        scope,
        lease_ms: 60_000,
        window: 1,
        fallback: Fallback::Previous,
        wit: None,
    }
}

async fn operate(peer: &mut RawPeer, operation: Operation) -> Result<(), Failure> {
    peer.operate::<IgnoredAny>(operation).await.map(drop)
}

#[tokio::test]
async fn every_change_is_told_with_who_made_it() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    let calc = tenant.client.upload_module(built("calc")).await.unwrap();
    let text = tenant.client.upload_module(built("text")).await.unwrap();
    let (calc, text) = (calc.digest(), text.digest());
    tenant.client.upload_module(built("calc")).await.unwrap();
    let junk = failure(tenant.client.upload_module(b"junk".to_vec()).await);
    assert_eq!(junk.code, ErrorCode::InvalidArgument);
    let mut peer = tenant.raw_peer().await;
    let swap = |to| {
        Operation::Swap(Swap {
            name: "calc".to_owned(),
            to,
            if_revision: None,
            force: true,
        })
    };
    let rollback = Operation::Rollback(Rollback {
        name: "calc".to_owned(),
        if_revision: None,
        force: true,
    });
    for operation in [
        Operation::Register(register("calc", calc, &["log"])),
        swap(SwapTo::Digest(text.to_owned())),
        rollback,
        swap(SwapTo::Revision(2)),
        swap(SwapTo::Digest(calc.to_owned())),
    ] {
        operate(&mut peer, operation).await.unwrap();
    }
    let nothing = format!("sha256:{}", "0".repeat(64));
    let absent = Operation::Register(register("absent", &nothing, &[]));
    operate(&mut peer, absent).await.unwrap_err();
    peer.provide(offer("calc", ProvideScope::Session))
        .await
        .unwrap();
    peer.withdraw("calc", false).await.unwrap();
    peer.withdraw("calc", false).await.unwrap_err();
    let mut other = tenant.raw_peer().await;
    other
        .provide(offer("calc", ProvideScope::Tenant))
        .await
        .unwrap();
    peer.withdraw("calc", true).await.unwrap();
    other
        .provide(offer("calc", ProvideScope::Tenant))
        .await
        .unwrap();
    let promote = Operation::Promote(register("calc", calc, &[]));
    operate(&mut peer, promote).await.unwrap();
    let made = TokenCreate {
        tenant: None,
        role: "caller".to_owned(),
        expires_in_s: Some(60),
    };
    let made: rpc_host_protocol::operation::NewToken =
        peer.operate(Operation::TokenCreate(made)).await.unwrap();
    let id = made.entry.id.clone();
    let revoke = Operation::TokenRevoke(TokenRevoke { id: id.clone() });
    for operation in [
        revoke,
        Operation::Remove(named("calc")),
        Operation::RemoveModule(ByDigest {
            digest: text.to_owned(),
        }),
    ] {
        operate(&mut peer, operation).await.unwrap();
    }
    let admin = host.client().await;
    admin.tenant_create("short-lived").await.unwrap();
    admin.tenant_remove("short-lived").await.unwrap();
    admin.tenant_remove("short-lived").await.unwrap_err();

    let lines = told(&host).await;
    let whose = tenant.token.split('_').nth(1).unwrap();
    let mine = [
        ("tenant", &*tenant.name),
        ("credential", whose),
        ("role", "admin"),
        ("address", "127.0.0.1"),
    ];
    let has = |event: &str, outcome: &str, fields: &[(&str, &str)]| {
        has(&lines, event, outcome, &[&mine[..], fields].concat());
    };
    has("hello", "allowed", &[]);
    has("upload", "allowed", &[("object", calc)]);
    has(
        "upload",
        "allowed",
        &[("object", calc), ("detail", "known already")],
    );
    has("upload", "refused", &[("code", "invalid-argument")]);
    has(
        "register",
        "allowed",
        &[
            ("object", "calc"),
            ("digest", calc),
            ("grants", "log"),
            ("detail", "revision 1"),
        ],
    );
    has(
        "swap",
        "allowed",
        &[
            ("object", "calc"),
            ("digest", text),
            ("detail", "revision 2, by force"),
        ],
    );
    has(
        "rollback",
        "allowed",
        &[("digest", calc), ("detail", "revision 3, by force")],
    );
    has(
        "swap",
        "allowed",
        &[
            ("digest", text),
            ("detail", "revision 4, to revision 2, by force"),
        ],
    );
    has(
        "register",
        "refused",
        &[
            ("object", "absent"),
            ("digest", &nothing),
            ("code", "not-found"),
        ],
    );
    has(
        "provide",
        "allowed",
        &[("object", "calc"), ("detail", "to its session")],
    );
    has("withdraw", "allowed", &[("object", "calc")]);
    has(
        "withdraw",
        "refused",
        &[("object", "calc"), ("code", "not-found")],
    );
    has("provide", "allowed", &[("detail", "to the tenant")]);
    has("steal", "allowed", &[("object", "calc")]);
    has(
        "promote",
        "allowed",
        &[("object", "calc"), ("digest", calc)],
    );
    has(
        "token-create",
        "allowed",
        &[("object", &id), ("detail", "role caller, for 60 s")],
    );
    has("token-revoke", "allowed", &[("object", &id)]);
    has("remove", "allowed", &[("object", "calc")]);
    has("remove-module", "allowed", &[("object", text)]);
    let operator = [("tenant", "default"), ("of-tenant", "short-lived")];
    for (event, outcome) in [
        ("tenant-create", "allowed"),
        ("tenant-remove", "allowed"),
        ("tenant-remove", "refused"),
    ] {
        self::has(&lines, event, outcome, &operator);
    }
    // Numbers without a gap, from the first line to the last.
    let seqs: Vec<_> = lines
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=lines.len() as u64).collect::<Vec<_>>());
    self::has(&lines[..1], "start", "allowed", &[]);
    self::has(&lines, "confine", "allowed", &[("object", "node")]);
    self::has(
        &lines,
        "confine",
        "allowed",
        &[("object", "compile workers")],
    );
    self::has(&lines[lines.len() - 1..], "stop", "allowed", &[]);
    self::has(&lines, "drain", "allowed", &[]);
    let mode = |path: &str| {
        std::fs::metadata(host.data().join(path))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("audit/audit.jsonl") & 0o777, 0o600);
    assert_eq!(mode("audit") & 0o777, 0o700);
}

#[tokio::test]
async fn every_refusal_for_want_of_a_right_is_told_whatever_was_asked_for() {
    let options = HostOptions::new().limit("max-audit-lines-per-second", 1000);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let mut peer = RawPeer::welcomed(&host, &tenant.token("reader").await).await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let other = || Some("default".to_owned());
    let mut operations = vec![
        Operation::Register(register("n", &digest, &[])),
        Operation::Promote(register("n", &digest, &[])),
        Operation::Swap(Swap {
            name: "n".to_owned(),
            to: SwapTo::Revision(1),
            if_revision: None,
            force: false,
        }),
        Operation::Rollback(Rollback {
            name: "n".to_owned(),
            if_revision: None,
            force: false,
        }),
        Operation::Remove(named("n")),
        Operation::RemoveModule(ByDigest {
            digest: digest.clone(),
        }),
        Operation::TenantCreate(TenantSettings {
            name: "n".to_owned(),
            ..TenantSettings::default()
        }),
        Operation::TenantSet(TenantSettings {
            name: "n".to_owned(),
            ..TenantSettings::default()
        }),
        Operation::TenantList {},
        Operation::TenantShow(named("default")),
        Operation::TenantRemove(named("n")),
        Operation::TokenCreate(TokenCreate {
            tenant: other(),
            role: "admin".to_owned(),
            expires_in_s: None,
        }),
        Operation::TokenList(TokenList { tenant: other() }),
        Operation::TokenRevoke(TokenRevoke {
            id: "0123456789abcdef".to_owned(),
        }),
    ];
    let names: Vec<_> = operations.iter().map(|one| one.name()).collect();
    for operation in operations.drain(..) {
        let refused = operate(&mut peer, operation).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PermissionDenied, "{refused:?}");
    }
    let id = peer.call("calc", "add", &[Argument::S64(1)]).await;
    peer.outcome(id).await.unwrap_err();
    let id = peer.fresh_id();
    let size_bytes = 8;
    peer.send(id, Message::Upload(UploadHeader { digest, size_bytes }))
        .await;
    peer.outcome(id).await.unwrap_err();
    peer.provide(offer("calc", ProvideScope::Tenant))
        .await
        .unwrap_err();
    peer.withdraw("calc", true).await.unwrap_err();
    peer.withdraw("calc", false).await.unwrap_err();
    // What it may, beside it: nothing is told of that.
    operate(&mut peer, Operation::List {}).await.unwrap();

    let lines = told(&host).await;
    let others = ["call", "upload", "provide", "steal", "withdraw"];
    for event in names.into_iter().chain(others) {
        let fields = [
            ("tenant", &*tenant.name),
            ("role", "reader"),
            ("code", "permission-denied"),
        ];
        has(&lines, event, "refused", &fields);
    }
    assert!(
        !lines.iter().any(|line| line["event"] == "list"),
        "{lines:#?}"
    );
    let why = |line: &Value| {
        line["why"]
            .as_str()
            .unwrap_or_default()
            .contains("this needs")
    };
    assert!(lines.iter().any(why));
}

#[tokio::test]
async fn strangers_guests_without_a_grant_and_limits_are_told() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    let revoked = tenant.token("caller").await;
    let id = revoked.split('_').nth(1).unwrap();
    tenant.client.token_revoke(id).await.unwrap();
    for token in [None, Some("nonsense"), Some(&*revoked)] {
        RawPeer::connect(&host)
            .await
            .enter(token)
            .await
            .unwrap_err();
    }
    tenant.register("greeter", built("greeter")).await;
    tenant.register("logger", built("logger")).await;
    let bound = crate::bound([("acme:log/logger@0.1.0", "logger")]);
    tenant.register_with("app", built("app"), bound).await;
    let limits = [("max-reply-bytes".to_owned(), 1000)].into();
    let small = Options {
        limits,
        ..Options::default()
    };
    tenant.register_with("big", built("big"), small).await;
    let greet = tenant.client.module("greeter");
    let greeted = greet
        .call_result::<String, String>("greet", ("Ada", "english"))
        .await;
    assert_eq!(failure(greeted).code, ErrorCode::PermissionDenied);
    for _ in 0..3 {
        let bytes = tenant
            .client
            .module("big")
            .call::<Vec<u8>>("bytes", (1001,))
            .await;
        refused(bytes, ErrorCode::ResourceExhausted, &[]);
    }
    let lines = told(&host).await;
    let stranger = [("address", "127.0.0.1"), ("code", "unauthenticated")];
    has(&lines, "hello", "refused", &stranger);
    has(
        &lines,
        "hello",
        "refused",
        &[&stranger[..], &[("credential", id)]].concat(),
    );
    let refusals = lines
        .iter()
        .filter(|line| line["event"] == "hello" && line["outcome"] == "refused");
    assert_eq!(refusals.count(), 3);
    let of_tenant = ("tenant", &*tenant.name);
    let ungranted = [
        of_tenant,
        ("object", "greeter"),
        ("code", "permission-denied"),
    ];
    has(&lines, "ungranted", "refused", &ungranted);
    let limit = [of_tenant, ("object", "big"), ("code", "resource-exhausted")];
    has(&lines, "limit", "refused", &limit);
    let limits = lines.iter().filter(|line| line["event"] == "limit").count();
    assert!((1..=3).contains(&limits));
    let why = |line: &Value| line["why"].as_str().unwrap_or_default().to_owned();
    assert!(
        lines
            .iter()
            .any(|line| why(line).contains("needs the grant `log`"))
    );
    assert!(
        lines
            .iter()
            .any(|line| why(line).contains("limit of 1000 bytes"))
    );
}

#[tokio::test]
async fn refusals_that_one_tenant_causes_are_so_many_a_second_and_the_rest_is_counted() {
    let options = HostOptions::new().limit("max-audit-lines-per-second", 5);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let mut peer = RawPeer::welcomed(&host, &tenant.token("reader").await).await;
    for _ in 0..500 {
        let created = operate(
            &mut peer,
            Operation::TenantCreate(TenantSettings {
                name: "mine".to_owned(),
                ..TenantSettings::default()
            }),
        )
        .await;
        created.unwrap_err();
    }
    // Changes of the same tenant are told all the same.
    for _ in 0..10 {
        tenant.token("reader").await;
    }
    let quiet = host.tenant().await;
    quiet
        .client_of("reader")
        .await
        .token_list(None)
        .await
        .unwrap_err();
    let lines = told(&host).await;
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    let refusals = lines
        .iter()
        .filter(|line| line["event"] == "tenant-create" && line["outcome"] == "refused");
    let refusals = refusals.count() as u64;
    let left_out = lines
        .iter()
        .filter(|line| line["event"] == "left-out")
        .map(|line| {
            assert_eq!(line["tenant"], *tenant.name);
            let detail = line["detail"].as_str().unwrap();
            assert!(detail.contains("`max-audit-lines-per-second`"), "{detail}");
            detail.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
    // Each is either told or counted.
    assert!(refusals < 250, "{refusals}");
    assert!(refusals + left_out.sum::<u64>() >= 500);
    assert!(of("token-create") >= 10);
    has(&lines, "token-list", "refused", &[("tenant", &quiet.name)]);
}

#[tokio::test]
async fn uploads_that_are_given_up_are_so_many_a_second_and_the_rest_is_counted() {
    let options = HostOptions::new().limit("max-audit-lines-per-second", 5);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let mut peer = RawPeer::welcomed(&host, &tenant.token("deployer").await).await;
    for number in 0..300 {
        let id = peer.fresh_id();
        let header = UploadHeader {
            digest: format!("sha256:{number:064x}"),
            size_bytes: 8,
        };
        peer.send(id, Message::Upload(header)).await;
        peer.send(id, Message::Cancel).await;
        while peer.message().await.0 != id {}
    }
    let lines = told(&host).await;
    let uploads = lines.iter().filter(|line| line["event"] == "upload");
    assert!(uploads.count() < 150);
    has(&lines, "left-out", "failed", &[("tenant", &tenant.name)]);
}

#[tokio::test]
async fn nothing_secret_is_told() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("trap", built("trap")).await;
    let canary = "canary-that-nobody-else-may-see";
    let trap = tenant.client.module("trap");
    trap.call::<u32>("panic_with", (canary,)).await.unwrap_err();
    trap.call::<u32>("panic_with", (1, canary))
        .await
        .unwrap_err();
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    let mut peer = tenant.raw_peer().await;
    // Whether there is such a grant or not.
    for grant in ["env:TOKEN=", "ENV:TOKEN=", "random:seeded="] {
        let grant = format!("{grant}{canary}");
        let _either = operate(
            &mut peer,
            Operation::Register(register("calc", module.digest(), &[&grant])),
        )
        .await;
    }
    let made = tenant.token("caller").await;
    Client::connect(host.profile(&made)).await.unwrap();
    Client::connect(host.profile(&format!("{made}0")))
        .await
        .unwrap_err();
    let lines = told(&host).await;
    has(
        &lines,
        "register",
        lines
            .iter()
            .find(|line| line["event"] == "register")
            .unwrap()["outcome"]
            .as_str()
            .unwrap(),
        &[("object", "trap")],
    );
    has(
        &lines,
        "token-create",
        "allowed",
        &[("tenant", &tenant.name)],
    );
    assert!(
        lines.iter().any(|line| line["grants"][0] == "env:TOKEN=…"),
        "{lines:#?}"
    );
    let text = format!("{lines:?}");
    let secrets = [&*made, &tenant.token, &host.admin_token()];
    let secrets = secrets.map(|token| token.rsplit_once('_').unwrap().1.to_owned());
    for secret in secrets.iter().map(String::as_str).chain([canary]) {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// A node whose audit log cannot be written serves as well as any other.
async fn serves(host: &Arc<TestHost>) {
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = tenant.client.module("calc");
    for _ in 0..100 {
        assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
    }
    for _ in 0..20 {
        tenant
            .client_of("reader")
            .await
            .token_list(None)
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn a_full_disk_or_a_pipe_that_nobody_reads_costs_lines_and_no_call() {
    let full = HostOptions::new().audit_file(Path::new("/dev/full")).open();
    let host = TestHost::start_with(full).await;
    serves(&host).await;
    host.signal("TERM").await;
    assert!(host.end().await.success());
    host.log()
        .line("about the log", |line| {
            line.message()
                .starts_with("the audit log cannot be written")
        })
        .await;
    let lost = host
        .log()
        .line("at the end", |line| {
            line.message() == "lines of the audit log were lost"
        })
        .await;
    assert!(lost.0["fields"]["lost"].as_u64().unwrap() > 20, "{lost:?}");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let host = TestHost::start_with(HostOptions::new().audit_file(&path)).await;
    serves(&host).await;
    // Whoever reads it later is told what is missing.
    let reader = tokio::task::spawn_blocking(move || {
        std::io::read_to_string(std::fs::File::open(path).unwrap())
    });
    while !reader.is_finished() {
        host.client().await.tenant_list().await.unwrap();
        if host
            .log()
            .lines()
            .iter()
            .any(|line| line.message() == "the audit log is written again")
        {
            break;
        }
    }
    host.signal("TERM").await;
    assert!(host.end().await.success());
    let text = reader.await.unwrap().unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["lost"].as_u64().unwrap() + 1,
        first["seq"].as_u64().unwrap()
    );
}

#[tokio::test]
async fn it_goes_on_after_a_restart_and_after_a_crash_and_files_are_bounded() {
    let options = HostOptions::new()
        .limit("max-audit-file-bytes", 4096)
        .limit("max-audit-files", 3);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    for _ in 0..60 {
        let token = tenant.client.token_create(rpc_host_client::TokenRequest {
            tenant: None,
            role: "reader".to_owned(),
            expires_in: None,
        });
        let id = token.await.unwrap().entry.id;
        tenant.client.token_revoke(&id).await.unwrap();
    }
    let folder = host.data().join("audit");
    host.kill().await;
    host.start_again().await;
    host.signal("TERM").await;
    assert!(host.end().await.success());
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
    let all: Vec<_> = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"]
        .iter()
        .flat_map(|name| {
            assert!(folder.join(name).metadata().unwrap().len() <= 4096);
            lines(&folder.join(name))
        })
        .collect();
    let seqs: Vec<_> = all
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    let first = seqs[0];
    assert!(first > 1);
    assert_eq!(seqs, (first..first + seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_command_line_reads_it_filters_it_and_follows_it() {
    let host = TestHost::start().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let data = host.data();
    let data = data.to_str().unwrap();
    let mut follow = host
        .cli([
            "audit", "--data", data, "--tenant", &one.name, "--follow", "--output", "json",
        ])
        .start();
    let until = async |follow: &mut CliProcess, event: &str| loop {
        let line: Value = serde_json::from_str(&follow.line().await).unwrap();
        let of = [&line["tenant"], &line["of-tenant"]];
        assert!(of.iter().any(|of| **of == *one.name), "{line}");
        if line["event"] == event {
            return line;
        }
    };
    assert_eq!(
        until(&mut follow, "tenant-create").await["outcome"],
        "allowed"
    );
    other.token("reader").await;
    one.register("calc", built("calc")).await;
    assert_eq!(until(&mut follow, "register").await["object"], "calc");
    one.client.remove("calc").await.unwrap();
    until(&mut follow, "remove").await;
    follow.signal("INT").await;
    follow.end().await;

    let audit = async |arguments: &[&str]| {
        let all = [&["audit", "--data", data], arguments].concat();
        rpc_host_tests::Cli::new(host.directory(), all).run().await
    };
    let text = audit(&["--since", "1h"]).await;
    let line = text
        .ok()
        .lines()
        .find(|line| line.contains("allowed  register"))
        .unwrap();
    for part in [
        "calc",
        "revision 1",
        &one.name,
        "role admin",
        "from 127.0.0.1",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert!(text.ok().contains(&other.name));
    let mine = audit(&["--tenant", &one.name]).await;
    assert!(!mine.ok().contains(&other.name));
    assert_eq!(audit(&["--tenant", "nobody"]).await.ok(), "");
    let absent = rpc_host_tests::Cli::new(host.directory(), ["audit", "--data", "absent"]);
    absent.run().await.error(
        "",
        &["there is no audit log absent/audit/audit.jsonl", "--data"],
    );
    audit(&["--since", "yesterday"]).await.failed(2);
}

#[tokio::test]
async fn names_of_outsiders_stay_in_their_line() {
    let host = TestHost::start().await;
    let tenant: TestTenant = host.tenant().await;
    let mut peer = tenant.raw_peer().await;
    let nasty = "\u{1b}[2J\"}\n{\"seq\":1,\"event\":\"forged\",\"outcome\":\"allowed\"}\u{202e}"
        .repeat(100);
    operate(&mut peer, Operation::Remove(named(&nasty)))
        .await
        .unwrap_err();
    let odd = component(r#"(component (import "a:b/c" (instance (export "f" (func)))))"#);
    tenant.client.upload_module(odd).await.unwrap_err();
    let lines = told(&host).await;
    assert!(!lines.iter().any(|line| line["event"] == "forged"));
    let removal = lines.iter().find(|line| line["event"] == "remove").unwrap();
    let object = removal["object"].as_str().unwrap();
    assert!(
        object.len() <= 256 && object.starts_with("\\u{1b}[2J\"}\\n{"),
        "{object}"
    );
}

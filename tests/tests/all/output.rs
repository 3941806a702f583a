//! What guests write: kept for a while, and told to those who call.

use std::sync::{Arc, Mutex};

use rpc_host_client::{Client, ErrorCode, Instancing, Line, LogOptions, Options, OutputStream};
use rpc_host_protocol::message::{CallHeader, Message, Output};
use rpc_host_protocol::operation::Logs;
use rpc_host_protocol::{ExchangeId, Operation, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built, in_time};
use tokio::sync::mpsc;

use crate::refused;

async fn probe() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("probe", built("wasi-probe")).await;
    tenant
}

async fn kept(client: &Client, name: &str, tail: Option<u32>) -> Vec<Line> {
    let mut lines = Vec::new();
    let options = LogOptions {
        tail,
        follow: false,
    };
    let shown = client.logs(name, options, |line| lines.push(line)).await;
    shown.unwrap();
    lines
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| &*line.text).collect()
}

async fn count(client: &Client, lines: u32, rest_ms: u32) {
    let probe = client.module("probe");
    probe.call("count", (lines, rest_ms)).await.unwrap()
}

#[tokio::test]
async fn what_guests_write_is_kept_and_told_to_their_tenant_alone() {
    let tenant = probe().await;
    let client = &tenant.client;
    assert!(kept(client, "probe", None).await.is_empty());
    let print = async |function: &str, text: &str| {
        let said: String = client
            .module("probe")
            .call(function, (text,))
            .await
            .unwrap();
        assert_eq!(said, "ok: ()");
    };
    print("print", "to\u{1b}[2J stdout\nin two lines").await;
    print("print-error", "to stderr").await;
    let lines = kept(client, "probe", None).await;
    assert_eq!(
        texts(&lines),
        ["to\\u{1b}[2J stdout", "in two lines", "to stderr"]
    );
    let streams: Vec<_> = lines.iter().map(|line| line.stream).collect();
    let (out, err) = (OutputStream::Stdout, OutputStream::Stderr);
    assert_eq!(streams, [out, out, err]);
    assert_eq!(lines[0].call, lines[1].call);
    assert_ne!(lines[1].call, lines[2].call);
    assert!(
        lines
            .iter()
            .all(|line| line.lost.is_none() && line.level.is_none())
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = u64::try_from(now.unwrap().as_millis()).unwrap();
    assert!(lines[0].at_ms.unwrap().abs_diff(now_ms) < 60_000);
    assert_eq!(texts(&kept(client, "probe", Some(1)).await), ["to stderr"]);

    let with_log = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("greeter", built("greeter"), with_log)
        .await;
    let greeted = client.module("greeter");
    let greeted = greeted.call_result::<String, String>("greet", ("Ada", "english"));
    greeted.await.unwrap().unwrap();
    let lines = kept(client, "greeter", None).await;
    assert_eq!(
        texts(&lines),
        ["greeted Ada language=\"en\" name-bytes=\"3\""]
    );
    assert_eq!(lines[0].stream, OutputStream::Log);
    assert_eq!(lines[0].level.as_deref(), Some("info"));

    // Whoever may read may read that, and nobody else's.
    let reader = tenant.client_of("reader").await;
    assert_eq!(kept(&reader, "probe", None).await.len(), 3);
    let stranger = tenant.host.tenant().await;
    for client in [&stranger.client, &tenant.host.client().await] {
        let foreign = client.logs("probe", LogOptions::default(), |line| panic!("{line:?}"));
        refused(foreign.await, ErrorCode::NotFound, &["probe"]);
    }
    // What is removed is gone with what it said.
    client.remove("probe").await.unwrap();
    tenant.register("probe", built("wasi-probe")).await;
    assert!(kept(client, "probe", None).await.is_empty());
}

#[tokio::test]
async fn a_call_hears_its_guests_while_they_run() {
    let tenant = probe().await;
    // It would go on for years, so whatever is heard of it is heard while it runs.
    let (heard, mut lines) = mpsc::unbounded_channel();
    let counting = tenant
        .client
        .module("probe")
        .function("count")
        .args((u32::MAX, 1))
        .output(move |line| drop(heard.send(line)))
        .call::<()>();
    let counting = tokio::spawn(counting);
    for number in 0..3 {
        let line = in_time("a line", lines.recv()).await.unwrap();
        assert_eq!(line.text, format!("line {number}"));
        assert_eq!((line.at_ms, line.call), (None, None));
    }
    counting.abort();
    assert!(counting.await.unwrap_err().is_cancelled());
    assert!(kept(&tenant.client, "probe", None).await.len() >= 3);

    // Who does not ask hears nothing.
    let mut peer = tenant.raw_peer().await;
    let id = peer
        .call("probe", "print", &[Value::String("x".into())])
        .await;
    let (of, answer) = peer.message().await;
    assert_eq!(of, id);
    assert!(matches!(answer, Message::Reply { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_call_hears_all_that_it_leads_to_and_only_what_is_its_own() {
    let tenant = TestHost::shared().await.tenant().await;
    let with_log = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("acme:log/logger", built("logger"), with_log)
        .await;
    tenant
        .register("acme:auth/verifier", built("verifier"))
        .await;
    tenant.register("app", built("app")).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let handled = tenant
        .client
        .module("app")
        .function("handle")
        .args(("nobody", "shout hello"))
        .output(move |line| hears.lock().unwrap().push(line))
        .call_result::<String, String>();
    handled.await.unwrap().unwrap_err();
    let of_logger = kept(&tenant.client, "acme:log/logger", None).await;
    let heard = heard.lock().unwrap().split_off(0);
    assert!(!heard.is_empty());
    assert_eq!(texts(&heard), texts(&of_logger));
    assert!(kept(&tenant.client, "app", None).await.is_empty());

    // An instance that serves several calls writes each line for the call that it works on.
    let options = Options {
        instancing: Instancing::Session,
        ..Options::default()
    };
    tenant
        .register_with("probe", built("wasi-probe"), options)
        .await;
    for round in 0..2 {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let text = format!("round {round}");
        let printed = tenant
            .client
            .module("probe")
            .function("print")
            .arg(&text)
            .output(move |line| hears.lock().unwrap().push(line.text))
            .call::<String>();
        printed.await.unwrap();
        assert_eq!(*heard.lock().unwrap(), [text]);
    }
    let lines = kept(&tenant.client, "probe", None).await;
    assert_eq!(texts(&lines), ["round 0", "round 1"]);
    assert_ne!(lines[0].call, lines[1].call);
}

#[tokio::test]
async fn the_newest_lines_are_kept_within_limits() {
    // Each line takes 128 bytes and its text, of 6 bytes here.
    let limits = [
        ("max-kept-log-bytes-per-registration", 4 * 134),
        ("max-kept-log-bytes-per-tenant", 6 * 134),
    ];
    let [of_registration, of_tenant] = limits;
    let options = HostOptions::new()
        .limit(of_registration.0, of_registration.1)
        .limit(of_tenant.0, of_tenant.1);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let client = &tenant.client;
    tenant.register("probe", built("wasi-probe")).await;
    count(client, 10, 0).await;
    let newest = ["line 6", "line 7", "line 8", "line 9"];
    assert_eq!(texts(&kept(client, "probe", None).await), newest);
    tenant.register("other", built("wasi-probe")).await;
    let other = client.module("other");
    other.call::<()>("count", (3, 0)).await.unwrap();
    assert_eq!(kept(client, "other", None).await.len(), 3);
    // What is too much for the tenant goes, whosever is the oldest.
    assert_eq!(texts(&kept(client, "probe", None).await), newest[1..]);
    let used = client.limits(None).await.unwrap();
    let used = used.iter().find(|limit| limit.name == of_tenant.0);
    assert_eq!(used.unwrap().used, Some(6 * 134));

    // What a call may print is bounded, and whoever reads it knows that there was more.
    let limits = [("max-output-bytes-per-instance".to_owned(), 14)].into();
    let options = Options {
        limits,
        ..Options::default()
    };
    tenant
        .register_with("short", built("wasi-probe"), options)
        .await;
    let short = client.module("short");
    short.call::<()>("count", (3, 0)).await.unwrap();
    let lines = kept(client, "short", None).await;
    assert_eq!(texts(&lines)[..2], ["line 0", "line 1"]);
    let text = "output over the limit was dropped: 7 bytes of stdout";
    assert!(lines[2].text.starts_with(text), "{lines:?}");
    assert_eq!(lines[2].level.as_deref(), Some("warn"));
}

#[tokio::test]
async fn who_follows_sees_what_comes_until_the_registration_is_gone() {
    let tenant = probe().await;
    count(&tenant.client, 5, 0).await;
    let (heard, mut lines) = mpsc::unbounded_channel();
    let client = tenant.client.clone();
    let following = tokio::spawn(async move {
        let options = LogOptions {
            tail: Some(2),
            follow: true,
        };
        let show = |line: Line| drop(heard.send(line.text));
        client.logs("probe", options, show).await
    });
    let mut next = async || in_time("a line", lines.recv()).await;
    assert_eq!(next().await.as_deref(), Some("line 3"));
    assert_eq!(next().await.as_deref(), Some("line 4"));
    for round in 0..3 {
        count(&tenant.client, 1, 0).await;
        assert_eq!(next().await.as_deref(), Some("line 0"), "{round}");
    }
    tenant.client.remove("probe").await.unwrap();
    assert_eq!(next().await, None);
    following.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_command_line_shows_follows_and_streams() {
    let tenant = probe().await;
    count(&tenant.client, 3, 0).await;
    let shown = tenant.cli(["logs", "probe", "--tail", "2"]).run().await;
    let lines: Vec<_> = shown.ok().lines().collect();
    assert_eq!(lines.len(), 2, "{shown:?}");
    assert!(lines[1].ends_with(" stdout: line 2"), "{shown:?}");
    let json = tenant.cli(["logs", "probe", "--output", "json"]).run();
    let json = json.await;
    let lines: Vec<serde_json::Value> = json
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["stream"], &lines[0]["text"]),
        (&"stdout".into(), &"line 0".into())
    );
    let missing = tenant.cli(["logs", "absent"]).run().await;
    missing.error("not-found", &["absent"]);

    let mut follower = tenant
        .cli(["logs", "probe", "--follow", "--tail", "1"])
        .start();
    assert!(follower.line().await.ends_with("line 2"));
    count(&tenant.client, 2, 0).await;
    assert!(follower.line().await.ends_with("line 0"));
    assert!(follower.line().await.ends_with("line 1"));
    follower.signal("INT").await;
    assert_eq!(follower.end().await.status.code(), Some(130));

    let call = ["call", "probe", "print-error(\"to\u{1b} me\")", "--stream"];
    let streamed = tenant.cli(call).run().await;
    assert_eq!(streamed.ok(), "\"ok: ()\"");
    assert_eq!(streamed.stderr, "stderr: to\\u{1b} me\n");
}

fn follow(name: &str) -> Message {
    Message::Request(Operation::Logs(Logs {
        name: name.to_owned(),
        tail: None,
        follow: true,
    }))
}

/// Reads output of exchange `id` until a line or a loss makes it `lines` in all. How many came, and how many were
/// lost.
async fn read(peer: &mut RawPeer, id: ExchangeId, lines: u64) -> (u64, u64) {
    let (mut came, mut lost) = (0, 0);
    while came + lost < lines {
        match peer.message().await {
            (
                of,
                Message::Output(Output {
                    lost: Some(more), ..
                }),
            ) if of == id => lost += more,
            (of, Message::Output(_)) if of == id => came += 1,
            (of, other) => assert_ne!(of, id, "{other:?}"),
        }
    }
    (came, lost)
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_told_what_was_lost() {
    let options = HostOptions::new().limit("max-output-bytes-per-instance", 16 << 20);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("probe", built("wasi-probe")).await;
    // More than the buffers of two systems hold.
    let lines = 150_000;
    let mut follower = tenant.raw_peer().await;
    let following = follower.fresh_id();
    follower.send(following, follow("probe")).await;

    let mut caller = tenant.raw_peer().await;
    let calling = caller.fresh_id();
    let header = CallHeader {
        module: "probe".to_owned(),
        function: "count".to_owned(),
        output: true,
        ..CallHeader::default()
    };
    let arguments = [Value::U32(lines), Value::U32(0)];
    let arguments = rpc_host_protocol::cbor::encode_arguments(&arguments, &[]);
    caller.send(calling, Message::call(header, arguments)).await;
    // Neither of the two reads, and the guest ends all the same: its last line is kept.
    let last = format!("line {}", lines - 1);
    loop {
        let newest = kept(&tenant.client, "probe", Some(1)).await;
        if texts(&newest) == [&*last] {
            break;
        }
    }
    let (came, lost) = read(&mut follower, following, lines.into()).await;
    assert!(came > 0 && lost > 0, "{came} came, {lost} were lost");
    let (came, lost) = read(&mut caller, calling, lines.into()).await;
    assert!(came > 0 && lost > 0, "{came} came, {lost} were lost");
    caller.outcome(calling).await.unwrap();
}

#[tokio::test]
async fn the_stop_of_a_node_does_not_wait_for_those_who_follow() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("probe", built("wasi-probe")).await;
    let mut follower = tenant.raw_peer().await;
    let id = follower.fresh_id();
    follower.send(id, follow("probe")).await;
    count(&tenant.client, 1, 0).await;
    read(&mut follower, id, 1).await;
    host.signal("TERM").await;
    let failure = follower.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(host.end().await.success());
}

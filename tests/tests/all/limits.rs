//! Each limit, with a peer or a guest that runs into it, and one that stays below.

use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode, Fault, Options, Profile};
use rpc_host_protocol::{ExchangeId, Message, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, built, component, in_time};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::{failure, refused};

#[tokio::test]
async fn an_upload_is_so_large_and_no_larger() {
    let size = built("calc").len() as u64;
    let host = TestHost::start_with(HostOptions::new().limit("max-upload-bytes", size)).await;
    let tenant = host.tenant().await;
    tenant.client.upload_module(built("calc")).await.unwrap();
    let larger = built("kitchen-sink");
    refused(
        tenant.client.upload_module(&larger).await,
        ErrorCode::ResourceExhausted,
        &[&format!(
            "the module has {} bytes, the node takes at most {size}",
            larger.len()
        )],
    );
}

#[tokio::test]
async fn a_tenant_has_so_much_and_no_more() {
    let options = HostOptions::new()
        .limit(
            "max-stored-bytes-per-tenant",
            2 * built("calc").len() as u64,
        )
        .limit("max-registrations-per-tenant", 2)
        .limit("max-tokens-per-tenant", 3)
        .limit("max-modules-per-tenant", 2)
        .limit("max-revisions-per-registration", 2)
        .limit("max-tenants", 3);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let client = &tenant.client;
    let calc = tenant.register("calc", built("calc")).await;
    refused(
        client.upload_module(built("trap")).await,
        ErrorCode::ResourceExhausted,
        &["the tenant has room for", "remove a module"],
    );
    client
        .register("second", &calc, Options::default())
        .await
        .unwrap();
    refused(
        client.register("third", &calc, Options::default()).await,
        ErrorCode::ResourceExhausted,
        &["the tenant has 2 registrations, the most that are allowed; remove one first"],
    );
    // Another revision is not another registration, and the oldest is forgotten.
    for limit in [1, 2, 3] {
        let limits = [("max-call-timeout-ms".to_owned(), limit)].into();
        let options = Options {
            limits,
            ..Options::default()
        };
        client.register("calc", &calc, options).await.unwrap();
    }
    let kept: Vec<_> = client
        .history("calc")
        .await
        .unwrap()
        .iter()
        .map(|it| it.revision)
        .collect();
    assert_eq!(kept, [4, 3]);

    for _ in 0..2 {
        tenant.token("reader").await;
    }
    let request = rpc_host_client::TokenRequest {
        tenant: None,
        role: "reader".to_owned(),
        expires_in: None,
    };
    refused(
        client.token_create(request).await,
        ErrorCode::ResourceExhausted,
        &["there are already 3", "remove one first"],
    );
    host.tenant().await;
    refused(
        host.client().await.tenant_create("one-too-many").await,
        ErrorCode::ResourceExhausted,
        &["there are already 3 tenants"],
    );
}

#[tokio::test]
async fn grants_and_patterns_are_so_many_and_no_more() {
    let options = HostOptions::new()
        .limit("max-grants-per-registration", 2)
        .limit("max-grant-bytes-per-registration", 20)
        .limit("max-patterns-per-policy", 2);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    let register = async |grants: &[&str]| {
        let options = Options {
            grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
            ..Options::default()
        };
        tenant.client.register("calc", &module, options).await
    };
    register(&["log", "env:A=1"]).await.unwrap();
    refused(
        register(&["log", "env:A=1", "env:B=2"]).await,
        ErrorCode::ResourceExhausted,
        &["at most 2 grants"],
    );
    refused(
        register(&["env:A=0123456789abcdef"]).await,
        ErrorCode::ResourceExhausted,
        &["at most 20 bytes"],
    );
    let set = |patterns: &'static [&'static str]| {
        let allow = patterns.iter().flat_map(|pattern| ["--allow", pattern]);
        let profile = host.client_profile_path();
        let words = ["tenant", "set", &tenant.name].into_iter().chain(allow);
        let cli = rpc_host_tests::Cli::new(host.directory(), words);
        cli.env("RPC_HOST_PROFILE", profile).run()
    };
    set(&["log", "env:A"]).await.ok();
    let output = set(&["log", "env:A", "env:B"]).await;
    assert!(
        output.failed(1).contains("at most 2 patterns"),
        "{output:?}"
    );
}

#[tokio::test]
async fn messages_and_replies_are_so_long_and_no_longer() {
    let options = HostOptions::new()
        .limit("max-message-bytes", 200_000)
        .limit("max-reply-bytes", 100_000);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let module = tenant.register("big", built("big")).await;
    let big = tenant.client.module("big");
    let bytes: Vec<u8> = big.call("bytes", (99_000,)).await.unwrap();
    assert_eq!(bytes.len(), 99_000);
    let failure = refused(
        big.call::<Vec<u8>>("bytes", (100_001,)).await,
        ErrorCode::ResourceExhausted,
        &["the function returned more than the limit of 100000 bytes"],
    );
    assert_eq!(failure.fault, Fault::Guest);
    let limits = [("max-reply-bytes".to_owned(), 1000)].into();
    let options = Options {
        limits,
        ..Options::default()
    };
    tenant
        .client
        .register("small", &module, options)
        .await
        .unwrap();
    refused(
        tenant
            .client
            .module("small")
            .call::<Vec<u8>>("bytes", (1001,))
            .await,
        ErrorCode::ResourceExhausted,
        &["limit of 1000 bytes"],
    );

    // The client knows the node's limit from the welcome.
    let measured: u64 = big.call("measure", (vec![1_u8; 190_000],)).await.unwrap();
    assert_eq!(measured, 190_000);
    let too_long = big
        .call::<u64>("measure", (vec![1_u8; 200_000],))
        .await
        .unwrap_err();
    assert!(
        too_long
            .to_string()
            .contains("the host takes messages of 200000 at most"),
        "it is not even sent: {too_long:?}"
    );
    let measured: u64 = big.call("measure", (vec![1_u8; 1000],)).await.unwrap();
    assert_eq!(measured, 1000);
    // A peer that does not care is dismissed.
    let mut peer = tenant.raw_peer().await;
    peer.call("big", "measure", &[Value::Bytes(vec![1; 200_000])])
        .await;
    let dismissal = peer.dismissal().await;
    assert_eq!(
        dismissal.code,
        ErrorCode::ResourceExhausted,
        "{dismissal:?}"
    );
    assert!(
        dismissal.message.contains("over the limit of 200000 bytes"),
        "{dismissal:?}"
    );
}

#[tokio::test]
async fn a_guest_hands_over_so_much_at_once_and_no_more() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    let module = tenant.client.upload_module(built("big")).await.unwrap();
    tenant
        .client
        .register("big", &module, Options::default())
        .await
        .unwrap();
    let big = tenant.client.module("big");
    // Bytes and text count for their length alone.
    let bytes: Vec<u8> = big.call("bytes", (15_u32 << 20,)).await.unwrap();
    assert_eq!(bytes.len(), 15 << 20);
    let text: String = big.call("text", (15_u32 << 20,)).await.unwrap();
    assert_eq!(text.len(), 15 << 20);
    // A registration may have less.
    let options = Options {
        limits: [("max-hostcall-bytes".to_owned(), 1_000_000)].into(),
        ..Options::default()
    };
    tenant
        .client
        .register("big", &module, options)
        .await
        .unwrap();
    let bytes: Vec<u8> = big.call("bytes", (1_000_000,)).await.unwrap();
    assert_eq!(bytes.len(), 1_000_000);
    let text: String = big.call("text", (1_000_000,)).await.unwrap();
    assert_eq!(text.len(), 1_000_000);
    for function in ["bytes", "text"] {
        refused(
            big.call::<serde_json::Value>(function, (1_000_001,)).await,
            ErrorCode::ResourceExhausted,
            &["passed more than 1000000 bytes at once"],
        );
    }
}

#[tokio::test]
async fn a_session_has_so_many_calls_in_flight_and_no_more() {
    let options = HostOptions::new().limit("max-calls-in-flight-per-session", 3);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    tenant.register("calc", built("calc")).await;
    let mut peer = tenant.raw_peer().await;
    let mut sleeping = Vec::new();
    for _ in 0..3 {
        sleeping.push(peer.call("sleeper", "sleep", &[Value::U64(600_000)]).await);
    }
    let over = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    let failure = peer.outcome(over).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    assert!(
        failure
            .message
            .contains("3 calls are in flight already; wait for one to end"),
        "{failure}"
    );
    assert!(failure.retryable);
    // A cancel makes room, and the neighbour never lacked any.
    peer.send(sleeping[0], Message::Cancel).await;
    peer.outcome(sleeping[0]).await.unwrap_err();
    let next = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    assert_eq!(peer.outcome(next).await.unwrap(), [5]);

    // The client knows the limit and waits by itself.
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..30_i64 {
        let calc = tenant.client.module("calc");
        calls.spawn(async move { calc.call::<i64>("add", (number, 1)).await.unwrap() });
    }
    assert_eq!(
        calls.join_all().await.into_iter().sum::<i64>(),
        (1..=30).sum::<i64>()
    );
}

#[tokio::test]
async fn a_node_has_so_many_instances_and_no_more() {
    let options = HostOptions::new().limit("max-live-instances", 2);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    tenant.register("calc", built("calc")).await;
    let mut peer = tenant.raw_peer().await;
    let first = peer.call("sleeper", "sleep", &[Value::U64(600_000)]).await;
    peer.call("sleeper", "sleep", &[Value::U64(600_000)]).await;
    // One more waits for a place, as long as its deadline allows.
    let calc = tenant.client.module("calc");
    let no_place = async {
        loop {
            let call = calc.function("add").args((2, 3));
            let outcome = call.timeout(Duration::from_millis(200)).call::<i64>().await;
            // The other two may have been on their way still.
            if outcome.is_err() {
                return failure(outcome);
            }
        }
    };
    let failure = in_time("both places are taken", no_place).await;
    assert_eq!(failure.code, ErrorCode::Unavailable, "{failure:?}");
    assert!(
        failure.retryable && failure.message.contains("limit of live instances"),
        "{failure:?}"
    );
    let waiting = tokio::spawn(async move { calc.call::<i64>("add", (2, 3)).await });
    peer.send(first, Message::Cancel).await;
    peer.outcome(first).await.unwrap_err();
    assert_eq!(waiting.await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn compiling_takes_so_long_and_gives_so_much_and_no_more() {
    for (limit, value, said) in [
        ("compile-timeout-ms", 1, "compiling took longer than"),
        (
            "max-artifact-bytes",
            1000,
            "compiled code is over the limit of 1000 bytes",
        ),
    ] {
        let host = TestHost::start_with(HostOptions::new().limit(limit, value)).await;
        let tenant = host.tenant().await;
        let outcome = tenant.client.upload_module(built("kitchen-sink")).await;
        refused(outcome, ErrorCode::ResourceExhausted, &[said]);
        assert!(tenant.client.modules().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_few_bytes_make_no_huge_artifact() {
    let tenant = TestHost::shared().await.tenant().await;
    // Two bytes far apart are an image of 16 MB; four of them would be 64 MB of a few hundred bytes.
    let data = r#"(data (i32.const 0) "a") (data (i32.const 16000000) "b")"#;
    let module = format!("(core module (memory 250) {data})");
    refused(
        tenant
            .client
            .upload_module(component(&format!("(component {})", module.repeat(4))))
            .await,
        ErrorCode::ResourceExhausted,
        &["compiled code is over the limit of"],
    );
}

#[tokio::test]
async fn a_component_is_so_complex_and_no_more() {
    let tenant = TestHost::shared().await.tenant().await;
    let functions = "(func)".repeat(200_001);
    let complex = component(&format!("(component (core module {functions}))"));
    refused(
        tenant.client.upload_module(complex).await,
        ErrorCode::ResourceExhausted,
        &["the component has 200001 functions, the limit is 200000"],
    );
    let depth = 20;
    let nested = "(component ".repeat(depth) + &")".repeat(depth);
    refused(
        tenant.client.upload_module(component(&nested)).await,
        ErrorCode::ResourceExhausted,
        &["levels of nesting, the limit is 16"],
    );
}

#[tokio::test]
async fn a_frame_and_its_answer_take_so_long_and_no_longer() {
    let options = HostOptions::new()
        .limit("frame-timeout-ms", 300)
        .limit("write-timeout-ms", 300);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("big", built("big")).await;
    // Half a frame, and then nothing.
    let mut slow = tenant.raw_peer().await;
    slow.send_bytes(&[0; 6]).await;
    slow.parting().await;
    // Long answers that nobody reads: more than any buffer on the way holds.
    let mut deaf = tenant.raw_peer().await;
    for _ in 0..4 {
        deaf.call("big", "text", &[Value::U32(15 << 20)]).await;
    }
    let is_deaf = |line: &rpc_host_tests::LogLine| {
        line.message() == "session ends"
            && line
                .field("reason")
                .contains("nothing could be written in time")
    };
    let log = host.log();
    log.line("about the deaf one", is_deaf).await;
    tenant.client.list().await.unwrap();
}

#[tokio::test]
async fn strangers_have_so_long_to_say_hello() {
    let host = TestHost::start_with(HostOptions::new().limit("handshake-timeout-ms", 300)).await;
    // One that says nothing at all, one that says nothing over TLS, one that says half of a hello.
    let started = Instant::now();
    let mut silent = TcpStream::connect(host.address()).await.unwrap();
    let mut peer = RawPeer::connect(&host).await;
    let mut slow = RawPeer::connect(&host).await;
    let hello = Message::Hello(rpc_host_tests::hello(None)).encode(ExchangeId::CONNECTION);
    let (header, payload) = rpc_host_protocol::assembler::fragments(&hello)
        .next()
        .unwrap();
    slow.send_bytes(&header.encode()).await;
    slow.send_bytes(&payload[..4]).await;
    let mut answer = Vec::new();
    let _reset = in_time("the end of the silent one", silent.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{answer:?}");
    let dismissal = peer.dismissal().await;
    assert_eq!(dismissal.code, ErrorCode::DeadlineExceeded, "{dismissal:?}");
    let _said = slow.parting().await;
    assert!(started.elapsed() >= Duration::from_millis(250));
    assert!(started.elapsed() < Duration::from_secs(10));
    host.client().await.list().await.unwrap();
}

#[tokio::test]
async fn a_session_that_says_nothing_ends_and_one_that_answers_pings_does_not() {
    let options = HostOptions::new()
        .limit("idle-timeout-ms", 600)
        .limit("keepalive-interval-ms", 150);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let mut dead = tenant.raw_peer().await;
    let started = Instant::now();
    let mut pings = 0;
    let mut last = None;
    while let Some((_, message)) = dead.next_with_pings().await {
        match message {
            Message::Ping(_) => pings += 1,
            other => last = Some(other),
        }
    }
    assert!(pings >= 1, "it is asked for a sign of life");
    assert!(
        started.elapsed() >= Duration::from_millis(550),
        "{:?}",
        started.elapsed()
    );
    let Some(Message::Goaway(why)) = last else {
        panic!("{last:?}")
    };
    let said = why.failure.message;
    assert!(
        said.contains("nothing was heard for") && said.contains("answer pings"),
        "{said}"
    );

    // The client library answers, so that its connection outlives a longer silence. The silence is
    // what is tried here, so it has to pass.
    let sessions = || host.log().text().matches("session begins").count();
    let before = sessions();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    tenant.client.list().await.unwrap();
    assert_eq!(sessions(), before, "it did not have to connect anew");
}

#[tokio::test]
async fn a_call_keeps_its_session_from_being_idle() {
    let options = HostOptions::new()
        .limit("idle-timeout-ms", 300)
        .limit("keepalive-interval-ms", 300);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    let slept: u64 = tenant
        .client
        .module("sleeper")
        .call("sleep", (1000_u64,))
        .await
        .unwrap();
    assert!(slept >= 1000);
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let options = HostOptions::new()
        .limit("max-connections-per-address", 4)
        .limit("handshake-timeout-ms", 60_000);
    let host = TestHost::start_with(options).await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(host.client().await);
    }
    let profile = || Profile::from_file(host.client_profile_path()).unwrap();
    let refused = Client::connect(profile()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Connect { .. } | Error::Tls { .. } | Error::Lost { .. }
        ),
        "{refused:?}"
    );
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    kept[0].list().await.unwrap();
    kept.clear();
    // Room comes back when the node has noticed that they are gone.
    let again = async {
        while Client::connect(profile()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("room for another connection", again).await;
}

#[tokio::test]
async fn strangers_of_one_address_get_a_share_and_give_it_back() {
    let options = HostOptions::new()
        .limit("max-unauthenticated-connections", 8)
        .limit("handshake-timeout-ms", 1500);
    let host = TestHost::start_with(options).await;
    let known = host.client().await;
    let mut strangers = Vec::new();
    for _ in 0..6 {
        strangers.push(TcpStream::connect(host.address()).await.unwrap());
    }
    known.list().await.unwrap();
    // Those that are silent have to give up their places, and a newcomer gets one.
    let profile = || Profile::from_file(host.client_profile_path()).unwrap();
    let newcomer = async {
        while Client::connect(profile()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("room for a newcomer", newcomer).await;
    known.list().await.unwrap();
}

#[tokio::test]
async fn values_nest_so_deep_and_hold_so_many_items_and_no_more() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sink", built("kitchen-sink")).await;
    let sink = tenant.client.module("sink");
    let most: Vec<i64> = vec![1; 1_000_000];
    let back: Vec<i64> = sink.call("echo_numbers", (&most,)).await.unwrap();
    assert_eq!(back, most);
    let more: Vec<i64> = vec![1; 1_100_000];
    refused(
        sink.call::<Vec<i64>>("echo_numbers", (&more,)).await,
        ErrorCode::InvalidArgument,
        &["args", "items"],
    );
}

#[tokio::test]
async fn a_configuration_with_a_limit_of_zero_or_beyond_its_ceiling_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (line, said) in [
        (
            "max-connections = 0",
            "`max-connections` is 0, but must be between 1 and 65536",
        ),
        ("max-connections = 65537", "`max-connections` is 65537"),
        (
            "idle-timeout-ms = 10\nkeepalive-interval-ms = 20",
            "`keepalive-interval-ms` (20) is above `idle-timeout-ms` (10)",
        ),
    ] {
        std::fs::write(
            directory.path().join("node.toml"),
            format!("[limits]\n{line}"),
        )
        .unwrap();
        let serve = rpc_host_tests::Cli::new(directory.path(), ["serve", "--config", "node.toml"]);
        let output = serve.run().await;
        assert!(output.failed(2).contains(said), "{output:?}");
    }
}

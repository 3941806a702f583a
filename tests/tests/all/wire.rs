//! Peers that do not keep to the protocol.

use rpc_host_client::{ErrorCode, RegistrationEntry};
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::{FLAG_MORE, HEADER_BYTES, Header};
use rpc_host_protocol::message::{
    Ack, Beat, CallHeader, Goaway, Hello, Message, Provide, ProvideScope, Release,
};
use rpc_host_protocol::operation::{Named, TokenRevoke};
use rpc_host_protocol::{ExchangeId, Failure, Fault, Kind, Operation, Value};
use rpc_host_tests::{RawPeer, TestHost, TestTenant, built, envelope, hello};

const CONNECTION: ExchangeId = ExchangeId::CONNECTION;

async fn calc() -> (TestTenant, RawPeer) {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let peer = tenant.raw_peer().await;
    (tenant, peer)
}

/// That the node has dismissed a peer for what it did, and serves others as before.
async fn dismissed(tenant: &TestTenant, peer: &mut RawPeer, code: ErrorCode, part: &str) {
    let dismissal = peer.dismissal().await;
    assert_eq!(
        (dismissal.code, dismissal.fault),
        (code, Fault::Peer),
        "{dismissal:?}"
    );
    assert!(
        dismissal.message.contains(part),
        "no {part:?} in {dismissal:?}"
    );
    let sum: i64 = tenant
        .client
        .module("calc")
        .call("add", (2, 3))
        .await
        .unwrap();
    assert_eq!(sum, 5);
}

#[tokio::test]
async fn the_welcome_tells_who_and_what_holds() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let mut peer = RawPeer::connect(&host).await;
    let welcome = peer.enter(Some(&tenant.token)).await.unwrap();
    assert_eq!(welcome.version, 1);
    assert!(welcome.host.starts_with("rpc-host/"), "{welcome:?}");
    assert_eq!((&*welcome.tenant, &*welcome.role), (&*tenant.name, "admin"));
    assert_eq!(
        (welcome.max_message_bytes, welcome.max_calls_in_flight),
        (16 << 20, 256)
    );
    assert_eq!(welcome.idle_timeout_ms, 120_000);
    let session = welcome.session;
    assert_ne!(
        session,
        RawPeer::connect(&host)
            .await
            .enter(Some(&tenant.token))
            .await
            .unwrap()
            .session
    );
}

#[tokio::test]
async fn a_version_that_the_node_does_not_speak_is_told_which_it_does() {
    let host = TestHost::shared().await;
    let refuse = async |versions: Vec<u32>| -> Failure {
        let mut peer = RawPeer::connect(&host).await;
        let hello = Hello {
            versions,
            ..hello(Some(&host.admin_token()))
        };
        peer.send(CONNECTION, Message::Hello(hello)).await;
        peer.dismissal().await
    };
    for versions in [vec![], vec![0], vec![2, 99]] {
        let failure = refuse(versions).await;
        assert_eq!(failure.code, ErrorCode::Unimplemented);
        assert!(
            failure
                .message
                .contains("this host speaks protocol version 1"),
            "{failure}"
        );
    }
    let mut peer = RawPeer::connect(&host).await;
    let newer = Hello {
        versions: vec![7, 1],
        ..hello(Some(&host.admin_token()))
    };
    peer.send(CONNECTION, Message::Hello(newer)).await;
    assert!(matches!(peer.message().await.1, Message::Welcome(_)));
}

#[tokio::test]
async fn nothing_comes_before_a_hello_and_nothing_large_as_one() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let before: Vec<(ExchangeId, Message)> = vec![
        (ExchangeId(1), Message::Request(Operation::List {})),
        (CONNECTION, Message::Ping(Beat { nonce: 1 })),
        (ExchangeId(1), Message::Hello(hello(Some(&tenant.token)))),
        (
            ExchangeId(1),
            Message::Call {
                header: CallHeader {
                    module: "calc".into(),
                    function: "add".into(),
                    ..CallHeader::default()
                },
                arguments: vec![0x80, 0xa0].into(),
            },
        ),
    ];
    for (id, message) in before {
        let mut peer = RawPeer::connect(&host).await;
        peer.send(id, message).await;
        dismissed(&tenant, &mut peer, ErrorCode::InvalidArgument, "hello").await;
    }
    let large = Hello {
        client: "x".repeat(5000),
        ..hello(Some(&tenant.token))
    };
    let mut peer = RawPeer::connect(&host).await;
    peer.send(CONNECTION, Message::Hello(large)).await;
    let failure = peer.dismissal().await;
    assert!(failure.message.contains("4096 bytes"), "{failure}");

    // In many small frames it is as large.
    let raw = Message::Hello(Hello {
        client: "x".repeat(5000),
        ..hello(None)
    })
    .encode(CONNECTION);
    let mut peer = RawPeer::connect(&host).await;
    for part in raw.payload.chunks(1000) {
        let header = Header {
            length_bytes: u32::try_from(part.len()).unwrap(),
            kind: Kind::Hello,
            flags: FLAG_MORE,
            id: CONNECTION,
        };
        peer.send_bytes(&[&header.encode()[..], part].concat())
            .await;
    }
    let failure = peer.dismissal().await;
    assert!(failure.message.contains("4096 bytes"), "{failure}");

    for payload in [vec![], vec![0xff], b"hello".to_vec(), vec![0xa0]] {
        let mut peer = RawPeer::connect(&host).await;
        peer.send_raw(&RawMessage {
            kind: Kind::Hello,
            flags: 0,
            id: CONNECTION,
            payload: payload.into(),
        })
        .await;
        dismissed(
            &tenant,
            &mut peer,
            ErrorCode::InvalidArgument,
            "malformed hello",
        )
        .await;
    }
}

#[tokio::test]
async fn a_second_hello_ends_the_connection() {
    let (tenant, mut peer) = calc().await;
    peer.send(CONNECTION, Message::Hello(hello(Some(&tenant.token))))
        .await;
    dismissed(
        &tenant,
        &mut peer,
        ErrorCode::InvalidArgument,
        "a hello cannot come from a client here",
    )
    .await;
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let good = Header {
        length_bytes: 0,
        kind: Kind::Ping,
        flags: 0,
        id: CONNECTION,
    }
    .encode();
    let with = |place: usize, byte: u8| {
        let mut bytes = good;
        bytes[place] = byte;
        bytes
    };
    let table: [([u8; HEADER_BYTES], &str); 6] = [
        (with(0, 0xff), "is over the limit of 65536 bytes"),
        (with(1, 2), "a frame of 131072 bytes is over the limit"),
        (with(4, 0), "0 is not a kind of message"),
        (with(4, 99), "99 is not a kind of message"),
        (with(5, 0x80), "have no meaning on a ping"),
        (with(6, 1), "reserved bytes of a frame header are not zero"),
    ];
    for (bytes, part) in table {
        let mut peer = tenant.raw_peer().await;
        peer.send_bytes(&bytes).await;
        dismissed(&tenant, &mut peer, ErrorCode::InvalidArgument, part).await;
    }
    // Nonsense of every first byte, and a connection that ends within a frame.
    for byte in (0..=u8::MAX).step_by(51) {
        let mut peer = tenant.raw_peer().await;
        peer.send_bytes(&[byte; 100]).await;
        peer.close().await;
        peer.parting().await;
    }
    tenant.client.list().await.unwrap();
}

#[tokio::test]
async fn an_id_means_one_thing_for_ever() {
    let add = |id: u32| {
        let header = CallHeader {
            module: "calc".into(),
            function: "add".into(),
            ..CallHeader::default()
        };
        let arguments =
            rpc_host_protocol::cbor::encode_arguments(&[Value::S64(2), Value::S64(3)], &[]);
        Message::call(header, arguments).encode(ExchangeId(id))
    };
    for (ids, part) in [
        (vec![1, 1], "exchange #1 cannot begin after #1"),
        (vec![5, 3], "exchange #3 cannot begin after #5"),
        (vec![2], "ids are odd"),
        (vec![0], "ids are odd"),
    ] {
        let (tenant, mut peer) = calc().await;
        for id in &ids {
            peer.send_raw(&add(*id)).await;
        }
        dismissed(&tenant, &mut peer, ErrorCode::InvalidArgument, part).await;
    }
    // Gaps are fine, up to the very last one.
    let (_tenant, mut peer) = calc().await;
    for id in [1, 7, 9, u32::MAX] {
        peer.send_raw(&add(id)).await;
        assert_eq!(peer.outcome(ExchangeId(id)).await.unwrap(), [5]);
    }
}

#[tokio::test]
async fn messages_out_of_place_end_the_connection() {
    let table: [(u32, Message, &str); 6] = [
        (1, Message::Cancel, "which has not begun"),
        (7, Message::Chunk(vec![1]), "which has not begun"),
        (
            1,
            Message::Ping(Beat { nonce: 1 }),
            "a ping belongs to exchange #0",
        ),
        (
            1,
            Message::Pong(Beat { nonce: 1 }),
            "a pong belongs to exchange #0",
        ),
        (
            3,
            Message::Goaway(Goaway { failure: gone() }),
            "a goaway belongs to exchange #0",
        ),
        (
            0,
            Message::Welcome(welcome()),
            "a welcome cannot come from a client here",
        ),
    ];
    for (id, message, part) in table {
        let (tenant, mut peer) = calc().await;
        peer.send(ExchangeId(id), message).await;
        dismissed(&tenant, &mut peer, ErrorCode::InvalidArgument, part).await;
    }
}

#[tokio::test]
async fn answers_that_nobody_waits_for_are_ignored() {
    let (_tenant, mut peer) = calc().await;
    let answers = [
        Message::Reply {
            value: vec![1],
            is_result: false,
        },
        Message::Failure(gone()),
        Message::Ack(Ack {
            received_bytes: 1,
            window_bytes: 1,
        }),
    ];
    for answer in answers {
        peer.send(ExchangeId(2), answer).await;
    }
    let release = Message::Release(Release {
        handles: vec![(1, 1)],
    });
    peer.send(ExchangeId::CONNECTION, release).await;
    let id = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    assert_eq!(
        peer.message().await,
        (
            id,
            Message::Reply {
                value: vec![5],
                is_result: false
            }
        )
    );
    peer.send(id, Message::Chunk(vec![1])).await;
    peer.send(CONNECTION, Message::Ping(Beat { nonce: 77 }))
        .await;
    assert_eq!(
        peer.message().await,
        (CONNECTION, Message::Pong(Beat { nonce: 77 }))
    );
}

#[tokio::test]
async fn a_malformed_message_fails_its_exchange_and_no_other() {
    let (_tenant, mut peer) = calc().await;
    let bad: [(Kind, Vec<u8>, &str); 8] = [
        (Kind::Call, vec![], "malformed call"),
        (Kind::Call, vec![0xff; 10], "malformed call"),
        (
            Kind::Request,
            envelope(&"no-such-operation"),
            "malformed request",
        ),
        (Kind::Request, envelope(&("list", 1)), "malformed request"),
        // A list of indefinite length, a duplicate key, a map with an unknown field, trailing bytes.
        (Kind::Request, vec![0x9f, 0xff], "malformed request"),
        (
            Kind::Upload,
            vec![0xa2, 0x61, b'a', 1, 0x61, b'a', 1],
            "malformed upload",
        ),
        (
            Kind::Upload,
            envelope(&[("unknown", 1)]),
            "malformed upload",
        ),
        (
            Kind::Request,
            [envelope(&Operation::List {}), vec![0]].concat(),
            "malformed request",
        ),
    ];
    for (kind, payload, part) in bad {
        let id = peer.fresh_id();
        peer.send_raw(&RawMessage {
            kind,
            flags: 0,
            id,
            payload: payload.into(),
        })
        .await;
        let failure = peer.outcome(id).await.unwrap_err();
        assert_eq!(
            (failure.code, failure.fault),
            (ErrorCode::InvalidArgument, Fault::Peer),
            "{failure:?}"
        );
        assert!(failure.message.contains(part), "{failure:?}");
    }
    let list: Vec<RegistrationEntry> = peer.operate(Operation::List {}).await.unwrap();
    assert_eq!(list.len(), 1);
}

#[tokio::test]
async fn malformed_arguments_are_named() {
    let (_tenant, mut peer) = calc().await;
    for (arguments, part) in [
        (vec![], "args"),
        (vec![0x80], "args"),
        (
            vec![0xa0, 0x80],
            "args: expected an array of positional arguments",
        ),
        (vec![0x82, 2, 3], "args"),
        (vec![0x82, 2, 3, 0xa0, 0], "args"),
        // An integer not in its shortest form.
        (vec![0x82, 0x18, 2, 3, 0xa0], "args[0]"),
        // A huge length, and nothing behind it.
        (
            vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "args",
        ),
        (vec![0x82, 0x7b, 0, 0, 0, 1, 0, 0, 0, 0], "args[0]"),
        // An array in arrays in arrays…
        (vec![0x81; 1000], "args[0]"),
    ] {
        let id = peer.fresh_id();
        let header = CallHeader {
            module: "calc".into(),
            function: "add".into(),
            ..CallHeader::default()
        };
        peer.send(id, Message::call(header, arguments)).await;
        let failure = peer.outcome(id).await.unwrap_err();
        assert_eq!(
            (failure.code, failure.fault),
            (ErrorCode::InvalidArgument, Fault::Peer),
            "{failure:?}"
        );
        assert!(failure.message.contains(part), "{failure:?}");
    }
}

#[tokio::test]
async fn long_and_short_messages_are_interleaved() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    tenant.register("big", built("big")).await;
    let mut peer = tenant.raw_peer().await;
    // The first frame of a long call, then a short call as a whole, then the rest of the long one.
    let bytes = Value::Bytes(vec![7; 100_000]);
    let header = CallHeader {
        module: "big".into(),
        function: "measure".into(),
        ..CallHeader::default()
    };
    let arguments = rpc_host_protocol::cbor::encode_arguments(&[bytes], &[]);
    let long = peer.fresh_id();
    let raw = Message::call(header, arguments).encode(long);
    let frames: Vec<Vec<u8>> = rpc_host_protocol::assembler::fragments(&raw)
        .map(|(header, part)| [&header.encode()[..], part].concat())
        .collect();
    assert!(frames.len() > 5);
    peer.send_bytes(&frames[0]).await;
    let short = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    assert_eq!(peer.outcome(short).await.unwrap(), [5]);
    for frame in &frames[1..] {
        peer.send_bytes(frame).await;
    }
    assert_eq!(peer.outcome(long).await.unwrap(), [0x1a, 0, 1, 0x86, 0xa0]);

    // A long reply does not hold up a short one that comes later.
    let long = peer.call("big", "text", &[Value::U32(8 << 20)]).await;
    let short = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let (id, message) = peer.message().await;
        assert!(matches!(message, Message::Reply { .. }), "{message:?}");
        ended.push(id);
    }
    assert_eq!(ended, [short, long]);
}

#[tokio::test]
async fn frames_of_two_kinds_make_no_message() {
    let (tenant, mut peer) = calc().await;
    let id = peer.fresh_id();
    for kind in [Kind::Call, Kind::Request] {
        let header = Header {
            length_bytes: 1,
            kind,
            flags: FLAG_MORE,
            id,
        };
        peer.send_bytes(&[&header.encode()[..], &[0]].concat())
            .await;
    }
    dismissed(
        &tenant,
        &mut peer,
        ErrorCode::InvalidArgument,
        "went on as request within a call",
    )
    .await;
}

#[tokio::test]
async fn too_many_messages_that_are_never_finished_end_the_connection() {
    let (tenant, mut peer) = calc().await;
    for _ in 0..10_000 {
        let id = peer.fresh_id();
        let header = Header {
            length_bytes: 1,
            kind: Kind::Call,
            flags: FLAG_MORE,
            id,
        };
        peer.send_bytes(&[&header.encode()[..], &[0]].concat())
            .await;
    }
    dismissed(
        &tenant,
        &mut peer,
        ErrorCode::ResourceExhausted,
        "messages are incomplete at once",
    )
    .await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_needs_its_interface_to_be_served() {
    let (_tenant, mut peer) = calc().await;
    let id = peer.fresh_id();
    let provide = Provide {
        name: "acme:log/logger".to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 1000,
        window: 1,
        fallback: Default::default(),
        wit: None,
    };
    peer.send(id, Message::Provide(provide)).await;
    let failure = peer.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::FailedPrecondition, "{failure:?}");
}

#[tokio::test]
async fn bad_names_in_requests_are_refused_politely() {
    let (_tenant, mut peer) = calc().await;
    for name in ["", "..", "a\0b", "x\n", &"x".repeat(100_000)] {
        let show = Operation::Show(Named {
            name: name.to_owned(),
        });
        let failure = peer.operate::<RegistrationEntry>(show).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::NotFound);
        assert!(
            failure.message.len() < 1000 && !failure.message.contains(['\0', '\n']),
            "{failure:?}"
        );
    }
    let revoke = Operation::TokenRevoke(TokenRevoke {
        id: "x".repeat(100_000),
    });
    let failure = peer.operate::<()>(revoke).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidArgument);
}

fn gone() -> Failure {
    Failure::new(ErrorCode::Unavailable, Fault::Peer, "bye")
}

fn welcome() -> rpc_host_protocol::message::Welcome {
    rpc_host_protocol::message::Welcome {
        version: 1,
        host: String::new(),
        session: String::new(),
        tenant: String::new(),
        role: String::new(),
        max_message_bytes: 1,
        max_calls_in_flight: 1,
        idle_timeout_ms: 1,
    }
}

//! Wire bytes, pinned: a change of any of these files is a change of the protocol.
//!
//! `UPDATE_GOLDEN=1 cargo test -p rpc-host-protocol --test golden` writes them anew; look at the
//! difference before you keep it. Each `.bin` holds the frames of one message, the `.txt` beside it
//! says what they are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage, fragments};
use rpc_host_protocol::cbor::{encode_arguments, encode_envelope, encode_value};
use rpc_host_protocol::frame::{FRAGMENT_BYTES, HEADER_BYTES, Header};
use rpc_host_protocol::message::*;
use rpc_host_protocol::operation::*;
use rpc_host_protocol::types::{Case, Field, ResultType};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, Signature, Type, Value};

fn to_bytes(message: &RawMessage) -> Vec<u8> {
    let frames = fragments(message);
    frames
        .flat_map(|(header, part)| [header.encode().as_slice(), part].concat())
        .collect()
}

fn from_bytes(mut bytes: &[u8]) -> RawMessage {
    let limits = AssemblerLimits {
        max_message_bytes: 1 << 20,
        max_buffered_bytes: 1 << 20,
        max_incomplete_messages: 1,
    };
    let mut assembler = Assembler::new(limits);
    loop {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = Header::decode(*head).unwrap();
        let (payload, rest) = rest.split_at(header.length_bytes as usize);
        bytes = rest;
        if let Some(message) = assembler.accept(header, payload).unwrap() {
            assert!(bytes.is_empty());
            return message;
        }
    }
}

/// One value of every type.
fn all_values() -> Value {
    let some = |value| Value::Option(Some(Box::new(value)));
    Value::Tuple(vec![
        Value::Bool(true),
        Value::S8(i8::MIN),
        Value::U8(u8::MAX),
        Value::S16(i16::MIN),
        Value::U16(u16::MAX),
        Value::S32(i32::MIN),
        Value::U32(u32::MAX),
        Value::S64(i64::MIN),
        Value::U64(u64::MAX),
        Value::F32(0.1),
        Value::F64(0.1),
        Value::F64(f64::NAN),
        Value::F64(f64::NEG_INFINITY),
        Value::Char('😀'),
        Value::String("grüße".to_owned()),
        Value::Bytes(vec![0, 1, 255]),
        Value::List(vec![Value::U16(1), Value::U16(2)]),
        Value::Map(vec![(Value::String("k".to_owned()), Value::S32(1))]),
        Value::Record(vec![("line-length".into(), Value::U32(80))]),
        Value::Record(vec![]),
        Value::Tuple(vec![]),
        Value::Variant("circle".into(), Some(Box::new(Value::F32(1.5)))),
        Value::Variant("nothing".into(), None),
        Value::Enum("dark-blue".into()),
        Value::Option(None),
        some(Value::S32(1)),
        some(Value::Option(None)),
        some(some(Value::S32(1))),
        Value::Result(Ok(None)),
        Value::Result(Ok(Some(Box::new(Value::S32(1))))),
        Value::Result(Err(None)),
        Value::Result(Err(Some(Box::new(Value::String("no".to_owned()))))),
        Value::Flags(vec!["read".into(), "write".into()]),
        Value::Handle(Handle::Host(7)),
        Value::Handle(Handle::Client(7)),
    ])
}

fn all_types() -> Signature {
    let shared = |ty| Arc::new(ty);
    let field = |name: &str, ty| Field {
        name: name.into(),
        ty,
    };
    Signature {
        parameters: vec![
            field("list", Type::List(shared(Type::U8))),
            field("fixed", Type::FixedList(shared(Type::U8), 3)),
            field("map", Type::Map(shared(Type::String), shared(Type::S64))),
            field("record", Type::Record(Arc::from([field("x", Type::S32)]))),
            field("tuple", Type::Tuple(Arc::from([Type::Bool, Type::Char]))),
            field("option", Type::Option(shared(Type::F32))),
            field("flags", Type::Flags(Arc::from(["read".into()]))),
            field("enum", Type::Enum(Arc::from(["red".into()]))),
            field(
                "variant",
                Type::Variant(Arc::from([
                    Case {
                        name: "none".into(),
                        ty: None,
                    },
                    Case {
                        name: "some".into(),
                        ty: Some(Type::String),
                    },
                ])),
            ),
            field("own", Type::Own("counter".into())),
            field("borrow", Type::Borrow("counter".into())),
        ],
        result: Some(Type::Result(ResultType {
            ok: None,
            err: Some(shared(Type::String)),
        })),
    }
}

const COUNTERS: &str = "demo:counter/counters@0.1.0";

fn messages() -> Vec<(&'static str, u32, Message)> {
    let reply = |value: &Value| Message::Reply {
        value: encode_value(value),
        is_result: false,
    };
    let host = |number| Value::Handle(Handle::Host(number));
    let client = |number| Value::Handle(Handle::Client(number));
    let digest = format!("sha256:{}", "ab".repeat(32));
    let revision = RevisionEntry {
        name: "calc".to_owned(),
        revision: 2,
        digest: digest.clone(),
        grants: vec!["log".to_owned()],
        limits: BTreeMap::from([("memory-bytes".to_owned(), 1 << 20)]),
        bindings: BTreeMap::new(),
        sealed: false,
        instancing: Instancing::Call,
        restores: None,
        created_at_ms: 1_790_000_000_000,
        created_by: "t1".to_owned(),
    };
    vec![
        (
            "hello",
            0,
            Message::Hello(Hello {
                versions: vec![1],
                client: "golden/1.0".to_owned(),
                token: Some("secret".to_owned()),
            }),
        ),
        (
            "welcome",
            0,
            Message::Welcome(Welcome {
                version: 1,
                host: "rpc-host/0.1.0".to_owned(),
                session: "00112233445566aa".to_owned(),
                tenant: "default".to_owned(),
                role: "admin".to_owned(),
                max_message_bytes: 16 << 20,
                max_calls_in_flight: 256,
                idle_timeout_ms: 60_000,
            }),
        ),
        (
            "call",
            1,
            Message::Call {
                header: CallHeader {
                    module: "calc".to_owned(),
                    function: "add".to_owned(),
                    timeout_ms: Some(5000),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[Value::S64(2)], &[("b".to_owned(), Value::S64(3))])
                    .into(),
            },
        ),
        (
            "call-narrowed",
            1,
            Message::Call {
                header: CallHeader {
                    module: "calc".to_owned(),
                    function: "add".to_owned(),
                    allow: Some(vec!["log".to_owned(), "kv:cache=ro".to_owned()]),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[Value::S64(2), Value::S64(3)], &[]).into(),
            },
        ),
        (
            "call-constructor",
            1,
            Message::Call {
                header: CallHeader {
                    module: "counter".to_owned(),
                    function: format!("{COUNTERS}.[constructor]counter"),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[Value::U64(10)], &[]).into(),
            },
        ),
        ("reply-handle", 1, reply(&host(7))),
        (
            "call-on",
            3,
            Message::Call {
                header: CallHeader {
                    module: "counter".to_owned(),
                    function: format!("{COUNTERS}.[method]counter.increment"),
                    timeout_ms: Some(5000),
                    on: Some(7),
                    output: true,
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[host(7)], &[]).into(),
            },
        ),
        (
            "output",
            3,
            Message::Output(Output {
                stream: OutputStream::Stdout,
                text: "counted to 11".to_owned(),
                level: None,
                at_ms: None,
                call: None,
                lost: None,
            }),
        ),
        (
            "call-with-handles",
            5,
            Message::Call {
                header: CallHeader {
                    module: "counter".to_owned(),
                    function: "counters.subscribe-all".to_owned(),
                    on: Some(7),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(
                    &[Value::List(vec![host(7), host(8)])],
                    &[("handler".to_owned(), client(1))],
                )
                .into(),
            },
        ),
        (
            "reply-handles",
            5,
            reply(&Value::Record(vec![
                ("first".into(), host(7)),
                ("others".into(), Value::List(vec![host(8), host(9)])),
                ("handler".into(), client(1)),
            ])),
        ),
        (
            "call-into-client-object",
            4,
            Message::Call {
                header: CallHeader {
                    module: "acme:events/events@0.1.0".to_owned(),
                    function: "acme:events/events@0.1.0.[method]handler.call".to_owned(),
                    timeout_ms: Some(900),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[client(1), Value::String("hello".to_owned())], &[])
                    .into(),
            },
        ),
        (
            "reply-from-client-object",
            4,
            Message::Reply {
                value: encode_value(&Value::Result(Ok(Some(Box::new(Value::String(
                    "heard".to_owned(),
                )))))),
                is_result: true,
            },
        ),
        ("reply", 1, reply(&Value::S64(5))),
        ("reply-nothing", 1, reply(&Value::Option(None))),
        (
            "reply-guest-error",
            3,
            Message::Reply {
                value: encode_value(&Value::Result(Err(Some(Box::new(Value::String(
                    "division by zero".to_owned(),
                )))))),
                is_result: true,
            },
        ),
        ("reply-all-values", 5, reply(&all_values())),
        (
            "reply-fragmented",
            7,
            reply(&Value::Bytes(vec![0x5a; FRAGMENT_BYTES + 1])),
        ),
        (
            "failure",
            9,
            Message::Failure(
                Failure::new(
                    ErrorCode::Trapped,
                    Fault::Guest,
                    "the module panicked or aborted",
                )
                .with_backtrace(["calc::div".to_owned()]),
            ),
        ),
        ("cancel", 11, Message::Cancel),
        (
            "request-register",
            13,
            Message::Request(Operation::Register(Register {
                name: "calc".to_owned(),
                digest: digest.clone(),
                grants: vec!["log".to_owned()],
                limits: BTreeMap::from([("memory-bytes".to_owned(), 1 << 20)]),
                bindings: BTreeMap::from([(
                    "acme:log/logger@0.1.0".to_owned(),
                    "logger".to_owned(),
                )]),
                sealed: false,
                instancing: Instancing::Call,
                if_revision: Some(1),
                force: false,
            })),
        ),
        (
            "request-register-shared",
            13,
            Message::Request(Operation::Register(Register {
                name: "counter".to_owned(),
                digest: digest.clone(),
                instancing: Instancing::Shared,
                ..Register::default()
            })),
        ),
        (
            "request-swap",
            13,
            Message::Request(Operation::Swap(Swap {
                name: "calc".to_owned(),
                to: SwapTo::Revision(1),
                if_revision: Some(2),
                force: true,
            })),
        ),
        (
            "reply-revision",
            13,
            Message::Reply {
                value: encode_envelope(&revision),
                is_result: false,
            },
        ),
        (
            "reply-revision-per-session",
            13,
            Message::Reply {
                value: encode_envelope(&RevisionEntry {
                    instancing: Instancing::Session,
                    ..revision
                }),
                is_result: false,
            },
        ),
        (
            "request-tenant-set",
            13,
            Message::Request(Operation::TenantSet(TenantSettings {
                name: "team".to_owned(),
                allow: Some(vec!["log".to_owned(), "fs:shared=ro".to_owned()]),
                limits: Some(BTreeMap::from([("max-memory-bytes".to_owned(), 65_536)])),
                weight: Some(200),
            })),
        ),
        ("request-list", 15, Message::Request(Operation::List {})),
        (
            "request-describe",
            17,
            Message::Request(Operation::Describe(Describe {
                name: "calc".to_owned(),
                function: None,
            })),
        ),
        (
            "reply-description",
            17,
            Message::Reply {
                value: encode_envelope(&Description {
                    functions: vec![FunctionDescription {
                        interface: Some("demo:calc/calc@0.1.0".to_owned()),
                        name: "everything".to_owned(),
                        signature: all_types(),
                        undescribed: None,
                        docs: None,
                    }],
                    resources: vec![],
                    docs: None,
                }),
                is_result: false,
            },
        ),
        (
            "reply-description-of-resources",
            17,
            Message::Reply {
                value: encode_envelope(&Description {
                    functions: vec![
                        FunctionDescription {
                            interface: Some(COUNTERS.to_owned()),
                            name: "[constructor]counter".to_owned(),
                            signature: Signature {
                                parameters: vec![Field {
                                    name: "start".into(),
                                    ty: Type::U64,
                                }],
                                result: Some(Type::Own("counter".into())),
                            },
                            undescribed: None,
                            docs: Some("A counter that begins at `start`.".to_owned()),
                        },
                        FunctionDescription {
                            interface: Some(COUNTERS.to_owned()),
                            name: "[method]counter.increment".to_owned(),
                            signature: Signature {
                                parameters: vec![Field {
                                    name: "self".into(),
                                    ty: Type::Borrow("counter".into()),
                                }],
                                result: Some(Type::U64),
                            },
                            undescribed: None,
                            docs: None,
                        },
                    ],
                    resources: vec![ResourceDescription {
                        interface: Some(COUNTERS.to_owned()),
                        name: "counter".to_owned(),
                        docs: Some("Counts upwards.".to_owned()),
                    }],
                    docs: Some("Counters.".to_owned()),
                }),
                is_result: false,
            },
        ),
        (
            "request-logs",
            29,
            Message::Request(Operation::Logs(Logs {
                name: "calc".to_owned(),
                tail: Some(100),
                follow: true,
            })),
        ),
        (
            "output-kept",
            29,
            Message::Output(Output {
                stream: OutputStream::Log,
                text: "it counts".to_owned(),
                level: Some("info".to_owned()),
                at_ms: Some(1_790_000_000_000),
                call: Some("00112233445566aa#1".to_owned()),
                lost: None,
            }),
        ),
        (
            "output-lost",
            29,
            Message::Output(Output {
                stream: OutputStream::Log,
                text: "17 lines were lost: they came faster than they were read".to_owned(),
                level: Some("warn".to_owned()),
                at_ms: None,
                call: None,
                lost: Some(17),
            }),
        ),
        (
            "upload",
            19,
            Message::Upload(UploadHeader {
                digest,
                size_bytes: 3,
            }),
        ),
        ("chunk", 19, Message::Chunk(vec![1, 2, 3])),
        (
            "ack",
            19,
            Message::Ack(Ack {
                received_bytes: 3,
                window_bytes: 1 << 20,
            }),
        ),
        (
            "provide",
            21,
            Message::Provide(Provide {
                name: "acme:log/logger".to_owned(),
                scope: ProvideScope::Session,
                lease_ms: 10_000,
                window: 8,
                fallback: Fallback::Previous,
                wit: None,
            }),
        ),
        (
            "reply-leased",
            21,
            Message::Reply {
                value: encode_envelope(&Leased {
                    lease: 5,
                    lease_ms: 10_000,
                    window: 8,
                    functions: vec![FunctionDescription {
                        interface: Some("acme:log/logger@0.1.0".to_owned()),
                        name: "log".to_owned(),
                        signature: Signature {
                            parameters: vec![Field {
                                name: "message".into(),
                                ty: Type::String,
                            }],
                            result: None,
                        },
                        undescribed: None,
                        docs: None,
                    }],
                }),
                is_result: false,
            },
        ),
        (
            "withdraw",
            23,
            Message::Withdraw(Withdraw {
                name: "acme:log/logger".to_owned(),
                lease: Some(5),
                steal: false,
            }),
        ),
        (
            "lapse",
            0,
            Message::Lapse(Lapse {
                name: "acme:log/logger".to_owned(),
                lease: 5,
                failure: Failure::new(
                    ErrorCode::ProviderLost,
                    Fault::Peer,
                    "nothing was heard of the client",
                ),
            }),
        ),
        (
            "reply-providers",
            27,
            Message::Reply {
                value: encode_envelope(&vec![ProviderEntry {
                    name: "acme:log/logger".to_owned(),
                    scope: ProvideScope::Tenant,
                    serving: true,
                    session: "00112233445566aa".to_owned(),
                    served_by: "t1".to_owned(),
                    lease: 5,
                    since_ms: 1_790_000_000_000,
                    until_ms: 1_790_000_010_000,
                    window: 8,
                    in_flight: 1,
                    late_answers: 2,
                    fallback: Fallback::Error,
                }]),
                is_result: false,
            },
        ),
        (
            "call-into-client",
            2,
            Message::Call {
                header: CallHeader {
                    module: "acme:log/logger".to_owned(),
                    function: "log".to_owned(),
                    timeout_ms: Some(900),
                    lease: Some(5),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[Value::String("hello".to_owned())], &[]).into(),
            },
        ),
        (
            "release",
            25,
            Message::Release(Release {
                handles: vec![(7, 2)],
            }),
        ),
        (
            "release-many",
            0,
            Message::Release(Release {
                handles: vec![(8, 1), (9, 3), (u64::MAX, u32::MAX)],
            }),
        ),
        (
            "release-from-host",
            0,
            Message::Release(Release {
                handles: vec![(1, 1)],
            }),
        ),
        (
            "event",
            0,
            Message::Event(Event {
                event: "draining".to_owned(),
                message: "the host is stopping".to_owned(),
            }),
        ),
        ("ping", 0, Message::Ping(Beat { nonce: 42 })),
        ("pong", 0, Message::Pong(Beat { nonce: 42 })),
        (
            "goaway",
            0,
            Message::Goaway(Goaway {
                failure: Failure::new(ErrorCode::Unavailable, Fault::Host, "the host is stopping"),
            }),
        ),
    ]
}

#[test]
fn the_wire_is_what_it_was() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut kinds = Vec::new();
    for (name, id, message) in messages() {
        let raw = message.clone().encode(ExchangeId(id));
        kinds.push(raw.kind);
        let bytes = to_bytes(&raw);
        let twin = format!("{:?} of exchange #{id}\n{message:#?}\n", raw.kind);
        let (bin, txt) = (
            directory.join(name).with_extension("bin"),
            directory.join(name).with_extension("txt"),
        );
        if update {
            std::fs::write(&bin, &bytes).unwrap();
            std::fs::write(&txt, &twin).unwrap();
        }
        let pinned =
            std::fs::read(&bin).unwrap_or_else(|error| panic!("{}: {error}", bin.display()));
        assert_eq!(
            bytes, pinned,
            "{name}: the bytes of this message have changed"
        );
        assert_eq!(
            std::fs::read_to_string(&txt).unwrap(),
            twin,
            "{name}: its readable twin"
        );
        let back = from_bytes(&pinned);
        assert_eq!(back, raw, "{name}");
        assert_eq!(Message::decode(back).unwrap(), message, "{name}");
    }
    for kind in Kind::ALL {
        assert!(
            kinds.contains(kind),
            "no golden file shows a {}",
            kind.name()
        );
    }
}

#[test]
fn a_message_with_anything_unknown_is_refused() {
    let refused = |kind: Kind, payload: &[u8]| {
        let raw = RawMessage {
            kind,
            flags: 0,
            id: ExchangeId(1),
            payload: payload.to_vec().into(),
        };
        Message::decode(raw).unwrap_err().to_string()
    };
    let ping = encode_envelope(&BTreeMap::from([("nonce", 1), ("none", 2)]));
    assert!(
        refused(Kind::Ping, &ping).contains("unknown field"),
        "{}",
        refused(Kind::Ping, &ping)
    );
    let ping = encode_envelope(&BTreeMap::<&str, u8>::new());
    assert!(refused(Kind::Ping, &ping).contains("missing field"));
    assert!(refused(Kind::Cancel, &[0xf6]).contains("carries nothing"));
    let mut trailing = encode_envelope(&Beat { nonce: 1 });
    trailing.push(0);
    assert!(refused(Kind::Ping, &trailing).contains("1 bytes follow"));
    assert!(refused(Kind::Call, &[]).contains("malformed call"));
    let releases = |handles: Vec<(u64, u32)>| encode_envelope(&Release { handles });
    assert!(refused(Kind::Release, &releases(vec![(7, 0)])).contains("handle 7 has the count 0"));
    assert!(refused(Kind::Release, &releases(vec![(7, 1); 4097])).contains("more than 4096"));
    // A pair is two items, no more and no fewer.
    let pairs = |handles: Vec<Vec<u64>>| encode_envelope(&BTreeMap::from([("handles", handles)]));
    assert!(refused(Kind::Release, &pairs(vec![vec![7, 1, 1]])).contains("more items"));
    assert!(refused(Kind::Release, &pairs(vec![vec![7, 1, 1], vec![8]])).contains("malformed"));
    assert!(refused(Kind::Release, &pairs(vec![vec![7]])).contains("invalid length"));
    let stream = encode_envelope(&BTreeMap::from([("stream", "stdin"), ("text", "")]));
    assert!(refused(Kind::Output, &stream).contains("unknown variant"));
    let on = encode_envelope(&BTreeMap::from([
        ("module", "m"),
        ("function", "f"),
        ("on", "7"),
    ]));
    assert!(refused(Kind::Call, &on).contains("invalid type"));
    let unknown = encode_envelope(&BTreeMap::from([("reboot", BTreeMap::<&str, u8>::new())]));
    assert!(refused(Kind::Request, &unknown).contains("unknown variant"));
}

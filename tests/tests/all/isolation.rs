//! What one tenant can do to what another has: every operation and every message that names something, by
//! every role, on things of another tenant and on things that nobody has. The answers are the same, and none
//! of them is a success.
//!
//! The lists are the protocol's own: an operation that is new has no row here, and fails the suite; a message
//! that is new does not compile.

use rpc_host_protocol::cbor::{encode_arguments, handles};
use rpc_host_protocol::message::{
    CallHeader, Fallback, Message, Provide, ProvideScope, Release, UploadHeader, Withdraw,
};
use rpc_host_protocol::operation::{
    ByDigest, Describe, LimitsOf, Logs, Named, Register, Rollback, Swap, SwapTo, TenantSettings,
    TokenCreate, TokenList, TokenRevoke,
};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, Operation, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built, operation_names};

/// The names of what there is, or of what there is not.
#[derive(Clone)]
struct Names {
    registration: String,
    served: String,
    digest: String,
    token: String,
    tenant: String,
    lease: u64,
    /// Of a call of the host's into a client.
    reverse: u32,
    /// Of an object that a session holds.
    object: u64,
}

impl Names {
    fn absent() -> Self {
        Names {
            registration: "nobodys".to_owned(),
            served: "unserved".to_owned(),
            digest: format!("sha256:{}", "0".repeat(64)),
            token: "0123456789abcdef".to_owned(),
            tenant: "no-such-tenant".to_owned(),
            lease: 999_999,
            reverse: 9998,
            object: 999_999,
        }
    }

    /// `failure`, with the names of what there is not in the place of these.
    fn hidden(&self, mut failure: Failure) -> Failure {
        let absent = Names::absent();
        for (one, other) in [
            (&self.registration, &absent.registration),
            (&self.served, &absent.served),
            (&self.digest, &absent.digest),
            (&self.token, &absent.token),
            (&self.tenant, &absent.tenant),
            (
                &format!("#{}", self.reverse),
                &format!("#{}", absent.reverse),
            ),
            (
                &format!("object {} ", self.object),
                &format!("object {} ", absent.object),
            ),
        ] {
            failure.message = failure.message.replace(one, other);
        }
        failure
    }
}

/// What an operation can be about.
enum Row {
    /// Things that are named.
    Naming(Vec<Operation>),
    /// All that the tenant has.
    Listing(Operation),
}

/// What an attacker has of its own.
const MINE: &str = "mine";
/// A module with objects, which both have.
const OBJECTS: &str = "objects";

fn register(name: &str, digest: &str) -> Register {
    Register {
        name: name.to_owned(),
        digest: digest.to_owned(),
        ..Register::default()
    }
}

/// `own` is the digest of a module that the attacker has.
fn row(operation: &str, names: &Names, own: &str) -> Row {
    let named = || Named {
        name: names.registration.clone(),
    };
    let settings = || TenantSettings {
        name: names.tenant.clone(),
        ..TenantSettings::default()
    };
    let tenant = || Named {
        name: names.tenant.clone(),
    };
    let swap = |name: &str, to: SwapTo| {
        Operation::Swap(Swap {
            name: name.to_owned(),
            to,
            if_revision: None,
            force: true,
        })
    };
    let rows = match operation {
        "register" => vec![Operation::Register(register(MINE, &names.digest))],
        "swap" => vec![
            swap(MINE, SwapTo::Digest(names.digest.clone())),
            swap(&names.registration, SwapTo::Digest(own.to_owned())),
            swap(&names.registration, SwapTo::Digest(names.digest.clone())),
            swap(&names.registration, SwapTo::Revision(1)),
        ],
        "rollback" => vec![Operation::Rollback(Rollback {
            name: names.registration.clone(),
            if_revision: None,
            force: true,
        })],
        "promote" => vec![
            Operation::Promote(register(&names.served, own)),
            Operation::Promote(register(&names.registration, &names.digest)),
        ],
        "show" => vec![Operation::Show(named())],
        "history" => vec![Operation::History(named())],
        "remove" => vec![Operation::Remove(named())],
        "inspect" => vec![Operation::Inspect(named())],
        "describe" => vec![Operation::Describe(Describe {
            name: names.registration.clone(),
            function: None,
        })],
        "logs" => vec![Operation::Logs(Logs {
            name: names.registration.clone(),
            ..Logs::default()
        })],
        "remove-module" => vec![Operation::RemoveModule(ByDigest {
            digest: names.digest.clone(),
        })],
        "tenant-create" => vec![Operation::TenantCreate(settings())],
        "tenant-set" => vec![Operation::TenantSet(settings())],
        "tenant-show" => vec![Operation::TenantShow(tenant())],
        "tenant-remove" => vec![Operation::TenantRemove(tenant())],
        "token-create" => vec![Operation::TokenCreate(TokenCreate {
            tenant: Some(names.tenant.clone()),
            role: "admin".to_owned(),
            expires_in_s: None,
        })],
        "token-list" => vec![Operation::TokenList(TokenList {
            tenant: Some(names.tenant.clone()),
        })],
        "token-revoke" => vec![Operation::TokenRevoke(TokenRevoke {
            id: names.token.clone(),
        })],
        "limits" => vec![Operation::Limits(LimitsOf {
            name: Some(names.registration.clone()),
        })],
        "list" => return Row::Listing(Operation::List {}),
        "modules" => return Row::Listing(Operation::Modules {}),
        "providers" => return Row::Listing(Operation::Providers {}),
        "tenant-list" => return Row::Listing(Operation::TenantList {}),
        new => panic!("what does `{new}` do with what another tenant has? Give it a row"),
    };
    Row::Naming(rows)
}

/// Messages that name something, and are answered.
fn asked(kind: Kind, names: &Names) -> Vec<Message> {
    let call = |module: &str, within, lease| Message::Call {
        header: CallHeader {
            module: module.to_owned(),
            function: "add".to_owned(),
            within,
            lease,
            ..CallHeader::default()
        },
        arguments: encode_arguments(&[Value::S64(2), Value::S64(3)], &[]).into(),
    };
    let on_object = |module: &str, function: &str, on, arguments: &[Value]| Message::Call {
        header: CallHeader {
            on,
            ..header_of(module, function)
        },
        arguments: encode_arguments(arguments, &[]).into(),
    };
    let object = [Value::Handle(Handle::Host(names.object))];
    let withdraw = |lease, steal| {
        Message::Withdraw(Withdraw {
            name: names.served.clone(),
            lease,
            steal,
        })
    };
    let provide = |name: &str, scope| {
        Message::Provide(Provide {
            name: name.to_owned(),
            scope,
            lease_ms: 60_000,
            window: 1,
            fallback: Fallback::Previous,
            wit: None,
        })
    };
    match kind {
        Kind::Call => vec![
            call(&names.registration, None, None),
            call(&names.served, None, None),
            call(&names.served, None, Some(names.lease)),
            call(MINE, Some(names.reverse), None),
            // A function of its own, where the object lives; and the object, there and without saying where.
            on_object(MINE, "add", Some(names.object), &[]),
            on_object(OBJECTS, "counter.value", Some(names.object), &object),
            on_object(OBJECTS, "counter.value", None, &object),
            on_object(OBJECTS, "consume", Some(names.object), &object),
        ],
        Kind::Release => vec![
            release(&[(names.object, 1)]),
            release(&[(names.object, u32::MAX)]),
        ],
        Kind::Withdraw => vec![
            withdraw(None, false),
            withdraw(Some(names.lease), false),
            withdraw(None, true),
            withdraw(Some(names.lease), true),
        ],
        Kind::Provide => vec![
            provide(&names.registration, ProvideScope::Session),
            provide(&names.served, ProvideScope::Tenant),
        ],
        // Each operation has a row of its own; an upload is answered by an ack, see below.
        Kind::Request | Kind::Upload => Vec::new(),
        // These name an exchange of the session itself, and are not answered, see below.
        Kind::Cancel | Kind::Chunk | Kind::Reply | Kind::Failure => Vec::new(),
        // These name nothing.
        Kind::Hello
        | Kind::Welcome
        | Kind::Ack
        | Kind::Event
        | Kind::Ping
        | Kind::Pong
        | Kind::Goaway
        | Kind::Lapse
        | Kind::Output => Vec::new(),
    }
}

fn header_of(module: &str, function: &str) -> CallHeader {
    CallHeader {
        module: module.to_owned(),
        function: function.to_owned(),
        ..CallHeader::default()
    }
}

fn release(handles: &[(u64, u32)]) -> Message {
    Message::Release(Release {
        handles: handles.to_vec(),
    })
}

/// A tenant with one of everything, and work under way.
struct Victim {
    tenant: TestTenant,
    names: Names,
    /// Waits for the answer of `serves`.
    calls: RawPeer,
    call: ExchangeId,
    serves: RawPeer,
    /// Holds an object.
    holds: RawPeer,
}

impl Victim {
    async fn new(tenant: TestTenant) -> Self {
        // Not what anybody else has.
        let module = tenant.register("theirs", built("kitchen-sink")).await;
        tenant.register("theirs", built("calc")).await;
        tenant.register("served-by-them", built("calc")).await;
        let mut serves = tenant.raw_peer().await;
        let offer = Provide {
            name: "served-by-them".to_owned(),
            scope: ProvideScope::Tenant,
            lease_ms: 300_000,
            window: 1,
            fallback: Fallback::Previous,
            wit: None,
        };
        let leased = serves.provide(offer).await.unwrap();
        let mut calls = tenant.raw_peer().await;
        let call = calls
            .call("served-by-them", "add", &[Value::S64(2), Value::S64(3)])
            .await;
        let (reverse, _, _) = serves.called().await;
        tenant.register(OBJECTS, built("counter")).await;
        let mut holds = tenant.raw_peer().await;
        // The last number that the session was told.
        let mut object = 0;
        for _ in 0..3 {
            let made = holds
                .call(OBJECTS, "[constructor]counter", &[Value::U64(5)])
                .await;
            let made = holds.outcome(made).await.unwrap();
            object = handles(&made).next().unwrap().number();
        }
        let token = tenant.token.split('_').nth(1).unwrap().to_owned();
        let names = Names {
            registration: "theirs".to_owned(),
            served: "served-by-them".to_owned(),
            digest: module.digest().to_owned(),
            token,
            tenant: tenant.name.clone(),
            lease: leased.lease,
            reverse: reverse.0,
            object,
        };
        Victim {
            tenant,
            names,
            calls,
            call,
            serves,
            holds,
        }
    }

    /// All that others must not change.
    async fn state(&self) -> String {
        let client = &self.tenant.client;
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            client.list().await.unwrap(),
            client.history("theirs").await.unwrap(),
            client.modules().await.unwrap(),
            client.token_list(None).await.unwrap(),
            client.tenant_show(&self.tenant.name).await.unwrap(),
        )
    }
}

/// The one answer to a message.
async fn answer(peer: &mut RawPeer, message: Message) -> Result<Vec<u8>, Failure> {
    let id = peer.fresh_id();
    peer.send(id, message).await;
    peer.outcome(id).await
}

#[track_caller]
fn alike(
    what: &str,
    names: &Names,
    theirs: Result<Vec<u8>, Failure>,
    nobodys: Result<Vec<u8>, Failure>,
) {
    let (Err(theirs), Err(nobodys)) = (theirs, nobodys) else {
        panic!("{what} succeeds");
    };
    assert_eq!(names.hidden(theirs), nobodys, "{what}");
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn what_another_tenant_has_is_to_every_role_and_operation_as_if_nobody_had_it() {
    let host = TestHost::start_with(HostOptions::new()).await;
    let victim = Victim::new(host.tenant().await).await;
    let attacker = host.tenant().await;
    let own = attacker.register(MINE, built("text")).await;
    let own = own.digest();
    attacker.register(OBJECTS, built("counter")).await;
    let before = victim.state().await;
    let (theirs, absent) = (&victim.names, &Names::absent());
    let mut successes_allowed = 0;
    for role in ["reader", "caller", "deployer", "admin"] {
        let mut peer = RawPeer::welcomed(&host, &attacker.token(role).await).await;
        for name in operation_names() {
            let (of_theirs, of_nobody) = match (row(name, theirs, own), row(name, absent, own)) {
                (Row::Naming(of_theirs), Row::Naming(of_nobody)) => (of_theirs, of_nobody),
                (Row::Listing(listing), _) => {
                    assert_eq!(listing.name(), *name);
                    match answer(&mut peer, Message::Request(listing)).await {
                        Ok(listed) => {
                            successes_allowed += 1;
                            for text in [
                                &theirs.registration,
                                &theirs.served,
                                &theirs.digest,
                                &theirs.token,
                                &theirs.tenant,
                            ] {
                                assert!(!holds(&listed, text), "{role} {name}: {text}");
                            }
                        }
                        Err(failure) => assert_eq!(failure.code, ErrorCode::PermissionDenied),
                    }
                    continue;
                }
                _ => unreachable!(),
            };
            assert!(!of_theirs.is_empty(), "{name}");
            for (of_theirs, of_nobody) in of_theirs.into_iter().zip(of_nobody) {
                assert_eq!(of_theirs.name(), *name);
                let what = format!("{role}: {of_theirs:?}");
                let to_theirs = answer(&mut peer, Message::Request(of_theirs)).await;
                let to_nobodys = answer(&mut peer, Message::Request(of_nobody)).await;
                alike(&what, theirs, to_theirs, to_nobodys);
            }
        }
        for kind in Kind::ALL {
            for (of_theirs, of_nobody) in asked(*kind, theirs).into_iter().zip(asked(*kind, absent))
            {
                assert_eq!(of_theirs.kind(), *kind);
                let what = format!("{role}: {of_theirs:?}");
                let to_theirs = answer(&mut peer, of_theirs).await;
                let to_nobodys = answer(&mut peer, of_nobody).await;
                alike(&what, theirs, to_theirs, to_nobodys);
            }
        }
    }
    assert_eq!(
        successes_allowed,
        4 * 3,
        "each role may list what its tenant has"
    );
    assert_eq!(victim.state().await, before);
    unharmed(victim).await;
}

/// An operator runs the node, and is in other tenants as little as anybody.
#[tokio::test]
async fn what_a_tenant_has_is_not_the_operators_either() {
    let host = TestHost::start().await;
    let victim = Victim::new(host.tenant().await).await;
    let before = victim.state().await;
    let (theirs, absent) = (&victim.names, &Names::absent());
    let mut peer = RawPeer::welcomed(&host, &host.admin_token()).await;
    let own = host
        .client()
        .await
        .upload_module(built("text"))
        .await
        .unwrap();
    for name in operation_names() {
        // Tenants and tokens are what an operator is for.
        if name.starts_with("tenant-") || name.starts_with("token-") {
            continue;
        }
        let rows = (
            row(name, theirs, own.digest()),
            row(name, absent, own.digest()),
        );
        let (Row::Naming(of_theirs), Row::Naming(of_nobody)) = rows else {
            continue;
        };
        for (of_theirs, of_nobody) in of_theirs.into_iter().zip(of_nobody) {
            let what = format!("operator: {of_theirs:?}");
            let to_theirs = answer(&mut peer, Message::Request(of_theirs)).await;
            let to_nobodys = answer(&mut peer, Message::Request(of_nobody)).await;
            alike(&what, theirs, to_theirs, to_nobodys);
        }
    }
    assert_eq!(victim.state().await, before);
    unharmed(victim).await;
}

/// The digest of what another tenant has is no shorter way than any other.
#[tokio::test]
async fn an_upload_of_what_another_tenant_has_is_an_upload_like_any_other() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let bytes = built("trap");
    let module = one.client.upload_module(bytes.clone()).await.unwrap();
    let mut peer = other.raw_peer().await;
    let mut begun = Vec::new();
    for digest in [module.digest(), &Names::absent().digest] {
        let id = peer.fresh_id();
        let header = UploadHeader {
            digest: digest.to_owned(),
            size_bytes: bytes.len() as u64,
        };
        peer.send(id, Message::Upload(header)).await;
        let (of, message) = peer.message().await;
        assert_eq!(of, id);
        begun.push(message);
        peer.send(id, Message::Cancel).await;
        peer.outcome(id).await.unwrap_err();
    }
    assert!(matches!(begun[0], Message::Ack(_)), "{begun:?}");
    assert_eq!(begun[0], begun[1]);
    // Its owner is told at once.
    assert!(one.client.upload_module(bytes).await.unwrap().was_known());
}

/// Numbers of exchanges, objects and uploads mean something in their own session only.
#[tokio::test]
async fn what_names_an_exchange_or_an_object_of_another_session_does_nothing_to_it() {
    let host = TestHost::shared().await;
    let victim = Victim::new(host.tenant().await).await;
    // A stranger to the session, of another tenant and of the same.
    let stranger = host.tenant().await;
    stranger.register(OBJECTS, built("counter")).await;
    for token in [&stranger.token, &victim.tenant.token] {
        let mut peer = RawPeer::welcomed(&host, token).await;
        let (theirs, absent) = (&victim.names, &Names::absent());
        for kind in [Kind::Call, Kind::Release] {
            for (of_theirs, of_nobody) in asked(kind, theirs).into_iter().zip(asked(kind, absent)) {
                let is_of_an_object = match &of_theirs {
                    Message::Call { header, .. } => header.on.is_some() || header.module == OBJECTS,
                    _ => true,
                };
                if is_of_an_object {
                    let what = format!("{of_theirs:?}");
                    let to_theirs = answer(&mut peer, of_theirs).await;
                    let to_nobodys = answer(&mut peer, of_nobody).await;
                    alike(&what, theirs, to_theirs, to_nobodys);
                }
            }
        }
        let (call, reverse) = (victim.call, ExchangeId(victim.names.reverse));
        let wrong = Failure::new(ErrorCode::Unknown, Fault::Application, "not yours");
        let reply = Message::Reply {
            value: vec![0x18, 99],
            is_result: false,
        };
        for (id, message) in [
            (call, Message::Cancel),
            (reverse, Message::Cancel),
            (call, Message::Chunk(vec![0; 8])),
            (reverse, reply),
            (reverse, Message::Failure(wrong)),
            (
                ExchangeId::CONNECTION,
                release(&(0..16).map(|handle| (handle, 1)).collect::<Vec<_>>()),
            ),
        ] {
            // It may cost whoever sends it the connection, so each has its own.
            let mut peer = RawPeer::welcomed(&host, token).await;
            peer.send(id, message).await;
            peer.close().await;
            peer.parting().await;
        }
    }
    unharmed(victim).await;
}

/// That the victim's call is still under way, and ends with the right answer; and that its object is there.
async fn unharmed(victim: Victim) {
    let Victim {
        mut calls,
        call,
        mut serves,
        names,
        mut holds,
        ..
    } = victim;
    for number in 1..=names.object {
        let header = CallHeader {
            on: Some(number),
            ..header_of(OBJECTS, "counter.increment")
        };
        let arguments = encode_arguments(&[Value::Handle(Handle::Host(number))], &[]);
        let value = answer(&mut holds, Message::call(header, arguments)).await;
        assert_eq!(value.unwrap(), [6]);
    }
    serves
        .answer(ExchangeId(names.reverse), &Value::S64(23))
        .await;
    assert_eq!(calls.outcome(call).await.unwrap(), [23]);
}

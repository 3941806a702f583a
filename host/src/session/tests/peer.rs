//! The two sides of a session under test: a node that is told what to do by the name of the function
//! that is called, and a client that sees every message.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage, fragments};
use rpc_host_protocol::frame::MAX_FRAME_PAYLOAD_BYTES;
use rpc_host_protocol::message::OutputStream;
use rpc_host_protocol::message::{
    CallHeader, Hello, Leased, Message, Provide, ProvideScope, Release, UploadHeader, Withdraw,
};
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Operation};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::config::Limits;
use crate::journal::{CallName, Ear, Line};
use crate::session::{
    Backend, CallReply, CallRequest, Connection, Doorstep, Fellows, Origin, Reach, SessionContext,
    SessionEnd, SessionId, Telling, Told, UploadSink, UploadStart, serve,
};
use crate::session::{Outlet, Peer as Whence};
use crate::shutdown::{Stop, Stopping, stop};
use crate::tenant::{Principal, Shown};
use crate::transport::frames::FrameReader;

pub(super) const TOKEN: &str = "the right one";

/// Does what the function's name says.
#[derive(Default)]
pub(super) struct FakeNode {
    pub(super) is_revoked: AtomicBool,
    /// How often it was asked whether a session is still good.
    pub(super) asked: AtomicUsize,
    /// Calls that run now.
    pub(super) running: AtomicUsize,
    /// Lets one `wait` go on.
    pub(super) gate: Notify,
    pub(super) stored: Mutex<Vec<u8>>,
    pub(super) uploads_dropped: AtomicUsize,
    /// The way to each client that serves something.
    pub(super) served_by: Mutex<Vec<Reach>>,
    /// Hears what the last call says that has ended.
    pub(super) ear: Mutex<Option<Arc<dyn Ear>>>,
    /// The chain that the last call within another was part of.
    pub(super) chain: Mutex<Option<String>>,
    /// Calls and releases in the order in which they began; releases are 0.
    pub(super) begun: Mutex<Vec<u32>>,
    /// Objects that were released without an answer.
    pub(super) released: AtomicUsize,
    /// Exchanges whose replies have left.
    pub(super) told: Mutex<Vec<u32>>,
    /// Replies that did not leave.
    pub(super) untold: AtomicUsize,
}

/// So many lines are more than there is room for.
pub(super) const FLOOD: u64 = 10_000;

fn line(text: &str) -> Line {
    Line {
        at: Timestamp::from_unix_ms(5),
        call: CallName::Session(1),
        stream: OutputStream::Stdout,
        level: None,
        text: text.into(),
    }
}

impl FakeNode {
    pub(super) fn say(&self, ear: Option<&Arc<dyn Ear>>, text: &str) {
        if let Some(ear) = ear {
            ear.hear(&line(text));
        }
    }

    /// The way to the one client that serves something.
    pub(super) fn reach(&self) -> Reach {
        self.served_by.lock().unwrap()[0].clone()
    }
}

/// Lets nobody wait.
struct Unhurried;

impl Doorstep for Unhurried {
    fn failed(&self) -> Duration {
        Duration::ZERO
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts replies that leave, and those that do not.
struct Counted(Arc<FakeNode>);

impl Telling for Counted {
    fn told(self: Box<Self>, exchange: ExchangeId) {
        self.0.told.lock().unwrap().push(exchange.0);
    }

    fn untold(self: Box<Self>) {
        self.0.untold.fetch_add(1, Ordering::SeqCst);
    }
}

impl Backend for Arc<FakeNode> {
    type Upload = FakeUpload;
    type Call = CallRequest;

    fn authenticate(
        &self,
        token: Option<&str>,
        _: &Shown,
        _: Origin,
    ) -> Result<Principal, Failure> {
        match token {
            Some(TOKEN) => Ok(Principal::for_tests("team")),
            _ => Err(Failure::new(
                ErrorCode::Unauthenticated,
                Fault::Peer,
                "no valid token",
            )),
        }
    }

    fn still_valid(&self, _: &Principal) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        !self.is_revoked.load(Ordering::SeqCst)
    }

    async fn call(&self, _: &Principal, call: CallRequest) -> Result<CallReply, Failure> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.running);
        if let Some(chain) = call.chain {
            *self.chain.lock().unwrap() = Some(chain.to_string());
        }
        let reply = |value| {
            let told = Told::by(Counted(Arc::clone(self)));
            Ok(CallReply {
                value,
                is_result: true,
                told,
            })
        };
        match call.header.function.as_str() {
            "echo" => reply(call.arguments.into_vec()),
            "large" => reply(vec![7; 1 << 20]),
            "wait" => {
                self.gate.notified().await;
                reply(call.arguments.into_vec())
            }
            "hang" => std::future::pending().await,
            "say" => {
                for text in ["one", "two"] {
                    self.say(call.ear.as_ref(), text);
                }
                self.gate.notified().await;
                self.say(call.ear.as_ref(), "three");
                *self.ear.lock().unwrap() = call.ear;
                reply(call.arguments.into_vec())
            }
            "flood" => {
                for number in 0..FLOOD {
                    self.say(call.ear.as_ref(), &format!("{number:<100}"));
                }
                reply(call.arguments.into_vec())
            }
            "panic" => panic!("a fault of the host, as the test wants it"),
            other => Err(Failure::new(ErrorCode::NotFound, Fault::Tenant, other)),
        }
    }

    fn session_began(&self, _: &Principal, _: Origin, _: Reach) {}

    fn begin_call(&self, _: &Principal, call: CallRequest) -> CallRequest {
        self.begun.lock().unwrap().push(call.exchange.0);
        call
    }

    fn release(
        &self,
        _: &Principal,
        _: Origin,
        release: &Release,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, Failure> {
        if release.handles.iter().any(|(number, _)| *number == 0) {
            let message = "no object 0 in this session";
            return Err(Failure::new(ErrorCode::NotFound, Fault::Peer, message));
        }
        self.begun.lock().unwrap().push(0);
        let node = Arc::clone(self);
        Ok(async move {
            node.gate.notified().await;
            Ok(())
        })
    }

    fn release_unanswered(&self, _: &Principal, _: Origin, release: &Release) {
        let released = release.handles.len();
        self.released.fetch_add(released, Ordering::SeqCst);
    }

    async fn operate(
        &self,
        _: &Principal,
        _: Origin,
        operation: Operation,
        outlet: Outlet,
    ) -> Result<Vec<u8>, Failure> {
        if let Operation::Logs(logs) = &operation {
            assert!(outlet.send_lost(7).await && outlet.send(&line("kept")).await);
            if logs.follow {
                std::future::pending::<()>().await;
            }
        }
        Ok(operation.name().as_bytes().to_vec())
    }

    async fn begin_upload(
        &self,
        _: &Principal,
        _: Origin,
        header: UploadHeader,
    ) -> Result<UploadStart<FakeUpload>, Failure> {
        match header.digest.as_str() {
            "known" => Ok(UploadStart::Known(entry(&header.digest, header.size_bytes))),
            "refused" => Err(Failure::new(
                ErrorCode::InvalidArgument,
                Fault::Peer,
                "not this one",
            )),
            digest => Ok(UploadStart::Proceed(FakeUpload {
                node: Arc::clone(self),
                digest: digest.to_owned(),
            })),
        }
    }

    async fn provide(
        &self,
        _: &Principal,
        _: Origin,
        provide: Provide,
        reach: Reach,
    ) -> Result<Leased, Failure> {
        self.served_by.lock().unwrap().push(reach);
        Ok(Leased {
            lease: 1,
            lease_ms: provide.lease_ms,
            window: provide.window,
            functions: Vec::new(),
        })
    }

    fn withdraw(&self, _: &Principal, origin: Origin, _: Withdraw) -> Result<(), Failure> {
        let mut served_by = self.served_by.lock().unwrap();
        served_by.retain(|reach| reach.session() != origin.session);
        Ok(())
    }

    fn is_serving(&self, _: &Principal, session: SessionId) -> bool {
        let served_by = self.served_by.lock().unwrap();
        served_by.iter().any(|reach| reach.session() == session)
    }

    fn session_ended(&self, _: &Principal, session: SessionId) {
        let mut served_by = self.served_by.lock().unwrap();
        assert!(
            served_by
                .iter()
                .all(|reach| reach.session() != session || reach.is_ended())
        );
        served_by.retain(|reach| reach.session() != session);
    }
}

/// Keeps the bytes; with the digest `slow`, waits at the gate before each write.
pub(super) struct FakeUpload {
    node: Arc<FakeNode>,
    digest: String,
}

impl UploadSink for FakeUpload {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.digest == "slow" {
            self.node.gate.notified().await;
        }
        self.node.stored.lock().unwrap().extend(bytes);
        Ok(())
    }

    async fn finish(self) -> Result<ModuleEntry, Failure> {
        let size = self.node.stored.lock().unwrap().len() as u64;
        Ok(entry(&self.digest, size))
    }
}

impl Drop for FakeUpload {
    fn drop(&mut self) {
        self.node.uploads_dropped.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn entry(digest: &str, size_bytes: u64) -> ModuleEntry {
    ModuleEntry {
        digest: digest.to_owned(),
        size_bytes,
        already_known: false,
    }
}

/// A node with what its sessions share.
#[derive(Clone)]
struct Node {
    node: Arc<FakeNode>,
    stop: Arc<Stop>,
    stopping: Stopping,
    fellows: Fellows,
}

/// A client, with the session that serves it.
pub(super) struct Peer {
    pub(super) node: Arc<FakeNode>,
    pub(super) session: JoinHandle<SessionEnd>,
    pub(super) stop: Arc<Stop>,
    whole: Node,
    pub(super) write: WriteHalf<DuplexStream>,
    read: FrameReader<ReadHalf<DuplexStream>>,
    assembler: Assembler,
}

impl Peer {
    /// Connected, but not yet welcome.
    pub(super) fn connect(limits: Limits) -> Peer {
        Peer::connect_over(64 * 1024, limits)
    }

    /// The same over a connection that holds only so many bytes.
    pub(super) fn connect_over(bytes: usize, limits: Limits) -> Peer {
        let (stop, stopping) = stop();
        let stop = Arc::new(stop);
        let node = Node {
            node: Arc::default(),
            stop,
            stopping,
            fellows: Fellows::default(),
        };
        Peer::connect_to(&node, bytes, limits)
    }

    /// Another client of the same node.
    fn connect_to(node: &Node, bytes: usize, limits: Limits) -> Peer {
        let (here, there) = duplex(bytes);
        let limits = Arc::new(limits);
        let connection = Connection {
            stream: there,
            peer: Whence::Address(Ipv4Addr::LOCALHOST.into()),
            hello_deadline: Instant::now() + Duration::from_millis(limits.handshake_timeout_ms),
            shown: Shown::Nothing,
            doorstep: Unhurried,
        };
        let context = SessionContext {
            backend: Arc::new(Arc::clone(&node.node)),
            limits,
            stopping: node.stopping.clone(),
            fellows: node.fellows.clone(),
        };
        let (read, write) = split(here);
        Peer {
            node: Arc::clone(&node.node),
            session: tokio::spawn(serve(connection, context)),
            stop: Arc::clone(&node.stop),
            whole: node.clone(),
            write,
            read: FrameReader::new(read, Duration::from_secs(60), MAX_FRAME_PAYLOAD_BYTES),
            assembler: Assembler::new(AssemblerLimits {
                max_message_bytes: 32 << 20,
                max_buffered_bytes: 64 << 20,
                max_incomplete_messages: 64,
            }),
        }
    }

    /// Connected and welcome.
    pub(super) async fn welcome(limits: Limits) -> Peer {
        Peer::connect(limits).entered().await
    }

    /// Another client of the same node, connected and welcome.
    pub(super) async fn fellow(&self) -> Peer {
        let fellow = Peer::connect_to(&self.whole, 64 * 1024, Limits::default());
        fellow.entered().await
    }

    /// After hello and welcome.
    pub(super) async fn entered(mut self) -> Peer {
        self.send(0, hello(TOKEN)).await;
        let (_, welcome) = self.receive().await.unwrap();
        assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
        self
    }

    /// Serves a name from now on; gives the way to this client.
    pub(super) async fn provide(&mut self, id: u32) -> Reach {
        self.send(id, provide()).await;
        self.reply(id).await;
        self.node.reach()
    }

    /// The next message, which has to be a call of the host's.
    pub(super) async fn called(&mut self) -> (u32, CallHeader, Vec<u8>) {
        match self.receive().await.unwrap() {
            (id, Message::Call { header, arguments }) => (id, header, arguments.into_vec()),
            other => panic!("expected a call, got {other:?}"),
        }
    }

    /// Answers a call of the host's.
    pub(super) async fn answer(&mut self, id: u32, value: &[u8]) {
        let (value, is_result) = (value.to_vec(), false);
        self.send(id, Message::Reply { value, is_result }).await;
    }

    pub(super) async fn send(&mut self, id: u32, message: Message) {
        self.send_raw(&message.encode(ExchangeId(id))).await;
    }

    pub(super) async fn send_raw(&mut self, message: &RawMessage) {
        for (header, part) in fragments(message) {
            self.write.write_all(&header.encode()).await.unwrap();
            self.write.write_all(part).await.unwrap();
        }
    }

    pub(super) async fn call(&mut self, id: u32, function: &str) {
        self.send(id, call(function, b"arguments")).await;
    }

    /// The next message; `None` once the host has closed the connection.
    pub(super) async fn receive(&mut self) -> Option<(u32, Message)> {
        loop {
            let (header, payload) = self.read.next().await.unwrap()?;
            if let Some(raw) = self.assembler.accept(header, &payload).unwrap() {
                return Some((raw.id.0, Message::decode(raw).unwrap()));
            }
        }
    }

    /// The next message, which has to be a failure of this exchange.
    pub(super) async fn failure(&mut self, id: u32) -> Failure {
        match self.receive().await.unwrap() {
            (found, Message::Failure(failure)) if found == id => failure,
            other => panic!("expected a failure of #{id}, got {other:?}"),
        }
    }

    /// The next message, which has to be the last and to say why.
    pub(super) async fn goaway(&mut self) -> Failure {
        let failure = match self.receive().await.unwrap() {
            (0, Message::Goaway(goaway)) => goaway.failure,
            other => panic!("expected a goaway, got {other:?}"),
        };
        assert_eq!(
            self.receive().await,
            None,
            "the connection is closed after it"
        );
        failure
    }

    /// The next message, which has to be a reply to this exchange.
    pub(super) async fn reply(&mut self, id: u32) -> Vec<u8> {
        match self.receive().await.unwrap() {
            (found, Message::Reply { value, .. }) if found == id => value,
            other => panic!("expected a reply to #{id}, got {other:?}"),
        }
    }

    /// Waits until so many calls run in the node.
    pub(super) async fn running(&self, count: usize) {
        while self.node.running.load(Ordering::SeqCst) != count {
            tokio::task::yield_now().await;
        }
    }

    /// Goes away, and tells how the session took it.
    pub(super) async fn leave(self) -> SessionEnd {
        drop((self.read, self.write));
        self.session.await.unwrap()
    }
}

pub(super) fn hello(token: &str) -> Message {
    Message::Hello(Hello {
        versions: vec![1, 7],
        client: "test/1".to_owned(),
        token: Some(token.to_owned()),
    })
}

pub(super) fn provide() -> Message {
    Message::Provide(Provide {
        name: "n".to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 10_000,
        window: 4,
        fallback: Default::default(),
        wit: None,
    })
}

pub(super) fn call(function: &str, arguments: &[u8]) -> Message {
    let header = CallHeader {
        module: "m".to_owned(),
        function: function.to_owned(),
        ..CallHeader::default()
    };
    Message::Call {
        header,
        arguments: arguments.to_vec().into(),
    }
}

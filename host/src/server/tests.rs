//! The whole way in, over TLS on a free port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::MAX_FRAME_PAYLOAD_BYTES;
use rpc_host_protocol::message::{
    CallHeader, Hello, Leased, Message, Provide, Release, UploadHeader, Withdraw,
};
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::{ALPN, ErrorCode, ExchangeId, Failure, Fault, Operation};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock::SystemClock;
use crate::session::{
    CallReply, CallRequest, Origin, Outlet, Reach, SessionId, UploadSink, UploadStart,
};
use crate::tenant::{Principal, Shown};
use crate::transport::ClientTrust;
use crate::transport::frames::FrameReader;

/// Lets everybody in, answers `echo` at once and everything else when the gate opens.
#[derive(Default)]
struct Open {
    gate: Notify,
}

struct NoUpload;

impl UploadSink for NoUpload {
    async fn write(&mut self, _: Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }
    async fn finish(self) -> Result<ModuleEntry, Failure> {
        Err(Failure::new(
            ErrorCode::Unimplemented,
            Fault::Host,
            "no uploads here",
        ))
    }
}

impl Backend for Open {
    type Upload = NoUpload;
    type Call = CallRequest;

    fn authenticate(&self, _: Option<&str>, _: &Shown, _: Origin) -> Result<Principal, Failure> {
        Ok(Principal::for_tests("team"))
    }
    fn still_valid(&self, _: &Principal) -> bool {
        true
    }
    async fn call(&self, _: &Principal, call: CallRequest) -> Result<CallReply, Failure> {
        if call.header.function != "echo" {
            self.gate.notified().await;
        }
        Ok(CallReply::new(call.arguments.into_vec(), false))
    }
    fn session_began(&self, _: &Principal, _: Origin, _: Reach) {}
    fn begin_call(&self, _: &Principal, call: CallRequest) -> CallRequest {
        call
    }
    fn release(
        &self,
        _: &Principal,
        _: Origin,
        _: &Release,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, Failure> {
        Ok(std::future::ready(Ok(())))
    }
    fn release_unanswered(&self, _: &Principal, _: Origin, _: &Release) {}
    async fn operate(
        &self,
        _: &Principal,
        _: Origin,
        _: Operation,
        _: Outlet,
    ) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }
    async fn begin_upload(
        &self,
        _: &Principal,
        _: Origin,
        _: UploadHeader,
    ) -> Result<UploadStart<NoUpload>, Failure> {
        Ok(UploadStart::Proceed(NoUpload))
    }
    async fn provide(
        &self,
        _: &Principal,
        _: Origin,
        _: Provide,
        _: Reach,
    ) -> Result<Leased, Failure> {
        Err(nothing_is_served())
    }
    fn withdraw(&self, _: &Principal, _: Origin, _: Withdraw) -> Result<(), Failure> {
        Err(nothing_is_served())
    }
    fn is_serving(&self, _: &Principal, _: SessionId) -> bool {
        false
    }
    fn session_ended(&self, _: &Principal, _: SessionId) {}
}

fn nothing_is_served() -> Failure {
    let message = "no client serves anything here";
    Failure::new(ErrorCode::Unimplemented, Fault::Host, message)
}

struct Running {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    backend: Arc<Open>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let tls = tls
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth();
    let mut tls = tls.with_single_cert(vec![cert.der().clone()], key).unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];

    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let nobody = ClientTrust::open(Vec::new(), Arc::new(SystemClock), &limits).unwrap();
    let listener = Listener::new(socket, Arc::new(tls), Arc::new(nobody), &limits);
    let backend = Arc::new(Open::default());
    let (stop, stopped) = oneshot::channel();
    let entrances: Entrances<DuplexStream> = Entrances {
        listener: Some(listener),
        stdio: None,
    };
    let server = tokio::spawn(run(
        entrances,
        Arc::clone(&backend),
        Arc::new(limits),
        async {
            let _ = stopped.await;
        },
    ));
    Running {
        address,
        certificate: cert.der().clone(),
        backend,
        stop,
        server,
    }
}

type Tls = TlsStream<TcpStream>;

impl Running {
    async fn tls(&self, alpn: &[&[u8]]) -> io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(&[&TLS13]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    async fn client(&self) -> Client {
        let (read, write) = split(self.tls(&[ALPN]).await.unwrap());
        let read = FrameReader::new(read, Duration::from_secs(60), MAX_FRAME_PAYLOAD_BYTES);
        let mut client = Client { read, write };
        let hello = Hello {
            versions: vec![1],
            client: "test".to_owned(),
            token: None,
        };
        client.send(0, Message::Hello(hello)).await;
        let (_, welcome) = client.receive().await.unwrap();
        assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
        client
    }
}

struct Client {
    read: FrameReader<ReadHalf<Tls>>,
    write: WriteHalf<Tls>,
}

impl Client {
    /// For messages of one frame.
    async fn send(&mut self, id: u32, message: Message) {
        let message = message.encode(ExchangeId(id));
        for (header, part) in rpc_host_protocol::assembler::fragments(&message) {
            let frame = [&header.encode()[..], part].concat();
            self.write.write_all(&frame).await.unwrap();
        }
    }

    async fn call(&mut self, id: u32, function: &str) {
        let header = CallHeader {
            module: "m".to_owned(),
            function: function.to_owned(),
            ..CallHeader::default()
        };
        self.send(
            id,
            Message::Call {
                header,
                arguments: b"12345678".to_vec().into(),
            },
        )
        .await;
    }

    async fn receive(&mut self) -> Option<(u32, Message)> {
        let (header, payload) = self.read.next().await.unwrap()?;
        let raw = RawMessage {
            kind: header.kind,
            flags: header.flags,
            id: header.id,
            payload: payload.into(),
        };
        Some((header.id.0, Message::decode(raw).unwrap()))
    }

    async fn reply(&mut self, id: u32) {
        let answer = self.receive().await;
        assert!(
            matches!(&answer, Some((found, Message::Reply { .. })) if *found == id),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn calls_go_all_the_way_and_a_stop_lets_them_finish() {
    let node = start(Limits::default()).await;
    let mut client = node.client().await;
    let idle = node.client().await;
    client.call(1, "echo").await;
    client.reply(1).await;
    client.call(3, "wait").await;
    client.call(5, "echo").await;
    client.reply(5).await;

    node.stop.send(()).unwrap();
    assert!(matches!(
        client.receive().await,
        Some((0, Message::Goaway(_)))
    ));
    node.backend.gate.notify_one();
    client.reply(3).await;
    assert_eq!(client.receive().await, None);
    drop((client, idle));
    node.server.await.unwrap();
    assert!(
        TcpStream::connect(node.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_stop_ends_what_does_not_finish_in_time() {
    let node = start(Limits {
        drain_timeout_ms: 50,
        ..Limits::default()
    })
    .await;
    let mut client = node.client().await;
    client.call(1, "wait").await;
    client.call(3, "echo").await;
    client.reply(3).await;
    node.stop.send(()).unwrap();
    assert!(matches!(
        client.receive().await,
        Some((0, Message::Goaway(_)))
    ));
    let Some((1, Message::Failure(failure))) = client.receive().await else {
        panic!("expected a failure");
    };
    assert_eq!(
        (failure.code, failure.retryable),
        (ErrorCode::Unavailable, true)
    );
    drop(client);
    node.server.await.unwrap();
}

#[tokio::test]
async fn whoever_speaks_something_else_is_refused_and_the_node_goes_on() {
    let node = start(Limits::default()).await;
    // Closed without a word, whatever comes first.
    let closed = async |mut stream: Tls| {
        stream
            .read(&mut [0; 16])
            .await
            .map_or(true, |count| count == 0)
    };
    assert!(
        closed(node.tls(&[]).await.unwrap()).await,
        "no protocol named"
    );
    assert!(node.tls(&[b"h2"]).await.is_err());
    let mut plain = TcpStream::connect(node.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _reset = plain.read_to_end(&mut rest).await;
    assert!(!rest.windows(4).any(|bytes| bytes == b"HTTP"));
    // Somebody who connects and says nothing holds up neither others nor the stop.
    let _silent = TcpStream::connect(node.address).await.unwrap();
    let mut client = node.client().await;
    client.call(1, "echo").await;
    client.reply(1).await;
    drop(client);
    node.stop.send(()).unwrap();
    node.server.await.unwrap();
}

#[tokio::test]
async fn one_address_gets_so_many_connections() {
    let node = start(Limits {
        max_connections_per_address: 2,
        ..Limits::default()
    })
    .await;
    let (first, mut second) = (node.client().await, node.client().await);
    assert!(node.tls(&[ALPN]).await.is_err());
    second.call(1, "echo").await;
    second.reply(1).await;
    drop(first);
    // The node hears of it in its own time.
    while node.tls(&[ALPN]).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_makes_room_again() {
    let limits = Limits {
        max_unauthenticated_connections: 1,
        handshake_timeout_ms: 100,
        ..Limits::default()
    };
    let node = start(limits).await;
    let _silent = TcpStream::connect(node.address).await.unwrap();
    // Waits in the backlog until the silent one's time is over.
    let mut client = node.client().await;
    client.call(1, "echo").await;
    client.reply(1).await;
}

/// Thousands of connections are silent most of the time, and what a call needs is boxed for the call.
#[test]
fn the_task_of_a_connection_is_small() {
    fn bytes<A, C, F: Future>(_: impl Fn(A, C) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = bytes(serve::<Open>);
    assert!(bytes <= 10 << 10, "{bytes}");
}

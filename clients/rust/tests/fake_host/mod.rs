//! A host that does what a test tells it, over real TLS on a port of the system's choice.

use std::future::Future;
use std::sync::Arc;

use rpc_host_client::Profile;
use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, fragments};
use rpc_host_protocol::frame::{HEADER_BYTES, Header};
use rpc_host_protocol::message::Welcome;
use rpc_host_protocol::{ALPN, ExchangeId, Kind, Message};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) const TOKEN: &str = "the-token";

pub(crate) struct FakeHost {
    pub(crate) address: String,
    pub(crate) ca_pem: String,
    listening: tokio::task::JoinHandle<()>,
}

/// One connection, after TLS where there is any.
pub(crate) struct Peer {
    stream: Box<dyn Channel>,
    /// What the hello has to hold.
    token: Option<&'static str>,
    assembler: Assembler,
    newest: ExchangeId,
    is_left: bool,
}

/// Both directions of a connection.
pub(crate) trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Channel for C {}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        host: "fake".to_owned(),
        session: "1".to_owned(),
        tenant: "default".to_owned(),
        role: "admin".to_owned(),
        max_message_bytes: 16 << 20,
        max_calls_in_flight: 256,
        idle_timeout_ms: 120_000,
    }
}

impl FakeHost {
    /// Serves each connection with `serve`, which gets the number of the connection.
    pub(crate) async fn start<F, S>(serve: S) -> FakeHost
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Peer, usize) -> F + Send + 'static,
    {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_pem = certified.cert.pem();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
            certified.signing_key.serialize_der(),
        ));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let listening = tokio::spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(tcp).await {
                    tokio::spawn(serve(Peer::new(stream), number));
                }
            }
        });
        FakeHost {
            address,
            ca_pem,
            listening,
        }
    }

    pub(crate) fn profile(&self) -> Profile {
        Profile::new(&self.address)
            .server_name("localhost")
            .ca_pem(&self.ca_pem)
            .token(TOKEN)
    }

    /// Takes no more connections.
    pub(crate) fn stop_listening(&self) {
        self.listening.abort();
    }
}

impl Peer {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        Peer::of(stream, Some(TOKEN))
    }

    /// The host's end of streams that are there already.
    pub(crate) fn over(stream: impl Channel + 'static) -> Self {
        Peer::of(stream, None)
    }

    fn of(stream: impl Channel + 'static, token: Option<&'static str>) -> Self {
        Peer {
            stream: Box::new(stream),
            token,
            assembler: Assembler::new(AssemblerLimits {
                max_message_bytes: 16 << 20,
                max_buffered_bytes: 16 << 20,
                max_incomplete_messages: 64,
            }),
            newest: ExchangeId::CONNECTION,
            is_left: false,
        }
    }

    /// What is under the protocol.
    pub(crate) fn into_channel(self) -> Box<dyn Channel> {
        self.stream
    }

    /// Reads the hello and answers it.
    pub(crate) async fn greet(&mut self, welcome: Welcome) {
        let (id, message) = self.receive().await.unwrap();
        assert_eq!(id, ExchangeId::CONNECTION);
        let Message::Hello(hello) = message else {
            panic!("{message:?} instead of a hello");
        };
        assert_eq!(hello.token.as_deref(), self.token);
        self.send(id, Message::Welcome(welcome)).await;
    }

    /// The next message; `None` when the client is gone.
    pub(crate) async fn receive(&mut self) -> Option<(ExchangeId, Message)> {
        loop {
            let mut header = [0; HEADER_BYTES];
            self.stream.read_exact(&mut header).await.ok()?;
            let header = Header::decode(header).unwrap();
            let mut payload = vec![0; header.length_bytes as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            if begins_exchange(header.kind, header.id) && header.id > self.newest {
                assert!(header.id.is_from_client());
                self.newest = header.id;
            }
            assert!(
                header.id.is_from_host() || header.id <= self.newest,
                "{} was not begun",
                header.id
            );
            if let Some(raw) = self.assembler.accept(header, &payload).unwrap() {
                return Some((raw.id, Message::decode(raw).unwrap()));
            }
        }
    }

    pub(crate) async fn send(&mut self, id: ExchangeId, message: Message) {
        let raw = message.encode(id);
        let mut bytes = Vec::new();
        for (header, part) in fragments(&raw) {
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(part);
        }
        // A client that is gone is the test's business.
        self.is_left |= self.stream.write_all(&bytes).await.is_err();
        self.is_left |= self.stream.flush().await.is_err();
    }

    /// Whether the client was gone when something was sent to it.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left
    }

    /// A frame that no encoder would make.
    pub(crate) async fn send_frame(&mut self, header: [u8; HEADER_BYTES], payload: &[u8]) {
        self.stream.write_all(&header).await.unwrap();
        self.stream.write_all(payload).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn reply(&mut self, id: ExchangeId, value: Vec<u8>, is_result: bool) {
        self.send(id, Message::Reply { value, is_result }).await;
    }

    /// Reads until a call, and gives its id, function and arguments; answers pings on the way.
    pub(crate) async fn call(&mut self) -> Option<(ExchangeId, String, Vec<u8>)> {
        loop {
            match self.receive().await? {
                (id, Message::Call { header, arguments }) => {
                    return Some((id, header.function, arguments.into_vec()));
                }
                (id, Message::Ping(beat)) => self.send(id, Message::Pong(beat)).await,
                (_, Message::Pong(_)) => {}
                (_, other) => panic!("{other:?} instead of a call"),
            }
        }
    }
}

fn begins_exchange(kind: Kind, id: ExchangeId) -> bool {
    match kind {
        Kind::Call | Kind::Request | Kind::Upload | Kind::Provide | Kind::Withdraw => true,
        Kind::Release => id != ExchangeId::CONNECTION,
        _ => false,
    }
}

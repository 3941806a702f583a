//! A peer that speaks in frames and bytes.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage, fragments};
use rpc_host_protocol::cbor::{decode_envelope, encode_arguments, encode_envelope, encode_value};
use rpc_host_protocol::frame::{HEADER_BYTES, Header};
use rpc_host_protocol::message::{
    CallHeader, Goaway, Hello, Lapse, Leased, Message, Provide, Welcome, Withdraw,
};
use rpc_host_protocol::{ALPN, ExchangeId, Failure, Operation, VERSIONS, Value};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::host::TestHost;
use crate::hostile::connect_from;
use crate::in_time;

/// A connection to a node, over TLS if nothing else is said, and nothing that would keep its user from breaking a
/// rule.
pub struct RawPeer<S = TlsStream<TcpStream>> {
    stream: S,
    assembler: Assembler,
    next_id: u32,
}

/// A hello that is right but for its token.
pub fn hello(token: Option<&str>) -> Hello {
    Hello {
        versions: VERSIONS.to_vec(),
        client: "raw peer".to_owned(),
        token: token.map(str::to_owned),
    }
}

/// What a TLS client of the node needs, with these application protocols.
pub fn tls_config(host: &TestHost, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(host.ca_pem().as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A TLS connection to the node, which has to be `server_name`.
pub async fn tls_connect(
    host: &TestHost,
    config: &Arc<ClientConfig>,
    server_name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(host.address()).await?;
    tcp.set_nodelay(true)?;
    tls_over(tcp, config, server_name).await
}

async fn tls_over(
    tcp: TcpStream,
    config: &Arc<ClientConfig>,
    server_name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(server_name.to_owned()).expect("a name");
    let connect = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
    in_time("a TLS handshake", connect).await
}

impl RawPeer {
    /// A connection on which nothing was said yet.
    pub async fn connect(host: &TestHost) -> Self {
        let config = Arc::new(tls_config(host, &[ALPN]));
        let stream = tls_connect(host, &config, "localhost").await;
        Self::over(stream.expect("TLS"))
    }

    /// The same from this address of the machine.
    pub async fn connect_from(host: &TestHost, source: Ipv4Addr) -> Self {
        let tcp = connect_from(&host.address(), source).await.expect("TCP");
        let config = Arc::new(tls_config(host, &[ALPN]));
        let stream = tls_over(tcp, &config, "localhost").await;
        Self::over(stream.expect("TLS"))
    }

    /// A connection after hello and welcome.
    pub async fn welcomed(host: &TestHost, token: &str) -> Self {
        let mut peer = Self::connect(host).await;
        let welcome = peer.enter(Some(token)).await;
        assert!(welcome.is_ok(), "{welcome:?}");
        peer
    }

    /// Goes away without a word: the node gets a reset.
    pub fn reset(self) {
        let (tcp, _) = self.stream.into_inner();
        let _closed = tcp.set_zero_linger();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawPeer<S> {
    /// A connection over any stream of bytes, on which nothing was said yet.
    pub fn over(stream: S) -> Self {
        let limits = AssemblerLimits {
            max_message_bytes: 256 << 20,
            max_buffered_bytes: 256 << 20,
            max_incomplete_messages: 1024,
        };
        RawPeer {
            stream,
            assembler: Assembler::new(limits),
            next_id: 1,
        }
    }

    /// Says hello, and gives the answer.
    pub async fn enter(&mut self, token: Option<&str>) -> Result<Welcome, Failure> {
        self.send(ExchangeId::CONNECTION, Message::Hello(hello(token)))
            .await;
        match self.message().await {
            (ExchangeId::CONNECTION, Message::Welcome(welcome)) => Ok(welcome),
            (ExchangeId::CONNECTION, Message::Failure(failure)) => Err(failure),
            other => panic!("{other:?} in answer to a hello"),
        }
    }

    /// An id that was not used yet.
    pub fn fresh_id(&mut self) -> ExchangeId {
        let id = ExchangeId(self.next_id);
        self.next_id += 2;
        id
    }

    /// Writes a message.
    pub async fn send(&mut self, id: ExchangeId, message: Message) {
        self.send_raw(&message.encode(id)).await;
    }

    /// Writes a message whose payload may be anything.
    pub async fn send_raw(&mut self, message: &RawMessage) {
        let mut bytes = Vec::new();
        for (header, part) in fragments(message) {
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(part);
        }
        self.send_bytes(&bytes).await;
    }

    /// Writes bytes. Whether they arrive is not its affair: the node may have closed.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed = self.try_send_bytes(bytes).await;
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// When the node has closed.
    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time("room to write", write).await
    }

    /// Begins a call with positional arguments.
    pub async fn call(&mut self, module: &str, function: &str, arguments: &[Value]) -> ExchangeId {
        let id = self.fresh_id();
        let header = CallHeader {
            module: module.to_owned(),
            function: function.to_owned(),
            ..CallHeader::default()
        };
        let arguments = encode_arguments(arguments, &[]);
        self.send(id, Message::call(header, arguments)).await;
        id
    }

    /// Offers to serve a name, and gives the lease.
    pub async fn provide(&mut self, provide: Provide) -> Result<Leased, Failure> {
        let id = self.fresh_id();
        self.send(id, Message::Provide(provide)).await;
        self.outcome(id)
            .await
            .map(|value| decode_envelope(&value).expect("a lease"))
    }

    /// Ends what a client serves.
    pub async fn withdraw(&mut self, name: &str, steal: bool) -> Result<(), Failure> {
        let id = self.fresh_id();
        let withdraw = Withdraw {
            name: name.to_owned(),
            lease: None,
            steal,
        };
        self.send(id, Message::Withdraw(withdraw)).await;
        self.outcome(id).await.map(|_null| ())
    }

    /// The next call of the node's, all else being dropped until then.
    pub async fn called(&mut self) -> (ExchangeId, CallHeader, Vec<u8>) {
        loop {
            if let (id, Message::Call { header, arguments }) = self.message().await {
                return (id, header, arguments.into_vec());
            }
        }
    }

    /// Answers a call of the node's with a value of a type that is no `result`.
    pub async fn answer(&mut self, id: ExchangeId, value: &Value) {
        let reply = Message::Reply {
            value: encode_value(value),
            is_result: false,
        };
        self.send(id, reply).await;
    }

    /// What the node says when it has ended a lease of this peer's, all else being dropped until then.
    pub async fn lapse(&mut self) -> Lapse {
        loop {
            if let (_, Message::Lapse(lapse)) = self.message().await {
                return lapse;
            }
        }
    }

    /// An operation, and its answer.
    pub async fn operate<T: DeserializeOwned>(
        &mut self,
        operation: Operation,
    ) -> Result<T, Failure> {
        let id = self.fresh_id();
        self.send(id, Message::Request(operation)).await;
        self.outcome(id)
            .await
            .map(|value| decode_envelope(&value).expect("a right answer"))
    }

    /// How an exchange ends, all that comes for others until then being dropped.
    pub async fn outcome(&mut self, id: ExchangeId) -> Result<Vec<u8>, Failure> {
        loop {
            match self.message().await {
                (of, Message::Reply { value, .. }) if of == id => return Ok(value),
                (of, Message::Failure(failure)) if of == id => return Err(failure),
                (ExchangeId::CONNECTION, Message::Failure(failure)) => {
                    panic!("the connection ended: {failure}")
                }
                _ => {}
            }
        }
    }

    /// The next message; the connection has to be open.
    pub async fn message(&mut self) -> (ExchangeId, Message) {
        self.next()
            .await
            .expect("a message, but the node closed the connection")
    }

    /// The next message, or `None` when the node has closed the connection. Pings are answered.
    pub async fn next(&mut self) -> Option<(ExchangeId, Message)> {
        loop {
            let (id, message) = self.next_with_pings().await?;
            match message {
                Message::Ping(beat) => self.send(id, Message::Pong(beat)).await,
                message => return Some((id, message)),
            }
        }
    }

    /// The next message, pings as well.
    pub async fn next_with_pings(&mut self) -> Option<(ExchangeId, Message)> {
        loop {
            let (header, payload) = in_time("a frame", self.frame()).await?;
            let id = header.id;
            if let Some(raw) = self
                .assembler
                .accept(header, &payload)
                .expect("frames that fit")
            {
                return Some((id, Message::decode(raw).expect("a right message")));
            }
        }
    }

    async fn frame(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await.ok()?;
        let header = Header::decode(header).expect("a right header");
        let mut payload = vec![0; header.length_bytes as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((header, payload))
    }

    /// What the node says about the connection before it closes it; it has to close it.
    pub async fn parting(&mut self) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some((id, message)) = self.next().await {
            if id == ExchangeId::CONNECTION {
                said.push(message);
            }
        }
        said
    }

    /// Why the node ends the connection: a failure before the welcome, a goaway after it.
    pub async fn dismissal(&mut self) -> Failure {
        match &self.parting().await[..] {
            [Message::Failure(failure) | Message::Goaway(Goaway { failure })] => failure.clone(),
            other => panic!("{other:?} at the end of a connection"),
        }
    }

    /// Closes the side that writes.
    pub async fn close(&mut self) {
        let _closed = self.stream.shutdown().await;
    }
}

/// The bytes of an envelope, for messages that [`Message`] would not make.
pub fn envelope<T: serde::Serialize>(value: &T) -> Vec<u8> {
    encode_envelope(value)
}

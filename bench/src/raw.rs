//! The floor: a server that sends back what it gets over TLS 1.3, and does nothing else. It is a process
//! of its own, as a node is.
//!
//! It sends back a message when it has the whole of it, as whoever answers a call has to; or, streamed, each piece
//! as soon as it is there, while the rest is on its way.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rpc_host_bench_measure::{Caller, Clients};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The length of a message, before it.
const HEADER_BYTES: usize = 4;
/// About what a call of `add` has on the wire, the header included.
pub(crate) const SMALL_BYTES: usize = 40;
/// What is read at once where nothing is waited for.
const PIECE_BYTES: usize = 64 * 1024;
/// The longest message.
const MAX_BYTES: usize = 64 << 20;

/// When a message is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// When all of it is there.
    Whole,
    /// Piece by piece.
    Streamed,
}

impl Manner {
    /// As an argument.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Manner::Whole => "whole",
            Manner::Streamed => "streamed",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Manner> {
        let all = [Manner::Whole, Manner::Streamed];
        let found = all.into_iter().find(|manner| manner.name() == name);
        found.context("a message is sent back `whole` or `streamed`")
    }
}

/// The server: says where it listens.
pub(crate) async fn serve(certificate: &str, key: &str, manner: Manner) -> Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(certificate).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_file(key).context("the key")?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let accepting = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(echo(stream, acceptor.clone(), manner));
        }
    };
    tokio::spawn(accepting).await?
}

async fn echo(stream: TcpStream, acceptor: TlsAcceptor, manner: Manner) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut message = vec![0; PIECE_BYTES];
    loop {
        let back = match manner {
            Manner::Whole => {
                let length = stream.read_u32().await?;
                let end = HEADER_BYTES + usize::try_from(length)?;
                ensure!(end <= MAX_BYTES, "a message too long");
                message.resize(end, 0);
                let (header, payload) = message.split_at_mut(HEADER_BYTES);
                header.copy_from_slice(&length.to_be_bytes());
                stream.read_exact(payload).await?;
                message.as_slice()
            }
            Manner::Streamed => {
                let count = stream.read(&mut message).await?;
                let read = message.get(..count).filter(|read| !read.is_empty());
                let Some(read) = read else {
                    return Ok(());
                };
                read
            }
        };
        stream.write_all(back).await?;
        stream.flush().await?;
    }
}

/// Whoever has messages sent back.
pub(crate) struct Echoes {
    address: String,
    connector: TlsConnector,
    manner: Manner,
}

impl Echoes {
    pub(crate) fn new(manner: Manner, address: &str, certificate: &str) -> Result<Echoes> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).context("the certificate")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Echoes {
            address: address.to_owned(),
            connector: TlsConnector::from(Arc::new(config)),
            manner,
        })
    }
}

impl Clients for Echoes {
    type Caller = Echo;

    async fn connect(&self) -> Result<Echo> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.connector.connect(name, stream).await?;
        Ok(Echo {
            stream: Arc::new(Mutex::new(stream)),
            manner: self.manner,
        })
    }
}

/// A connection, which has one message under way at a time.
#[derive(Clone)]
pub(crate) struct Echo {
    stream: Arc<Mutex<TlsStream<TcpStream>>>,
    manner: Manner,
}

impl Echo {
    async fn round_trip(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let mut stream = self.stream.lock().await;
        match self.manner {
            Manner::Whole => {
                send(&mut *stream, payload).await?;
                receive(&mut *stream, payload.len()).await
            }
            // What comes back has to be taken while there is still something to send.
            Manner::Streamed => {
                let (mut reader, mut writer) = tokio::io::split(&mut *stream);
                let sending = send(&mut writer, payload);
                let ((), back) = tokio::try_join!(sending, receive(&mut reader, payload.len()))?;
                Ok(back)
            }
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), payload: &[u8]) -> Result<()> {
    let header = u32::try_from(payload.len())?.to_be_bytes();
    // A short message is one write.
    if payload.len() <= SMALL_BYTES {
        writer.write_all(&[&header, payload].concat()).await?;
    } else {
        writer.write_all(&header).await?;
        writer.write_all(payload).await?;
    }
    Ok(writer.flush().await?)
}

async fn receive(reader: &mut (impl AsyncRead + Unpin), length: usize) -> Result<Vec<u8>> {
    reader.read_exact(&mut [0; HEADER_BYTES]).await?;
    let mut back = vec![0; length];
    reader.read_exact(&mut back).await?;
    Ok(back)
}

impl Caller for Echo {
    /// A message as long as that of such a call; the sum is what this side knows already.
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let payload = [7; SMALL_BYTES - HEADER_BYTES];
        let back = self.round_trip(&payload).await?;
        ensure!(back == payload, "another message came back");
        a.checked_add(b).context("too much")
    }

    async fn bytes(&self, bytes: Bytes) -> Result<Bytes> {
        Ok(self.round_trip(&bytes).await?.into())
    }
}

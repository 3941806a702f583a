//! The floor: a server that sends back what it gets over TLS 1.3, and does nothing else. It is a process
//! of its own, as a node is.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The argument that makes this program the server.
pub(crate) const SERVER: &str = "echo-server";
/// About what a call of `add` has on the wire.
const BYTES: usize = 40;

pub(crate) struct Echo {
    stream: TlsStream<TcpStream>,
    _server: Child,
}

impl Echo {
    pub(crate) async fn start() -> Result<Echo> {
        let mut server = Command::new(std::env::current_exe()?)
            .arg(SERVER)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = server
            .stdout
            .take()
            .context("the echo server has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = lines
            .next_line()
            .await?
            .context("the echo server did not start")?;
        let mut pem = String::new();
        while let Some(line) = lines.next_line().await? {
            pem.push_str(&line);
            pem.push('\n');
            if line.starts_with("-----END") {
                break;
            }
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await?;
        Ok(Echo {
            stream,
            _server: server,
        })
    }

    pub(crate) async fn round_trip(&mut self) -> Result<()> {
        let mut bytes = [7; BYTES];
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        self.stream.read_exact(&mut bytes).await?;
        Ok(())
    }
}

/// The server: says where it listens and what certificate it has, and serves one connection.
pub(crate) async fn serve() -> Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let key = key.map_err(anyhow::Error::msg)?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}\n{}", listener.local_addr()?, certified.cert.pem());
    tokio::spawn(echo(listener, TlsAcceptor::from(Arc::new(config)))).await?
}

async fn echo(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).await?;
        let Some(read) = bytes.get(..count).filter(|read| !read.is_empty()) else {
            return Ok(());
        };
        stream.write_all(read).await?;
        stream.flush().await?;
    }
}

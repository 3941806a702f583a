//! The floor: a server that sends back what it gets over TLS 1.3, and does nothing else.

use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// About what a call of `add` has on the wire.
const BYTES: usize = 40;

pub(crate) struct Echo {
    stream: TlsStream<TcpStream>,
}

impl Echo {
    pub(crate) async fn start() -> Result<Echo> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .map_err(anyhow::Error::msg)?;
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(server))));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate)?;
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
        Ok(Echo { stream })
    }

    pub(crate) async fn round_trip(&mut self) -> Result<()> {
        let mut bytes = [7; BYTES];
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        self.stream.read_exact(&mut bytes).await?;
        Ok(())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
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

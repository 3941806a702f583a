//! A connection that keeps the protocol's letter, and not its spirit.

use std::sync::Arc;

use anyhow::{Result, ensure};
use rpc_host_protocol::assembler::fragments;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::message::{Beat, CallHeader, Hello, Message};
use rpc_host_protocol::{ALPN, ExchangeId, VERSIONS};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::attack::Target;

/// Pings in one write.
const PINGS: usize = 1000;
/// Calls whose answers are never read.
const UNREAD_CALLS: u32 = 200;

async fn connect(target: &Target) -> Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(target.ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let hello = Message::Hello(Hello {
        versions: VERSIONS.to_vec(),
        client: "attacker".to_owned(),
        token: Some(target.token.clone()),
    });
    stream
        .write_all(&bytes(ExchangeId::CONNECTION, hello))
        .await?;
    let mut first = [0; 1];
    ensure!(stream.read(&mut first).await? == 1, "no welcome");
    Ok(stream)
}

fn bytes(id: ExchangeId, message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, part) in fragments(&message.encode(id)) {
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The smallest messages, as many as go through.
pub(super) async fn flood(target: &Target, ready: impl Fn()) -> Result<()> {
    let (mut read, mut write) = tokio::io::split(connect(target).await?);
    let ping = bytes(ExchangeId::CONNECTION, Message::Ping(Beat { nonce: 1 }));
    let pings = ping.repeat(PINGS);
    ready();
    let reading = async {
        let mut scratch = vec![0; 256 << 10];
        while read.read(&mut scratch).await? > 0 {}
        anyhow::Ok(())
    };
    let writing = async {
        loop {
            write.write_all(&pings).await?;
        }
    };
    tokio::select! {
        read = reading => read,
        written = writing => written,
    }
}

/// Calls that answer much, and nobody who reads it. Begins anew when the node gives up.
pub(super) async fn leave_unread(target: &Target, module: &str, ready: impl Fn()) -> Result<()> {
    loop {
        let mut stream = connect(target).await?;
        for number in 0..UNREAD_CALLS {
            let call = Message::Call {
                header: CallHeader {
                    module: module.to_owned(),
                    function: "run".to_owned(),
                    ..CallHeader::default()
                },
                arguments: encode_arguments(&[], &[]).into(),
            };
            let call = bytes(ExchangeId(1 + 2 * number), call);
            stream.write_all(&call).await?;
        }
        stream.flush().await?;
        ready();
        // What the node writes stays in the kernel's buffers, and then with the node.
        let closed = async {
            while stream.get_ref().0.writable().await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                if stream.write_all(&ping()).await.is_err() {
                    return;
                }
            }
        };
        closed.await;
    }
}

fn ping() -> Vec<u8> {
    bytes(ExchangeId::CONNECTION, Message::Ping(Beat { nonce: 2 }))
}

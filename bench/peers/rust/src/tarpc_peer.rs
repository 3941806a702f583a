//! tarpc with bincode, over TLS.

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt as _;
use rpc_host_bench_measure::{Caller, Record};
use tarpc::client;
use tarpc::context::{self, Context};
use tarpc::serde_transport as transport;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::length_delimited::{Builder, LengthDelimitedCodec};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use crate::{MAX_MESSAGE_BYTES, tls};

/// Bytes are of a type that is neither copied when it is cloned nor encoded one by one.
#[tarpc::service]
pub(crate) trait Echo {
    async fn add(a: i64, b: i64) -> Option<i64>;
    async fn bytes(bytes: Bytes) -> Bytes;
    async fn records(records: Vec<Point>) -> Vec<Point>;
    async fn text(text: String) -> String;
    async fn make(length: u32) -> Bytes;
}

#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct Point {
    x: i32,
    y: i32,
}

#[derive(Clone)]
struct Service;

impl Echo for Service {
    async fn add(self, _: Context, a: i64, b: i64) -> Option<i64> {
        a.checked_add(b)
    }

    async fn bytes(self, _: Context, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn records(self, _: Context, records: Vec<Point>) -> Vec<Point> {
        records
    }

    async fn text(self, _: Context, text: String) -> String {
        text
    }

    async fn make(self, _: Context, length: u32) -> Bytes {
        vec![7; length as usize].into()
    }
}

fn codec() -> Builder {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(MAX_MESSAGE_BYTES);
    builder
}

pub(crate) async fn serve(certificate: &str, key: &str) -> Result<()> {
    let acceptor = tls::acceptor(certificate, key)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let stream = acceptor.accept(stream).await?;
            let transport = transport::new(codec().new_framed(stream), Bincode::default());
            let answers = BaseChannel::with_defaults(transport).execute(Service.serve());
            answers
                .for_each(|answer| async {
                    tokio::spawn(answer);
                })
                .await;
            anyhow::Ok(())
        });
    }
}

pub(crate) struct Clients {
    address: String,
    connector: TlsConnector,
}

impl Clients {
    pub(crate) fn new(address: &str, certificate: &str) -> Result<Self> {
        Ok(Self {
            address: address.to_owned(),
            connector: tls::connector(certificate)?,
        })
    }
}

impl rpc_host_bench_measure::Clients for Clients {
    type Caller = Connection;

    async fn connect(&self) -> Result<Connection> {
        let stream = tls::connect(&self.connector, &self.address).await?;
        let transport = transport::new(codec().new_framed(stream), Bincode::default());
        let client = EchoClient::new(client::Config::default(), transport).spawn();
        Ok(Connection { client })
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    client: EchoClient,
}

impl Caller for Connection {
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let sum = self.client.add(context::current(), a, b).await?;
        sum.ok_or_else(|| anyhow::anyhow!("too much"))
    }

    async fn bytes(&self, bytes: Bytes) -> Result<Bytes> {
        Ok(self.client.bytes(context::current(), bytes).await?)
    }

    async fn records(&self, records: Vec<Record>) -> Result<Vec<Record>> {
        let records = records.iter().map(|&Record { x, y }| Point { x, y });
        let back = self
            .client
            .records(context::current(), records.collect())
            .await?;
        Ok(back.iter().map(|&Point { x, y }| Record { x, y }).collect())
    }

    async fn text(&self, text: String) -> Result<String> {
        Ok(self.client.text(context::current(), text).await?)
    }

    async fn make(&self, length: u32) -> Result<Bytes> {
        Ok(self.client.make(context::current(), length).await?)
    }
}

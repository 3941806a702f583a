//! gRPC by tonic, over TLS.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use rpc_host_bench_measure::{Caller, Record};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Response, Status};

use crate::MAX_MESSAGE_BYTES;
use messages::{Blob, Length, Numbers, Point, Records, Sum, Text};

/// What would be in a `.proto`. Bytes are of a type that is not copied when it is cloned.
pub(crate) mod messages {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Numbers {
        #[prost(sint64, tag = "1")]
        pub(crate) a: i64,
        #[prost(sint64, tag = "2")]
        pub(crate) b: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Sum {
        #[prost(sint64, tag = "1")]
        pub(crate) sum: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Blob {
        #[prost(bytes = "bytes", tag = "1")]
        pub(crate) bytes: bytes::Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Point {
        #[prost(sint32, tag = "1")]
        pub(crate) x: i32,
        #[prost(sint32, tag = "2")]
        pub(crate) y: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Records {
        #[prost(message, repeated, tag = "1")]
        pub(crate) records: Vec<Point>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Text {
        #[prost(string, tag = "1")]
        pub(crate) text: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Length {
        #[prost(uint32, tag = "1")]
        pub(crate) length: u32,
    }
}

mod generated {
    #![allow(unreachable_pub, reason = "as the generator writes it")]
    include!(concat!(env!("OUT_DIR"), "/bench.Echo.rs"));
}

use generated::echo_client::EchoClient;
use generated::echo_server::{Echo, EchoServer};

struct Service;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Echo for Service {
    async fn add(&self, request: Request<Numbers>) -> Answer<Sum> {
        let Numbers { a, b } = request.into_inner();
        let sum = a
            .checked_add(b)
            .ok_or_else(|| Status::out_of_range("too much"))?;
        Ok(Response::new(Sum { sum }))
    }

    async fn bytes(&self, request: Request<Blob>) -> Answer<Blob> {
        Ok(Response::new(request.into_inner()))
    }

    async fn records(&self, request: Request<Records>) -> Answer<Records> {
        Ok(Response::new(request.into_inner()))
    }

    async fn text(&self, request: Request<Text>) -> Answer<Text> {
        Ok(Response::new(request.into_inner()))
    }

    async fn make(&self, request: Request<Length>) -> Answer<Blob> {
        let bytes = vec![7; request.into_inner().length as usize];
        Ok(Response::new(Blob {
            bytes: bytes.into(),
        }))
    }
}

pub(crate) async fn serve(certificate: &str, key: &str) -> Result<()> {
    let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)
        .map_err(|error| anyhow!(error))?
        .with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    let service = EchoServer::new(Service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        // As many at once as are asked of it; by default it is 200.
        .max_concurrent_streams(1024)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

pub(crate) struct Clients {
    endpoint: Endpoint,
}

impl Clients {
    pub(crate) fn new(address: &str, certificate: &str) -> Result<Self> {
        let certificate = Certificate::from_pem(std::fs::read(certificate)?);
        let tls = ClientTlsConfig::new()
            .ca_certificate(certificate)
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .tcp_nodelay(true);
        Ok(Self { endpoint })
    }
}

impl rpc_host_bench_measure::Clients for Clients {
    type Caller = Connection;

    async fn connect(&self) -> Result<Connection> {
        let client = EchoClient::new(self.endpoint.connect().await?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Connection { client })
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    client: EchoClient<Channel>,
}

impl Caller for Connection {
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let answer = self.client.clone().add(Numbers { a, b }).await?;
        Ok(answer.into_inner().sum)
    }

    async fn bytes(&self, bytes: Bytes) -> Result<Bytes> {
        let answer = self.client.clone().bytes(Blob { bytes }).await?;
        Ok(answer.into_inner().bytes)
    }

    async fn records(&self, records: Vec<Record>) -> Result<Vec<Record>> {
        let records = records.iter().map(|&Record { x, y }| Point { x, y });
        let records = records.collect();
        let answer = self.client.clone().records(Records { records }).await?;
        let back = answer.into_inner().records;
        Ok(back
            .iter()
            .map(|point| Record {
                x: point.x,
                y: point.y,
            })
            .collect())
    }

    async fn text(&self, text: String) -> Result<String> {
        let answer = self.client.clone().text(Text { text }).await?;
        Ok(answer.into_inner().text)
    }

    async fn make(&self, length: u32) -> Result<Bytes> {
        let answer = self.client.clone().make(Length { length }).await?;
        Ok(answer.into_inner().bytes)
    }
}

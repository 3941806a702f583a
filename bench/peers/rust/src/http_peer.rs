//! A client of `wasmtime serve`: HTTP/1.1 without TLS, as it speaks nothing else. A connection has one request under
//! way at a time.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rpc_host_bench_measure::Caller;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

pub(crate) struct Clients {
    address: String,
}

impl Clients {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }
}

impl rpc_host_bench_measure::Clients for Clients {
    type Caller = Connection;

    async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            sender: Arc::new(Mutex::new(sender)),
        })
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    sender: Arc<Mutex<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .body(Full::new(body))?;
        let mut sender = self.sender.lock().await;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

impl Caller for Connection {
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        let sum = self
            .ask(Method::GET, &format!("/add?{a},{b}"), Bytes::new())
            .await?;
        Ok(std::str::from_utf8(&sum)?.parse()?)
    }

    async fn bytes(&self, bytes: Bytes) -> Result<Bytes> {
        self.ask(Method::POST, "/echo", bytes).await
    }

    async fn text(&self, text: String) -> Result<String> {
        let back = self.ask(Method::POST, "/echo", text.into()).await?;
        Ok(String::from_utf8(back.into())?)
    }
}

//! A web server on loopback, and what it was asked.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::{Pki, in_time};

/// What it says to whatever it is asked.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status 200, with this.
    Text(String),
    /// Status 302, to this URL.
    Moved(String),
    /// Nothing, as long as anybody waits.
    Silence,
}

impl Answer {
    fn bytes(&self) -> Option<String> {
        match self {
            Answer::Text(text) => Some(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            )),
            Answer::Moved(to) => Some(format!(
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
            )),
            Answer::Silence => None,
        }
    }
}

/// A web server, as long as it is held.
pub struct WebServer {
    port: u16,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
    serving: tokio::task::JoinHandle<()>,
}

enum Event {
    Asked(String),
    Left,
}

impl WebServer {
    /// One that answers everything so.
    pub async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// One that speaks TLS as `localhost`, and the authority that says that it is, as PEM.
    pub async fn start_with_tls(answer: Answer) -> (Self, String) {
        let pki = Pki::new("the web's");
        let server = Self::serve(answer, Some(acceptor(&pki))).await;
        (server, pki.ca_pem())
    }

    async fn serve(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let (seen, events) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (answer, seen, tls) = (answer.clone(), seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &answer, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &answer, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        WebServer {
            port,
            events: Mutex::new(events),
            serving,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it is asked, by this host's name and without TLS.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.port)
    }

    /// The head of the next request.
    pub async fn asked(&self) -> String {
        loop {
            match self.next().await {
                Event::Asked(head) => return head,
                Event::Left => {}
            }
        }
    }

    /// Waits until somebody who asked has gone.
    pub async fn left(&self) {
        while let Event::Asked(_) = self.next().await {}
    }

    /// Whether nobody has asked for anything since the last that was waited for.
    pub async fn was_left_alone(&self) -> bool {
        self.events.lock().await.try_recv().is_err()
    }

    async fn next(&self) -> Event {
        let mut events = self.events.lock().await;
        in_time("a request", events.recv()).await.expect("a server")
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &Answer,
    seen: &mpsc::UnboundedSender<Event>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    // Whether the test still looks is not the server's business.
    let _unseen = seen.send(Event::Asked(String::from_utf8_lossy(&head).into_owned()));
    if let Some(answer) = answer.bytes() {
        let _gone = stream.write_all(answer.as_bytes()).await;
    }
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    let _unseen = seen.send(Event::Left);
}

fn acceptor(pki: &Pki) -> TlsAcceptor {
    let certified = pki.server("localhost", 1);
    let certificate = CertificateDer::from_pem_slice(certified.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certified.key_pem.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
        .expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server on loopback that gives each connection an answer, as it is, and tells of the heads it read.
struct Server {
    port: u16,
    heads: mpsc::UnboundedReceiver<String>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each connection with the next of `answers`, and those beyond with the last. An empty one
    /// is silence.
    async fn start<const N: usize>(answers: [String; N]) -> Self {
        Self::start_with(answers, None).await
    }

    async fn start_with<const N: usize>(answers: [String; N], tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (seen, heads) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut answers = VecDeque::from(answers);
            while let Ok((stream, _)) = socket.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = match answers.len() {
                    1 => answers[0].clone(),
                    _ => answers.pop_front().unwrap(),
                };
                let (seen, tls) = (seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer_one(stream, answer, seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer_one(stream, answer, seen).await,
                            Err(_) => {}
                        },
                    }
                });
            }
        });
        Server {
            port,
            heads,
            connections,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer_one<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: String,
    seen: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let _ended = seen.send(String::from_utf8(head).unwrap());
    if !answer.is_empty() {
        let _gone = stream.write_all(answer.as_bytes()).await;
    }
    // Whatever else comes, until the other side goes.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    let _ended = seen.send("gone".to_owned());
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn limits() -> OutgoingLimits {
    OutgoingLimits::default()
}

/// A way out to loopback, by these ports, on which `any.example` is this machine.
fn open(ports: &[u16], limits: OutgoingLimits) -> Outgoing {
    let config = HttpConfig {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ports: ports.to_vec(),
        ca_pem: None,
    };
    with(&config, limits)
}

fn with(config: &HttpConfig, limits: OutgoingLimits) -> Outgoing {
    let mut outgoing = Outgoing::new(config, &Limits::default()).unwrap();
    outgoing.places = Shares::with_share(limits.max_at_once, limits.max_at_once_per_tenant);
    outgoing.limits = limits;
    outgoing.look_up = Arc::new(|_name| Ok(vec![LOOPBACK]));
    outgoing
}

fn request(method: Method, path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://ignored.example{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(Empty::new()).unwrap()
}

/// What one tenant's one instance has.
struct Guest {
    tenant: Arc<str>,
    allowance: Arc<Allowance>,
}

impl Guest {
    fn new(outgoing: &Outgoing, tenant: &str) -> Self {
        Guest {
            tenant: tenant.into(),
            allowance: Arc::new(Allowance::new(&outgoing.limits)),
        }
    }

    async fn send<B>(
        &self,
        outgoing: &Outgoing,
        destination: &Destination,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, OutgoingError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let request = request.map(|body| body.map_err(|_error| OutgoingError::Protocol));
        let patience = Patience::default();
        let sending =
            outgoing.send(&self.tenant, &self.allowance, destination, request, patience);
        let (response, connection) = sending.await?;
        tokio::spawn(connection);
        Ok(response)
    }

    async fn get(
        &self,
        outgoing: &Outgoing,
        destination: &Destination,
    ) -> Result<Response<ResponseBody>, OutgoingError> {
        self.send(outgoing, destination, request(Method::GET, "/")).await
    }

    /// The whole answer.
    async fn read(
        &self,
        outgoing: &Outgoing,
        destination: &Destination,
    ) -> Result<String, OutgoingError> {
        let response = self.get(outgoing, destination).await?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

fn plain(host: &str, port: u16) -> Destination {
    Destination {
        host: Host::Name(host.to_owned()),
        port,
        is_tls: false,
    }
}

#[tokio::test]
async fn a_server_is_asked_for_the_host_that_was_checked() {
    let mut server = Server::start([answer("hello")]).await;
    let outgoing = open(&[server.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let mut asked = request(Method::GET, "/path?query=1");
    // A guest cannot set it; whatever is there goes.
    asked.headers_mut().insert("host", "other.example".parse().unwrap());
    let destination = plain("any.example", server.port);
    let response = guest.send(&outgoing, &destination, asked).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    let head = server.heads.recv().await.unwrap();
    let expected = format!(
        "GET /path?query=1 HTTP/1.1\r\nhost: any.example:{}\r\n\r\n",
        server.port
    );
    assert_eq!(head, expected);
    assert_eq!(server.heads.recv().await.unwrap(), "gone", "nothing is kept");
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_it_means_later_does_not_count() {
    let server = Server::start([answer("the first")]).await;
    let mut outgoing = open(&[server.port], limits());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    outgoing.look_up = Arc::new(move |_name| {
        Ok(vec![match count.fetch_add(1, Ordering::SeqCst) {
            0 => LOOPBACK,
            _ => "10.0.0.1".parse().unwrap(),
        }])
    });
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("rebinding.example", server.port);
    let first = guest.read(&outgoing, &destination).await.unwrap();
    assert_eq!((first.as_str(), asked.load(Ordering::SeqCst)), ("the first", 1));
    let second = guest.read(&outgoing, &destination).await.unwrap_err();
    assert!(matches!(second, OutgoingError::Forbidden(_)), "{second}");
}

#[tokio::test]
async fn one_forbidden_address_of_a_name_forbids_them_all() {
    let server = Server::start([answer("secret")]).await;
    let mut outgoing = open(&[server.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("mixed.example", server.port);
    guest.read(&outgoing, &destination).await.unwrap();
    for others in [["127.0.0.1", "10.0.0.1"], ["fe80::1", "127.0.0.1"]] {
        outgoing.look_up =
            Arc::new(move |_name| Ok(others.iter().map(|it| it.parse().unwrap()).collect()));
        let refused = guest.read(&outgoing, &destination).await.unwrap_err();
        assert!(matches!(refused, OutgoingError::Forbidden(_)), "{refused}");
    }
    assert_eq!(server.connections(), 1);
}

/// As the system reads them. Some of these are not even taken for hosts; this is what stands behind that.
#[tokio::test]
async fn every_spelling_of_loopback_is_refused_where_it_is_not_named() {
    let server = Server::start([answer("secret")]).await;
    let closed = HttpConfig {
        ports: vec![server.port],
        ..HttpConfig::default()
    };
    let mut closed = with(&closed, limits());
    let mut opened = open(&[server.port], limits());
    for outgoing in [&mut closed, &mut opened] {
        outgoing.look_up = Arc::new(connect::system_look_up);
    }
    let spellings = [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
    ];
    for spelling in spellings {
        let destination = plain(spelling, server.port);
        let guest = Guest::new(&closed, "t");
        let refused = guest.read(&closed, &destination).await.unwrap_err();
        assert!(matches!(refused, OutgoingError::Forbidden(_)), "{spelling}: {refused}");
        assert_eq!(server.connections(), 0, "{spelling}");
    }
    for address in ["0.0.0.0", "::", "::1", "169.254.169.254", "::127.0.0.1", "fd00:ec2::254"] {
        let destination = Destination {
            host: Host::Address(address.parse().unwrap()),
            ..plain("", server.port)
        };
        let guest = Guest::new(&closed, "t");
        let refused = guest.read(&closed, &destination).await.unwrap_err();
        assert!(matches!(refused, OutgoingError::Forbidden(_)), "{address}: {refused}");
    }
    // All of them do lead there.
    for (number, spelling) in spellings.iter().enumerate() {
        if *spelling == "localhost" {
            // It may have an address of IPv6 too, which is not named.
            continue;
        }
        let guest = Guest::new(&opened, "t");
        let answer = guest.read(&opened, &plain(spelling, server.port)).await;
        assert_eq!(answer.as_deref(), Ok("secret"), "{spelling}");
        assert_eq!(server.connections(), number);
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = Server::start([answer("secret")]).await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://any.example:{}/\r\ncontent-length: 0\r\n\r\n",
        elsewhere.port
    );
    let server = Server::start([moved]).await;
    let outgoing = open(&[server.port, elsewhere.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);
    let response = guest.get(&outgoing, &destination).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    response.into_body().collect().await.unwrap();
    assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn ports_that_are_not_listed_and_tunnels_are_refused() {
    let server = Server::start([answer("hello")]).await;
    let outgoing = open(&[server.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let other = if server.port == 443 { 444 } else { 443 };
    let refused = guest.get(&outgoing, &plain("any.example", other)).await.unwrap_err();
    assert_eq!(refused, OutgoingError::ClosedPort { port: other });
    let destination = plain("any.example", server.port);
    let tunnel = request(Method::CONNECT, "/");
    let refused = guest.send(&outgoing, &destination, tunnel).await.unwrap_err();
    assert_eq!(refused, OutgoingError::Tunnel);
    assert_eq!(server.connections(), 0);
    assert_eq!(guest.read(&outgoing, &destination).await.unwrap(), "hello");
}

fn over(refused: &OutgoingError) -> Excess {
    match refused {
        OutgoingError::OverLimit { of, .. } => *of,
        other => panic!("not over a limit: {other}"),
    }
}

#[tokio::test]
async fn headers_are_so_large_and_no_larger() {
    let limits = OutgoingLimits {
        max_header_bytes: 1000,
        ..limits()
    };
    let field = |bytes: usize| "x".repeat(bytes);
    let with_field = |bytes| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlong: {}\r\n\r\n", field(bytes))
    };
    let answers = [with_field(500), with_field(1000), with_field(100_000)];
    let many = "a: b\r\n".repeat(MANY_FIELDS);
    let many = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{many}\r\n");
    let server = Server::start([&answers[..], &[many]].concat().try_into().unwrap() as [String; 4]);
    let server = server.await;
    let outgoing = open(&[server.port], limits);
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);

    let mut long = request(Method::GET, "/");
    long.headers_mut().insert("long", field(1000).parse().unwrap());
    let refused = guest.send(&outgoing, &destination, long).await.unwrap_err();
    assert_eq!(over(&refused), Excess::RequestHeader);
    let long = request(Method::GET, &format!("/{}", field(1000)));
    let refused = guest.send(&outgoing, &destination, long).await.unwrap_err();
    assert_eq!(over(&refused), Excess::RequestHeader);
    assert_eq!(server.connections(), 0);

    let mut fits = request(Method::GET, "/");
    fits.headers_mut().insert("long", field(500).parse().unwrap());
    guest.send(&outgoing, &destination, fits).await.unwrap();
    for _ in 0..3 {
        let refused = guest.get(&outgoing, &destination).await.unwrap_err();
        assert_eq!(over(&refused), Excess::ResponseHeader);
    }
}

const MANY_FIELDS: usize = 200;

#[tokio::test]
async fn bodies_of_one_instance_are_so_large_together_and_no_larger() {
    let limits = OutgoingLimits {
        max_body_bytes_per_instance: 1000,
        ..limits()
    };
    let chunked = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    let sized = answer(&"x".repeat(600));
    let server = Server::start([sized.clone(), sized, chunked(600), chunked(400)]).await;
    let outgoing = open(&[server.port], limits);
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);
    assert_eq!(guest.read(&outgoing, &destination).await.unwrap().len(), 600);
    // One that says how long it is is not even begun.
    let refused = guest.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(over(&refused), Excess::ResponseBody);
    // One that does not ends where it is too long.
    let begun = guest.get(&outgoing, &destination).await.unwrap();
    let refused = begun.into_body().collect().await.unwrap_err();
    assert_eq!(over(&refused), Excess::ResponseBody);
    let rest = guest.read(&outgoing, &destination).await.unwrap();
    assert_eq!(rest.len(), 400);

    let upload = |bytes: usize| {
        let body = Full::new(Bytes::from(vec![b'x'; bytes]));
        Request::post("http://ignored.example/").body(body).unwrap()
    };
    let fresh = Guest::new(&outgoing, "t");
    fresh.send(&outgoing, &destination, upload(600)).await.unwrap();
    let before = server.connections();
    let refused = fresh.send(&outgoing, &destination, upload(600)).await.unwrap_err();
    assert_eq!((over(&refused), server.connections()), (Excess::RequestBody, before));
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_where_it_is_too_long() {
    let limits = OutgoingLimits {
        max_body_bytes_per_instance: 1000,
        ..limits()
    };
    let mut server = Server::start([String::new()]).await;
    let outgoing = open(&[server.port], limits);
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);
    let (parts, body) = mpsc::channel::<Result<http_body::Frame<Bytes>, io::Error>>(1);
    let stream = futures_of(body);
    let asked = Request::post("http://ignored.example/")
        .body(Box::pin(StreamBody::new(stream)))
        .unwrap();
    let feeding = async {
        for _ in 0..3 {
            let part = http_body::Frame::data(Bytes::from(vec![b'x'; 400]));
            if parts.send(Ok(part)).await.is_err() {
                break;
            }
        }
        // The end is not what ends it.
        std::future::pending::<()>().await;
    };
    let refused = tokio::select! {
        refused = guest.send(&outgoing, &destination, asked) => refused.unwrap_err(),
        () = feeding => unreachable!("it does not end"),
    };
    assert_eq!(over(&refused), Excess::RequestBody);
    assert!(server.heads.recv().await.unwrap().contains("transfer-encoding: chunked"));
    assert_eq!(server.heads.recv().await.unwrap(), "gone");
}

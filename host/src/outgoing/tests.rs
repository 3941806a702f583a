use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
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
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer_one(stream, answer, seen).await;
                            }
                        }
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
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
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

/// A body that comes in parts, of which nobody knows how many there will be.
struct Fed(mpsc::Receiver<Bytes>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let part = self.0.poll_recv(context);
        part.map(|part| part.map(|part| Ok(http_body::Frame::data(part))))
    }
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
            allowance: Arc::new(Allowance::new(&outgoing.limits, u64::MAX)),
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
        let sending = outgoing.send(
            &self.tenant,
            &self.allowance,
            destination,
            request,
            patience,
        );
        let (response, connection) = sending.await?;
        tokio::spawn(connection);
        Ok(response)
    }

    async fn get(
        &self,
        outgoing: &Outgoing,
        destination: &Destination,
    ) -> Result<Response<ResponseBody>, OutgoingError> {
        self.send(outgoing, destination, request(Method::GET, "/"))
            .await
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
    asked
        .headers_mut()
        .insert("host", "other.example".parse().unwrap());
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
    assert_eq!(
        server.heads.recv().await.unwrap(),
        "gone",
        "nothing is kept"
    );
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
    assert_eq!(
        (first.as_str(), asked.load(Ordering::SeqCst)),
        ("the first", 1)
    );
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
        assert!(
            matches!(refused, OutgoingError::Forbidden(_)),
            "{spelling}: {refused}"
        );
        assert_eq!(server.connections(), 0, "{spelling}");
    }
    for address in [
        "0.0.0.0",
        "::",
        "::1",
        "169.254.169.254",
        "::127.0.0.1",
        "fd00:ec2::254",
    ] {
        let destination = Destination {
            host: Host::Address(address.parse().unwrap()),
            ..plain("", server.port)
        };
        let guest = Guest::new(&closed, "t");
        let refused = guest.read(&closed, &destination).await.unwrap_err();
        assert!(
            matches!(refused, OutgoingError::Forbidden(_)),
            "{address}: {refused}"
        );
    }
    // All of them do lead there, but that `localhost` may have an address of IPv6 too.
    for spelling in spellings.iter().skip(1) {
        let guest = Guest::new(&opened, "t");
        let answer = guest.read(&opened, &plain(spelling, server.port)).await;
        assert_eq!(answer.as_deref(), Ok("secret"), "{spelling}");
    }
    assert_eq!(server.connections(), spellings.len() - 1);
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
    let refused = guest
        .get(&outgoing, &plain("any.example", other))
        .await
        .unwrap_err();
    assert_eq!(refused, OutgoingError::ClosedPort { port: other });
    let destination = plain("any.example", server.port);
    let tunnel = request(Method::CONNECT, "/");
    let refused = guest
        .send(&outgoing, &destination, tunnel)
        .await
        .unwrap_err();
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
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlong: {}\r\n\r\n",
            field(bytes)
        )
    };
    let many = "a:b\r\n".repeat(150);
    let many = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{many}\r\n");
    let server = Server::start([with_field(500), with_field(1000), with_field(100_000), many]);
    let server = server.await;
    let outgoing = open(&[server.port], limits);
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);

    let mut long = request(Method::GET, "/");
    long.headers_mut()
        .insert("long", field(1000).parse().unwrap());
    let refused = guest.send(&outgoing, &destination, long).await.unwrap_err();
    assert_eq!(over(&refused), Excess::RequestHeader);
    let long = request(Method::GET, &format!("/{}", field(1000)));
    let refused = guest.send(&outgoing, &destination, long).await.unwrap_err();
    assert_eq!(over(&refused), Excess::RequestHeader);
    assert_eq!(server.connections(), 0);

    let mut fits = request(Method::GET, "/");
    fits.headers_mut()
        .insert("long", field(500).parse().unwrap());
    guest.send(&outgoing, &destination, fits).await.unwrap();
    for _ in 0..3 {
        let refused = guest.get(&outgoing, &destination).await.unwrap_err();
        assert_eq!(over(&refused), Excess::ResponseHeader);
    }
}

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
    assert_eq!(
        guest.read(&outgoing, &destination).await.unwrap().len(),
        600
    );
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
    fresh
        .send(&outgoing, &destination, upload(600))
        .await
        .unwrap();
    let before = server.connections();
    let refused = fresh
        .send(&outgoing, &destination, upload(600))
        .await
        .unwrap_err();
    assert_eq!(
        (over(&refused), server.connections()),
        (Excess::RequestBody, before)
    );
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
    let (parts, body) = mpsc::channel(1);
    let asked = Request::post("http://ignored.example/")
        .body(Fed(body))
        .unwrap();
    let feeding = async {
        for _ in 0..3 {
            let part = Bytes::from(vec![b'x'; 400]);
            let _refused = parts.send(part).await;
        }
        // The end is not what ends it.
        std::future::pending::<()>().await;
    };
    let refused = tokio::select! {
        refused = guest.send(&outgoing, &destination, asked) => refused.unwrap_err(),
        () = feeding => unreachable!("it does not end"),
    };
    assert_eq!(over(&refused), Excess::RequestBody);
    assert!(
        server
            .heads
            .recv()
            .await
            .unwrap()
            .contains("transfer-encoding: chunked")
    );
    assert_eq!(server.heads.recv().await.unwrap(), "gone");
}

fn limit(refused: &OutgoingError) -> &'static str {
    match refused {
        OutgoingError::OverLimit { limit, .. } => limit,
        other => panic!("not over a limit: {other}"),
    }
}

#[tokio::test]
async fn so_many_requests_are_under_way_at_once_and_no_more() {
    let server = Server::start([answer("hello")]).await;
    let limits = OutgoingLimits {
        max_at_once_per_instance: 1,
        max_at_once_per_tenant: 2,
        max_at_once: 3,
        ..limits()
    };
    let outgoing = open(&[server.port], limits);
    let destination = plain("any.example", server.port);
    let [a, b, c] = [(); 3].map(|()| Guest::new(&outgoing, "greedy"));
    let [d, e] = [(); 2].map(|()| Guest::new(&outgoing, "other"));
    let first = a.get(&outgoing, &destination).await.unwrap();
    let refused = a.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(limit(&refused), "max-http-requests-at-once-per-instance");
    let second = b.get(&outgoing, &destination).await.unwrap();
    let refused = c.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(limit(&refused), "max-http-requests-at-once-per-tenant");
    let _third = d.get(&outgoing, &destination).await.unwrap();
    let refused = e.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(limit(&refused), "max-http-requests-at-once");
    // What was read is over, and what was let go of as well.
    first.into_body().collect().await.unwrap();
    until_there_is_room(&a, &outgoing, &destination).await;
    drop(second);
    until_there_is_room(&b, &outgoing, &destination).await;
}

/// A connection ends a moment after its answer.
async fn until_there_is_room(guest: &Guest, outgoing: &Outgoing, destination: &Destination) {
    let trying = async {
        while guest.read(outgoing, destination).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, trying).await.expect("room");
}

#[tokio::test]
async fn a_look_up_that_hangs_is_given_up_and_keeps_its_place_until_it_ends() {
    let server = Server::start([answer("hello")]).await;
    let limits = OutgoingLimits {
        max_at_once_per_instance: 1,
        connect_timeout: Duration::from_millis(50),
        ..limits()
    };
    let mut outgoing = open(&[server.port], limits);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    outgoing.look_up = Arc::new(move |_name| {
        // Ends when the other side says so, or is gone.
        let _released = held.lock().unwrap().recv();
        Ok(vec![LOOPBACK])
    });
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("slow.example", server.port);
    let late = guest.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(late, OutgoingError::LookupTooSlow);
    let refused = guest.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(limit(&refused), "max-http-requests-at-once-per-instance");
    drop(release);
    until_there_is_room(&guest, &outgoing, &destination).await;
}

#[tokio::test]
async fn names_are_looked_up_so_many_at_once_and_a_quarter_of_them_for_one_tenant() {
    let server = Server::start([answer("hello")]).await;
    let config = HttpConfig {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ports: vec![server.port],
        ca_pem: None,
    };
    let limits = Limits {
        max_name_look_ups_at_once: 4,
        http_connect_timeout_ms: 500,
        ..Limits::default()
    };
    let mut outgoing = Outgoing::new(&config, &limits).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    outgoing.look_up = Arc::new(move |name| {
        if name == "slow.example" {
            // Ends when the other side is gone.
            let _released = held.lock().unwrap().recv();
        }
        Ok(vec![LOOPBACK])
    });
    let (greedy, other) = (
        Guest::new(&outgoing, "greedy"),
        Guest::new(&outgoing, "other"),
    );
    let slow = plain("slow.example", server.port);
    let late = greedy.get(&outgoing, &slow).await.unwrap_err();
    assert_eq!(late, OutgoingError::LookupTooSlow);
    let quick = plain("quick.example", server.port);
    let late = greedy.get(&outgoing, &quick).await.unwrap_err();
    assert_eq!(
        late,
        OutgoingError::LookupTooSlow,
        "its one turn is still taken"
    );
    assert_eq!(other.read(&outgoing, &quick).await.unwrap(), "hello");
    drop(release);
    until_there_is_room(&greedy, &outgoing, &quick).await;
}

#[tokio::test]
async fn a_tenant_may_be_allowed_fewer_requests_at_once_than_others() {
    let server = Server::start([answer("hello")]).await;
    let outgoing = open(&[server.port], limits());
    let destination = plain("any.example", server.port);
    let guests = [("narrowed", 1), ("narrowed", 1), ("other", 2)];
    let [narrowed, same, other] = guests.map(|(name, most)| Guest {
        tenant: name.into(),
        allowance: Arc::new(Allowance::new(&outgoing.limits, most)),
    });
    let _held = narrowed.get(&outgoing, &destination).await.unwrap();
    let refused = same.get(&outgoing, &destination).await.unwrap_err();
    assert_eq!(limit(&refused), "max-http-requests-at-once-per-tenant");
    let _first = other.get(&outgoing, &destination).await.unwrap();
    other.get(&outgoing, &destination).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let mut server = Server::start([String::new()]).await;
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let half = Server::start([begun.to_owned()]).await;
    let limits = OutgoingLimits {
        idle_timeout: Duration::from_millis(50),
        ..limits()
    };
    let outgoing = open(&[server.port, half.port], limits);
    let guest = Guest::new(&outgoing, "t");
    let silent = guest
        .get(&outgoing, &plain("any.example", server.port))
        .await
        .unwrap_err();
    assert_eq!(silent, OutgoingError::Stalled);
    server.heads.recv().await.unwrap();
    assert_eq!(server.heads.recv().await.unwrap(), "gone");
    let stopped = guest
        .read(&outgoing, &plain("any.example", half.port))
        .await
        .unwrap_err();
    assert_eq!(stopped, OutgoingError::Stalled);
}

#[tokio::test]
async fn a_guest_may_wait_less_than_the_node_does_and_not_longer() {
    let server = Server::start([String::new()]).await;
    let outgoing = open(&[server.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);
    let short = Some(Duration::from_millis(20));
    let impatient = [
        (
            Patience {
                first_byte: short,
                ..Patience::default()
            },
            OutgoingError::AnswerTooSlow,
        ),
        (
            Patience {
                between_bytes: short,
                ..Patience::default()
            },
            OutgoingError::Stalled,
        ),
    ];
    for (patience, expected) in impatient {
        let asked = request(Method::GET, "/").map(|body| body.map_err(|never| match never {}));
        let sending = outgoing.send(
            &guest.tenant,
            &guest.allowance,
            &destination,
            asked,
            patience,
        );
        assert_eq!(sending.await.map(drop).unwrap_err(), expected);
    }
    let forever = Patience {
        between_bytes: Some(Duration::MAX),
        connect: Some(Duration::MAX),
        ..Patience::default()
    };
    let limits = OutgoingLimits {
        idle_timeout: Duration::from_millis(20),
        ..limits()
    };
    let outgoing = open(&[server.port], limits);
    let asked = request(Method::GET, "/").map(|body| body.map_err(|never| match never {}));
    let sending = outgoing.send(
        &guest.tenant,
        &guest.allowance,
        &destination,
        asked,
        forever,
    );
    assert_eq!(sending.await.map(drop).unwrap_err(), OutgoingError::Stalled);
}

#[tokio::test]
async fn whoever_lets_go_of_a_request_ends_it() {
    let mut server = Server::start([String::new()]).await;
    let outgoing = open(&[server.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let destination = plain("any.example", server.port);
    tokio::select! {
        answered = guest.get(&outgoing, &destination) => panic!("{answered:?}"),
        head = server.heads.recv() => assert!(head.unwrap().starts_with("GET / ")),
    }
    assert_eq!(server.heads.recv().await.unwrap(), "gone");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_so() {
    let socket = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let nonsense = Server::start(["220 smtp.example ready\r\n\r\n".to_owned()]).await;
    let outgoing = open(&[port, nonsense.port], limits());
    let guest = Guest::new(&outgoing, "t");
    let refused = guest
        .get(&outgoing, &plain("any.example", port))
        .await
        .unwrap_err();
    assert_eq!(refused, OutgoingError::Refused);
    let other = guest
        .get(&outgoing, &plain("any.example", nonsense.port))
        .await
        .unwrap_err();
    assert_eq!(other, OutgoingError::Protocol);
    let mut outgoing = outgoing;
    outgoing.look_up = Arc::new(|_name| Ok(Vec::new()));
    let nobody = guest
        .get(&outgoing, &plain("any.example", port))
        .await
        .unwrap_err();
    assert_eq!(nobody, OutgoingError::UnknownHost);
}

/// An authority, and a server with its certificate for these names.
fn certified(names: &[&str]) -> (String, TlsAcceptor) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_host_proves_who_it_is_to_an_authority_that_is_believed() {
    let (pem, tls) = certified(&["any.example", "127.0.0.1"]);
    let server = Server::start_with([answer("secret")], Some(tls)).await;
    let no_tls = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let no_tls_port = no_tls.local_addr().unwrap().port();
    let mut config = HttpConfig {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ports: vec![server.port, no_tls_port],
        ca_pem: Some(pem),
    };
    let believing = with(&config, limits());
    config.ca_pem = None;
    let doubting = with(&config, limits());
    let guest = Guest::new(&believing, "t");
    let destination =
        |name: &str, port| Destination::parse("https", &format!("{name}:{port}")).unwrap();
    for name in ["any.example", "127.0.0.1"] {
        let destination = destination(name, server.port);
        assert_eq!(
            guest.read(&believing, &destination).await.unwrap(),
            "secret"
        );
        let unknown = guest.get(&doubting, &destination).await.unwrap_err();
        assert!(
            matches!(unknown, OutgoingError::Certificate(_)),
            "{unknown}"
        );
    }
    let other = guest
        .get(&believing, &destination("other.example", server.port))
        .await;
    let other = other.unwrap_err();
    assert!(matches!(other, OutgoingError::Certificate(_)), "{other}");
    let destination = destination("any.example", no_tls_port);
    let speaking = async {
        let (mut stream, _) = no_tls.accept().await.unwrap();
        stream
            .write_all(b"220 smtp.example ready\r\n")
            .await
            .unwrap();
        // As long as the other side wants it.
        while stream.read_u8().await.is_ok() {}
    };
    let (refused, ()) = tokio::join!(guest.get(&believing, &destination), speaking);
    let no_tls = refused.unwrap_err();
    assert!(matches!(no_tls, OutgoingError::Tls(_)), "{no_tls}");
    for bad in [
        "",
        "certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        config.ca_pem = Some(bad.to_owned());
        assert!(
            Outgoing::new(&config, &Limits::default()).is_err(),
            "{bad:?}"
        );
    }
}

//! Requests of modules to hosts outside, on a node that is built with the feature `http`.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_client::{ErrorCode, NamedModule, Options};
use rpc_host_tests::{Answer, HostOptions, TestHost, TestTenant, WebServer, built};

use crate::refused;

/// A node that connects to these ports, on loopback too.
fn node(ports: &[u16]) -> HostOptions {
    node_with(&format!(
        "allow-networks = ['127.0.0.0/8']\nports = {ports:?}"
    ))
}

/// A node with this under `[http]`.
fn node_with(http: &str) -> HostOptions {
    HostOptions::new().table(&format!(
        "[grants]\nallow = ['http', 'log']\n[http]\n{http}\n"
    ))
}

/// The program `fetch` on a node of its own, with these grants.
async fn fetch(options: HostOptions, grants: &[&str]) -> (TestTenant, NamedModule) {
    let host = TestHost::start_with(options).await;
    fetch_on(&host, grants).await
}

async fn fetch_on(host: &Arc<TestHost>, grants: &[&str]) -> (TestTenant, NamedModule) {
    let tenant = host.tenant().await;
    let options = Options {
        grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
        ..Options::default()
    };
    tenant.register_with("fetch", built("fetch"), options).await;
    let module = tenant.client.module("fetch");
    (tenant, module)
}

async fn get(module: &NamedModule, url: &str) -> String {
    let answer = module.call("get", (url,)).await;
    answer.unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn hello() -> Answer {
    Answer::Text("hello".to_owned())
}

#[tokio::test]
async fn a_module_asks_the_hosts_that_a_grant_names_and_no_others() {
    let (server, other) = (
        WebServer::start(hello()).await,
        WebServer::start(hello()).await,
    );
    let granted = format!("http:127.0.0.1:{}", server.port());
    let options = node(&[server.port(), other.port()]);
    let (tenant, module) = fetch(options, &[&granted]).await;
    assert_eq!(get(&module, &server.url("127.0.0.1")).await, "200 hello");
    let head = server.asked().await;
    let host = format!("\r\nhost: 127.0.0.1:{}\r\n", server.port());
    assert!(
        head.starts_with("GET / HTTP/1.1\r\n") && head.contains(&host),
        "{head}"
    );
    server.left().await;

    // Another host, another port, and in other words.
    let port = server.port();
    for url in [
        server.url("localhost"),
        server.url("127.0.0.2"),
        other.url("127.0.0.1"),
        "https://127.0.0.1/".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
    ] {
        assert_eq!(
            get(&module, &url).await,
            "error: HttpRequestDenied",
            "{url}"
        );
    }
    for url in [
        server.url("2130706433"),
        server.url("0x7f.1"),
        server.url("a@127.0.0.1"),
    ] {
        assert_eq!(
            get(&module, &url).await,
            "error: HttpRequestUriInvalid",
            "{url}"
        );
    }
    let other_scheme = format!("ftp://127.0.0.1:{port}/");
    assert_eq!(
        get(&module, &other_scheme).await,
        "error: HttpProtocolError"
    );
    let tunnel: String = module
        .call("connect", (server.url("127.0.0.1"),))
        .await
        .unwrap();
    assert_eq!(tunnel, "error: HttpRequestDenied");
    let set: String = module
        .call("set_header", ("host", "evil.example"))
        .await
        .unwrap();
    assert!(set.starts_with("error: "), "{set}");
    let set: String = module.call("set_header", ("accept", "*/*")).await.unwrap();
    assert_eq!(set, "set");
    assert!(server.was_left_alone().await && other.was_left_alone().await);
    let log = tenant.host.log();
    let told = log.line("a refusal", |line| {
        line.message() == "a request of a module was refused"
            && line.field("error").contains("`localhost:")
    });
    let told = told.await;
    assert_eq!(
        (told.field("tenant"), told.field("module")),
        (tenant.name.as_str(), "fetch")
    );

    // Without any grant, nothing of it is there.
    let (_tenant, module) = fetch_on(&tenant.host, &["log"]).await;
    let asked = module
        .call::<String>("get", (server.url("127.0.0.1"),))
        .await;
    refused(
        asked,
        ErrorCode::PermissionDenied,
        &["wasi:http/", "grant `http`"],
    );
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_unless_the_operator_named_them() {
    let server = WebServer::start(hello()).await;
    let grants = ["localhost", "127.0.0.1"].map(|host| format!("http:{host}:{}", server.port()));
    let grants = [grants[0].as_str(), grants[1].as_str()];
    let closed = node_with(&format!("ports = [{}]", server.port()));
    let (tenant, module) = fetch(closed, &grants).await;
    for host in ["localhost", "127.0.0.1"] {
        let asked = get(&module, &server.url(host)).await;
        assert_eq!(asked, "error: DestinationIpProhibited", "{host}");
    }
    let log = tenant.host.log();
    let told = log.line("a refusal", |line| {
        line.field("error")
            .contains("loopback; the operator may name its network")
    });
    told.await;
    assert!(server.was_left_alone().await);

    let networks = "allow-networks = ['127.0.0.0/8', '::1/128']";
    let open = node_with(&format!("{networks}\nports = [{}]", server.port()));
    let (_tenant, module) = fetch(open, &grants).await;
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(get(&module, &server.url(host)).await, "200 hello", "{host}");
    }
}

#[tokio::test]
async fn ports_that_the_operator_did_not_open_are_refused_whatever_is_granted() {
    let (server, other) = (
        WebServer::start(hello()).await,
        WebServer::start(hello()).await,
    );
    let grants = [&server, &other].map(|server| format!("http:127.0.0.1:{}", server.port()));
    let (_tenant, module) = fetch(node(&[server.port()]), &[&grants[0], &grants[1]]).await;
    assert_eq!(get(&module, &server.url("127.0.0.1")).await, "200 hello");
    let asked = get(&module, &other.url("127.0.0.1")).await;
    assert_eq!(asked, "error: HttpRequestDenied");
    assert!(other.was_left_alone().await);
}

#[tokio::test]
async fn a_node_whose_policy_does_not_say_so_has_no_such_grant_to_give() {
    let host = TestHost::start_with(HostOptions::new().table("[http]\nports = [443]\n")).await;
    let tenant = host.tenant().await;
    let module = tenant.client.upload_module(built("fetch")).await.unwrap();
    let options = Options {
        grants: vec!["http:example.com".to_owned()],
        ..Options::default()
    };
    let granted = tenant.client.register("fetch", &module, options).await;
    refused(granted, ErrorCode::PermissionDenied, &["http:example.com"]);
}

#[tokio::test]
async fn a_redirect_is_for_the_module_to_follow_and_its_grants_to_allow() {
    let elsewhere = WebServer::start(hello()).await;
    let to = elsewhere.url("127.0.0.1");
    let server = WebServer::start(Answer::Moved(to.clone())).await;
    let granted = format!("http:127.0.0.1:{}", server.port());
    let options = node(&[server.port(), elsewhere.port()]);
    let (_tenant, module) = fetch(options, &[&granted]).await;
    let asked = get(&module, &server.url("127.0.0.1")).await;
    assert_eq!(asked, format!("302  -> {to}"));
    assert_eq!(get(&module, &to).await, "error: HttpRequestDenied");
    assert!(elsewhere.was_left_alone().await);
}

#[tokio::test]
async fn what_is_sent_and_what_is_answered_have_limits() {
    let server = WebServer::start(Answer::Text("x".repeat(600))).await;
    let granted = format!("http:127.0.0.1:{}", server.port());
    let options = node(&[server.port()])
        .limit("max-http-body-bytes-per-instance", 1000)
        .limit("max-http-header-bytes", 500);
    let (_tenant, module) = fetch(options, &[&granted]).await;
    let url = server.url("127.0.0.1");
    // All of one call together.
    let asked: Vec<String> = module.call("get_often", (&url, 2)).await.unwrap();
    assert_eq!(asked[0].len(), "200 ".len() + 600);
    assert!(
        asked[1].starts_with("error: HttpResponseBodySize"),
        "{}",
        asked[1]
    );
    assert_eq!(get(&module, &url).await.len(), "200 ".len() + 600);

    let post = |bytes: u64| module.call::<String>("post", (&url, bytes));
    assert!(post(1000).await.unwrap().starts_with("200 "));
    let over = post(100_000).await.unwrap();
    assert!(over.starts_with("error: HttpRequestBodySize"), "{over}");
    let long = get(&module, &format!("{url}{}", "x".repeat(600))).await;
    assert!(
        long.starts_with("error: HttpRequestHeaderSectionSize"),
        "{long}"
    );
}

#[tokio::test]
async fn a_call_makes_so_many_requests_and_no_more() {
    let server = WebServer::start(hello()).await;
    let granted = format!("http:127.0.0.1:{}", server.port());
    let options = node(&[server.port()])
        .limit("max-http-requests-per-instance", 3)
        .limit("max-http-requests-at-once-per-instance", 2);
    let (tenant, module) = fetch(options, &[&granted]).await;
    let url = server.url("127.0.0.1");
    let asked: Vec<String> = module.call("get_often", (&url, 5)).await.unwrap();
    let over = "error: ConnectionLimitReached";
    assert_eq!(asked, ["200 hello", "200 hello", "200 hello", over, over]);
    // It is told once, however often the module tries.
    let told = |line: &rpc_host_tests::LogLine| line.field("error").contains("-per-instance` of 3");
    tenant.host.log().line("a refusal", told).await;
    let told = tenant
        .host
        .log()
        .lines()
        .iter()
        .filter(|line| told(line))
        .count();
    assert_eq!(told, 1);

    let asked: Vec<String> = module.call("get_at_once", (&url, 3)).await.unwrap();
    let refused = asked.iter().filter(|outcome| *outcome == over).count();
    assert_eq!(refused, 1, "{asked:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_a_call_up_to_its_deadline_and_no_longer() {
    let server = WebServer::start(Answer::Silence).await;
    let granted = format!("http:127.0.0.1:{}", server.port());
    let options = node(&[server.port()]).limit("http-idle-timeout-ms", 60_000);
    let (tenant, module) = fetch(options, &[&granted]).await;
    let url = server.url("127.0.0.1");
    let asked = module.function("get").arg(&url);
    let asked = asked.timeout(Duration::from_millis(300)).call::<String>();
    refused(asked.await, ErrorCode::DeadlineExceeded, &[]);
    assert!(server.asked().await.starts_with("GET / "));
    // The connection went with the call.
    server.left().await;

    let options = node(&[server.port()])
        .limit("http-connect-timeout-ms", 10_000)
        .limit("http-idle-timeout-ms", 50);
    tenant.host.kill().await;
    let (_tenant, module) = fetch(options, &[&granted]).await;
    assert_eq!(get(&module, &url).await, "error: ConnectionReadTimeout");
}

#[tokio::test]
async fn a_host_is_believed_by_its_certificate() {
    let (server, pem) = WebServer::start_with_tls(hello()).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url = format!("https://localhost:{}/", server.port());
    let granted = format!("http:localhost:{}", server.port());
    let networks = "allow-networks = ['127.0.0.0/8', '::1/128']";
    let rules = format!("{networks}\nports = [{}]", server.port());

    let believing = node_with(&format!("{rules}\nca-file = {ca:?}"));
    let (_tenant, module) = fetch(believing, &[&granted]).await;
    assert_eq!(get(&module, &url).await, "200 hello");
    let doubting = node_with(&rules);
    let (_tenant, module) = fetch(doubting, &[&granted]).await;
    assert_eq!(get(&module, &url).await, "error: TlsCertificateError");
}

#[tokio::test]
async fn what_is_kept_of_a_request_that_is_not_sent_is_short() {
    let (_tenant, module) = fetch(node(&[443]), &["http:example.com"]).await;
    for (letters, kept) in [
        (64, [true, true]),
        (65, [false, true]),
        (259, [false, true]),
        (260, [false, false]),
    ] {
        let keeps: Vec<bool> = module.call("keeps", (letters,)).await.unwrap();
        assert_eq!(keeps, kept, "{letters}");
    }
    let keeps: Vec<bool> = module.call("keeps", (50_000_000,)).await.unwrap();
    assert_eq!(keeps, [false, false]);
}

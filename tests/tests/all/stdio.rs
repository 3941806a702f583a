//! Nodes that serve one client over their stdin and stdout.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;

use rpc_host_client::{Client, ErrorCode, LogOptions, Options, Profile};
use rpc_host_protocol::operation::{Named, NewToken, TenantEntry, TenantSettings, TokenCreate};
use rpc_host_protocol::{Message, Operation};
use rpc_host_tests::{Cli, HostOptions, RawPeer, StdioHost, StdioStream, built};
use tokio::net::UnixStream;

/// A node that is started for this client, which has entered.
async fn entered<const N: usize>(
    directory: &Path,
    arguments: [&str; N],
) -> (StdioHost, RawPeer<StdioStream>, (String, String)) {
    let (host, stream) = StdioHost::start(directory, HostOptions::new(), arguments);
    let mut peer = RawPeer::over(stream);
    let welcome = peer.enter(None).await;
    let welcome = welcome.unwrap_or_else(|failure| panic!("{failure}\n{}", host.log().text()));
    (host, peer, (welcome.tenant, welcome.role))
}

async fn new_token(peer: &mut RawPeer<StdioStream>, tenant: &str, role: &str) -> String {
    let created = peer.operate::<NewToken>(Operation::TokenCreate(TokenCreate {
        tenant: Some(tenant.to_owned()),
        role: role.to_owned(),
        expires_in_s: None,
    }));
    created.await.unwrap().token
}

#[tokio::test]
async fn whoever_starts_it_is_its_operator_and_it_ends_well_when_the_stream_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut peer, who) = entered(directory.path(), []).await;
    assert_eq!(who, ("default".to_owned(), "admin".to_owned()));
    let created = peer.operate::<TenantEntry>(Operation::TenantCreate(TenantSettings {
        name: "team".to_owned(),
        ..TenantSettings::default()
    }));
    assert_eq!(created.await.unwrap().name, "team");
    // It listens nowhere, and the profile with the first token is for those who come from elsewhere.
    let ready = |line: &str| line.contains("listening on");
    assert!(!host.log().text().lines().any(ready));
    assert!(!directory.path().join("rpc-host-data/client.toml").exists());
    let token = new_token(&mut peer, "team", "caller").await;
    peer.close().await;
    assert!(peer.parting().await.is_empty(), "nothing but frames");
    let log = host.log();
    assert!(host.end().await.success(), "{}", log.text());
    assert!(log.alarms().is_empty(), "{:?}", log.alarms());
    let audit = std::fs::read_to_string(directory.path().join("rpc-host-data/audit/audit.jsonl"));
    let audit = audit.unwrap();
    for said in [r#""credential":"stdio""#, r#""address":"stdio""#, "--stdio"] {
        assert!(audit.contains(said), "no {said} in {audit}");
    }

    // The next start finds what this one has left, and may be told to be less.
    let (host, mut peer, who) =
        entered(directory.path(), ["--tenant", "team", "--role", "reader"]).await;
    assert_eq!(who, ("team".to_owned(), "reader".to_owned()));
    let refused = peer.operate::<NewToken>(Operation::TokenCreate(TokenCreate {
        tenant: None,
        role: "reader".to_owned(),
        expires_in_s: None,
    }));
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::PermissionDenied);
    let foreign = peer.operate::<TenantEntry>(Operation::TenantShow(Named {
        name: "default".to_owned(),
    }));
    assert_eq!(foreign.await.unwrap_err().code, ErrorCode::PermissionDenied);
    drop(peer);
    assert!(host.end().await.success());

    // A token says who it is, and has to be good.
    for (given, expected) in [(&*token, Some("caller")), ("rpch_0_0", None)] {
        let (host, stream) = StdioHost::start(directory.path(), HostOptions::new(), []);
        let mut peer = RawPeer::over(stream);
        let entered = peer.enter(Some(given)).await;
        match expected {
            Some(role) => {
                let welcome = entered.unwrap();
                assert_eq!((&*welcome.tenant, &*welcome.role), ("team", role));
            }
            None => assert_eq!(entered.unwrap_err().code, ErrorCode::Unauthenticated),
        }
        drop(peer);
        assert!(host.end().await.success());
    }
    let (host, _stream) =
        StdioHost::start(directory.path(), HostOptions::new(), ["--tenant", "absent"]);
    let log = host.log();
    assert_eq!(host.end().await.code(), Some(1));
    assert!(
        log.text()
            .contains("nobody can be served over stdin and stdout")
    );
    assert!(log.text().contains("absent"));
}

#[tokio::test]
async fn its_own_stdin_and_stdout_are_not_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (host, stream) = StdioHost::start(directory.path(), HostOptions::new().open(), []);
    let mut peer = RawPeer::over(stream);
    peer.enter(None).await.unwrap();
    let is_of = |number: u32| {
        std::fs::read_link(format!("/proc/{}/fd/{number}", host.pid())).expect("a descriptor")
    };
    assert_eq!(is_of(1), is_of(2), "what is printed goes to the log");
    let stdin = is_of(0);
    assert!(stdin.to_string_lossy().starts_with("socket:"), "{stdin:?}");
    // And nobody who knew their numbers by habit would find more than these.
    peer.close().await;
    assert!(host.end().await.success());
}

#[tokio::test]
async fn with_an_address_others_come_in_as_well_until_the_stream_ends() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0"];
    let (host, mut peer, _) = entered(directory.path(), arguments).await;
    let profile = Profile::from_file(directory.path().join("rpc-host-data/client.toml")).unwrap();
    let client = Client::connect(profile).await.unwrap();
    assert!(client.list().await.unwrap().is_empty());
    host.log()
        .seen_since(0, "the address", 1, |line| {
            line.starts_with("listening on 127.0.0.1:")
        })
        .await;
    peer.close().await;
    assert!(host.end().await.success());
    client.list().await.unwrap_err();
}

#[tokio::test]
async fn a_stop_is_told_to_its_client() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut peer, _) = entered(directory.path(), []).await;
    host.signal("TERM").await;
    let (_, said) = peer.message().await;
    assert!(matches!(said, Message::Goaway(_)), "{said:?}");
    assert!(peer.parting().await.is_empty());
    assert!(host.end().await.success());
}

#[tokio::test]
async fn sockets_are_as_good_as_pipes_and_an_end_is_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = StdUnixStream::pair().unwrap();
    let both = there.try_clone().unwrap();
    let streams = (OwnedFd::from(there), OwnedFd::from(both));
    let host = StdioHost::start_over(directory.path(), HostOptions::new(), [], streams);
    here.set_nonblocking(true).unwrap();
    let mut peer = RawPeer::over(UnixStream::from_std(here).unwrap());
    peer.enter(None).await.unwrap();
    peer.close().await;
    assert!(peer.parting().await.is_empty());
    assert!(host.end().await.success());

    let nothing = || File::options().read(true).write(true).open("/dev/null");
    let streams = (nothing().unwrap(), nothing().unwrap());
    let host = StdioHost::start_over(directory.path(), HostOptions::new(), [], streams);
    assert!(host.end().await.success());
}

#[tokio::test]
async fn what_modules_print_does_not_get_onto_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (host, stream) = StdioHost::start(directory.path(), HostOptions::new(), []);
    let (reader, writer) = tokio::io::split(stream);
    let client = Client::from_streams(reader, writer).await.unwrap();
    let module = client.upload_module(built("wasi-probe")).await.unwrap();
    let registered = client.register("probe", &module, Options::default());
    registered.await.unwrap();
    let probe = client.module("probe");
    for text in ["to stdout", "\0\0\0\u{2}\u{4}\0\0\0\0\0\0\u{1}\u{f6}"] {
        for function in ["print", "print-error"] {
            let said: String = probe.call(function, (text,)).await.unwrap();
            assert_eq!(said, "ok: ()");
        }
    }
    let said: String = probe.call("flood", (1 << 20,)).await.unwrap();
    assert_eq!(said, "done");
    let mut lines = Vec::new();
    let options = LogOptions::default();
    let shown = client.logs("probe", options, |line| lines.push(line.text));
    shown.await.unwrap();
    assert!(lines.len() > 4 && lines[0] == "to stdout", "{lines:?}");
    drop((client, probe));
    assert!(host.end().await.success());
}

#[tokio::test]
async fn the_command_line_talks_to_a_node_that_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let command = StdioHost::command(directory.path());
        let connect = ["--connect-command", command.as_str()];
        let arguments = connect.iter().chain(arguments).copied();
        Cli::new(directory.path(), arguments).run().await
    };
    let file = directory.path().join("calc.wasm");
    std::fs::write(file, built("calc")).unwrap();
    run(&["upload", "calc.wasm", "--name", "calc"]).await.ok();
    assert_eq!(run(&["call", "calc", "add(2, 3)"]).await.ok(), "5");
    let both = ["list", "--profile", "client.toml"];
    assert!(run(&both).await.failed(2).contains("--connect-command"));
    let broken = ["--connect-command", "exit 7", "list"];
    let broken = Cli::new(directory.path(), broken).run().await;
    broken.error("unavailable", &[]);
}

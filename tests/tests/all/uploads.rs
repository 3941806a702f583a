//! Modules: from bytes to what survives a crash.

use std::path::Path;
use std::process::Command;

use rpc_host_client::{Component, ErrorCode, ModuleEntry, Options, UploadProgress};
use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::message::{Ack, Message, UploadHeader};
use rpc_host_protocol::{ExchangeId, Failure};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, built, component};

use crate::refused;

/// What the system's own tool says.
fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum can be run");
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split_whitespace().next().unwrap())
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn what_is_uploaded_again_has_its_digest() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let path = host.file("again.wasm", built("calc"));
    let component = Component::new(built("calc"));
    for (tenant, was_known) in [(&one, false), (&one, true), (&other, false)] {
        let uploaded = tenant.client.upload_component(&component.clone()).await;
        let module = uploaded.unwrap();
        assert_eq!(module.was_known(), was_known);
        assert_eq!(module.digest(), sha256(&path));
    }
    let again = one.client.upload_module(built("calc")).await.unwrap();
    assert!(again.was_known());
    assert_eq!(component.digest(), again.digest());
}

#[tokio::test]
async fn an_upload_prints_the_digest_of_the_file() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let path = host.file("digest.wasm", built("calc"));
    let file = path.to_str().unwrap();
    let first = tenant.cli(["upload", file]).run().await;
    assert_eq!(first.ok(), sha256(&path));
    let again = tenant
        .cli(["upload", file, "--output", "json"])
        .run()
        .await
        .json();
    assert_eq!(again["digest"], *first.ok());
    assert_eq!(again["already-known"], true);
    assert_eq!(again["size-bytes"], built("calc").len());
    assert!(
        tenant.client.list().await.unwrap().is_empty(),
        "no name, no registration"
    );

    let named = tenant.cli(["upload", file, "--name", "calc"]).run().await;
    assert_eq!(named.ok(), first.ok());
    let result = tenant.cli(["call", "calc", "add(2, 3)"]).run().await;
    assert_eq!(result.ok(), "5");
    let missing = tenant.cli(["upload", "absent.wasm"]).run().await;
    assert!(missing.failed(1).contains("absent.wasm"), "{missing:?}");
}

#[tokio::test]
async fn progress_is_told_to_the_end() {
    let tenant = TestHost::shared().await.tenant().await;
    let wasm = padded(3 << 20);
    let mut steps = Vec::new();
    let module = tenant
        .client
        .upload_module_with_progress(&wasm, |step| steps.push(step))
        .await
        .unwrap();
    assert_eq!(module.size_bytes(), wasm.len() as u64);
    assert!(!module.was_known());
    assert!(steps.contains(&UploadProgress::Compiling), "{steps:?}");
    let sizes: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            UploadProgress::Sending {
                received_bytes,
                size_bytes,
                ..
            } => {
                assert_eq!(*size_bytes, wasm.len() as u64);
                Some(*received_bytes)
            }
            _ => None,
        })
        .collect();
    assert!(sizes.is_sorted() && sizes.len() > 2, "{sizes:?}");
}

#[tokio::test]
async fn a_component_as_large_as_an_interpreter_is_taken() {
    let tenant = TestHost::shared().await.tenant().await;
    let wasm = padded(22 << 20);
    let module = tenant.register("large", wasm).await;
    assert!(module.size_bytes() > 22 << 20);
    let large = tenant.client.module("large");
    large.call::<()>("run", ()).await.unwrap();
}

/// A component with a custom section that makes it so large.
fn padded(bytes: usize) -> Vec<u8> {
    let mut wasm = component(
        r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    wasm.push(0);
    // The size of the section, then the length of its name, in LEB128 of a fixed width.
    let size = u32::try_from(bytes).unwrap() + 2;
    wasm.extend((0..5).map(|index| {
        let more = if index < 4 { 0x80 } else { 0 };
        u8::try_from(size >> (7 * index) & 0x7f).unwrap() | more
    }));
    wasm.extend([1, b'x']);
    wasm.extend((0..bytes).map(|index| u8::try_from(index % 251).unwrap()));
    wasm
}

#[tokio::test]
async fn what_is_no_component_is_named_and_says_what_to_do() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let whole = built("calc");
    let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap()[..4096].to_vec();
    let core = component("(module (func (export \"add\")))");
    let calc_text = b"(component (core module))".to_vec();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0xff);
    let table: [(&str, Vec<u8>, &[&str]); 9] = [
        (
            "core module",
            core,
            &[
                "core WebAssembly module, not a component",
                "wasm32-wasip2",
                "wasm-tools component new",
            ],
        ),
        ("wat", calc_text, &["WebAssembly text", "wasm-tools parse"]),
        (
            "elf",
            elf,
            &["native ELF file", "upload the WebAssembly component"],
        ),
        (
            "text",
            b"fn main() {}".to_vec(),
            &["text file", "build a component"],
        ),
        (
            "wit",
            b"package a:b;\ninterface c {}".to_vec(),
            &["WIT file", "upload a component that implements it"],
        ),
        (
            "random",
            vec![0xff; 100],
            &["not WebAssembly", "upload a component"],
        ),
        (
            "first bytes",
            whole[..6].to_vec(),
            &["cut off", "upload the whole file"],
        ),
        (
            "first half",
            whole[..whole.len() / 2].to_vec(),
            &["not valid", "cut off", "upload the whole file"],
        ),
        ("flipped", flipped, &["not valid"]),
    ];
    for (what, bytes, parts) in table {
        let outcome = tenant.client.upload_module(&bytes).await.map(|_| what);
        refused(outcome, ErrorCode::InvalidArgument, parts);
        // The same in the shell.
        let file = host.file("no-component", &bytes);
        let output = tenant
            .cli(["upload", file.to_str().unwrap(), "--name", "x"])
            .run()
            .await;
        output.error("invalid-argument", parts);
    }
    let empty = tenant.client.upload_module(b"").await;
    refused(empty, ErrorCode::InvalidArgument, &["empty"]);
    // Every cut is refused, at whatever place.
    for length in (100..whole.len()).step_by(whole.len() / 12) {
        let outcome = tenant
            .client
            .upload_module(&whole[..length])
            .await
            .map(|_| length);
        refused(outcome, ErrorCode::InvalidArgument, &["not valid"]);
    }
    assert!(tenant.client.modules().await.unwrap().is_empty());
    assert!(tenant.client.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_left_of_an_upload_that_was_refused_or_broken_off() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    let kept = |host: &TestHost| {
        [host.data().join("staging"), host.data().join("tenants")]
            .map(|it| files_below(&it))
            .concat()
    };
    let outcome = tenant.client.upload_module(b"not a component").await;
    refused(outcome, ErrorCode::InvalidArgument, &[]);
    assert_eq!(kept(&host), [""; 0]);

    let mut peer = tenant.raw_peer().await;
    let (id, _) = begin(&mut peer, &header(&host, &built("calc"))).await;
    peer.send(id, Message::Chunk(built("calc")[..1000].to_vec()))
        .await;
    peer.send(id, Message::Cancel).await;
    let failure = peer.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Cancelled);
    // Answered does not mean gone to the last byte; but a new upload of the same goes on from nothing.
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    assert!(!module.was_known());
    // A connection that breaks off in the middle.
    let mut peer = tenant.raw_peer().await;
    let (id, _) = begin(&mut peer, &header(&host, &built("text"))).await;
    peer.send(id, Message::Chunk(built("text")[..1000].to_vec()))
        .await;
    drop(peer);
    host.kill().await;
    host.start_again().await;
    let left = kept(&host);
    assert_eq!(left.len(), 2, "one module and its compiled form: {left:?}");
}

fn header(host: &TestHost, wasm: &[u8]) -> UploadHeader {
    let path = host.file(&host.fresh_name("header"), wasm);
    UploadHeader {
        digest: sha256(&path),
        size_bytes: wasm.len() as u64,
    }
}

/// Begins an upload; gives what the node grants.
async fn begin(peer: &mut RawPeer, header: &UploadHeader) -> (ExchangeId, Ack) {
    let id = peer.fresh_id();
    peer.send(id, Message::Upload(header.clone())).await;
    match peer.message().await {
        (of, Message::Ack(ack)) if of == id => (id, ack),
        other => panic!("{other:?} where an ack was expected"),
    }
}

async fn upload_in_chunks(
    peer: &mut RawPeer,
    header: &UploadHeader,
    wasm: &[u8],
) -> Result<ModuleEntry, Failure> {
    let (id, ack) = begin(peer, header).await;
    assert!(
        ack.received_bytes == 0 && ack.window_bytes >= wasm.len() as u64,
        "{ack:?}"
    );
    for chunk in wasm.chunks(10_000) {
        peer.send(id, Message::Chunk(chunk.to_vec())).await;
    }
    peer.outcome(id)
        .await
        .map(|entry| decode_envelope(&entry).unwrap())
}

#[tokio::test]
async fn the_second_upload_of_the_same_bytes_needs_no_bytes() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let (wasm, mut peer) = (built("calc"), tenant.raw_peer().await);
    let header = header(&host, &wasm);
    let first = upload_in_chunks(&mut peer, &header, &wasm).await.unwrap();
    assert!(!first.already_known);
    let id = peer.fresh_id();
    peer.send(id, Message::Upload(header.clone())).await;
    let second: ModuleEntry = decode_envelope(&peer.outcome(id).await.unwrap()).unwrap();
    assert!(second.already_known);
    assert_eq!(
        (first.digest, first.size_bytes),
        (second.digest, second.size_bytes)
    );
    assert_eq!(tenant.client.modules().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_has_to_keep_to_what_it_announced() {
    let host = TestHost::shared().await;
    let tenant = host.tenant().await;
    let (wasm, mut peer) = (built("calc"), tenant.raw_peer().await);
    let right = header(&host, &wasm);

    let other_digest = UploadHeader {
        digest: format!("sha256:{}", "0".repeat(64)),
        ..right.clone()
    };
    let failure = upload_in_chunks(&mut peer, &other_digest, &wasm)
        .await
        .unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidArgument);
    assert!(
        failure.message.contains("was declared; upload them again"),
        "{failure}"
    );

    let too_short = UploadHeader {
        size_bytes: 1000,
        ..right.clone()
    };
    let (id, _) = begin(&mut peer, &too_short).await;
    peer.send(id, Message::Chunk(wasm[..1001].to_vec())).await;
    let failure = peer.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidArgument, "{failure}");

    for digest in ["", "sha256:", "sha256:XYZ", "md5:00", "../../etc/passwd"] {
        let bad = UploadHeader {
            digest: digest.to_owned(),
            ..right.clone()
        };
        let id = peer.fresh_id();
        peer.send(id, Message::Upload(bad)).await;
        let failure = peer.outcome(id).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidArgument, "{failure}");
        assert!(
            failure.message.contains("64 lower-case hexadecimal digits"),
            "{failure}"
        );
    }
    // The connection has survived all of it.
    assert!(upload_in_chunks(&mut peer, &right, &wasm).await.is_ok());
}

#[tokio::test]
async fn bytes_beyond_the_window_end_the_upload() {
    let host = TestHost::start_with(HostOptions::new().limit("upload-window-bytes", 20_000)).await;
    let tenant = host.tenant().await;
    let (wasm, mut peer) = (built("calc"), tenant.raw_peer().await);
    let (id, ack) = begin(&mut peer, &header(&host, &wasm)).await;
    assert_eq!((ack.received_bytes, ack.window_bytes), (0, 20_000));
    peer.send(id, Message::Chunk(wasm[..20_001].to_vec())).await;
    let failure = peer.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    assert!(failure.message.contains("wait for an ack"), "{failure}");
    // Whoever keeps to it gets through.
    let module = tenant.client.upload_module(&wasm).await.unwrap();
    assert!(!module.was_known());
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let host = TestHost::start().await;
    let (admin, tenant) = (host.client().await, host.tenant().await);
    let mut digests = Vec::new();
    for (name, module) in [("a", "calc"), ("b", "text"), ("c", "trap")] {
        let client = &tenant.client;
        let module = client.upload_module(built(module)).await.unwrap();
        client
            .register(name, &module, Options::default())
            .await
            .unwrap();
        digests.push(module.digest().to_owned());
        // At once: the answer alone must be enough.
    }
    host.kill().await;
    drop(admin);
    host.start_again().await;
    let client = rpc_host_client::Client::connect(tenant.profile())
        .await
        .unwrap();
    let listed = client.list().await.unwrap();
    let found: Vec<_> = listed
        .iter()
        .map(|entry| entry.current.digest.clone())
        .collect();
    assert_eq!(found, digests);
    let sum: i64 = client.module("a").call("add", (2, 3)).await.unwrap();
    assert_eq!(sum, 5);
    assert!(
        client
            .upload_module(built("text"))
            .await
            .unwrap()
            .was_known()
    );
    let again = host.log().lines();
    assert!(
        !again
            .iter()
            .any(|line| line.message() == "compiling a module"),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_kill_while_uploads_run_leaves_whole_modules_or_none() {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    for round in 0..3 {
        let client = rpc_host_client::Client::connect(tenant.profile())
            .await
            .unwrap();
        let names = ["calc", "text", "trap", "spin", "greeter"];
        let mut uploads = tokio::task::JoinSet::new();
        for name in names {
            let client = client.clone();
            uploads.spawn(async move {
                let module = client.upload_module(built(name)).await.ok()?;
                let options = Options::default();
                client.register(name, &module, options).await.ok()?;
                Some(name)
            });
        }
        // The first success is the moment: others are under way at every stage.
        let mut done: Vec<&str> = Vec::new();
        if let Some(first) = uploads.join_next().await {
            done.extend(first.unwrap());
        }
        host.kill().await;
        while let Some(other) = uploads.join_next().await {
            done.extend(other.unwrap());
        }
        host.start_again().await;
        let client = rpc_host_client::Client::connect(tenant.profile())
            .await
            .unwrap();
        let listed = client.list().await.unwrap();
        for name in &done {
            assert!(
                listed.iter().any(|entry| entry.current.name == *name),
                "{round}: {name}"
            );
        }
        for entry in client.modules().await.unwrap() {
            let module = entry.digest.strip_prefix("sha256:").unwrap();
            let file = format!("{module}.wasm");
            let path = files_below(&host.data())
                .into_iter()
                .find(|path| path.ends_with(&file));
            assert_eq!(sha256(Path::new(&path.unwrap())), entry.digest);
        }
        for entry in listed {
            client.describe(&entry.current.name, None).await.unwrap();
            client.remove(&entry.current.name).await.unwrap();
        }
        for entry in client.modules().await.unwrap() {
            client.remove_module(&entry.digest).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_same_bytes_from_many_at_once_are_one_module() {
    let tenant = TestHost::shared().await.tenant().await;
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = tenant.client.clone();
        uploads.spawn(async move { client.upload_module(built("calc")).await });
    }
    while let Some(upload) = uploads.join_next().await {
        upload.unwrap().unwrap();
    }
    assert_eq!(tenant.client.modules().await.unwrap().len(), 1);
}

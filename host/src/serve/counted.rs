//! One call through the whole server path, from the bytes that come in to those that go out, in one thread: for
//! `cargo xtask instructions`, which has callgrind tell what it counted whenever [`a_count_ends`].
//!
//! And for `cargo bench -p rpc-host --features bench`, which times the same.
//!
//! Everything is as in a node that serves, but for TLS, whose instructions are not ours, and for the compiler,
//! which works in this process. The component is text, so that no toolchain of guests has a part in the count.
#![cfg_attr(
    not(feature = "bench"),
    allow(
        unreachable_pub,
        reason = "what benchmarks use is the test's own without them"
    )
)]
#![cfg_attr(
    feature = "bench",
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::missing_panics_doc,
        reason = "a measurement, which ends where it fails"
    )
)]

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::frame::{HEADER_BYTES, Header};
use rpc_host_protocol::message::{CallHeader, Hello, Message};
use rpc_host_protocol::{ExchangeId, Kind, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::config::Flags;
use crate::registry::{self, Digest, IfRevision, Proposed, RegisterOptions, UploadStart, Wish};

/// Counts, the first of which is of all that was before, and calls in each of the others: as many as `xtask` divides by.
#[cfg(test)]
const COUNTS: u32 = 8;
#[cfg(test)]
const CALLS: u32 = 200;

/// A memory with something in it and a table, as components of all toolchains have.
const COMPONENT: &str = r#"(component
    (core module $m
        (memory (export "memory") 17)
        (data (i32.const 1048576) "what is there from the beginning")
        (table 4 funcref)
        (elem (i32.const 1) $add)
        (global $stack (mut i32) (i32.const 1048576))
        (func $add (export "add") (param i64 i64) (result i64)
            (i64.store (i32.sub (global.get $stack) (i32.const 8)) (local.get 0))
            (i64.add (i64.load (i32.sub (global.get $stack) (i32.const 8))) (local.get 1))))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" s64) (param "b" s64) (result s64)
        (canon lift (core func $i "add"))))"#;

/// Measures nothing by itself: `cargo xtask instructions` runs it. Within the other tests it shows that it could.
#[test]
fn calls_of_one_client_can_be_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut client = runtime.block_on(Client::of_a_node(place.path()));
    for _ in 0..COUNTS {
        runtime.block_on(client.call(CALLS));
        a_count_ends();
    }
}

/// Nothing else may be called like it: callgrind knows it by its name.
#[cfg(test)]
#[inline(never)]
fn a_count_ends() {
    std::hint::black_box(());
}

/// As little of a client as can be, as it is counted too.
pub struct Client {
    stream: DuplexStream,
    next: u32,
}

impl Client {
    /// Of a new node, which serves it alone, as one that started the node.
    pub async fn of_a_node(place: &Path) -> Client {
        let flags = Flags {
            data: Some(place.join("data")),
            sandbox: Some(SandboxDemand::Off),
            ..Flags::default()
        };
        let mut config = Config::load(flags).unwrap();
        // A pool for more does not fit into the address space under callgrind.
        config.limits.max_live_instances = 2;
        // Nothing is made ready: all that a call takes is done, and counted, within the call.
        config.limits.max_ready_instances = 1;
        config.limits.max_ready_memory_bytes = 1;
        let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
        let (foundation, registry, volumes) = lay(&config, &clock).unwrap();
        let starter = Starter {
            tenant: None,
            role: None,
        };
        let principal = foundation.directory.starter(&starter).unwrap();
        let key = ArtifactKey::new(foundation.node_key.as_bytes());
        let sandbox = Sandbox::new(sandbox_limits(&config.limits), &key).unwrap();

        let wasm = wat::parse_str(COMPONENT).unwrap();
        let digest = Digest::of(&wasm);
        let permit = principal.permit_deploy().unwrap();
        let size_bytes = wasm.len() as u64;
        let upload = registry.modules.begin_upload(&permit, digest, size_bytes);
        let UploadStart::Open(mut upload) = upload.await.unwrap() else {
            panic!("the node is new");
        };
        upload.write(&wasm).await.unwrap();
        let staged = upload.finish().await.unwrap();
        let kept = registry.modules.commit(staged, Arc::default(), 0);
        kept.await.unwrap();
        let (tenant, path) = (
            principal.tenant(),
            registry.modules.path(principal.tenant(), &digest),
        );
        sandbox.compile_here(&registry::files(&registry.modules, tenant, &digest, path));
        let wish = Wish::Register(digest, RegisterOptions::default());
        let name = "calc".parse().unwrap();
        let proposed = registry
            .catalog
            .propose(&permit, &name, &wish, IfRevision::Any);
        let Proposed::Change(proposal) = proposed.await.unwrap() else {
            panic!("the node is new");
        };
        let concerned = registry.catalog.concerned(&proposal);
        let changed = registry.catalog.commit(proposal, concerned, Vec::new());
        changed.await.unwrap().unwrap();

        let node = Node::new(Parts {
            directory: foundation.directory.clone(),
            targets: Targets::new(Arc::new(sandbox), registry.modules.clone(), &config.limits),
            registry,
            buckets: Buckets::new(Arc::clone(&foundation.storage)),
            volumes,
            providers: Providers::new(Arc::clone(&clock)),
            audit: Audit::default(),
            policy: config.policy.clone(),
            limits: config.limits.clone(),
            clock,
        });
        let (here, there) = duplex(64 << 10);
        let entrances = Entrances {
            listener: None,
            stdio: Some((there, starter)),
        };
        let limits = Arc::new(config.limits);
        let forever = tokio::time::sleep(Duration::from_secs(1 << 30));
        tokio::spawn(server::run(entrances, Arc::new(node), limits, forever));
        let mut client = Client {
            stream: here,
            next: 1,
        };
        let hello = Message::Hello(Hello {
            versions: rpc_host_protocol::VERSIONS.to_vec(),
            client: "a test".to_owned(),
            token: None,
        });
        client.send(ExchangeId::CONNECTION, hello).await;
        assert_eq!(client.receive().await.0.kind, Kind::Welcome);
        client
    }

    /// One call after the other, each as soon as the one before is answered.
    pub async fn call(&mut self, times: u32) {
        for _ in 0..times {
            let header = CallHeader {
                module: "calc".to_owned(),
                function: "add".to_owned(),
                timeout_ms: None,
                within: None,
                allow: None,
                lease: None,
                on: None,
                output: false,
            };
            let arguments = encode_arguments(&[Value::S64(2), Value::S64(3)], &[]);
            let id = ExchangeId(self.next);
            self.next += 2;
            self.send(id, Message::call(header, arguments)).await;
            loop {
                let (header, payload) = self.receive().await;
                if header.kind == Kind::Reply {
                    // The sum, behind what says that it is one.
                    assert_eq!((header.id, payload.last()), (id, Some(&5)));
                    break;
                }
                assert_eq!(
                    header.kind,
                    Kind::Ping,
                    "{}",
                    String::from_utf8_lossy(&payload)
                );
            }
        }
    }

    async fn send(&mut self, id: ExchangeId, message: Message) {
        let raw = message.encode(id);
        for (header, part) in rpc_host_protocol::assembler::fragments(&raw) {
            let frame = [&header.encode()[..], part].concat();
            self.stream.write_all(&frame).await.unwrap();
        }
    }

    async fn receive(&mut self) -> (Header, Vec<u8>) {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).await.unwrap();
        let header = Header::decode(header).unwrap();
        let mut payload = vec![0; header.length_bytes as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        (header, payload)
    }
}

//! A node with tenants that attack it, and one that is not to notice.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, Module, NamedModule, Options};
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::{ExchangeId, Message, Value};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::peers::loopback;
use super::program::{End, Guest, Program};
use super::seed::Seed;
use super::vitals::Vitals;
use crate::{HostOptions, PATIENCE, RawPeer, TestHost, TestTenant, component, in_time};

/// What the victim has and nobody else must hear of.
pub(super) const SECRET: &str = "secret-victim";
pub(super) const MAX_CALLS_IN_FLIGHT: u64 = 32;
pub(super) const MAX_MESSAGE_BYTES: u64 = 4 << 20;
/// What a session may have under way; programs that share one take turns.
const UPLOADS_PER_SESSION: usize = 4;
/// Who does not read for so long may be given up.
pub(super) const WRITE_TIMEOUT_MS: u64 = 2000;
/// A quarter of all strangers.
pub(super) const STRANGERS_PER_ADDRESS: usize = 64;
/// Lines of the node's log that are kept to look at.
const KEPT_LOG_LINES: usize = 20_000;

/// A node, those that attack it, and those that see whether it minds.
pub struct Arena {
    /// The node.
    pub host: Arc<TestHost>,
    attackers: Vec<Attacker>,
    victim: TestTenant,
    secret_digest: Arc<str>,
    sum: NamedModule,
    holders: [TestTenant; 2],
    places: usize,
    pid: u32,
    /// Connections when nobody attacks.
    connections: u64,
}

/// How large an arena is.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Places for instances.
    pub places: usize,
    /// Tenants that attack.
    pub tenants: usize,
    /// What a module may take to compile. Some programs take all of it, and those that attack have to
    /// be compiled themselves, all at once on a machine that may be busy.
    pub compile_timeout: Duration,
}

struct Attacker {
    tenant: Arc<TestTenant>,
    reader: String,
    deployer: String,
    upload_lanes: Arc<Semaphore>,
}

/// What one run of a program has to do with.
pub struct Scene {
    /// The node.
    pub host: Arc<TestHost>,
    /// Whom the program belongs to.
    pub tenant: Arc<TestTenant>,
    /// Tokens of that tenant.
    pub reader: String,
    /// The same with a role that may upload.
    pub deployer: String,
    /// The name of the tenant that is not to notice.
    pub victim: Arc<str>,
    /// A module of that tenant.
    pub secret_digest: Arc<str>,
    /// What it chooses by.
    pub seed: Seed,
    upload_lanes: Arc<Semaphore>,
}

impl Arena {
    /// A node with tenants that attack it with these programs.
    pub async fn start(programs: &[Program], ground: Ground) -> Arena {
        let Ground {
            places,
            tenants,
            compile_timeout,
        } = ground;
        let compile_timeout_ms = u64::try_from(compile_timeout.as_millis()).unwrap_or(u64::MAX);
        let options = HostOptions::new()
            .log_kept(KEPT_LOG_LINES)
            .limit("max-live-instances", places as u64)
            .limit("max-memory-bytes", 64 << 20)
            // Each place keeps what it was used for; these are beside those that are used to the full at first.
            .limit("max-ready-instances", 16)
            .limit("max-connections", 4096)
            .limit("max-connections-per-address", 1024)
            .limit(
                "max-unauthenticated-connections",
                4 * STRANGERS_PER_ADDRESS as u64,
            )
            .limit("max-calls-in-flight-per-session", MAX_CALLS_IN_FLIGHT)
            .limit("max-message-bytes", MAX_MESSAGE_BYTES)
            .limit("max-reply-bytes", 1 << 20)
            .limit("max-uploads-per-session", UPLOADS_PER_SESSION as u64)
            .limit("max-uploads-per-tenant", 64)
            .limit("max-hostcall-bytes", 16 << 20)
            .limit("handshake-timeout-ms", 3000)
            .limit("frame-timeout-ms", 1000)
            .limit("write-timeout-ms", WRITE_TIMEOUT_MS)
            .limit("compile-timeout-ms", compile_timeout_ms)
            .limit("max-compile-memory-bytes", 384 << 20)
            .limit("max-artifact-bytes", 16 << 20);
        let host = TestHost::start_with(options).await;
        let victim = host.tenant().await;
        let secret = victim.register(SECRET, sum()).await;
        let sum = victim.client.module(SECRET);
        let holders = [holder(&host).await, holder(&host).await];
        let guests = guests_of(programs);
        let mut arming = JoinSet::new();
        for _ in 0..tenants {
            arming.spawn(Attacker::arm(Arc::clone(&host), Arc::clone(&guests)));
        }
        let attackers = arming.join_all().await;
        let pid = host.pid();
        let mut arena = Arena {
            victim,
            secret_digest: secret.digest().into(),
            sum,
            holders,
            attackers,
            places,
            pid,
            connections: 0,
            host,
        };
        arena.connections = arena.settled().await;
        arena
    }

    /// How many connections there are when those that come and go are gone.
    async fn settled(&self) -> u64 {
        // One for each tenant: those that set them up are dropped already.
        let tenants = self.attackers.len() + self.holders.len() + 1;
        self.connected(tenants as u64).await;
        tenants as u64
    }

    /// Waits until there are so many connections.
    async fn connected(&self, expected: u64) {
        let until = async {
            while self.vitals().connections != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, until).await.is_err() {
            let there = self.vitals().connections;
            panic!("there are {there} connections, where there should be {expected}");
        }
    }

    /// A scene for one run, in the tenant that the seed chooses.
    pub fn scene(&self, mut seed: Seed) -> Scene {
        let attacker = &self.attackers[seed.index(self.attackers.len())];
        Scene {
            host: Arc::clone(&self.host),
            tenant: Arc::clone(&attacker.tenant),
            reader: attacker.reader.clone(),
            deployer: attacker.deployer.clone(),
            victim: self.victim.name.as_str().into(),
            secret_digest: Arc::clone(&self.secret_digest),
            upload_lanes: Arc::clone(&attacker.upload_lanes),
            seed,
        }
    }

    /// What the node takes of the machine now.
    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.pid, &self.host.address())
    }

    /// One call of the victim's, and how long it took.
    ///
    /// # Errors
    /// When the answer is not right, or there is none.
    pub async fn victim_calls(&self) -> Result<Duration, String> {
        let begun = Instant::now();
        let call = self.sum.call::<i64>("add", (2, 3));
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(5)) => Ok(begun.elapsed()),
            Ok(other) => Err(format!("the victim was told that 2 + 3 is {other:?}")),
            Err(_) => Err("the victim was told nothing".to_owned()),
        }
    }

    /// That nothing is left of those that have ended, and that nobody else noticed them.
    ///
    /// # Panics
    /// When something is.
    pub async fn is_well(&self) {
        assert_eq!(self.host.pid(), self.pid, "it is another process");
        let alarms = self.host.log().alarms();
        assert!(alarms.is_empty(), "the node's log has {alarms:#?}");
        if let Err(problem) = self.victim_calls().await {
            panic!("{problem}");
        }
        self.connected(self.connections).await;
        self.take_all_places("hold").await;
    }

    /// Has every place used to the full once, so that what an engine keeps of each for the next instance is
    /// there from the beginning.
    pub async fn warm(&self) {
        self.take_all_places("fill-and-hold").await;
    }

    /// Takes every place for an instance that the node has, all at once, and gives them back.
    async fn take_all_places(&self, function: &str) {
        let log = self.host.log();
        let mark = log.mark();
        let mut held: Vec<(RawPeer, Vec<ExchangeId>)> = Vec::new();
        let in_a_session = usize::try_from(MAX_CALLS_IN_FLIGHT).unwrap_or_default();
        for holder in &self.holders {
            let mut left = self.places / 2;
            while left > 0 {
                let now = left.min(in_a_session);
                let mut peer = holder.raw_peer().await;
                let mut ids = Vec::new();
                for _ in 0..now {
                    ids.push(peer.call("holder", function, &[]).await);
                }
                held.push((peer, ids));
                left -= now;
            }
        }
        let is_held =
            |line: &str| line.contains("\"target\":\"guest\"") && line.contains("a place is taken");
        log.seen_since(mark, "every place taken", self.places, is_held)
            .await;
        for (peer, ids) in &mut held {
            for id in ids.iter() {
                peer.send(*id, Message::Cancel).await;
            }
            for _ in ids {
                let (_, message) = peer.message().await;
                assert!(matches!(message, Message::Failure(_)), "{message:?}");
            }
        }
        drop(held);
        self.connected(self.connections).await;
    }
}

/// A module that nobody else has.
fn sum() -> Vec<u8> {
    component(
        r#"(component
            (core module $m
                (func (export "add") (param i64 i64) (result i64)
                    (i64.add (local.get 0) (local.get 1))))
            (core instance $i (instantiate $m))
            (func (export "add") (param "a" s64) (param "b" s64) (result s64)
                (canon lift (core func $i "add"))))"#,
    )
}

/// A tenant with what takes a place and stays.
async fn holder(host: &Arc<TestHost>) -> TestTenant {
    let tenant = host.tenant().await;
    let options = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("holder", Guest::Written("holder").bytes(), options)
        .await;
    tenant
}

/// Everything that programs need registered, once.
type Guests = Arc<Vec<(String, Vec<u8>, Options)>>;

fn guests_of(programs: &[Program]) -> Guests {
    let mut guests: Vec<(String, Vec<u8>, Options)> = Vec::new();
    for registered in programs.iter().flat_map(Program::registered) {
        let name = &registered.name;
        if let Some((_, _, options)) = guests.iter().find(|(known, ..)| known == name) {
            assert_eq!(*options, registered.options, "two guests are named {name}");
            continue;
        }
        guests.push((
            name.clone(),
            registered.guest.bytes(),
            registered.options.clone(),
        ));
    }
    Arc::new(guests)
}

/// Uploads what is known to be good. On a machine that is busy with other things it may take longer to
/// compile than what a hostile module may take, so it gets more than one try.
async fn upload(client: &Client, wasm: &[u8]) -> Result<Module, Error> {
    let mut tries_left = 5;
    loop {
        match client.upload_module(wasm).await {
            Err(Error::Remote(failure)) if failure.retryable && tries_left > 0 => tries_left -= 1,
            outcome => return outcome,
        }
    }
}

impl Attacker {
    async fn arm(host: Arc<TestHost>, guests: Guests) -> Attacker {
        let tenant = host.tenant().await;
        // All that is wrong at once, because it takes long to find out.
        let mut wrong = Vec::new();
        for (name, wasm, options) in guests.iter() {
            let registered = async {
                let module = upload(&tenant.client, wasm).await?;
                tenant.client.register(name, &module, options.clone()).await
            };
            if let Err(error) = registered.await {
                wrong.push(format!("{name}: {error}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Attacker {
            reader: tenant.token("reader").await,
            deployer: tenant.token("deployer").await,
            upload_lanes: Arc::new(Semaphore::new(UPLOADS_PER_SESSION)),
            tenant: Arc::new(tenant),
        }
    }
}

impl Scene {
    /// Calls a function of a registration.
    pub async fn call(&self, name: &str, function: &str, arguments: &[Value]) -> End {
        let client: &Client = &self.tenant.client;
        let call = client.module(name).function(function);
        let call = call.call_raw(encode_arguments(arguments, &[]));
        match in_time("the end of a call", call).await {
            Ok(reply) => End::Value(reply.value),
            Err(error) => End::of_error(error),
        }
    }

    /// Uploads over the tenant's own session, when it has a lane for one more.
    pub async fn upload(&self, wasm: &[u8]) -> Result<Module, Error> {
        let _lane = self.upload_lanes.acquire().await;
        self.tenant.client.upload_module(wasm).await
    }

    /// An address that hardly anybody else comes from.
    pub(super) fn address(&mut self) -> Ipv4Addr {
        loopback(self.seed.draw())
    }

    /// A connection on which nothing was said yet.
    pub async fn newcomer(&mut self) -> RawPeer {
        let source = self.address();
        RawPeer::connect_from(&self.host, source).await
    }

    /// A connection with the token of the tenant's admin.
    pub async fn peer(&mut self) -> RawPeer {
        let token = self.tenant.token.clone();
        self.peer_with(&token).await
    }

    /// A connection with this token.
    pub async fn peer_with(&mut self, token: &str) -> RawPeer {
        let mut peer = self.newcomer().await;
        let welcome = peer.enter(Some(token)).await;
        assert!(welcome.is_ok(), "{welcome:?}");
        peer
    }

    /// A connection of TCP.
    pub async fn stranger(&mut self) -> TcpStream {
        let source = self.address();
        self.stranger_from(source).await
    }

    /// The same from this address.
    pub async fn stranger_from(&self, source: Ipv4Addr) -> TcpStream {
        connect_from(&self.host.address(), source)
            .await
            .expect("a connection")
    }
}

/// A connection from this address of the machine.
pub(crate) async fn connect_from(to: &str, source: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket
        .connect(to.parse().map_err(std::io::Error::other)?)
        .await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

//! What many tenants, registrations and connections cost: memory, the time of a start, and of a call.
//!
//! Two nodes run beside one another, one with a single registration and one with thousands, and calls to
//! both are interleaved. All that the large node holds was made through its protocol, by as many clients at once
//! as it has tenants to make, a few at a time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rpc_host_client::{Client, Module, NamedModule, Options, Profile, TokenRequest};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::spread::{Spread, nanoseconds};

/// How much is made and measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    tenants: usize,
    of_tenant: usize,
    connections: usize,
    rounds: usize,
}

impl Extent {
    pub(crate) const FULL: Extent = Extent {
        tenants: 1000,
        of_tenant: 10,
        connections: 5000,
        rounds: 20,
    };
    /// To see that all of it works; the figures say little.
    pub(crate) const SHORT: Extent = Extent {
        tenants: 20,
        of_tenant: 10,
        connections: 200,
        rounds: 2,
    };
}

/// Tenants that are made, and connections that are opened, at once.
const AT_ONCE: usize = 16;
/// Calls of each side in a round.
const CALLS: usize = 250;
/// Starts that are timed.
const STARTS: usize = 3;

/// Where so many connections from one address are welcome, and so many tenants.
const LIMITS: &str = "[limits]
max-connections = 16384
max-connections-per-address = 16384
max-unauthenticated-connections = 1024
max-connections-per-minute-per-address = 1000000
max-tenants = 16384
max-requests-per-second-per-session = 1000000
max-requests-per-second-per-tenant = 1000000
";

pub(crate) async fn measure(program: &Path, modules: &Path, extent: Extent) -> Result<()> {
    let wasm = modules.join("calc.wasm");
    let wasm: Arc<[u8]> = std::fs::read(&wasm)
        .with_context(|| wasm.display().to_string())?
        .into();
    let mut small = Node::new(program)?;
    let mut large = Node::new(program)?;
    let Extent {
        tenants, of_tenant, ..
    } = extent;
    let registrations = tenants * of_tenant;

    small.start().await?;
    large.start().await?;
    let one = small.fill(&wasm, 1, 1).await?;
    let began = Instant::now();
    let many = large.fill(&wasm, tenants, of_tenant).await?;
    println!(
        "{registrations} registrations of {tenants} tenants, made in {:.1} s",
        began.elapsed().as_secs_f64()
    );

    println!("\n{:<44} {:>10} {:>10}", "a start", "one", "all");
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        of_small.push(small.start().await?);
        of_large.push(large.start().await?);
    }
    let (of_small, of_large) = (spread(of_small), spread(of_large));
    println!(
        "{:<44} {:>10.1} {:>10.1}",
        "until it listens, ms",
        of_small.p50 / 1e6,
        of_large.p50 / 1e6,
    );
    let (before_small, before_large) = (small.memory()?, large.memory()?);
    println!(
        "{:<44} {:>10} {:>10}",
        "resident memory, KiB", before_small, before_large
    );
    println!(
        "{:<44} {:>10} {:>10.2}",
        "  for each registration, KiB",
        "",
        each(before_small, before_large, registrations)
    );

    let one = small.clients(&one).await?;
    let many = large.clients(&many).await?;
    let alone = one.first().context("a tenant")?.module("calc-0");
    let same = many.first().context("a tenant")?.module("calc-0");
    let all: Vec<NamedModule> = (0..of_tenant)
        .flat_map(|number| {
            many.iter()
                .map(move |client| client.module(format!("calc-{number}")))
        })
        .collect();
    let connected = large.memory()?;
    first_calls(&all).await?;
    let called = large.memory()?;
    println!(
        "{:<44} {:>10} {:>10.2}",
        "  and once all of them were called",
        "",
        each(connected, called, registrations)
    );
    calls(&alone, &same, &all, extent.rounds).await?;
    drop((one, many, all, same));
    large.stop().await?;

    connections(&small, &alone, extent.connections).await?;
    small.stop().await
}

/// What each of `count` costs, in KiB.
fn each(before: u64, after: u64, count: usize) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let grown = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
    f64::from(grown) / f64::from(count)
}

/// Calls each of them once, which loads what is not in memory.
async fn first_calls(all: &[NamedModule]) -> Result<()> {
    let mut times = Vec::new();
    for one in all {
        times.push(call(one).await?);
    }
    println!();
    heading("a call");
    print(&spread(times), "the first of each registration");
    Ok(())
}

async fn call(one: &NamedModule) -> Result<Duration> {
    let started = Instant::now();
    let sum: i64 = one.call("add", (2, 3)).await?;
    ensure!(sum == 5, "2 + 3 is {sum}");
    Ok(started.elapsed())
}

/// Calls at a node of one registration, in turn with the same at a node of many, and then with all of these.
async fn calls(
    alone: &NamedModule,
    same: &NamedModule,
    all: &[NamedModule],
    rounds: usize,
) -> Result<()> {
    let (mut beside_same, mut of_same) = (Vec::new(), Vec::new());
    let (mut beside_all, mut of_all) = (Vec::new(), Vec::new());
    let mut others = all.iter().cycle();
    for round in 0..=rounds {
        for _ in 0..CALLS {
            let times = (call(alone).await?, call(same).await?);
            // The first round warms all of them up.
            if round > 0 {
                beside_same.push(times.0);
                of_same.push(times.1);
            }
        }
        for _ in 0..CALLS {
            let other = others.next().context("a registration")?;
            let times = (call(alone).await?, call(other).await?);
            if round > 0 {
                beside_all.push(times.0);
                of_all.push(times.1);
            }
        }
    }
    let [beside_same, of_same] = [beside_same, of_same].map(spread);
    let [beside_all, of_all] = [beside_all, of_all].map(spread);
    print(&beside_same, "of the one registration there is");
    print(&of_same, "in turn with that, of one among all");
    print(&beside_all, "of the one registration there is");
    print(&of_all, "in turn with that, of all, each by its tenant");
    let ratio = |of: &Spread, beside: &Spread| of.p50 / beside.p50;
    println!(
        "ratio of the medians: one among all {:.2}, all {:.2}",
        ratio(&of_same, &beside_same),
        ratio(&of_all, &beside_all)
    );
    Ok(())
}

/// What connections cost that are open and silent.
async fn connections(node: &Node, module: &NamedModule, count: usize) -> Result<()> {
    call(module).await?;
    let before = node.memory()?;
    let profile = Profile::from_file(node.profile())?;
    let mut open = Vec::new();
    let mut coming = JoinSet::new();
    for number in 0..count {
        if number >= AT_ONCE
            && let Some(client) = coming.join_next().await
        {
            open.push(client??);
        }
        coming.spawn(Client::connect(profile.clone()));
    }
    while let Some(client) = coming.join_next().await {
        open.push(client??);
    }
    let silent = node.memory()?;
    println!("\n{:<44} {:>10}", "idle connections", "KiB each");
    let row = |name: &str, after: u64| println!("{name:<44} {:>10.2}", each(before, after, count));
    row(&format!("{count}, welcomed and silent since"), silent);
    for client in &open {
        client.list().await?;
    }
    row("the same, each after a request", node.memory()?);
    Ok(())
}

/// A node with a data directory of its own, which outlives its process.
struct Node {
    program: PathBuf,
    place: tempfile::TempDir,
    running: Option<(Child, u32)>,
}

impl Node {
    fn new(program: &Path) -> Result<Node> {
        let place = tempfile::tempdir()?;
        std::fs::write(place.path().join("config.toml"), LIMITS)?;
        Ok(Node {
            program: program.to_owned(),
            place,
            running: None,
        })
    }

    /// Starts it, anew if it runs, and tells how long that took.
    async fn start(&mut self) -> Result<Duration> {
        self.stop().await?;
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.place.path().join("data"))
            .arg("--config")
            .arg(self.place.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let stdout = child.stdout.take().context("the node has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        ensure!(
            line.starts_with("listening on "),
            "the node did not start: {line}"
        );
        let took = began.elapsed();
        let process = child.id().context("the node has ended")?;
        self.running = Some((child, process));
        Ok(took)
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().await?;
        }
        Ok(())
    }

    fn profile(&self) -> PathBuf {
        self.place.path().join("data/client.toml")
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> Result<u64> {
        let (_, process) = self.running.as_ref().context("the node does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let words = line.and_then(|line| line.split_whitespace().next());
        Ok(words.context("the kernel does not say")?.parse()?)
    }

    /// Makes tenants with registrations each, of a module that each uploads; gives their tokens.
    async fn fill(
        &self,
        wasm: &Arc<[u8]>,
        tenants: usize,
        of_tenant: usize,
    ) -> Result<Vec<String>> {
        let operator = Client::connect(Profile::from_file(self.profile())?).await?;
        let mut tokens = Vec::new();
        let mut under_way = JoinSet::new();
        for number in 0..tenants {
            let name = format!("tenant-{number}");
            operator.tenant_create(&name).await?;
            let request = TokenRequest {
                tenant: Some(name),
                role: "admin".to_owned(),
                expires_in: None,
            };
            let token = operator.token_create(request).await?.token;
            if under_way.len() >= AT_ONCE
                && let Some(done) = under_way.join_next().await
            {
                done??;
            }
            under_way.spawn(register(
                self.connector(&token)?,
                Arc::clone(wasm),
                of_tenant,
            ));
            tokens.push(token);
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(tokens)
    }

    /// A connection for each token.
    async fn clients(&self, tokens: &[String]) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for token in tokens {
            clients.push(Client::connect(self.connector(token)?).await?);
        }
        Ok(clients)
    }

    fn connector(&self, token: &str) -> Result<Profile> {
        // The file has the address of the last start.
        let profile: toml::Table = std::fs::read_to_string(self.profile())?.parse()?;
        let text = |key: &str| {
            let value = profile.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).context("a profile")
        };
        Ok(Profile::new(text("address")?)
            .server_name("localhost")
            .ca_pem(text("ca")?)
            .token(token))
    }
}

async fn register(profile: Profile, wasm: Arc<[u8]>, count: usize) -> Result<()> {
    let client = Client::connect(profile).await?;
    let module: Module = client.upload_module(wasm.to_vec()).await?;
    for number in 0..count {
        client
            .register(&format!("calc-{number}"), &module, Options::default())
            .await?;
    }
    Ok(())
}

fn spread(times: Vec<Duration>) -> Spread {
    Spread::of(&[times.into_iter().map(nanoseconds).collect()])
}

fn print(spread: &Spread, name: &str) {
    let [p50, p90, p99] = [spread.p50, spread.p90, spread.p99].map(|ns| ns / 1e3);
    println!("{name:<44} {p50:>10.1} {p90:>10.1} {p99:>10.1}");
}

/// The line above those that [`print`] writes.
fn heading(what: &str) {
    println!(
        "{what:<44} {:>10} {:>10} {:>10}",
        "p50 µs", "p90 µs", "p99 µs"
    );
}

//! The attackers: a process of low priority that does all it can to a node, in one way.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rpc_host_client::{Client, Options, Profile};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

use super::{guests, raw};

/// The argument that makes this program attackers.
pub(crate) const ATTACKERS: &str = "attackers";
/// Calls that one attacker has under way at once.
const CALLS: usize = 8;
/// How long such a call may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None: programs of the same machine that know no node. What they cost the victim is what the system
    /// makes anybody pay who shares it.
    Elsewhere,
    Cpu,
    Memory,
    HostCalls,
    Uploads,
    Frames,
    LogLines,
    Handles,
    SlowReaders,
    ShortCalls,
}

impl Kind {
    pub(super) const ALL: [Kind; 10] = [
        Kind::Elsewhere,
        Kind::Cpu,
        Kind::Memory,
        Kind::HostCalls,
        Kind::Uploads,
        Kind::Frames,
        Kind::LogLines,
        Kind::Handles,
        Kind::SlowReaders,
        Kind::ShortCalls,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Elsewhere => "(other programs, no node)",
            Kind::Cpu => "endless loops",
            Kind::Memory => "memory, 64 MiB a call",
            Kind::HostCalls => "calls of the host",
            Kind::Uploads => "uploads to compile",
            Kind::Frames => "pings",
            Kind::LogLines => "log lines",
            Kind::Handles => "handles made and let go",
            Kind::SlowReaders => "answers left unread",
            Kind::ShortCalls => "short calls, 64 at once",
        }
    }

    /// How far its process stands back. The attackers of a node as far as may be; the others as far as the
    /// threads do on which a node's guests compute.
    fn niceness(self) -> &'static str {
        match self {
            Kind::Elsewhere => "5",
            _ => "10",
        }
    }

    /// The module that is called, if it is that kind.
    fn module(self) -> Option<&'static str> {
        match self {
            Kind::Cpu => Some(guests::SPINS),
            Kind::Memory => Some(guests::FILLS),
            Kind::HostCalls => Some(guests::ASKS),
            Kind::LogLines => Some(guests::LOGS),
            Kind::Handles => Some(guests::CHURNS),
            Kind::SlowReaders => Some(guests::ANSWERS_MUCH),
            Kind::ShortCalls => Some(guests::RETURNS),
            Kind::Elsewhere | Kind::Uploads | Kind::Frames => None,
        }
    }
}

/// A node, and a tenant of it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: String,
    pub(super) ca: String,
    pub(super) token: String,
}

impl Target {
    pub(super) fn profile(&self) -> Profile {
        Profile::new(self.address.clone())
            .server_name("localhost")
            .ca_pem(self.ca.clone())
            .token(self.token.clone())
    }
}

/// The process of some attackers. It ends when this is dropped.
pub(super) struct Attackers {
    child: Child,
}

impl Attackers {
    /// Starts one attacker for each of `targets`; gives them back at work.
    pub(super) async fn start(kind: Kind, targets: &[Target]) -> Result<Attackers> {
        let mut child = Command::new("nice")
            .args(["-n", kind.niceness()])
            .arg(std::env::current_exe()?)
            .args([ATTACKERS, kind.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("nice")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        for Target { address, ca, token } in targets {
            let line = serde_json::json!([address, ca, token]);
            stdin.write_all(format!("{line}\n").as_bytes()).await?;
        }
        drop(stdin);
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        for _ in targets {
            lines.next_line().await?.context("an attacker gave up")?;
        }
        Ok(Attackers { child })
    }

    pub(super) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The process itself.
pub(crate) async fn run(kind: &str) -> Result<()> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = kind.context("no such kind of attack")?;
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    let mut attacks = tokio::task::JoinSet::new();
    for line in text.lines() {
        let (address, ca, token) = serde_json::from_str(line)?;
        attacks.spawn(attack(kind, Target { address, ca, token }));
    }
    while let Some(ended) = attacks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn attack(kind: Kind, target: Target) -> Result<()> {
    let said = AtomicBool::new(false);
    let ready = || {
        if !said.swap(true, Ordering::Relaxed) {
            println!("at work");
        }
    };
    if kind == Kind::Elsewhere {
        ready();
        return compute().await;
    }
    if kind == Kind::Frames {
        return raw::flood(&target, ready).await;
    }
    let client = Client::connect(target.profile()).await?;
    if kind == Kind::Uploads {
        return upload(&client, ready).await;
    }
    let wasm = wat::parse_str(kind.module().context("no module")?)?;
    let module = client.upload_module(wasm).await?;
    let options = Options {
        grants: match kind {
            Kind::LogLines => vec!["log".to_owned()],
            _ => Vec::new(),
        },
        // Each kind of attack has functions of its own, under the same name.
        force: true,
        ..Options::default()
    };
    client.register("attack", &module, options).await?;
    if kind == Kind::SlowReaders {
        return raw::leave_unread(&target, "attack", ready).await;
    }
    let at_once = if kind == Kind::ShortCalls { 64 } else { CALLS };
    let client = Arc::new(client);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let client = Arc::clone(&client);
        calls.spawn(async move {
            let attack = client.module("attack");
            loop {
                let call = attack.function("run").timeout(PATIENCE);
                // It ends by its deadline, or it is refused; either way there is the next.
                if call.call::<serde_json::Value>().await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    ready();
    // None of them ends, but by a panic.
    match calls.join_next().await {
        Some(Err(panic)) => Err(panic.into()),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Keeps all processors busy, for ever.
async fn compute() -> Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..threads {
        busy.spawn_blocking(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    match busy.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn upload(client: &Client, ready: impl Fn()) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let base = u64::from(std::process::id()) << 32;
    loop {
        let number = base + NUMBER.fetch_add(1, Ordering::Relaxed);
        let wasm = spawn_blocking(move || wat::parse_str(guests::expensive(number)));
        let wasm = wasm.await??;
        let uploaded = client.upload_module(wasm);
        ready();
        if let Ok(module) = uploaded.await {
            client.remove_module(module.digest()).await?;
        }
    }
}

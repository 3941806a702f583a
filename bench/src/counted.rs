//! What one call costs the node, counted instead of timed: instructions and allocations, through the whole server
//! path, from the bytes that come in to those that go out.
//!
//! The node is the real one, serving one client over stdin and stdout, and `callgrind` counts what it does. Counts
//! hardly depend on the machine and not at all on what else it does, so a run is compared with what is recorded
//! in [`instructions.toml`](../instructions.toml), and more than that is an error.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rpc_host_client::{Client, NamedModule, Options};
use tokio::process::{Child, Command};

/// The argument after which it is counted what a call costs.
pub(crate) const COUNTED: &str = "counted";
/// And after that, the one to record what is found.
const UPDATE: &str = "--update";

/// Calls before anything is counted.
const WARMING: usize = 400;
/// Counts, of which the median is taken, and calls in each.
const COUNTS: usize = 9;
const CALLS: u32 = 100;

/// A pool of instances that is small enough for the address space under `valgrind`.
const LIMITS: &str = "[limits]\nmax-live-instances = 1\n";
/// A program under `valgrind` is some fifty times slower. A clock that is slower too has the node go the ways that
/// it goes elsewhere: it measures how long turns take.
const SLOW_CLOCK: &str = include_str!("../slow_clock.c");

/// What one call cost.
struct Cost {
    instructions: f64,
    allocations: f64,
}

/// Counts at a program that was built in this profile, and compares with what is recorded in `budget`, or records it.
pub(crate) async fn count(arguments: Vec<String>) -> Result<()> {
    let (program, modules, profile, budget, update) = match &*arguments {
        [program, modules, profile, budget] => (program, modules, profile, budget, false),
        [program, modules, profile, budget, update] if update == UPDATE => {
            (program, modules, profile, budget, true)
        }
        _ => bail!("usage: rpc-host-bench counted RPC-HOST MODULES PROFILE BUDGET [{UPDATE}]"),
    };
    let place = tempfile::tempdir()?;
    let _ = (budget, update, profile);
    let mut node = Node::start(Path::new(program), place.path()).await?;
    let client = node.client().await?;
    let wasm = std::fs::read(Path::new(modules).join("calc.wasm"))?;
    let calc = client.upload_module(wasm).await?;
    client.register("calc", &calc, Options::default()).await?;
    let calc = client.module("calc");
    call(&calc, WARMING).await?;
    node.dump().await?;
    for _ in 0..COUNTS {
        call(&calc, CALLS as usize).await?;
        node.dump().await?;
    }
    drop((client, calc));
    node.child.wait().await?;
    for file in std::fs::read_dir(place.path())? {
        let file = file?.path();
        let _copied = std::fs::copy(
            &file,
            Path::new("/tmp/scale-vg").join(file.file_name().unwrap_or_default()),
        );
    }
    Ok(())
}

async fn call(calc: &NamedModule, times: usize) -> Result<()> {
    for _ in 0..times {
        let sum: i64 = calc.call("add", (2, 3)).await?;
        ensure!(sum == 5, "2 + 3 is {sum}");
    }
    Ok(())
}

/// A node whose instructions are counted.
struct Node {
    child: Child,
    process: u32,
    place: PathBuf,
}

impl Node {
    async fn start(program: &Path, place: &Path) -> Result<Node> {
        std::fs::write(place.join("config.toml"), LIMITS)?;
        std::fs::write(place.join("slow_clock.c"), SLOW_CLOCK)?;
        let clock = place.join("slow_clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&clock);
        let compiled = compiler.arg(place.join("slow_clock.c")).status().await;
        ensure!(
            compiled.context("there is no C compiler `cc`")?.success(),
            "`cc` cannot compile bench/slow_clock.c"
        );
        let child = Command::new("valgrind")
            .args(["-q", "--tool=callgrind", "--trace-children=yes"])
            .arg(format!(
                "--callgrind-out-file={}/counted.%p",
                place.display()
            ))
            .arg(program)
            .args(["serve", "--stdio", "--sandbox", "off", "--data"])
            .arg(place.join("data"))
            .arg("--config")
            .arg(place.join("config.toml"))
            .env("LD_PRELOAD", &clock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context(
                "`valgrind` does not start; install it, on Debian by `apt-get install valgrind`",
            )?;
        let process = child.id().context("the node has ended")?;
        Ok(Node {
            child,
            process,
            place: place.to_owned(),
        })
    }

    async fn client(&mut self) -> Result<Client> {
        let input = self.child.stdin.take().context("no stdin")?;
        let output = self.child.stdout.take().context("no stdout")?;
        Ok(Client::from_streams(output, input).await?)
    }

    /// Writes what was counted since the last time, and begins anew.
    async fn dump(&self) -> Result<()> {
        let mut dump = Command::new("vgdb");
        dump.arg(format!("--pid={}", self.process)).arg("dump");
        let done = dump.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(done.await?.success(), "`vgdb` does not reach the node");
        let _ = &self.place;
        Ok(())
    }
}

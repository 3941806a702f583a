//! The benchmarks, with everything in the release profile.
//!
//! What is measured beside the node is a workspace of its own, `bench/peers`, and is built here alone.

use std::path::PathBuf;
use std::process::Command;

use crate::modules::{self, Voice};
use crate::workspace::Workspace;
use crate::{progress, python, step};

/// Where the figures of a full run are kept.
const RESULTS: &str = "bench/results";
/// What speaks Python's ways to call.
const PYTHON_PEER: &str = "bench/peers/python/peer.py";

/// What is measured beside what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The core rows alone, beside the floor and tonic.
    pub(crate) quick: bool,
    /// A file for the figures.
    pub(crate) json: Option<PathBuf>,
    /// Peers that are left out.
    pub(crate) without: Vec<Peer>,
}

/// A peer that takes something to build, or to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Its engine takes as long to compile as the node's.
    WasmtimeServe,
    /// RPyC comes from the package index.
    Python,
}

impl Peer {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "wasmtime-serve" => Some(Self::WasmtimeServe),
            "python" => Some(Self::Python),
            _ => None,
        }
    }
}

impl Wish {
    /// What stands behind `bench`.
    pub(crate) fn parse<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut wish = Self::default();
        while let Some(argument) = arguments.next() {
            let (name, mut value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument, None),
            };
            let mut value = || {
                let value = value.take().or_else(|| arguments.next());
                value.ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--quick" if argument == name => wish.quick = true,
                "--json" => wish.json = Some(PathBuf::from(value()?)),
                "--without" => {
                    let name = value()?;
                    let peer = Peer::from_name(name);
                    wish.without
                        .push(peer.ok_or_else(|| format!("there is no peer `{name}`"))?);
                }
                _ => return Err(format!("`bench` takes no `{argument}`")),
            }
        }
        Ok(wish)
    }

    fn has(&self, peer: Peer) -> bool {
        !self.quick && !self.without.contains(&peer)
    }
}

/// Measure calls beside those of others.
pub(crate) fn run(workspace: &Workspace, wish: &Wish) -> anyhow::Result<()> {
    let release = build(workspace)?;
    let peers = build_peer(workspace, "rpc-host-bench-peers")?;
    let mut bench = Command::new(release.join("rpc-host-bench"));
    bench
        .arg("compare")
        .arg(release.join("rpc-host"))
        .arg(workspace.components())
        .arg("--peers")
        .arg(peers)
        .current_dir(workspace.root());
    if wish.has(Peer::WasmtimeServe) {
        build_peer(workspace, "wasmtime-serve")?;
        bench.arg("--http-guest").arg(http_guest(workspace)?);
    }
    if wish.has(Peer::Python) {
        let python = python::installed(workspace)?;
        bench.arg("--python").arg(python).arg(PYTHON_PEER);
        bench.env("PYTHONDONTWRITEBYTECODE", "1");
    }
    if wish.quick {
        bench.arg("--quick");
    } else {
        bench.arg("--results").arg(RESULTS);
    }
    if let Some(json) = &wish.json {
        // It is named from where the person is.
        bench.arg("--json").arg(std::path::absolute(json)?);
    }
    step::run(&mut bench)
}

/// Measure what tenants can do to one another.
pub(crate) fn neighbour(workspace: &Workspace, short: bool) -> anyhow::Result<()> {
    measure(workspace, "neighbour", short)
}

/// Measure what many registrations and connections cost.
pub(crate) fn scale(workspace: &Workspace, short: bool) -> anyhow::Result<()> {
    measure(workspace, "scale", short)
}

fn measure(workspace: &Workspace, what: &str, short: bool) -> anyhow::Result<()> {
    let release = build(workspace)?;
    let mut bench = Command::new(release.join("rpc-host-bench"));
    bench
        .arg(what)
        .arg(release.join("rpc-host"))
        .arg(workspace.components());
    if short {
        bench.arg("--short");
    }
    step::run(&mut bench)
}

/// Build what is measured and what measures it, and tell where the programs are.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    modules::build(workspace, None, Voice::Brief)?;
    let mut build = step::cargo();
    // Not the whole workspace: what is measured has the features that are shipped.
    build.args([
        "build",
        "--release",
        "-p",
        "rpc-host",
        "-p",
        "rpc-host-bench",
    ]);
    progress::run("release build", build.current_dir(workspace.root()))?;
    Ok(workspace.target().join("release"))
}

/// Build one of the peers, and tell where the programs are.
fn build_peer(workspace: &Workspace, package: &str) -> anyhow::Result<PathBuf> {
    let target = workspace.target().join("peers");
    let mut build = step::cargo();
    build
        .args(["build", "--release", "--locked", "-p", package])
        .arg("--manifest-path")
        .arg(peers_folder(workspace).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace.root());
    progress::run(package, &mut build)?;
    Ok(target.join("release"))
}

/// What `wasmtime serve` is given.
fn http_guest(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = peers_folder(workspace).join("guest");
    modules::build_one(workspace, &folder, "http-echo")
}

fn peers_folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("bench/peers")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn parse(line: &str) -> Result<Wish, String> {
        Wish::parse(line.split_whitespace())
    }

    #[test]
    fn wishes_are_read_or_refused() {
        assert_eq!(parse(""), Ok(Wish::default()));
        let wish = Wish {
            quick: true,
            json: Some("a.json".into()),
            without: Vec::new(),
        };
        assert_eq!(parse("--quick --json a.json").as_ref(), Ok(&wish));
        assert_eq!(parse("--json=a.json --quick").as_ref(), Ok(&wish));
        let without = parse("--without wasmtime-serve --without=python").unwrap();
        assert_eq!(without.without, [Peer::WasmtimeServe, Peer::Python]);
        assert!(!without.has(Peer::Python) && Wish::default().has(Peer::Python));
        for wrong in ["--json", "--without grpc", "--quick=1", "--slow", "quick"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// `wasmtime serve` is of the engine that the node has: what is compared is what is around it.
    #[test]
    fn the_peer_has_the_engine_that_the_node_has() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let version = |lock: &str, name: &str| {
            let lock = fs::read_to_string(root.join(lock)).unwrap();
            let entry = format!("name = \"{name}\"\nversion = \"");
            let (_, rest) = lock.split_once(&entry).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let ours = version("Cargo.lock", "wasmtime");
        assert_eq!(version("bench/peers/Cargo.lock", "wasmtime"), ours);
        assert_eq!(version("bench/peers/Cargo.lock", "wasmtime-cli"), ours);
    }
}

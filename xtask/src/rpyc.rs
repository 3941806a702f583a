//! The comparison with RPyC: the same work by both, over TLS, in one run.
//!
//! What is measured here is in the release profile; RPyC is the one that the Python package's tests need as well, from
//! the package index, in the same virtual environment.

use std::process::Command;

use crate::workspace::Workspace;
use crate::{bench, python, step};

/// Where the figures are left, within the target folder.
const FIGURES: &str = "rpyc.json";

/// Measure RPyC, the Python client and the Rust client.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let release = bench::build(workspace)?;
    let python = python::installed(workspace)?;
    let mut compare = Command::new(python);
    compare
        .arg(workspace.root().join("bench/rpyc/compare.py"))
        .arg(release.join("rpc-host"))
        .arg(workspace.components())
        .arg("--rust")
        .arg(release.join("rpc-host-bench"))
        .arg("--json")
        .arg(workspace.target().join(FIGURES))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    step::run(&mut compare)
}

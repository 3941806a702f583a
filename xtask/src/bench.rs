//! The benchmarks, with everything in the release profile.

use std::path::PathBuf;
use std::process::Command;

use crate::modules::{self, Voice};
use crate::workspace::Workspace;
use crate::{progress, step};

/// Measure calls beside a floor.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    measure(workspace, &[])
}

/// Measure what tenants can do to one another.
pub(crate) fn neighbour(workspace: &Workspace, short: bool) -> anyhow::Result<()> {
    let wish: &[&str] = if short {
        &["neighbour", "--short"]
    } else {
        &["neighbour"]
    };
    measure(workspace, wish)
}

/// Measure what many registrations and connections cost.
pub(crate) fn scale(workspace: &Workspace, short: bool) -> anyhow::Result<()> {
    let wish: &[&str] = if short {
        &["scale", "--short"]
    } else {
        &["scale"]
    };
    measure(workspace, wish)
}

/// Build what is measured and what measures it, and run that.
fn measure(workspace: &Workspace, wish: &[&str]) -> anyhow::Result<()> {
    let release = build(workspace)?;
    let mut bench = Command::new(release.join("rpc-host-bench"));
    bench
        .arg(release.join("rpc-host"))
        .arg(workspace.components())
        .args(wish);
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

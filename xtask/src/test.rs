//! Every test: those of the guests, run natively, those of the workspace, and those of the Python package.
//!
//! The workspace is always built whole, as `cargo build` and the demo do. A build of one package
//! alone would have other features of shared dependencies, and compile the engine once more.

use std::process::Command;

use crate::guest_environment;
use crate::modules::{self, Voice};
use crate::python;
use crate::step;
use crate::workspace::Workspace;

/// Run all tests, or, if there are `arguments`, those of the workspace that `cargo test ARGUMENTS`
/// would run.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    modules::build(workspace, None, Voice::Full)?;
    if arguments.is_empty() {
        step::run(&mut guests(workspace))?;
    }
    // Cargo builds a package's programs for that package's own tests only, and the end-to-end
    // tests are a package of their own.
    let mut build = step::cargo();
    build.args(["build", "--workspace"]);
    step::run(build.current_dir(workspace.root()))?;
    let mut test = step::cargo();
    test.args(["test", "--workspace"]).args(arguments);
    step::run(test.current_dir(workspace.root()))?;
    if arguments.is_empty() {
        python::test(workspace, &[])?;
        with_features(workspace)?;
    }
    Ok(())
}

/// What is off by default: the node is built once more, with it, for the tests that need it. The engine is
/// the same, so this takes a minute or two.
fn with_features(workspace: &Workspace) -> anyhow::Result<()> {
    const FEATURES: [&str; 2] = ["--features", "rpc-host/http,rpc-host-tests/http"];
    let mut build = step::cargo();
    build.args(["build", "--workspace"]).args(FEATURES);
    step::run(build.current_dir(workspace.root()))?;
    let mut test = step::cargo();
    test.args(["test", "--workspace", "--lib", "--test", "all"]);
    test.args(FEATURES).args(["--", "http", "outgoing"]);
    let ended = step::run(test.current_dir(workspace.root()));
    // What lies there afterwards is the node as it is by default.
    let mut build = step::cargo();
    build.args(["build", "--workspace"]);
    step::run(build.current_dir(workspace.root()))?;
    ended
}

/// The guests' own unit tests: they need no WebAssembly.
fn guests(workspace: &Workspace) -> Command {
    let mut command = Command::new("cargo");
    guest_environment::strip(&mut command);
    command
        .args(["test", "--quiet", "--manifest-path"])
        .arg(workspace.shown(&workspace.guest_manifest()))
        .arg("--target-dir")
        .arg(workspace.shown(&workspace.guest_target().join("native")))
        .current_dir(workspace.root());
    command
}

//! What goes on against a node for as long as one likes: hostile programs, many at once, and storms of objects.
//!
//! In the development profile: its checks, for overflow above all, turn into a crash what a release
//! would pass over.

use std::process::Command;

use crate::modules::{self, Voice};
use crate::step;
use crate::workspace::Workspace;

/// Build the node and what attacks it, and run that with these arguments, which it reads itself.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    against_node(workspace, "rpc-host-gauntlet", arguments)
}

/// The same for a storm of objects.
pub(crate) fn storm(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    against_node(workspace, "rpc-host-storm", arguments)
}

fn against_node(workspace: &Workspace, program: &str, arguments: &[String]) -> anyhow::Result<()> {
    modules::build(workspace, None, Voice::Brief)?;
    let mut build = step::cargo();
    // The whole workspace, as the tests do, so that nothing is compiled twice.
    build.args(["build", "--workspace"]);
    step::run(build.current_dir(workspace.root()))?;
    let programs = workspace.target().join("debug");
    step::run(Command::new(programs.join(program)).args(arguments))
}

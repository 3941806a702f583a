//! Hostile programs against a node, many at once, for as long as one likes.
//!
//! In the development profile: its checks, for overflow above all, turn into a crash what a release
//! would pass over.

use std::process::Command;

use crate::modules::{self, Voice};
use crate::step;
use crate::workspace::Workspace;

/// Build the node and what attacks it, and run that with these arguments, which it reads itself.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    modules::build(workspace, None, Voice::Brief)?;
    let mut build = step::cargo();
    // The whole workspace, as the tests do, so that nothing is compiled twice.
    build.args(["build", "--workspace"]);
    step::run(build.current_dir(workspace.root()))?;
    let programs = workspace.target().join("debug");
    step::run(Command::new(programs.join("rpc-host-gauntlet")).args(arguments))
}

//! The demo: a node, a few modules, and what happens when one misbehaves.
//!
//! Everything is done by the commands of the README, each one shown so that it can be repeated,
//! and every answer is checked: a demo that only looks right is no demo.

mod files;
mod localisation;
mod node;
mod program;
mod terminal;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::modules::{self, Voice};
use crate::workspace::Workspace;
use crate::{progress, step};
use node::Node;
use terminal::Terminal;

const BEFORE: &str = "\
Building the modules and the node. The first time this takes about ten minutes on two cores, most
of them for the engine; `cargo xtask test` goes on from the same build.";

const AFTER: &str = "\
It all worked. To go on:
  README.md, \"Five minutes\"   a node of your own, and the commands above as they stand
  modules/calc/src/lib.rs     change it, `cargo xtask modules`, upload it again: calls get the new one
  cargo xtask test            every test, on the build that is there now";

/// A call that loops is given so long.
const LOOP_TIMEOUT: &str = "300ms";
/// It must have ended after so long, even on a machine with much else to do.
const LOOP_ENDED: Duration = Duration::from_secs(5);

/// Build everything and show it.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    eprintln!("{BEFORE}");
    modules::build(workspace, None, Voice::Brief)?;
    let mut build = step::cargo();
    build.args(["build", "--workspace"]);
    progress::run("node", build.current_dir(workspace.root()))?;

    let folder = Folder::new(
        workspace
            .target()
            .join(format!("demo-{}", std::process::id())),
    )?;
    let program = workspace.target().join("debug/rpc-host");
    let mut node = Node::prepare(workspace, &program, &folder.0);
    let shown = node.start().and_then(|()| {
        let terminal = Terminal::new(workspace, &program, node.profile(), &folder.0);
        show(workspace, &terminal, &node)?;
        node.stop()
    });
    match &shown {
        Ok(()) => println!("\n{AFTER}"),
        Err(_) => eprintln!("\nthe node's log ends so:\n{}", node.log_end()),
    }
    shown
}

fn show(workspace: &Workspace, terminal: &Terminal, node: &Node) -> anyhow::Result<()> {
    let upload = |name: &str, more: &[&str]| {
        let component = workspace.components().join(format!("{name}.wasm"));
        let component = workspace.shown(&component);
        let words = ["upload", &component, "--name", name];
        terminal
            .rpc_host(&[&words, more].concat())?
            .contains("sha256:")
    };
    let call = |name: &str, text: &str| terminal.rpc_host(&["call", name, text]);

    terminal.say("Upload a module under a name, and call its functions.");
    upload("calc", &[])?;
    call("calc", "add(2, 3)")?.is("5")?;
    call("calc", "distance({x: 0, y: 0}, {x: 3, y: 4})")?.is("5")?;
    terminal
        .rpc_host(&["inspect", "calc"])?
        .contains("add: func(a: s64, b: s64) -> s64")?;

    terminal
        .say("Every value has a type. One that does not fit is refused, and where it is wrong.");
    call("calc", "add(2, \"three\")")?
        .fails_with("invalid-argument: args[1]: expected s64, got \"three\"")?;
    terminal.say("A function can fail too: that error is its own, and has a type like any value.");
    call("calc", "div(1, 0)")?.fails_with("guest error: \"cannot divide 1 by zero\"")?;

    terminal.say("Text, options, records.");
    upload("text", &[])?;
    call("text", "line-length(\"one\\nthree\", 1)")?.is("some(5)")?;
    call("text", "count(\"a few words\")")?.is("{lines: 1, words: 3, chars: 11, bytes: 11}")?;

    terminal.say(
        "A module can only compute, unless it is granted more. This one may write to the log.",
    );
    upload("greeter", &["--grant", "log"])?;
    call("greeter", "greet(\"Ada\", german)")?.is("ok(\"Hallo, Ada!\")")?;
    node.show_in_log("greeted Ada")?;

    terminal.say("A module that panics ends its own call, and nothing else.");
    upload("trap", &[])?;
    let panicked = call("trap", "panic-with(\"out of cheese\")")?;
    panicked.fails_with("trapped: ")?;
    panicked.fails_with("out of cheese")?;
    panicked.fails_with("trap::trap::inner_step")?;
    call("trap", "ping()")?.is("\"pong\"")?;

    terminal.say("A module that never ends is ended.");
    upload("spin", &[])?;
    let looped = terminal.rpc_host(&["call", "spin", "forever()", "--timeout", LOOP_TIMEOUT])?;
    looped.fails_with("deadline-exceeded: ")?;
    looped.took_less_than(LOOP_ENDED)?;
    call("spin", "ping()")?.is("\"pong\"")?;

    files::show(workspace, terminal)?;
    localisation::show(workspace, terminal, node)?;

    let list = terminal.rpc_host(&["list"])?;
    for name in ["calc", "greeter", "spin", "text", "trap"] {
        list.contains(name)?;
    }
    Ok(())
}

/// A folder for the time of the demo.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("warning: cannot remove {}: {error}", folder.display());
    }
}

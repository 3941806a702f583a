//! The act about modules that others answer for: uploaded ones, and programs of this machine.

use super::node::Node;
use super::program::{End, Serving};
use super::terminal::Terminal;
use crate::workspace::Workspace;

const LOGGER: &str = "acme:log/logger";
const VERIFIER: &str = "acme:auth/verifier";
/// What the uploaded verifier knows for ada's.
const SIGNED: &str = "ada.a13596a938c65f23b37cbf9d15edeba52a5fad4ad6ba4c57e43b96f64e635cad";
/// What the local one does.
const SECRET: &str = "correct-horse";

pub(super) fn show(workspace: &Workspace, terminal: &Terminal, node: &Node) -> anyhow::Result<()> {
    let upload = |module: &str, name: &str, more: &[&str]| {
        let component = workspace.components().join(format!("{module}.wasm"));
        let component = workspace.shown(&component);
        let words = ["upload", &component, "--name", name];
        let uploaded = terminal.rpc_host(&[&words, more].concat())?;
        uploaded.contains("sha256:")
    };
    let ask = |token: &str, more: &[&str]| {
        let call = format!("handle(\"{token}\", \"whoami\")");
        terminal.rpc_host(&[&["call", "app", &call], more].concat())
    };
    let told = workspace
        .target()
        .join(format!("demo-{}", std::process::id()));

    terminal.say("A module can use others. `app` imports a logger and a verifier, by name.");
    upload("app", "app", &[])?;
    ask(SIGNED, &[])?.fails_with("which nothing answers; register")?;
    upload("logger", LOGGER, &["--grant", "log"])?;
    upload("verifier", VERIFIER, &[])?;
    ask(SIGNED, &[])?.is("ok(\"ada\")")?;
    node.show_in_log("ada asks: whoami")?;

    terminal
        .say("Who answers for a name can be a program of yours: the lines of `app` come here now.");
    let logger = Serving::start(
        terminal,
        &told.join("logger"),
        None,
        LOGGER,
        "modules/app/local/logger.sh",
    )?;
    ask(SIGNED, &[])?.is("ok(\"ada\")")?;
    logger.tells("ada asks: whoami")?;
    terminal.rpc_host(&["list"])?.contains("SERVED BY CLIENT")?;

    terminal.say("The verifier too: its secret is on this machine, and never on the node.");
    let verifier = Serving::start(
        terminal,
        &told.join("verifier"),
        Some(SECRET),
        VERIFIER,
        "modules/app/local/verifier.sh",
    )?;
    ask(SECRET, &[])?.is("ok(\"ada\")")?;
    ask(SIGNED, &[])?.fails_with("not known here")?;

    terminal.say("A stand-in for one call, as a test wants it. Others are not affected.");
    let stub = format!("{VERIFIER}=modules/app/local/stub.sh");
    ask("nobody", &["--provide", &stub])?.is("ok(\"tester\")")?;
    ask("nobody", &[])?.fails_with("not known here")?;

    terminal.say("The programs go, one of them without a word. The uploaded modules answer again.");
    logger.end(End::Interrupted)?;
    verifier.end(End::Killed)?;
    ask(SIGNED, &[])?.is("ok(\"ada\")")?;
    ask(SECRET, &[])?.fails_with("guest error")?;
    Ok(())
}

//! The act about files: a volume, in which nothing leads out.

use super::terminal::Terminal;
use crate::workspace::Workspace;

pub(super) fn show(workspace: &Workspace, terminal: &Terminal) -> anyhow::Result<()> {
    let component = workspace.components().join("files.wasm");
    let component = workspace.shown(&component);
    let upload = |name: &str, grant: &str| {
        let words = ["upload", &component, "--name", name, "--grant", grant];
        terminal.rpc_host(&words)?.contains("sha256:")
    };
    let call = |name: &str, text: &str| terminal.rpc_host(&["call", name, text]);

    terminal.say(
        "Files: a module that was granted a volume finds it as a directory, and nothing else.",
    );
    upload("files", "fs:data=rw")?;
    call("files", "create(\"/data/notes.txt\", \"one\")")?.is("ok")?;
    call("files", "append(\"/data/notes.txt\", \", two\")")?.is("ok")?;
    call("files", "read(\"/data/notes.txt\")")?.is("ok(\"one, two\")")?;
    call("files", "rename(\"/data/notes.txt\", \"/data/done.txt\")")?.is("ok")?;
    call("files", "list(\"/data\")")?.is("ok([{name: \"done.txt\", is-directory: false}])")?;
    call("files", "read(\"/data/../etc/passwd\")")?.fails_with("not-permitted")?;

    terminal.say("The same module under another name may only look.");
    upload("viewer", "fs:data=ro")?;
    call("viewer", "read(\"/data/done.txt\")")?.is("ok(\"one, two\")")?;
    call("viewer", "delete(\"/data/done.txt\")")?.fails_with("read-only")?;
    call("files", "delete(\"/data/done.txt\")")?.is("ok")?;
    Ok(())
}

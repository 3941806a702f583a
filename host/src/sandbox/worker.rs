//! The compiler's process, child's side: a component in on stdin, a compiled one out on stdout; or an
//! interface in as text, its functions out as data.
//!
//! The compiler is the one part that a hostile component can make slow, large or crash; here it takes
//! nobody with it. The process is used once and knows nothing: no data directory, no key, no
//! environment; and it is confined before it reads ([`crate::confinement`]).

use std::io::{ErrorKind, Read, Write};

use rpc_host_protocol::error::{MAX_FAILURE_TEXT_BYTES, printable};

use super::artifact::Compiled;
use super::docs::Docs;
use super::{SandboxError, count, described, engine, sniff, wit};
use crate::confinement::Enforcement;

/// Marks a refusal on stderr: the rest of the line is what is wrong with the component.
pub(super) const REFUSED: &str = "refused: ";
/// A line on stderr: there was no more memory to be had.
pub(super) const OUT_OF_MEMORY: &str = "out of memory";

/// Compiles the component that comes on `input`.
///
/// # Errors
/// One line for the parent: a refusal if it is the component's fault, else what failed.
pub fn compile(input: impl Read, output: impl Write) -> Result<(), String> {
    let compiled = read(input).and_then(|bytes| compiled(&bytes));
    let compiled = compiled.map_err(told)?;
    write(output, |output| compiled.write_to(output))
}

/// Reads the interface that comes on `input`: a line with the name that it is for, then WIT text.
///
/// # Errors
/// As [`compile`].
pub fn describe(input: impl Read, output: impl Write) -> Result<(), String> {
    let functions = read(input).and_then(|bytes| described::functions(&bytes));
    let functions = described::encode(&functions.map_err(told)?);
    write(output, |output| output.write_all(&functions))
}

/// Says what the kernel enforces for this process.
///
/// # Errors
/// One line for the parent.
pub fn probe(enforcement: &Enforcement, output: impl Write) -> Result<(), String> {
    write(output, |output| {
        serde_json::to_writer(output, enforcement).map_err(Into::into)
    })
}

/// Tells the parent what is wrong, and whether with what it sent.
fn told(error: SandboxError) -> String {
    match error {
        SandboxError::InvalidComponent(problem) | SandboxError::InvalidWit(problem) => {
            format!("{REFUSED}{}", printable(&problem, MAX_FAILURE_TEXT_BYTES))
        }
        SandboxError::Io { source, .. } if source.kind() == ErrorKind::OutOfMemory => {
            OUT_OF_MEMORY.to_owned()
        }
        other => other.to_string(),
    }
}

fn read(mut input: impl Read) -> Result<Vec<u8>, SandboxError> {
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(SandboxError::io("cannot read what there is to do"))?;
    Ok(bytes)
}

fn write<W: Write>(
    mut output: W,
    write: impl FnOnce(&mut W) -> std::io::Result<()>,
) -> Result<(), String> {
    let written = write(&mut output).and_then(|()| output.flush());
    written.map_err(|error| format!("cannot write what came of it: {error}"))
}

fn compiled(bytes: &[u8]) -> Result<Compiled, SandboxError> {
    sniff::is_component(bytes)?;
    count::check(bytes)?;
    let engine = engine::compiler()?;
    let code = engine.precompile_component(bytes).map_err(|error| {
        if error.is::<wasmtime::OutOfMemory>() {
            SandboxError::io("cannot compile")(ErrorKind::OutOfMemory.into())
        } else {
            SandboxError::InvalidComponent(format!("{error:#}"))
        }
    })?;
    Ok(Compiled {
        // A component whose world WIT cannot express is still called by its types.
        wit: wit::text(bytes).unwrap_or_default(),
        docs: Docs::of_component(bytes),
        code,
    })
}

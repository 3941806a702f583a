//! The compiler's process, child's side: a component in on stdin, a compiled one out on stdout.
//!
//! The compiler is the one part that a hostile component can make slow, large or crash; here it takes
//! nobody with it. The process is used once and knows nothing: no data directory, no key, no
//! environment.

use std::io::{Read, Write};

use rpc_host_protocol::error::{MAX_FAILURE_TEXT_BYTES, printable};

use super::artifact::Compiled;
use super::{SandboxError, count, engine, sniff, wit};

/// Marks a refusal on stderr: the rest of the line is what is wrong with the component.
pub(super) const REFUSED: &str = "refused: ";

/// Compiles what comes on `input`.
///
/// # Errors
/// One line for the parent: a refusal if it is the component's fault, else what failed.
pub fn run(input: impl Read, output: impl Write) -> Result<(), String> {
    translate(input, output).map_err(|error| match error {
        SandboxError::InvalidComponent(problem) => {
            format!("{REFUSED}{}", printable(&problem, MAX_FAILURE_TEXT_BYTES))
        }
        other => other.to_string(),
    })
}

fn translate(mut input: impl Read, mut output: impl Write) -> Result<(), SandboxError> {
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(SandboxError::io("cannot read the component"))?;
    let compiled = compile(&bytes)?;
    let written = compiled.write_to(&mut output).and_then(|()| output.flush());
    written.map_err(SandboxError::io("cannot write the compiled component"))
}

fn compile(bytes: &[u8]) -> Result<Compiled, SandboxError> {
    sniff::is_component(bytes)?;
    count::check(bytes)?;
    let engine = engine::compiler()?;
    let code = engine
        .precompile_component(bytes)
        .map_err(|error| SandboxError::InvalidComponent(format!("{error:#}")))?;
    Ok(Compiled {
        // A component whose world WIT cannot express is still called by its types.
        wit: wit::text(bytes).unwrap_or_default(),
        code,
    })
}

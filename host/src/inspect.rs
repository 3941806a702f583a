//! A component in a file, looked at without a node.

use rpc_host_protocol::operation::{Description, FunctionEntry, ImportEntry, Inspection};

use crate::capability::Kinds;
use crate::registry::Digest;
use crate::sandbox::{self, Function, Import, SandboxError};

/// What a component exports and imports, and what would stand behind its imports without any grant.
///
/// # Errors
/// When the bytes are no component, or one that is too complex.
pub fn inspect_component(bytes: &[u8]) -> Result<Inspection, SandboxError> {
    let world = sandbox::inspect_component(bytes)?;
    let imports = world.imports.iter().map(|(name, callable)| {
        import_entry(&sandbox::standing(name, *callable, Kinds::default()))
    });
    Ok(Inspection {
        digest: Digest::of(bytes).to_string(),
        size_bytes: bytes.len() as u64,
        wit: world.text,
        exports: world.functions.iter().map(function_entry).collect(),
        imports: imports.collect(),
    })
}

/// What can be called of a component: all of it, or the one function that a call of this path would mean.
///
/// # Errors
/// When the bytes are no component, or one that is too complex, or there is no such function.
pub fn describe_component(
    bytes: &[u8],
    function: Option<&str>,
) -> Result<Description, SandboxError> {
    sandbox::describe_component(bytes, function)
}

pub(crate) fn function_entry(function: &Function) -> FunctionEntry {
    FunctionEntry {
        interface: function.interface.as_deref().map(str::to_owned),
        name: function.name.to_string(),
        signature: function.signature.to_string(),
    }
}

pub(crate) fn import_entry(import: &Import) -> ImportEntry {
    ImportEntry {
        name: import.name.clone(),
        standing: import.standing,
        note: import.note.clone(),
    }
}

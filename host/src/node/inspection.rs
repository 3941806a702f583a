//! What is behind a name: what a module exports and imports, who answers the imports, and which functions
//! may be called.

use rpc_host_protocol::operation::{
    Describe, Description, ImportEntry, ImportStanding, Inspection,
};

use super::Node;
use crate::error::HostError;
use crate::inspect::{function_entry, import_entry};
use crate::provider::Found;
use crate::registry::Registration;
use crate::sandbox::Prepared;
use crate::session::SessionId;
use crate::tenant::ReadPermit;

/// Looks at the module that is registered under a name.
pub(super) async fn inspect(
    node: &Node,
    permit: &ReadPermit,
    session: SessionId,
    name: &str,
) -> Result<Inspection, HostError> {
    let found = node.registry.catalog.show(permit, name)?;
    let module = node.registry.modules.show(permit, &found.current.digest)?;
    let prepared = node.targets.load(&found).await?;
    let digest = module.digest.to_string();
    let mut inspection = inspection(digest, module.size_bytes, &prepared);
    name_answers(node, permit, session, &found, &mut inspection.imports);
    Ok(inspection)
}

/// Tells the functions of whoever answers for a name, as a call by this session would find them.
pub(super) async fn describe(
    node: &Node,
    permit: &ReadPermit,
    session: SessionId,
    request: Describe,
) -> Result<Description, HostError> {
    let name = &request.name;
    match node.providers.find(permit.tenant(), Some(session), name) {
        Some(Found::Serving(serving)) => Ok(serving
            .contract()
            .describe(request.function.as_deref(), &[])?),
        Some(Found::Lost(error)) => Err(error.into()),
        None => {
            let found = node.registry.catalog.show(permit, name)?;
            let prepared = node.targets.load(&found).await?;
            Ok(prepared.describe(request.function.as_deref())?)
        }
    }
}

fn inspection(digest: String, size_bytes: u64, prepared: &Prepared) -> Inspection {
    Inspection {
        digest,
        size_bytes,
        wit: prepared.wit().to_owned(),
        exports: prepared.functions().iter().map(function_entry).collect(),
        imports: prepared.imports().iter().map(import_entry).collect(),
    }
}

/// Says who answers the imports that others answer.
fn name_answers(
    node: &Node,
    permit: &ReadPermit,
    session: SessionId,
    registration: &Registration,
    imports: &mut [ImportEntry],
) {
    let session = (!registration.current.sealed).then_some(session);
    let is_served = |name: &str| {
        let found = node.providers.find(permit.tenant(), session, name);
        matches!(found, Some(Found::Serving(_)))
    };
    for import in imports {
        if import.standing != ImportStanding::Unbound {
            continue;
        }
        let mut names = registration.current.bindings.candidates(&import.name);
        let is_there =
            |name: &str| is_served(name) || node.registry.catalog.show(permit, name).is_ok();
        if let Some(name) = names.find(|name| is_there(name)) {
            let by_client = if is_served(name) {
                ", which a client serves"
            } else {
                ""
            };
            import.note = format!("answered by `{name}`{by_client}");
            import.standing = ImportStanding::Bound;
        } else if let Some(bound) = registration.current.bindings.get(&import.name) {
            import.note = format!("bound to `{bound}`, which is not registered");
        }
    }
}

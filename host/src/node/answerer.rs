//! Who answers for a name.

use std::sync::Arc;

use super::Node;
use crate::error::HostError;
use crate::provider::{Found, Serving};
use crate::registry::Registration;
use crate::session::SessionId;
use crate::tenant::CallPermit;

/// Who answers for a name now.
pub(super) enum Answerer {
    /// A client that serves it.
    Client(Serving),
    /// The module that is registered.
    Module(Arc<Registration>),
}

/// Who answers for a name: a client that serves it, to `session` alone before one that serves it to the
/// tenant, and else the module that is registered.
///
/// # Errors
/// When nobody does, or when the client is lost that nobody is to stand in for.
pub(super) fn answerer(
    node: &Node,
    permit: &CallPermit,
    session: Option<SessionId>,
    name: &str,
) -> Result<Answerer, HostError> {
    match node.providers.find(permit.tenant(), session, name) {
        Some(Found::Serving(serving)) => Ok(Answerer::Client(serving)),
        Some(Found::Lost(error)) => Err(error.into()),
        None => {
            let registration = node.registry.catalog.resolve(permit, name)?;
            Ok(Answerer::Module(registration))
        }
    }
}

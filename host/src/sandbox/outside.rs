//! What the imports of a guest lead to.
//!
//! The sandbox knows no names. An instance is given an [`Outside`], and each import that is not the
//! node's own ends there; whoever made the instance decides who answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use rpc_host_protocol::Failure;
use rpc_host_protocol::value::Handle;

use super::{Brought, Function, Given};

/// One function that a component imports and that the node does not serve itself.
#[derive(Debug)]
pub struct Imported {
    /// The import as the component names it: an interface, or a function at world level.
    pub import: Arc<str>,
    /// The function. Its interface is the import, or none at world level.
    pub function: Function,
    /// Its place among all such functions of the component.
    pub index: usize,
}

/// What comes of a call that a guest makes. The failure ends the guest, and what waits for it.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Answers what an instance imports. Dropping an answer gives it up.
pub trait Outside: Send + Sync + 'static {
    /// Calls what stands behind an imported function, with values where its types hold live objects, which are
    /// numbers of [`Handles`](super::Handles), and else with data; the answer is in the same form.
    fn call<'a>(&'a self, imported: &'a Imported, arguments: Brought) -> Answer<'a, Given>;

    /// The guest has let go of an object that it held.
    fn release(&self, object: Handle) -> Answer<'_, ()>;
}

impl fmt::Debug for dyn Outside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Outside")
    }
}

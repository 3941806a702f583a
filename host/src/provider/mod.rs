//! What clients serve: a name of a tenant, answered by a client over the connection that it opened.
//!
//! | file | holds |
//! |---|---|
//! | `offer` | what a client asks for, checked against the limits |
//! | `contract` | which functions a name stands for, and what one set of them lacks of another |
//! | `lease` | one client's right to serve one name for as long as it is alive; a call of it |
//! | `end` | how a lease ends, and what its client is told |
//! | `keeper` | asks silent clients for a sign of life, and ends the leases of those that give none |
//! | `table` | the leases of one tenant |
//! | `providers` | all leases of the node, and who serves what |
//!
//! A lease has a number that no other lease has while the node runs: its *epoch*. What a client answers
//! after its lease has ended reaches nobody, whatever it is and however late. Leases are kept in memory
//! only: they end with the connections that they rest on.
//!
//! This layer knows no component and no call into one. Which functions a name stands for it is told,
//! and values pass through it as bytes.

mod contract;
mod end;
mod error;
mod keeper;
mod lease;
mod offer;
mod providers;
mod table;
#[cfg(test)]
mod tests;

pub use contract::{lacking, of_interface};
pub use end::LeaseEnd;
pub use error::ProviderError;
pub use lease::Lease;
pub use offer::Offer;
pub use providers::{Found, Providers, Serving};

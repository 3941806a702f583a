//! Bytes and identity.

mod admission;
mod error;
pub mod frames;
mod listener;

pub use admission::Doorstep;
pub use error::TransportError;
pub use listener::{Arrival, ConnectionRoom, Listener, Secured};

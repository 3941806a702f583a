//! The wire contract of rpc-host, as `PROTOCOL.md` tells it in prose.
//!
//! Plain data: bytes become frames, frames become messages, and values are decoded strictly, against
//! their WIT type. There is no I/O and no async here, so every rule can be tested with bytes alone,
//! and both sides of a connection use the very same code.
//!
//! | file | holds |
//! |---|---|
//! | [`frame`] | the 12-byte header |
//! | [`assembler`] | frames → messages (fragmentation, interleaving, budgets) and back |
//! | [`message`] | what each kind of message carries |
//! | [`operation`] | requests about modules, registrations, tenants and tokens |
//! | [`error`] | error codes, faults and the failure message |
//! | [`types`] | WIT types and signatures as data |
//! | [`value`] | a value of a WIT type |
//! | [`holding`] | who holds which object, and how often it was sent |
//! | [`cbor`] | the strict subset of CBOR, and [`Value`] ↔ CBOR by type |
//! | [`json`] | [`Value`] ↔ JSON by type |
//! | [`mod@serde`] | Rust types ↔ CBOR, where no WIT type is at hand |
#![cfg_attr(feature = "wave", doc = "| [`wave`] | [`Value`] ↔ WAVE text by type |")]
#![forbid(unsafe_code)]

pub mod assembler;
pub mod cbor;
pub mod error;
pub mod frame;
pub mod holding;
pub mod json;
pub mod message;
pub mod operation;
pub mod payload;
pub mod serde;
pub mod types;
pub mod value;
#[cfg(feature = "wave")]
pub mod wave;

pub use error::{ErrorCode, Failure, Fault};
pub use frame::{ExchangeId, Kind};
pub use message::Message;
pub use operation::Operation;
pub use types::{Signature, Type};
pub use value::Value;

/// The protocol versions that this build speaks, newest first.
pub const VERSIONS: &[u32] = &[1];

/// The application protocol that both sides name in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"rpc-host/1";

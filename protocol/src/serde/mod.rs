//! Rust types ↔ the values of [`crate::cbor`], by way of serde.
//!
//! A client has Rust types and no WIT at hand, so here the Rust type directs the mapping; the host
//! checks what comes of it against the WIT type once more. Names of fields and variants are snake_case
//! and CamelCase in Rust and kebab-case on the wire; the keys of maps are data and stay as they are.
//!
//! | Rust | WIT |
//! |---|---|
//! | `bool`, integers, floats, `char`, `String` | the same |
//! | `Vec<u8>` (with `serde_bytes` or without, which takes much longer) | `list<u8>` |
//! | `Vec<T>`, `HashSet<T>`, `[T; N]` | `list<T>` |
//! | tuple, tuple struct | `tuple` |
//! | `HashMap<K, V>`, `BTreeMap<K, V>` | `map<K, V>` |
//! | struct | `record`; a unit struct is an empty one |
//! | enum | `enum` and `variant`; a case with several fields carries a tuple or a record |
//! | `Option<T>`, nested too | `option<T>` |
//! | `Result<T, E>` | `result<T, E>`; `()` where it has no payload |
//! | `Vec` or `BTreeSet` of text or of an enum | `flags` |
//! | `()` | no result |
//! | [`Handle`](crate::value::Handle) | `own<R>`, `borrow<R>` |
//!
//! Not here: `i128`, which WIT has not. What serde buffers before it knows the type (`untagged`,
//! `flatten`) loses names, nested options and handles, so field names must be written in kebab-case there.

mod arguments;
mod de;
mod error;
mod handle;
mod name;
mod outcome;
mod ser;

#[cfg(test)]
mod tests;

pub use arguments::{ArgumentList, Arguments};
pub use de::{from_cbor, from_cbor_owned};
pub use outcome::{describe, split_result};
pub use ser::to_cbor;

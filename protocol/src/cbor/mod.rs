//! The strict subset of CBOR ([RFC 8949](https://www.rfc-editor.org/rfc/rfc8949)) that the wire uses.
//!
//! Definite lengths only, integers and lengths in their shortest form, text is UTF-8, no simple values
//! but `false`, `true` and `null`, and no tags but [`HANDLE_TAG`] and [`OBJECT_TAG`]. Map keys are distinct.
//! What does not keep to this is refused, so a message means one thing to everybody.
//!
//! | WIT | CBOR |
//! |---|---|
//! | bool, ints, floats | the same; a float may come in any width, or as an integer that it holds exactly |
//! | char, string | text |
//! | `list<u8>` | bytes (an array of integers is taken too) |
//! | list, tuple | array |
//! | map | map |
//! | record | map by field name; a missing `option` field is none |
//! | enum | text |
//! | flags | array of text |
//! | variant | text without payload, else a map of one entry |
//! | option | null or the value; where the inner type is itself an option: null or `{some: …}` |
//! | result | `{ok: …}` or `{err: …}`, null where there is no payload |
//! | resource | tag 29296 (an object of the host) or 29297 (of the client) over an unsigned integer |

mod decode;
mod encode;
mod envelope;
mod made;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use decode::{check_arguments, check_value, decode_arguments, decode_value};
pub use encode::{encode_arguments, encode_value};
pub use envelope::{
    EnvelopeError, MAX_ENVELOPE_DEPTH, decode_envelope, encode_envelope, split_envelope,
};
pub use reader::{Head, Reader, SyntaxError, handles};
pub use writer::Writer;

/// The CBOR tag of a handle, for an object of the host: the letters `rp`.
pub const HANDLE_TAG: u64 = 0x7270;

/// The CBOR tag of an object of the client.
pub const OBJECT_TAG: u64 = 0x7271;

//! Messages that are plain structs: strict CBOR, then serde.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reader::{Reader, SyntaxError};

/// How deep an envelope may nest. A described type is the deepest there is: of three levels for each of its own, in which
/// no value nests deeper than [`ValueLimits`](crate::value::ValueLimits) say.
pub const MAX_ENVELOPE_DEPTH: u32 = 128;
/// How many items an envelope may have: a listing of all registrations is the largest.
const MAX_ITEMS: u32 = 1 << 20;

/// What most of them take, which are of a call.
const FEW_BYTES: usize = 64;

/// Why bytes are not the message that their kind says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the strict subset of CBOR.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A field is missing, unknown or of another type.
    #[error("{0}")]
    Content(String),
}

/// The bytes of a message.
pub fn encode_envelope<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FEW_BYTES);
    // Our own plain structs into a Vec: neither side can fail.
    let _infallible = ciborium::into_writer(message, &mut bytes);
    bytes
}

/// The message that these bytes, all of them, are.
pub fn decode_envelope<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    let (message, rest) = split_envelope(bytes)?;
    match rest.len() {
        0 => Ok(message),
        trailing => Err(SyntaxError::Trailing(trailing).into()),
    }
}

/// The message at the beginning of these bytes, and what follows it.
pub fn split_envelope<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), EnvelopeError> {
    let mut reader = Reader::new(bytes, MAX_ITEMS);
    let mut item = reader.item(MAX_ENVELOPE_DEPTH)?;
    let message = ciborium::from_reader(&mut item).map_err(|error| {
        EnvelopeError::Content(match error {
            ciborium::de::Error::Semantic(_, problem) => problem,
            other => other.to_string(),
        })
    })?;
    // It leaves what a pair has beside its two, and reads that as whatever comes next.
    if !item.is_empty() {
        let problem = "an array has more items than it should have";
        return Err(EnvelopeError::Content(problem.to_owned()));
    }
    Ok((message, reader.rest()))
}

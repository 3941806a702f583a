//! A value that is nothing but bytes, for a type that wants them in a vector of its own: it gets the one they came in.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::cbor::{Head, Reader};
use crate::serde::error::Misfit;

/// The value, if these bytes are a single byte string and its type takes that as it is; else the bytes.
pub(super) fn take<T: DeserializeOwned>(bytes: Vec<u8>) -> Result<Result<T, Misfit>, Vec<u8>> {
    let Some(head_bytes) = head_bytes(&bytes) else {
        return Err(bytes);
    };
    let mut place = Some(bytes);
    let value = T::deserialize(Whole {
        place: &mut place,
        head_bytes,
    });
    match place {
        None => Ok(value),
        Some(bytes) => Err(bytes),
    }
}

/// Bytes before the content of a single byte string.
fn head_bytes(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes, u32::MAX);
    let Ok(Head::Bytes(content)) = reader.head() else {
        return None;
    };
    reader.finish().ok()?;
    bytes.len().checked_sub(content.len())
}

/// Gives the bytes to whoever asks for a buffer of them. All else leaves them where they are, and fails.
struct Whole<'p> {
    place: &'p mut Option<Vec<u8>>,
    head_bytes: usize,
}

impl<'de> Deserializer<'de> for Whole<'_> {
    type Error = Misfit;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let mut bytes = self.place.take().unwrap_or_default();
        bytes.drain(..self.head_bytes.min(bytes.len()));
        visitor.visit_byte_buf(bytes)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("it is not asked for as a buffer of bytes"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

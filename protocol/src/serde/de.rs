//! CBOR → Rust.

mod parts;
mod whole;

use serde::de::{self, Deserialize, DeserializeOwned, Expected, Unexpected, Visitor};

use super::error::Misfit;
use super::handle;
use super::name::{find, listed};
use crate::cbor::{Head, Reader, SyntaxError};
use crate::value::{ValueError, ValueLimits};
use parts::{ByteElements, Case, Elements, Entries};

/// The Rust value that these bytes, all of them, are. `root` names it in errors.
///
/// Depth is limited as everywhere; the number of items is limited by that of the bytes, which the
/// limit of a message bounds.
pub fn from_cbor<'de, T: Deserialize<'de>>(bytes: &'de [u8], root: &str) -> Result<T, ValueError> {
    let mut input = Input {
        reader: Reader::new(bytes, u32::MAX),
        bytes,
        levels_left: ValueLimits::default().max_depth,
    };
    let value = T::deserialize(Decoder {
        input: &mut input,
        in_some: false,
    });
    value
        .and_then(|value| Ok(input.reader.finish().map(|()| value)?))
        .map_err(|misfit| misfit.at_root(root))
}

/// The same of bytes that whoever has them needs no more: a single byte string keeps their buffer, if its type asks for one
/// (`deserialize_byte_buf`, as `serde_bytes::ByteBuf` does).
pub fn from_cbor_owned<T: DeserializeOwned>(bytes: Vec<u8>, root: &str) -> Result<T, ValueError> {
    match whole::take(bytes) {
        Ok(value) => value.map_err(|misfit: Misfit| misfit.at_root(root)),
        Err(bytes) => from_cbor(&bytes, root),
    }
}

struct Input<'de> {
    reader: Reader<'de>,
    bytes: &'de [u8],
    levels_left: u32,
}

impl<'de> Input<'de> {
    fn head(&mut self) -> Result<Head<'de>, Misfit> {
        Ok(self.reader.head()?)
    }

    fn peek(&mut self) -> Result<Head<'de>, Misfit> {
        Ok(self.reader.peek()?)
    }

    /// The key of an entry that must have a name as key.
    fn name(&mut self) -> Result<&'de str, Misfit> {
        match self.head()? {
            Head::Text(text) => Ok(text),
            other => Err(Misfit::new(format!(
                "expected a name as key, got {}",
                other.name()
            ))),
        }
    }

    /// Reads what is one level further in.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Misfit>,
    ) -> Result<T, Misfit> {
        let Some(fewer) = self.levels_left.checked_sub(1) else {
            let max = ValueLimits::default().max_depth;
            return Err(SyntaxError::TooDeep(max).into());
        };
        self.levels_left = fewer;
        let value = read(self)?;
        self.levels_left = fewer + 1;
        Ok(value)
    }
}

/// Reads one value.
struct Decoder<'i, 'de> {
    input: &'i mut Input<'de>,
    /// The value is what an option holds: if it is an option itself, it says so.
    in_some: bool,
}

fn mismatch(found: Head<'_>, expected: &dyn Expected) -> Misfit {
    let found = match found {
        Head::Unsigned(number) => Unexpected::Unsigned(number),
        Head::Negative(number) => match negative(number) {
            Some(number) => Unexpected::Signed(number),
            None => Unexpected::Other("an integer below the range of s64"),
        },
        Head::Float(number) => Unexpected::Float(number),
        Head::Bool(value) => Unexpected::Bool(value),
        other => Unexpected::Other(other.name()),
    };
    de::Error::invalid_type(found, expected)
}

/// −1 − n, if it is in the range of `i64`.
fn negative(number: u64) -> Option<i64> {
    i64::try_from(number).ok().map(|number| !number)
}

/// An integer as a float, if it holds it exactly.
fn exact(head: Head<'_>) -> Option<f64> {
    const EXACT: u64 = 1 << 53;
    #[allow(
        clippy::cast_precision_loss,
        reason = "exact up to 2^53, which is checked"
    )]
    match head {
        Head::Float(number) => Some(number),
        Head::Unsigned(number) if number <= EXACT => Some(number as f64),
        Head::Negative(number) if number < EXACT => Some(-1.0 - number as f64),
        _ => None,
    }
}

impl<'de> Decoder<'_, 'de> {
    fn sequence<V: Visitor<'de>>(
        self,
        head: Head<'de>,
        expected_length: Option<usize>,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let length = match head {
            Head::Array(length) => length,
            Head::Bytes(bytes) => bytes.len(),
            other => return Err(mismatch(other, &visitor)),
        };
        if expected_length.is_some_and(|expected| expected != length) {
            return Err(de::Error::invalid_length(length, &visitor));
        }
        if let Head::Bytes(bytes) = head {
            return visitor.visit_seq(ByteElements(bytes.iter()));
        }
        self.input.nested(|input| {
            let mut elements = Elements::new(input, length);
            let value = visitor.visit_seq(&mut elements)?;
            elements.finish().map(|()| value)
        })
    }

    fn map<V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let length = match self.input.head()? {
            Head::Map(length) => length,
            other => return Err(mismatch(other, &visitor)),
        };
        self.input.nested(|input| {
            let mut entries = Entries::new(input, length, fields);
            let value = visitor.visit_map(&mut entries)?;
            entries.finish().map(|()| value)
        })
    }
}

macro_rules! any {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.deserialize_any(visitor)
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Decoder<'_, 'de> {
    type Error = Misfit;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.input.peek()? {
            Head::Array(_) => {
                let head = self.input.head()?;
                return self.sequence(head, None, visitor);
            }
            Head::Map(_) => return self.map(None, visitor),
            _ => {}
        }
        match self.input.head()? {
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Negative(number) => match negative(number) {
                Some(number) => visitor.visit_i64(number),
                None => Err(mismatch(Head::Negative(number), &visitor)),
            },
            Head::Float(number) => visitor.visit_f64(number),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Null => visitor.visit_unit(),
            Head::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Head::Text(text) => visitor.visit_borrowed_str(text),
            other => Err(mismatch(other, &visitor)),
        }
    }

    any! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_char deserialize_str deserialize_string
    }

    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("i128 has no type in wit; use i64 or text"))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("u128 has no type in wit; use u64 or text"))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let head = self.input.head()?;
        let number = exact(head).ok_or_else(|| mismatch(head, &visitor))?;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "rounding is meant; overflow is checked next"
        )]
        let narrowed = number as f32;
        if narrowed.is_finite() || !number.is_finite() {
            visitor.visit_f32(narrowed)
        } else {
            Err(Misfit::new(format!("{number} is out of range of f32")))
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let head = self.input.head()?;
        let number = exact(head).ok_or_else(|| mismatch(head, &visitor))?;
        visitor.visit_f64(number)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.input.head()? {
            Head::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            head => self.sequence(head, None, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let input = self.input;
        if self.in_some {
            match input.head()? {
                Head::Map(1) => {}
                other => return Err(mismatch(other, &"null or {some: …}")),
            }
            match input.name()? {
                "some" => {}
                other => {
                    return Err(Misfit::new(format!("expected {{some: …}}, got {other:?}")));
                }
            }
        }
        if input.peek()? == Head::Null {
            input.head()?;
            return visitor.visit_none();
        }
        input.nested(|input| {
            visitor.visit_some(Decoder {
                input,
                in_some: true,
            })
        })
    }

    /// Null, and the empty tuple.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.input.head()? {
            Head::Null | Head::Array(0) => visitor.visit_unit(),
            other => Err(mismatch(other, &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.input.head()? {
            Head::Map(0) => visitor.visit_unit(),
            other => Err(mismatch(other, &visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let head = self.input.head()?;
        self.sequence(head, None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let head = self.input.head()?;
        self.sequence(head, Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.map(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.map(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if name == handle::TYPE {
            return match self.input.head()? {
                Head::Handle(handle) => visitor.visit_enum(handle::Case(handle)),
                other => Err(mismatch(other, &"a handle")),
            };
        }
        let (name, has_payload) = match self.input.head()? {
            Head::Text(name) => (name, false),
            Head::Map(1) => (self.input.name()?, true),
            other => return Err(mismatch(other, &visitor)),
        };
        let variant = find(variants, name).ok_or_else(|| {
            Misfit::new(format!(
                "expected one of {}, got {name:?}",
                listed(variants)
            ))
        })?;
        self.input
            .nested(|input| visitor.visit_enum(Case::new(input, variant, has_payload)))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_borrowed_str(self.input.name()?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.input.reader.item(self.input.levels_left)?;
        visitor.visit_unit()
    }
}

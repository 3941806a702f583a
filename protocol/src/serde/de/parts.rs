//! What has parts: elements of lists and tuples, entries of records and maps, payloads of cases.

use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Decoder, Input};
use crate::serde::error::Misfit;
use crate::serde::name::{find, kebab, listed};

/// The elements of an array.
pub(super) struct Elements<'i, 'de> {
    input: &'i mut Input<'de>,
    index: usize,
    length: usize,
}

impl<'i, 'de> Elements<'i, 'de> {
    pub(super) fn new(input: &'i mut Input<'de>, length: usize) -> Self {
        Elements {
            input,
            index: 0,
            length,
        }
    }

    /// That the type took them all.
    pub(super) fn finish(self) -> Result<(), Misfit> {
        let Elements { index, length, .. } = self;
        if index == length {
            Ok(())
        } else {
            Err(Misfit::new(format!(
                "expected {index} elements, got {length}"
            )))
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        if self.index == self.length {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        let decoder = Decoder {
            input: self.input,
            in_some: false,
        };
        seed.deserialize(decoder)
            .map(Some)
            .map_err(|misfit| misfit.in_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.length - self.index)
    }
}

/// The elements of bytes, for a type that takes them one by one, as `Vec<u8>` does.
pub(super) struct ByteElements<'de>(pub(super) std::slice::Iter<'de, u8>);

impl<'de> SeqAccess<'de> for ByteElements<'de> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        match self.0.next() {
            None => Ok(None),
            Some(byte) => seed.deserialize(Byte(*byte)).map(Some),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// One of those, which may be wrapped in a newtype.
struct Byte(u8);

impl<'de> de::Deserializer<'de> for Byte {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_u8(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The entries of a map; or, where `fields` are known, of a record.
pub(super) struct Entries<'i, 'de> {
    input: &'i mut Input<'de>,
    fields: Option<&'static [&'static str]>,
    left: usize,
    index: usize,
    /// The name of the field whose value is next, for the path of an error.
    key: Option<&'static str>,
    /// The encoded keys of a map. Whoever reads a record finds its own fields twice by itself.
    seen: HashSet<&'de [u8]>,
}

impl<'i, 'de> Entries<'i, 'de> {
    pub(super) fn new(
        input: &'i mut Input<'de>,
        length: usize,
        fields: Option<&'static [&'static str]>,
    ) -> Self {
        Entries {
            input,
            fields,
            left: length,
            index: 0,
            key: None,
            seen: HashSet::new(),
        }
    }

    /// That the type took them all.
    pub(super) fn finish(self) -> Result<(), Misfit> {
        match self.left {
            0 => Ok(()),
            left => Err(Misfit::new(format!("{left} entries too many"))),
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let index = self.index;
        self.index += 1;
        if let Some(fields) = self.fields {
            let name = self.input.name()?;
            let Some(field) = find(fields, name) else {
                return Err(Misfit::new(format!(
                    "no field {name:?}; expected {}",
                    listed(fields)
                )));
            };
            self.key = Some(field);
            return seed.deserialize(field.into_deserializer()).map(Some);
        }
        let start = self.input.reader.position();
        let decoder = Decoder {
            input: self.input,
            in_some: false,
        };
        let key = seed
            .deserialize(decoder)
            .map_err(|misfit| misfit.in_index(index))?;
        let end = self.input.reader.position();
        let encoded = self.input.bytes.get(start..end).unwrap_or_default();
        if !self.seen.insert(encoded) {
            return Err(Misfit::new("the same key twice").in_index(index));
        }
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let decoder = Decoder {
            input: self.input,
            in_some: false,
        };
        seed.deserialize(decoder).map_err(|misfit| match self.key {
            Some(field) => misfit.in_field(&kebab(field)),
            None => misfit.in_index(self.index.saturating_sub(1)),
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A case and, if it came with one, its payload.
pub(super) struct Case<'i, 'de> {
    input: &'i mut Input<'de>,
    variant: &'static str,
    has_payload: bool,
}

impl<'i, 'de> Case<'i, 'de> {
    pub(super) fn new(input: &'i mut Input<'de>, variant: &'static str, has_payload: bool) -> Self {
        Case {
            input,
            variant,
            has_payload,
        }
    }

    fn payload(&mut self) -> Result<Decoder<'_, 'de>, Misfit> {
        if !self.has_payload {
            return Err(Misfit::new("missing payload").in_field(&kebab(self.variant)));
        }
        Ok(Decoder {
            input: self.input,
            in_some: false,
        })
    }
}

impl<'de> EnumAccess<'de> for Case<'_, 'de> {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Misfit> {
        let name: StrDeserializer<'_, Misfit> = self.variant.into_deserializer();
        let variant = seed.deserialize(name)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Case<'_, 'de> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        if self.has_payload {
            let problem = "a payload that this case does not have";
            return Err(Misfit::new(problem).in_field(&kebab(self.variant)));
        }
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<S::Value, Misfit> {
        let variant = self.variant;
        seed.deserialize(self.payload()?)
            .map_err(|misfit| misfit.in_field(&kebab(variant)))
    }

    fn tuple_variant<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let variant = self.variant;
        de::Deserializer::deserialize_tuple(self.payload()?, length, visitor)
            .map_err(|misfit| misfit.in_field(&kebab(variant)))
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let variant = self.variant;
        de::Deserializer::deserialize_struct(self.payload()?, "", fields, visitor)
            .map_err(|misfit| misfit.in_field(&kebab(variant)))
    }
}

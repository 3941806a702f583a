//! A handle on its way through serde, which has no such thing: an enum of one name, which is never a type
//! of anybody else's.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor};

use super::error::Misfit;
use crate::cbor::{HANDLE_TAG, OBJECT_TAG};
use crate::value::Handle;

/// What [`Handle`] is called in serde.
pub(super) const TYPE: &str = "rpc-host handle";
const OF_HOST: &str = "handle";
const OF_CLIENT: &str = "object";

/// The tag that the case of this name stands for.
pub(super) fn tag_of(case: &str) -> Option<u64> {
    match case {
        OF_HOST => Some(HANDLE_TAG),
        OF_CLIENT => Some(OBJECT_TAG),
        _ => None,
    }
}

/// A handle as the case of an enum.
pub(super) struct Case(pub(super) Handle);

impl<'de> EnumAccess<'de> for Case {
    type Error = Misfit;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Misfit> {
        let name = match self.0 {
            Handle::Host(_) => OF_HOST,
            Handle::Client(_) => OF_CLIENT,
        };
        let name: StrDeserializer<'_, Misfit> = name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Case {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        Err(Misfit::new("a handle has a number"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Misfit> {
        seed.deserialize(self.0.number().into_deserializer())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("a handle has a number"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Misfit> {
        Err(Misfit::new("a handle has a number"))
    }
}

//! Which operations there are.

use rpc_host_protocol::Operation;
use serde::Deserialize as _;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};

/// The names of all operations, as the protocol's own code reads them: an operation that is new is among
/// them as soon as it can be sent.
pub fn operation_names() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It wants to know what there is to choose from, and gets nothing.
    let _nothing = Operation::deserialize(Listener { names: &mut names });
    assert!(!names.is_empty(), "operations are not an enum any more");
    names
}

/// Hears which variants an enum has.
struct Listener<'a> {
    names: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.names = variants;
        Err(Error::custom("nothing is read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("this is no enum"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

//! A value of a WIT type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Name;

/// A value of a WIT [`Type`](crate::Type), in the form in which it passes between wire and sandbox.
///
/// A value does not know its type; whoever makes one does so by type (see [`crate::cbor`],
/// [`crate::json`]), and the sandbox checks it once more against the function it is given to.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the cases are named as in WIT")]
pub enum Value {
    Bool(bool),
    S8(i8),
    U8(u8),
    S16(i16),
    U16(u16),
    S32(i32),
    U32(u32),
    S64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Char(char),
    String(String),
    /// A `list<u8>`, always in this form.
    Bytes(Vec<u8>),
    /// Any other list, of fixed length or not.
    List(Vec<Value>),
    /// In the order in which the entries came; keys are distinct.
    Map(Vec<(Value, Value)>),
    /// In the order of the type's fields.
    Record(Vec<(Name, Value)>),
    Tuple(Vec<Value>),
    Variant(Name, Option<Box<Value>>),
    Enum(Name),
    Option(Option<Box<Value>>),
    Result(Result<Option<Box<Value>>, Option<Box<Value>>>),
    /// The flags that are set, in the order of the type.
    Flags(Vec<Name>),
    Handle(Handle),
}

/// The number that stands for a live object.
///
/// Whose object it is never depends on who sends it. In serde it is a value of its own only for
/// [`mod@crate::serde`]; everything else sees an enum with a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "rpc-host handle")]
pub enum Handle {
    /// An object of the host, by the number under which the session's client holds it. 0 is none.
    #[serde(rename = "handle")]
    Host(u64),
    /// An object of the client, by the number that the client chose for it.
    #[serde(rename = "object")]
    Client(u64),
}

impl Handle {
    /// The number, whosever object it is.
    pub fn number(self) -> u64 {
        match self {
            Handle::Host(number) | Handle::Client(number) => number,
        }
    }
}

/// Where in a value something is: `args[1].point.x`.
///
/// Kept as a chain on the stack, so that a value that is right costs nothing.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The root: `args`, `result`.
    Root(&'a str),
    /// An element of the outer one.
    Index(&'a Path<'a>, usize),
    /// A field or case of the outer one.
    Field(&'a Path<'a>, &'a str),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            Path::Index(outer, index) => write!(f, "{outer}[{index}]"),
            Path::Field(outer, name) => write!(f, "{outer}.{name}"),
        }
    }
}

/// Why bytes or text are no value of a type. The message names the place and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ValueError {
    /// Where: `args[1].point.x`.
    pub path: String,
    /// What: `expected s32, got text`.
    pub problem: String,
}

impl ValueError {
    /// An error at a place.
    pub fn at(path: Path<'_>, problem: impl Into<String>) -> Self {
        ValueError {
            path: path.to_string(),
            problem: problem.into(),
        }
    }
}

/// How large a value may get while it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct ValueLimits {
    /// How deep lists, records and the like may nest.
    pub max_depth: u32,
    /// How many items (values, fields, elements) there may be. Bytes and text count as one.
    pub max_items: u32,
}

impl Default for ValueLimits {
    /// 32 levels, 1,048,576 items.
    fn default() -> Self {
        ValueLimits {
            max_depth: 32,
            max_items: 1 << 20,
        }
    }
}

//! WIT types and function signatures as data.
//!
//! A [`Type`] is structural: it keeps the shape that values must have, not the names that the WIT gave
//! to its types. Inner types are shared, so a copy is cheap.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name within a type: of a field, a case, a flag or a parameter. Kebab-case, as in WIT.
pub type Name = Arc<str>;

/// A WIT value type.
///
/// Source: the [WIT specification](https://component-model.bytecodealliance.org/design/wit.html).
/// Streams, futures and error contexts are not among them: the host refuses components that use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the primitive types are named as in WIT")]
pub enum Type {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    /// `list<T>`
    List(Arc<Type>),
    /// `list<T, N>`: always this many.
    FixedList(Arc<Type>, u32),
    /// `map<K, V>`
    Map(Arc<Type>, Arc<Type>),
    /// `record`; may be empty.
    Record(Arc<[Field]>),
    /// `tuple`; may be empty.
    Tuple(Arc<[Type]>),
    /// `variant`
    Variant(Arc<[Case]>),
    /// `enum`
    Enum(Arc<[Name]>),
    /// `option<T>`
    Option(Arc<Type>),
    /// `result<ok, err>` in all four forms.
    Result(ResultType),
    /// `flags`; may be more than 32.
    Flags(Arc<[Name]>),
    /// `own<R>`: a live object that changes hands.
    Own(Name),
    /// `borrow<R>`: a live object that is lent.
    Borrow(Name),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name.
    pub name: Name,
    /// The type of its payload, if it has one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<Type>,
}

/// The payloads of a `result`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultType {
    /// What success carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Arc<Type>>,
    /// What a guest error carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err: Option<Arc<Type>>,
}

/// A parameter of a function.
pub type Parameter = Field;

/// What a function takes and gives.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// In order.
    pub parameters: Vec<Parameter>,
    /// `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Type>,
}

/// Something within a type that has a name.
pub trait Named {
    /// The name.
    fn name(&self) -> &str;
}

impl Named for Name {
    fn name(&self) -> &str {
        self
    }
}

impl Named for Field {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Case {
    fn name(&self) -> &str {
        &self.name
    }
}

/// So many names are gone through faster than they are looked up.
const FEW_NAMES: usize = 16;

/// Finds the places of names within types, for one value.
///
/// A type may have thousands of cases and a value millions of elements, so where there are many names,
/// an index of them is made at the first question: both numbers are an outsider's, and their product
/// would be time that nobody can take back.
#[derive(Debug, Default)]
pub struct NamePlaces<'t> {
    /// By where the names are in memory, where they stay as long as this lives.
    indexes: HashMap<usize, HashMap<&'t str, usize>>,
}

impl<'t> NamePlaces<'t> {
    /// The place of the one that has this name.
    pub fn of<T: Named>(&mut self, among: &'t [T], name: &str) -> Option<usize> {
        if among.len() <= FEW_NAMES {
            return among.iter().position(|one| one.name() == name);
        }
        let index = self
            .indexes
            .entry(among.as_ptr().addr())
            .or_insert_with(|| {
                let places = among.iter().enumerate();
                places.map(|(place, one)| (one.name(), place)).collect()
            });
        index.get(name).copied()
    }
}

impl Type {
    /// Whether a value of this type holds live objects.
    pub fn holds_handles(&self) -> bool {
        self.any(&|ty| matches!(ty, Type::Own(_) | Type::Borrow(_)))
    }

    /// Whether this type, or one that it is made of, is as `wanted`.
    pub fn any(&self, wanted: &impl Fn(&Type) -> bool) -> bool {
        wanted(self)
            || match self {
                Type::List(inner) | Type::FixedList(inner, _) | Type::Option(inner) => {
                    inner.any(wanted)
                }
                Type::Map(key, value) => key.any(wanted) || value.any(wanted),
                Type::Record(fields) => fields.iter().any(|field| field.ty.any(wanted)),
                Type::Tuple(types) => types.iter().any(|ty| ty.any(wanted)),
                Type::Variant(cases) => {
                    let mut payloads = cases.iter().filter_map(|case| case.ty.as_ref());
                    payloads.any(|ty| ty.any(wanted))
                }
                Type::Result(ResultType { ok, err }) => {
                    [ok, err].into_iter().flatten().any(|ty| ty.any(wanted))
                }
                Type::Bool
                | Type::S8
                | Type::U8
                | Type::S16
                | Type::U16
                | Type::S32
                | Type::U32
                | Type::S64
                | Type::U64
                | Type::F32
                | Type::F64
                | Type::Char
                | Type::String
                | Type::Enum(_)
                | Type::Flags(_)
                | Type::Own(_)
                | Type::Borrow(_) => false,
            }
    }
}

impl Type {
    /// How many levels of arrays and maps it takes as data.
    fn levels(&self) -> u32 {
        let deepest = |types: &mut dyn Iterator<Item = &Type>| {
            types.map(Type::levels).max().unwrap_or_default()
        };
        match self {
            Type::List(inner) | Type::Option(inner) => 1 + inner.levels(),
            Type::FixedList(inner, _) => 2 + inner.levels(),
            Type::Map(key, value) => 2 + deepest(&mut [&**key, &**value].into_iter()),
            Type::Record(fields) => 3 + deepest(&mut fields.iter().map(|field| &field.ty)),
            Type::Tuple(types) => 2 + deepest(&mut types.iter()),
            Type::Variant(cases) => 3 + deepest(&mut cases.iter().filter_map(|it| it.ty.as_ref())),
            Type::Result(ResultType { ok, err }) => {
                2 + deepest(&mut [ok, err].into_iter().flatten().map(|ty| &**ty))
            }
            Type::Enum(_) | Type::Flags(_) => 2,
            Type::Own(_) | Type::Borrow(_) => 1,
            Type::Bool
            | Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64
            | Type::F32
            | Type::F64
            | Type::Char
            | Type::String => 0,
        }
    }
}

impl Signature {
    /// How many levels of arrays and maps it takes as data.
    pub fn levels(&self) -> u32 {
        let parameters = self.parameters.iter().map(|one| 3 + one.ty.levels());
        let result = self.result.iter().map(|ty| 1 + ty.levels());
        parameters.chain(result).max().unwrap_or_default().max(2)
    }

    /// Whether the function takes or gives live objects.
    pub fn holds_handles(&self) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.ty.holds_handles())
            || self.result.as_ref().is_some_and(Type::holds_handles)
    }

    /// Whether its result is a WIT `result`, so that it may end with a guest error.
    pub fn returns_result(&self) -> bool {
        matches!(self.result, Some(Type::Result(_)))
    }
}

impl fmt::Display for Type {
    /// As WIT writes it; types that have a name in WIT are written out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("bool"),
            Type::S8 => f.write_str("s8"),
            Type::U8 => f.write_str("u8"),
            Type::S16 => f.write_str("s16"),
            Type::U16 => f.write_str("u16"),
            Type::S32 => f.write_str("s32"),
            Type::U32 => f.write_str("u32"),
            Type::S64 => f.write_str("s64"),
            Type::U64 => f.write_str("u64"),
            Type::F32 => f.write_str("f32"),
            Type::F64 => f.write_str("f64"),
            Type::Char => f.write_str("char"),
            Type::String => f.write_str("string"),
            Type::List(inner) => write!(f, "list<{inner}>"),
            Type::FixedList(inner, length) => write!(f, "list<{inner}, {length}>"),
            Type::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Type::Record(fields) => braced(f, "record", fields, |f, Field { name, ty }| {
                write!(f, "{name}: {ty}")
            }),
            Type::Tuple(types) => {
                f.write_str("tuple<")?;
                separated(f, types, |f, ty| write!(f, "{ty}"))?;
                f.write_str(">")
            }
            Type::Variant(cases) => braced(f, "variant", cases, |f, Case { name, ty }| match ty {
                None => f.write_str(name),
                Some(ty) => write!(f, "{name}({ty})"),
            }),
            Type::Enum(names) => braced(f, "enum", names, |f, name| f.write_str(name)),
            Type::Option(inner) => write!(f, "option<{inner}>"),
            Type::Result(ResultType { ok, err }) => match (ok, err) {
                (None, None) => f.write_str("result"),
                (Some(ok), None) => write!(f, "result<{ok}>"),
                (None, Some(err)) => write!(f, "result<_, {err}>"),
                (Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
            },
            Type::Flags(names) => braced(f, "flags", names, |f, name| f.write_str(name)),
            Type::Own(name) => f.write_str(name),
            Type::Borrow(name) => write!(f, "borrow<{name}>"),
        }
    }
}

impl fmt::Display for Signature {
    /// As WIT writes it: `func(a: s64, b: s64) -> s64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        separated(f, &self.parameters, |f, Field { name, ty }| {
            write!(f, "{name}: {ty}")
        })?;
        f.write_str(")")?;
        match &self.result {
            None => Ok(()),
            Some(ty) => write!(f, " -> {ty}"),
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn braced<T>(
    f: &mut fmt::Formatter<'_>,
    keyword: &str,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if items.is_empty() {
        return write!(f, "{keyword} {{}}");
    }
    write!(f, "{keyword} {{ ")?;
    separated(f, items, write)?;
    f.write_str(" }")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_data() {
        let depth = |signature: &Signature| {
            let bytes = crate::cbor::encode_envelope(signature);
            (0..).find(|most| {
                crate::cbor::Reader::new(&bytes, 1 << 20)
                    .item(*most)
                    .is_ok()
            })
        };
        let field = |ty| Field {
            name: "f".into(),
            ty,
        };
        let nested: [fn(Arc<Type>) -> Type; 8] = [
            Type::List,
            Type::Option,
            |ty| Type::FixedList(ty, 3),
            |ty| Type::Map(Arc::new(Type::U8), ty),
            |ty| Type::Tuple([Type::U8, (*ty).clone()].into()),
            |ty| {
                Type::Variant(Arc::from([Case {
                    name: "c".into(),
                    ty: Some((*ty).clone()),
                }]))
            },
            |ty| {
                Type::Result(ResultType {
                    ok: None,
                    err: Some(ty),
                })
            },
            |ty| {
                Type::Record(Arc::from([Field {
                    name: "r".into(),
                    ty: (*ty).clone(),
                }]))
            },
        ];
        let flat = [
            Type::U8,
            Type::Enum(Arc::from(["e".into()])),
            Type::Flags(Arc::from(["e".into()])),
            Type::Own("r".into()),
        ];
        let mut types = flat.to_vec();
        for wrap in nested {
            types.extend(flat.iter().map(|ty| wrap(Arc::new(ty.clone()))));
            types.extend(
                nested
                    .iter()
                    .map(|inner| wrap(Arc::new(inner(Arc::new(Type::U8))))),
            );
        }
        for ty in types {
            let taking = Signature {
                parameters: vec![field(Type::Bool), field(ty.clone())],
                result: None,
            };
            let giving = Signature {
                parameters: Vec::new(),
                result: Some(ty),
            };
            for signature in [taking, giving] {
                assert_eq!(depth(&signature), Some(signature.levels()), "{signature}");
            }
        }
        assert_eq!(
            depth(&Signature::default()),
            Some(Signature::default().levels())
        );
    }

    #[test]
    fn few_and_many_names_are_found_alike() {
        let names = |count: usize| -> Vec<Name> {
            (0..count)
                .map(|number| format!("n{number}").into())
                .collect()
        };
        let (few, many, others) = (names(FEW_NAMES), names(1000), names(2000));
        let mut places = NamePlaces::default();
        for _ in 0..2 {
            assert_eq!(places.of(&few, "n15"), Some(15));
            assert_eq!(places.of(&few, "n16"), None);
            assert_eq!(places.of(&many, "n999"), Some(999));
            assert_eq!(places.of(&many, "n1000"), None);
            assert_eq!(places.of(&others, "n1000"), Some(1000));
        }
    }

    #[test]
    fn types_read_as_wit() {
        let point = Type::Record(Arc::from([
            Field {
                name: "x".into(),
                ty: Type::S32,
            },
            Field {
                name: "label".into(),
                ty: Type::Option(Arc::new(Type::String)),
            },
        ]));
        let signature = Signature {
            parameters: vec![Field {
                name: "points".into(),
                ty: Type::List(Arc::new(point)),
            }],
            result: Some(Type::Result(ResultType {
                ok: None,
                err: Some(Arc::new(Type::String)),
            })),
        };
        assert_eq!(
            signature.to_string(),
            "func(points: list<record { x: s32, label: option<string> }>) -> result<_, string>"
        );
        assert_eq!(Type::Record(Arc::from([])).to_string(), "record {}");
        assert_eq!(Type::Tuple(Arc::from([])).to_string(), "tuple<>");
    }
}

//! [`Type`], as the library sees it.

use std::borrow::Cow;
use std::sync::Arc;

use wasm_wave::wasm::{WasmType, WasmTypeKind};

use super::{Boxed, names_of};
use crate::types::Type;

impl WasmType for Type {
    fn kind(&self) -> WasmTypeKind {
        match self {
            Type::Bool => WasmTypeKind::Bool,
            Type::S8 => WasmTypeKind::S8,
            Type::U8 => WasmTypeKind::U8,
            Type::S16 => WasmTypeKind::S16,
            Type::U16 => WasmTypeKind::U16,
            Type::S32 => WasmTypeKind::S32,
            Type::U32 => WasmTypeKind::U32,
            Type::S64 => WasmTypeKind::S64,
            Type::U64 | Type::Own(_) | Type::Borrow(_) => WasmTypeKind::U64,
            Type::F32 => WasmTypeKind::F32,
            Type::F64 => WasmTypeKind::F64,
            Type::Char => WasmTypeKind::Char,
            Type::String => WasmTypeKind::String,
            Type::List(_) | Type::FixedList(..) | Type::Map(..) => WasmTypeKind::List,
            Type::Record(_) => WasmTypeKind::Record,
            Type::Tuple(_) => WasmTypeKind::Tuple,
            Type::Variant(_) => WasmTypeKind::Variant,
            Type::Enum(_) => WasmTypeKind::Enum,
            Type::Option(_) => WasmTypeKind::Option,
            Type::Result(_) => WasmTypeKind::Result,
            Type::Flags(_) => WasmTypeKind::Flags,
        }
    }

    fn list_element_type(&self) -> Option<Self> {
        match self {
            Type::List(inner) | Type::FixedList(inner, _) => Some(Type::clone(inner)),
            Type::Map(key, value) => Some(Type::Tuple(Arc::from([
                Type::clone(key),
                Type::clone(value),
            ]))),
            _ => None,
        }
    }

    fn record_fields(&self) -> Boxed<'_, (Cow<'_, str>, Self)> {
        let fields = match self {
            Type::Record(fields) => &fields[..],
            _ => &[],
        };
        Box::new(
            fields
                .iter()
                .map(|field| (Cow::Borrowed(&*field.name), field.ty.clone())),
        )
    }

    fn tuple_element_types(&self) -> Boxed<'_, Self> {
        match self {
            Type::Tuple(types) => Box::new(types.iter().cloned()),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn variant_cases(&self) -> Boxed<'_, (Cow<'_, str>, Option<Self>)> {
        let cases = match self {
            Type::Variant(cases) => &cases[..],
            _ => &[],
        };
        Box::new(
            cases
                .iter()
                .map(|case| (Cow::Borrowed(&*case.name), case.ty.clone())),
        )
    }

    fn enum_cases(&self) -> Boxed<'_, Cow<'_, str>> {
        match self {
            Type::Enum(names) => names_of(names),
            _ => names_of(&[]),
        }
    }

    fn option_some_type(&self) -> Option<Self> {
        match self {
            Type::Option(inner) => Some(Type::clone(inner)),
            _ => None,
        }
    }

    fn result_types(&self) -> Option<(Option<Self>, Option<Self>)> {
        match self {
            Type::Result(result) => Some((
                result.ok.as_deref().cloned(),
                result.err.as_deref().cloned(),
            )),
            _ => None,
        }
    }

    fn flags_names(&self) -> Boxed<'_, Cow<'_, str>> {
        match self {
            Type::Flags(names) => names_of(names),
            _ => names_of(&[]),
        }
    }
}

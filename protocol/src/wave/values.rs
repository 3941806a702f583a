//! [`Value`], as the library sees it.

use std::borrow::Cow;

use wasm_wave::wasm::{WasmTypeKind, WasmValue, WasmValueError};

use super::{Boxed, names_of};
use crate::types::Type;
use crate::value::Value;

fn refused(problem: impl Into<String>) -> WasmValueError {
    WasmValueError::Other(problem.into())
}

/// What an accessor gives when it is called on a value of another kind: [`WasmValue::kind`] says which
/// accessor is right, so none of the library's callers sees it.
macro_rules! accessor {
    ($name:ident, $case:ident, $type:ty, $otherwise:expr) => {
        fn $name(&self) -> $type {
            match self {
                Value::$case(value) => *value,
                _ => $otherwise,
            }
        }
    };
}

impl WasmValue for Value {
    type Type = Type;

    fn kind(&self) -> WasmTypeKind {
        match self {
            Value::Bool(_) => WasmTypeKind::Bool,
            Value::S8(_) => WasmTypeKind::S8,
            Value::U8(_) => WasmTypeKind::U8,
            Value::S16(_) => WasmTypeKind::S16,
            Value::U16(_) => WasmTypeKind::U16,
            Value::S32(_) => WasmTypeKind::S32,
            Value::U32(_) => WasmTypeKind::U32,
            Value::S64(_) => WasmTypeKind::S64,
            Value::U64(_) | Value::Handle(_) => WasmTypeKind::U64,
            Value::F32(_) => WasmTypeKind::F32,
            Value::F64(_) => WasmTypeKind::F64,
            Value::Char(_) => WasmTypeKind::Char,
            Value::String(_) => WasmTypeKind::String,
            Value::Bytes(_) | Value::List(_) | Value::Map(_) => WasmTypeKind::List,
            Value::Record(_) => WasmTypeKind::Record,
            Value::Tuple(_) => WasmTypeKind::Tuple,
            Value::Variant(..) => WasmTypeKind::Variant,
            Value::Enum(_) => WasmTypeKind::Enum,
            Value::Option(_) => WasmTypeKind::Option,
            Value::Result(_) => WasmTypeKind::Result,
            Value::Flags(_) => WasmTypeKind::Flags,
        }
    }

    fn make_bool(value: bool) -> Self {
        Value::Bool(value)
    }
    fn make_s8(value: i8) -> Self {
        Value::S8(value)
    }
    fn make_s16(value: i16) -> Self {
        Value::S16(value)
    }
    fn make_s32(value: i32) -> Self {
        Value::S32(value)
    }
    fn make_s64(value: i64) -> Self {
        Value::S64(value)
    }
    fn make_u8(value: u8) -> Self {
        Value::U8(value)
    }
    fn make_u16(value: u16) -> Self {
        Value::U16(value)
    }
    fn make_u32(value: u32) -> Self {
        Value::U32(value)
    }
    fn make_u64(value: u64) -> Self {
        Value::U64(value)
    }
    fn make_f32(value: f32) -> Self {
        Value::F32(value)
    }
    fn make_f64(value: f64) -> Self {
        Value::F64(value)
    }
    fn make_char(value: char) -> Self {
        Value::Char(value)
    }
    fn make_string(value: Cow<'_, str>) -> Self {
        Value::String(value.into_owned())
    }

    fn make_list(
        ty: &Type,
        values: impl IntoIterator<Item = Self>,
    ) -> Result<Self, WasmValueError> {
        let values: Vec<Value> = values.into_iter().collect();
        match ty {
            Type::FixedList(_, length) if values.len() != *length as usize => Err(refused(
                format!("expected {ty}, got {} elements", values.len()),
            )),
            Type::List(inner) | Type::FixedList(inner, _) if **inner == Type::U8 => {
                let bytes = values.into_iter().map(|value| match value {
                    Value::U8(byte) => Ok(byte),
                    _ => Err(refused("expected u8")),
                });
                Ok(Value::Bytes(bytes.collect::<Result<_, _>>()?))
            }
            Type::Map(..) => {
                let mut entries: Vec<(Value, Value)> = Vec::with_capacity(values.len());
                for value in values {
                    let pair = match value {
                        Value::Tuple(pair) => <[Value; 2]>::try_from(pair).ok(),
                        _ => None,
                    };
                    let [key, value] = pair.ok_or_else(|| refused("expected (key, value)"))?;
                    if entries.iter().any(|(earlier, _)| *earlier == key) {
                        return Err(refused("the same key twice"));
                    }
                    entries.push((key, value));
                }
                Ok(Value::Map(entries))
            }
            _ => Ok(Value::List(values)),
        }
    }

    fn make_record<'a>(
        ty: &Type,
        fields: impl IntoIterator<Item = (&'a str, Self)>,
    ) -> Result<Self, WasmValueError> {
        let Type::Record(types) = ty else {
            return Err(refused(format!("expected {ty}")));
        };
        let mut given: Vec<(&str, Value)> = fields.into_iter().collect();
        let fields = types.iter().map(|field| {
            let found = given.iter().position(|(name, _)| *name == &*field.name);
            match (found, &field.ty) {
                (Some(index), _) => Ok((field.name.clone(), given.swap_remove(index).1)),
                (None, Type::Option(_)) => Ok((field.name.clone(), Value::Option(None))),
                (None, _) => Err(WasmValueError::MissingField(field.name.to_string())),
            }
        });
        let fields = fields.collect::<Result<_, _>>()?;
        match given.first() {
            None => Ok(Value::Record(fields)),
            Some((unknown, _)) => Err(WasmValueError::UnknownField((*unknown).to_owned())),
        }
    }

    fn make_tuple(
        _: &Type,
        values: impl IntoIterator<Item = Self>,
    ) -> Result<Self, WasmValueError> {
        Ok(Value::Tuple(values.into_iter().collect()))
    }

    fn make_variant(ty: &Type, case: &str, value: Option<Self>) -> Result<Self, WasmValueError> {
        let Type::Variant(cases) = ty else {
            return Err(refused(format!("expected {ty}")));
        };
        let found = cases.iter().find(|known| &*known.name == case);
        let found = found.ok_or_else(|| WasmValueError::UnknownCase(case.to_owned()))?;
        match (&found.ty, &value) {
            (Some(_), None) => Err(WasmValueError::MissingPayload(case.to_owned())),
            (None, Some(_)) => Err(WasmValueError::UnexpectedPayload(case.to_owned())),
            _ => Ok(Value::Variant(found.name.clone(), value.map(Box::new))),
        }
    }

    fn make_enum(ty: &Type, case: &str) -> Result<Self, WasmValueError> {
        let Type::Enum(names) = ty else {
            return Err(refused(format!("expected {ty}")));
        };
        let found = names.iter().find(|name| &***name == case);
        found
            .cloned()
            .map(Value::Enum)
            .ok_or_else(|| WasmValueError::UnknownCase(case.to_owned()))
    }

    fn make_option(_: &Type, value: Option<Self>) -> Result<Self, WasmValueError> {
        Ok(Value::Option(value.map(Box::new)))
    }

    fn make_result(
        ty: &Type,
        value: Result<Option<Self>, Option<Self>>,
    ) -> Result<Self, WasmValueError> {
        let Type::Result(types) = ty else {
            return Err(refused(format!("expected {ty}")));
        };
        let (name, expected, given) = match &value {
            Ok(payload) => ("ok", &types.ok, payload),
            Err(payload) => ("err", &types.err, payload),
        };
        match (expected, given) {
            (Some(_), None) => Err(WasmValueError::MissingPayload(name.to_owned())),
            (None, Some(_)) => Err(WasmValueError::UnexpectedPayload(name.to_owned())),
            _ => Ok(Value::Result(
                value.map(|v| v.map(Box::new)).map_err(|v| v.map(Box::new)),
            )),
        }
    }

    fn make_flags<'a>(
        ty: &Type,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, WasmValueError> {
        let Type::Flags(known) = ty else {
            return Err(refused(format!("expected {ty}")));
        };
        let names: Vec<&str> = names.into_iter().collect();
        for name in &names {
            if !known.iter().any(|flag| &**flag == *name) {
                return Err(WasmValueError::UnknownCase((*name).to_owned()));
            }
        }
        Ok(Value::Flags(
            known
                .iter()
                .filter(|flag| names.contains(&&***flag))
                .cloned()
                .collect(),
        ))
    }

    accessor!(unwrap_bool, Bool, bool, false);
    accessor!(unwrap_s8, S8, i8, 0);
    accessor!(unwrap_s16, S16, i16, 0);
    accessor!(unwrap_s32, S32, i32, 0);
    accessor!(unwrap_s64, S64, i64, 0);
    accessor!(unwrap_u8, U8, u8, 0);
    accessor!(unwrap_u16, U16, u16, 0);
    accessor!(unwrap_u32, U32, u32, 0);
    accessor!(unwrap_f32, F32, f32, 0.0);
    accessor!(unwrap_f64, F64, f64, 0.0);
    accessor!(unwrap_char, Char, char, '\0');

    fn unwrap_u64(&self) -> u64 {
        match self {
            Value::U64(number) => *number,
            Value::Handle(handle) => handle.number(),
            _ => 0,
        }
    }

    fn unwrap_string(&self) -> Cow<'_, str> {
        match self {
            Value::String(text) => Cow::Borrowed(text),
            _ => Cow::Borrowed(""),
        }
    }

    fn unwrap_list(&self) -> Boxed<'_, Cow<'_, Self>> {
        match self {
            Value::Bytes(bytes) => Box::new(bytes.iter().map(|byte| Cow::Owned(Value::U8(*byte)))),
            Value::List(values) => Box::new(values.iter().map(Cow::Borrowed)),
            Value::Map(entries) => Box::new(
                entries
                    .iter()
                    .map(|(key, value)| Cow::Owned(Value::Tuple(vec![key.clone(), value.clone()]))),
            ),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn unwrap_record(&self) -> Boxed<'_, (Cow<'_, str>, Cow<'_, Self>)> {
        match self {
            Value::Record(fields) => Box::new(
                fields
                    .iter()
                    .map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(value))),
            ),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn unwrap_tuple(&self) -> Boxed<'_, Cow<'_, Self>> {
        match self {
            Value::Tuple(values) => Box::new(values.iter().map(Cow::Borrowed)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn unwrap_variant(&self) -> (Cow<'_, str>, Option<Cow<'_, Self>>) {
        match self {
            Value::Variant(name, payload) => (
                Cow::Borrowed(&**name),
                payload.as_deref().map(Cow::Borrowed),
            ),
            _ => (Cow::Borrowed(""), None),
        }
    }

    fn unwrap_enum(&self) -> Cow<'_, str> {
        match self {
            Value::Enum(name) => Cow::Borrowed(&**name),
            _ => Cow::Borrowed(""),
        }
    }

    fn unwrap_option(&self) -> Option<Cow<'_, Self>> {
        match self {
            Value::Option(value) => value.as_deref().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn unwrap_result(&self) -> Result<Option<Cow<'_, Self>>, Option<Cow<'_, Self>>> {
        match self {
            Value::Result(Ok(value)) => Ok(value.as_deref().map(Cow::Borrowed)),
            Value::Result(Err(value)) => Err(value.as_deref().map(Cow::Borrowed)),
            _ => Ok(None),
        }
    }

    fn unwrap_flags(&self) -> Boxed<'_, Cow<'_, str>> {
        match self {
            Value::Flags(names) => names_of(names),
            _ => names_of(&[]),
        }
    }
}

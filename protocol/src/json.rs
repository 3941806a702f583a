//! [`Value`] ↔ JSON, by type: the mapping of [`crate::cbor`] where JSON has the form, and these where
//! it has not.
//!
//! * `list<u8>` is an array of numbers, like any list.
//! * A float that JSON has no number for is `"NaN"`, `"Infinity"` or `"-Infinity"`.
//! * A `map` with text as key is an object, any other map an array of `[key, value]`.
//! * A handle is `{"handle": number}`, an object of the client `{"object": number}`.

use serde_json::{Map, Number, Value as Json, json};

use crate::types::{Case, Field, ResultType, Type};
use crate::value::{Handle, Path, Value, ValueError, ValueLimits};

/// A value as JSON.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::S8(value) => json!(value),
        Value::U8(value) => json!(value),
        Value::S16(value) => json!(value),
        Value::U16(value) => json!(value),
        Value::S32(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::S64(value) => json!(value),
        Value::U64(value) => json!(value),
        // By way of its shortest decimal form, so that 0.1 does not print as 0.10000000149….
        Value::F32(value) => float(value.to_string().parse().unwrap_or(f64::from(*value))),
        Value::F64(value) => float(*value),
        Value::Char(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(value),
        Value::List(values) | Value::Tuple(values) => values.iter().map(to_json).collect(),
        Value::Map(entries) => map_to_json(entries),
        Value::Record(fields) => Json::Object(
            fields
                .iter()
                .map(|(name, value)| (name.to_string(), to_json(value)))
                .collect(),
        ),
        Value::Variant(name, None) | Value::Enum(name) => json!(**name),
        Value::Variant(name, Some(payload)) => tagged(name, to_json(payload)),
        Value::Option(None) => Json::Null,
        Value::Option(Some(value)) => match &**value {
            inner @ Value::Option(_) => tagged("some", to_json(inner)),
            inner => to_json(inner),
        },
        Value::Result(result) => {
            let (name, payload) = match result {
                Ok(payload) => ("ok", payload),
                Err(payload) => ("err", payload),
            };
            tagged(name, payload.as_deref().map_or(Json::Null, to_json))
        }
        Value::Flags(names) => names.iter().map(|name| json!(**name)).collect(),
        Value::Handle(Handle::Host(number)) => tagged("handle", json!(number)),
        Value::Handle(Handle::Client(number)) => tagged("object", json!(number)),
    }
}

fn tagged(name: &str, payload: Json) -> Json {
    Json::Object(Map::from_iter([(name.to_owned(), payload)]))
}

fn float(number: f64) -> Json {
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => json!("NaN"),
        None if number > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

fn map_to_json(entries: &[(Value, Value)]) -> Json {
    let as_object: Option<Map<String, Json>> = entries
        .iter()
        .map(|(key, value)| match key {
            Value::String(key) => Some((key.clone(), to_json(value))),
            _ => None,
        })
        .collect();
    match as_object {
        Some(object) => Json::Object(object),
        None => entries
            .iter()
            .map(|(key, value)| json!([to_json(key), to_json(value)]))
            .collect(),
    }
}

/// The value of type `ty` that this JSON is. `root` names it in errors.
pub fn from_json(json: &Json, ty: &Type, root: &str) -> Result<Value, ValueError> {
    value(json, ty, Path::Root(root), 0)
}

fn mismatch(path: Path<'_>, ty: &Type, found: &Json) -> ValueError {
    let found = match found {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    ValueError::at(path, format!("expected {ty}, got {found}"))
}

fn value(json: &Json, ty: &Type, path: Path<'_>, depth: u32) -> Result<Value, ValueError> {
    let max_depth = ValueLimits::default().max_depth;
    if depth > max_depth {
        return Err(ValueError::at(
            path,
            format!("nested deeper than {max_depth} levels"),
        ));
    }
    let wrong = || mismatch(path, ty, json);
    match ty {
        Type::Bool => json.as_bool().map(Value::Bool).ok_or_else(wrong),
        Type::S8 => integer(json, ty, path).map(Value::S8),
        Type::U8 => integer(json, ty, path).map(Value::U8),
        Type::S16 => integer(json, ty, path).map(Value::S16),
        Type::U16 => integer(json, ty, path).map(Value::U16),
        Type::S32 => integer(json, ty, path).map(Value::S32),
        Type::U32 => integer(json, ty, path).map(Value::U32),
        Type::S64 => integer(json, ty, path).map(Value::S64),
        Type::U64 => integer(json, ty, path).map(Value::U64),
        Type::F32 => {
            let number = json_float(json).ok_or_else(wrong)?;
            #[allow(
                clippy::cast_possible_truncation,
                reason = "rounding is meant; overflow is checked next"
            )]
            let narrowed = number as f32;
            if narrowed.is_finite() || !number.is_finite() {
                Ok(Value::F32(narrowed))
            } else {
                Err(ValueError::at(
                    path,
                    format!("{number} is out of range of f32"),
                ))
            }
        }
        Type::F64 => json_float(json).map(Value::F64).ok_or_else(wrong),
        Type::Char => {
            let mut characters = json.as_str().ok_or_else(wrong)?.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) => Ok(Value::Char(character)),
                _ => Err(ValueError::at(
                    path,
                    "expected char, got text that is not one character",
                )),
            }
        }
        Type::String => json
            .as_str()
            .map(|text| Value::String(text.to_owned()))
            .ok_or_else(wrong),
        Type::List(inner) => list(json.as_array().ok_or_else(wrong)?, inner, path, depth),
        Type::FixedList(inner, length) => {
            let items = json.as_array().ok_or_else(wrong)?;
            if items.len() != *length as usize {
                return Err(ValueError::at(
                    path,
                    format!("expected {ty}, got {} elements", items.len()),
                ));
            }
            list(items, inner, path, depth)
        }
        Type::Map(key_type, value_type) => map(json, ty, key_type, value_type, path, depth),
        Type::Record(fields) => {
            record(json.as_object().ok_or_else(wrong)?, ty, fields, path, depth)
        }
        Type::Tuple(types) => {
            let items = json.as_array().ok_or_else(wrong)?;
            if items.len() != types.len() {
                return Err(ValueError::at(
                    path,
                    format!("expected {ty}, got {} elements", items.len()),
                ));
            }
            let items = items.iter().zip(types.iter()).enumerate();
            let items = items
                .map(|(index, (item, ty))| value(item, ty, Path::Index(&path, index), depth + 1));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        Type::Variant(cases) => variant(json, ty, cases, path, depth),
        Type::Enum(names) => {
            let text = json.as_str().ok_or_else(wrong)?;
            let name = names.iter().find(|name| &***name == text);
            let name =
                name.ok_or_else(|| ValueError::at(path, format!("expected {ty}, got {text:?}")))?;
            Ok(Value::Enum(name.clone()))
        }
        Type::Option(inner) => {
            let some = match (json, &**inner) {
                (Json::Null, _) => return Ok(Value::Option(None)),
                (Json::Object(object), Type::Option(_)) => match single(object) {
                    Some(("some", payload)) => payload,
                    _ => return Err(ValueError::at(path, "expected null or {\"some\": …}")),
                },
                (json, _) => json,
            };
            Ok(Value::Option(Some(Box::new(value(
                some,
                inner,
                path,
                depth + 1,
            )?))))
        }
        Type::Result(ResultType { ok, err }) => {
            let entry = json.as_object().and_then(single);
            let (is_ok, ty, payload) = match entry {
                Some(("ok", payload)) => (true, ok, payload),
                Some(("err", payload)) => (false, err, payload),
                _ => return Err(wrong()),
            };
            let here = Path::Field(&path, if is_ok { "ok" } else { "err" });
            let payload = match ty {
                Some(ty) => Some(Box::new(value(payload, ty, here, depth + 1)?)),
                None if payload.is_null() => None,
                None => return Err(ValueError::at(here, "expected null")),
            };
            Ok(Value::Result(if is_ok {
                Ok(payload)
            } else {
                Err(payload)
            }))
        }
        Type::Flags(names) => {
            let items = json.as_array().ok_or_else(wrong)?;
            let mut texts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let path = Path::Index(&path, index);
                let text = item
                    .as_str()
                    .ok_or_else(|| mismatch(path, &Type::String, item))?;
                if !names.iter().any(|name| &**name == text) {
                    return Err(ValueError::at(path, format!("expected {ty}, got {text:?}")));
                }
                if texts.contains(&text) {
                    return Err(ValueError::at(path, format!("{text:?} twice")));
                }
                texts.push(text);
            }
            let set = names.iter().filter(|name| texts.contains(&&***name));
            Ok(Value::Flags(set.cloned().collect()))
        }
        Type::Own(_) | Type::Borrow(_) => {
            let (whose, number) = json.as_object().and_then(single).ok_or_else(wrong)?;
            let handle = match whose {
                "handle" => Handle::Host,
                "object" => Handle::Client,
                _ => return Err(wrong()),
            };
            let number = number.as_u64().ok_or_else(wrong)?;
            Ok(Value::Handle(handle(number)))
        }
    }
}

fn single(object: &Map<String, Json>) -> Option<(&str, &Json)> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((name, payload)), None) => Some((name, payload)),
        _ => None,
    }
}

fn integer<T: TryFrom<i128>>(json: &Json, ty: &Type, path: Path<'_>) -> Result<T, ValueError> {
    let number = json
        .as_u64()
        .map(i128::from)
        .or_else(|| json.as_i64().map(i128::from))
        .ok_or_else(|| mismatch(path, ty, json))?;
    T::try_from(number)
        .map_err(|_| ValueError::at(path, format!("{number} is out of range of {ty}")))
}

fn json_float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn list(items: &[Json], inner: &Type, path: Path<'_>, depth: u32) -> Result<Value, ValueError> {
    let at = |index| Path::Index(&path, index);
    if *inner == Type::U8 {
        let bytes = items
            .iter()
            .enumerate()
            .map(|(index, item)| integer(item, inner, at(index)));
        return Ok(Value::Bytes(bytes.collect::<Result<_, _>>()?));
    }
    let values = items
        .iter()
        .enumerate()
        .map(|(index, item)| value(item, inner, at(index), depth + 1));
    Ok(Value::List(values.collect::<Result<_, _>>()?))
}

fn map(
    json: &Json,
    ty: &Type,
    key_type: &Type,
    value_type: &Type,
    path: Path<'_>,
    depth: u32,
) -> Result<Value, ValueError> {
    let mut entries: Vec<(Value, Value)> = Vec::new();
    match json {
        // An empty map is `{}` whatever its keys are.
        Json::Object(object) if *key_type == Type::String || object.is_empty() => {
            for (key, item) in object {
                let item = value(item, value_type, Path::Field(&path, key), depth + 1)?;
                entries.push((Value::String(key.clone()), item));
            }
        }
        Json::Array(pairs) => {
            for (index, pair) in pairs.iter().enumerate() {
                let path = Path::Index(&path, index);
                let Some([key, item]) = pair.as_array().map(Vec::as_slice) else {
                    return Err(ValueError::at(path, "expected [key, value]"));
                };
                let key = value(key, key_type, path, depth + 1)?;
                if entries.iter().any(|(earlier, _)| *earlier == key) {
                    return Err(ValueError::at(path, "the same key twice"));
                }
                entries.push((key, value(item, value_type, path, depth + 1)?));
            }
        }
        other => return Err(mismatch(path, ty, other)),
    }
    Ok(Value::Map(entries))
}

fn record(
    object: &Map<String, Json>,
    ty: &Type,
    fields: &[Field],
    path: Path<'_>,
    depth: u32,
) -> Result<Value, ValueError> {
    if let Some(unknown) = object
        .keys()
        .find(|key| !fields.iter().any(|field| &*field.name == key.as_str()))
    {
        return Err(ValueError::at(
            Path::Field(&path, unknown),
            format!("no such field in {ty}"),
        ));
    }
    let filled = fields.iter().map(|Field { name, ty }| {
        let here = Path::Field(&path, name);
        let value = match (object.get(&**name), ty) {
            (Some(json), ty) => value(json, ty, here, depth + 1)?,
            (None, Type::Option(_)) => Value::Option(None),
            (None, ty) => return Err(ValueError::at(here, format!("missing: expected {ty}"))),
        };
        Ok((name.clone(), value))
    });
    Ok(Value::Record(filled.collect::<Result<_, _>>()?))
}

fn variant(
    json: &Json,
    ty: &Type,
    cases: &[Case],
    path: Path<'_>,
    depth: u32,
) -> Result<Value, ValueError> {
    let (name, payload) = match json {
        Json::String(name) => (name.as_str(), None),
        Json::Object(object) => match single(object) {
            Some((name, payload)) => (name, Some(payload)),
            None => return Err(mismatch(path, ty, json)),
        },
        other => return Err(mismatch(path, ty, other)),
    };
    let Some(case) = cases.iter().find(|case| &*case.name == name) else {
        return Err(ValueError::at(path, format!("expected {ty}, got {name:?}")));
    };
    let here = Path::Field(&path, name);
    let payload = match (&case.ty, payload) {
        (None, None) => None,
        (Some(ty), Some(payload)) => Some(Box::new(value(payload, ty, here, depth + 1)?)),
        (None, Some(_)) => return Err(ValueError::at(here, "this case has no payload")),
        (Some(ty), None) => {
            return Err(ValueError::at(
                here,
                format!("missing payload: expected {ty}"),
            ));
        }
    };
    Ok(Value::Variant(case.name.clone(), payload))
}

//! [`Value`] → CBOR.

use super::writer::Writer;
use crate::value::Value;

/// A value as CBOR. It must have been made by type, as all ways into [`Value`] do.
pub fn encode_value(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    write_value(&mut writer, value);
    writer.into_bytes()
}

/// The two items that follow the envelope of a call: positional arguments, then named ones.
pub fn encode_arguments(positional: &[Value], named: &[(String, Value)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(positional.len());
    for value in positional {
        write_value(&mut writer, value);
    }
    writer.map(named.len());
    for (name, value) in named {
        writer.text(name);
        write_value(&mut writer, value);
    }
    writer.into_bytes()
}

fn write_value(writer: &mut Writer, value: &Value) {
    match value {
        Value::Bool(value) => writer.bool(*value),
        Value::S8(value) => writer.signed(i64::from(*value)),
        Value::U8(value) => writer.unsigned(u64::from(*value)),
        Value::S16(value) => writer.signed(i64::from(*value)),
        Value::U16(value) => writer.unsigned(u64::from(*value)),
        Value::S32(value) => writer.signed(i64::from(*value)),
        Value::U32(value) => writer.unsigned(u64::from(*value)),
        Value::S64(value) => writer.signed(*value),
        Value::U64(value) => writer.unsigned(*value),
        Value::F32(value) => writer.float(f64::from(*value)),
        Value::F64(value) => writer.float(*value),
        Value::Char(value) => writer.text(value.encode_utf8(&mut [0; 4])),
        Value::String(value) => writer.text(value),
        Value::Bytes(value) => writer.byte_string(value),
        Value::List(values) | Value::Tuple(values) => {
            writer.array(values.len());
            for value in values {
                write_value(writer, value);
            }
        }
        Value::Map(entries) => {
            writer.map(entries.len());
            for (key, value) in entries {
                write_value(writer, key);
                write_value(writer, value);
            }
        }
        Value::Record(fields) => {
            writer.map(fields.len());
            for (name, value) in fields {
                writer.text(name);
                write_value(writer, value);
            }
        }
        Value::Variant(name, None) | Value::Enum(name) => writer.text(name),
        Value::Variant(name, Some(payload)) => {
            writer.map(1);
            writer.text(name);
            write_value(writer, payload);
        }
        Value::Option(None) => writer.null(),
        Value::Option(Some(value)) => match &**value {
            inner @ Value::Option(_) => {
                writer.map(1);
                writer.text("some");
                write_value(writer, inner);
            }
            inner => write_value(writer, inner),
        },
        Value::Result(result) => {
            let (name, payload) = match result {
                Ok(payload) => ("ok", payload),
                Err(payload) => ("err", payload),
            };
            writer.map(1);
            writer.text(name);
            match payload {
                None => writer.null(),
                Some(value) => write_value(writer, value),
            }
        }
        Value::Flags(names) => {
            writer.array(names.len());
            for name in names {
                writer.text(name);
            }
        }
        Value::Handle(handle) => writer.handle(*handle),
    }
}

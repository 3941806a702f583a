//! Looks into an encoded value without a type at hand.

use std::fmt::Write;

use crate::cbor::{Head, Reader};
use crate::error::printable;
use crate::value::{ValueError, ValueLimits};

/// The payload of an encoded `result`, as one encoded item: that of `ok`, or that of `err`.
pub fn split_result(bytes: &[u8]) -> Result<Result<&[u8], &[u8]>, ValueError> {
    let wrong = |problem: String| ValueError {
        path: "result".to_owned(),
        problem,
    };
    let mut reader = Reader::new(bytes, u32::MAX);
    let syntax = |error: crate::cbor::SyntaxError| wrong(error.to_string());
    let head = reader.head().map_err(syntax)?;
    if head != Head::Map(1) {
        let found = head.name();
        return Err(wrong(format!(
            "expected {{ok: …}} or {{err: …}}, got {found}"
        )));
    }
    let case = reader.head().map_err(syntax)?;
    let payload = reader
        .item(ValueLimits::default().max_depth)
        .map_err(syntax)?;
    reader.finish().map_err(syntax)?;
    match case {
        Head::Text("ok") => Ok(Ok(payload)),
        Head::Text("err") => Ok(Err(payload)),
        _ => Err(wrong("expected {ok: …} or {err: …}".to_owned())),
    }
}

/// An encoded value for a person who has no type at hand: one line, at most `max_bytes` long.
///
/// Written like WAVE as far as that is possible without the type.
pub fn describe(bytes: &[u8], max_bytes: usize) -> String {
    let mut reader = Reader::new(bytes, u32::MAX);
    let mut out = String::new();
    let depth = ValueLimits::default().max_depth;
    if write_item(&mut reader, &mut out, depth, max_bytes).is_none() && out.len() < max_bytes {
        out.push('…');
    }
    printable(&out, max_bytes)
}

/// `None` where the bytes or the room end.
fn write_item(
    reader: &mut Reader<'_>,
    out: &mut String,
    levels_left: u32,
    max_bytes: usize,
) -> Option<()> {
    if out.len() > max_bytes {
        return None;
    }
    let levels_left = levels_left.checked_sub(1)?;
    let item =
        |reader: &mut Reader<'_>, out: &mut String| write_item(reader, out, levels_left, max_bytes);
    match reader.head().ok()? {
        Head::Unsigned(number) => write!(out, "{number}").ok()?,
        Head::Negative(number) => write!(out, "{}", -1 - i128::from(number)).ok()?,
        Head::Float(number) => write!(out, "{number}").ok()?,
        Head::Bool(value) => write!(out, "{value}").ok()?,
        Head::Null => out.push_str("none"),
        Head::Text(text) => {
            let cut: String = text.chars().take(max_bytes).collect();
            write!(out, "{cut:?}").ok()?;
        }
        Head::Bytes(bytes) => write!(out, "<{} bytes>", bytes.len()).ok()?,
        head @ Head::Handle(handle) => {
            write!(out, "{} {}", head.name(), handle.number()).ok()?;
        }
        Head::Array(length) => {
            out.push('[');
            for index in 0..length {
                if index > 0 {
                    out.push_str(", ");
                }
                item(reader, out)?;
            }
            out.push(']');
        }
        Head::Map(length) => {
            out.push('{');
            for index in 0..length {
                if index > 0 {
                    out.push_str(", ");
                }
                match reader.peek().ok()? {
                    // The name of a field or case; or a key, which then reads as one.
                    Head::Text(name) => {
                        reader.head().ok()?;
                        out.extend(name.chars().take(max_bytes));
                    }
                    _ => item(reader, out)?,
                }
                out.push_str(": ");
                item(reader, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

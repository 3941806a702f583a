//! What the fuzz targets share: types that are made of fuzzer's bytes.

#![forbid(unsafe_code)]

use std::sync::Arc;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use rpc_host_protocol::types::{Case, Field, Name, ResultType, Type};

/// How deep a type may nest: deeper than any limit on values, so that the limit is reached too.
const MAX_DEPTH: u32 = 40;
/// How many parts a record, tuple, variant, enum or flags may have: more than 32 flags among them.
const MAX_PARTS: u8 = 40;

/// Splits an input into what a type is made of and what is read as a value of it. The length stands in
/// front, where the fuzzer's cuts and changes behind it leave the type as it was.
pub fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first()?;
    Some(rest.split_at(usize::from(*length).min(rest.len())))
}

/// A WIT type. Names are distinct within it, and keys of maps are what WIT allows them to be.
pub fn any_type(u: &mut Unstructured<'_>) -> Result<Type> {
    nested(u, 0)
}

fn nested(u: &mut Unstructured<'_>, depth: u32) -> Result<Type> {
    let choice: u8 = if depth >= MAX_DEPTH || u.is_empty() {
        0
    } else {
        u.int_in_range(0..=10)?
    };
    let inner = |u: &mut Unstructured<'_>| nested(u, depth + 1);
    Ok(match choice {
        0 | 1 => plain(u)?,
        2 => Type::List(Arc::new(inner(u)?)),
        3 => Type::FixedList(Arc::new(inner(u)?), u.int_in_range(0..=5)?),
        4 => Type::Map(Arc::new(key(u)?), Arc::new(inner(u)?)),
        5 => {
            let field = |(index, ty)| Field {
                name: name(index),
                ty,
            };
            Type::Record(
                several(u, depth)?
                    .into_iter()
                    .enumerate()
                    .map(field)
                    .collect(),
            )
        }
        6 => Type::Tuple(several(u, depth)?.into()),
        7 => {
            let case = |(index, ty)| {
                let ty = (ty != Type::Bool).then_some(ty);
                Case {
                    name: name(index),
                    ty,
                }
            };
            Type::Variant(
                several(u, depth)?
                    .into_iter()
                    .enumerate()
                    .map(case)
                    .collect(),
            )
        }
        8 => Type::Option(Arc::new(inner(u)?)),
        9 => {
            let half = |u: &mut Unstructured<'_>| {
                Ok(if u.arbitrary()? {
                    Some(Arc::new(inner(u)?))
                } else {
                    None
                })
            };
            Type::Result(ResultType {
                ok: half(u)?,
                err: half(u)?,
            })
        }
        _ => {
            let names = (0..usize::from(u.int_in_range(0..=MAX_PARTS)?))
                .map(name)
                .collect();
            if u.arbitrary()? {
                Type::Flags(names)
            } else {
                Type::Enum(names)
            }
        }
    })
}

fn several(u: &mut Unstructured<'_>, depth: u32) -> Result<Vec<Type>> {
    // Few below the top: types grow with the power of their depth.
    let most = if depth == 0 { MAX_PARTS } else { 3 };
    (0..u.int_in_range(0..=most)?)
        .map(|_| nested(u, depth + 1))
        .collect()
}

fn plain(u: &mut Unstructured<'_>) -> Result<Type> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Type::F32,
        1 => Type::F64,
        2 => Type::Own("counter".into()),
        3 => Type::Borrow("counter".into()),
        _ => key(u)?,
    })
}

fn key(u: &mut Unstructured<'_>) -> Result<Type> {
    let keys = [
        Type::Bool,
        Type::S8,
        Type::U8,
        Type::S16,
        Type::U16,
        Type::S32,
        Type::U32,
        Type::S64,
        Type::U64,
        Type::Char,
        Type::String,
    ];
    Ok(u.choose(&keys)?.clone())
}

/// Short names, so that the fuzzer finds them.
fn name(index: usize) -> Name {
    match index {
        0 => "a".into(),
        1 => "b".into(),
        2 => "some".into(),
        3 => "ok".into(),
        _ => format!("n{index}").into(),
    }
}

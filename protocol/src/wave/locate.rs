//! Where in a value something is wrong: the library knows only where in the text.

use wasm_wave::ast::Node;

use crate::error::printable;
use crate::types::Type;
use crate::value::{Path, Value, ValueError};

/// The innermost part that is not of its type.
pub(super) fn locate(node: &Node, ty: &Type, path: Path<'_>, text: &str) -> Option<ValueError> {
    if node.to_wasm_value::<Value>(ty, text).is_ok() {
        return None;
    }
    let inner = match ty {
        Type::List(inner) | Type::FixedList(inner, _) => {
            node.as_list().ok().and_then(|mut items| {
                items
                    .by_ref()
                    .enumerate()
                    .find_map(|(index, item)| locate(item, inner, Path::Index(&path, index), text))
            })
        }
        Type::Tuple(types) => node
            .as_tuple()
            .ok()
            .filter(|items| items.len() == types.len())
            .and_then(|items| {
                items
                    .zip(types.iter())
                    .enumerate()
                    .find_map(|(index, (item, ty))| {
                        locate(item, ty, Path::Index(&path, index), text)
                    })
            }),
        Type::Record(fields) => node.as_record(text).ok().and_then(|items| {
            let given: Vec<(&str, &Node)> = items.collect();
            let wrong = given.iter().find_map(|(name, item)| {
                let here = Path::Field(&path, name);
                match fields.iter().find(|field| &*field.name == *name) {
                    Some(field) => locate(item, &field.ty, here, text),
                    None => Some(ValueError::at(here, format!("no such field in {ty}"))),
                }
            });
            wrong.or_else(|| {
                let missing = fields.iter().find(|field| {
                    !matches!(field.ty, Type::Option(_))
                        && !given.iter().any(|(name, _)| *name == &*field.name)
                })?;
                let here = Path::Field(&path, &missing.name);
                Some(ValueError::at(
                    here,
                    format!("missing: expected {}", missing.ty),
                ))
            })
        }),
        Type::Option(inner) => match node.as_option() {
            Ok(Some(item)) => locate(item, inner, path, text),
            _ => None,
        },
        Type::Variant(cases) => node.as_variant(text).ok().and_then(|(name, payload)| {
            let case = cases.iter().find(|case| &*case.name == name)?;
            locate(payload?, case.ty.as_ref()?, Path::Field(&path, name), text)
        }),
        Type::Result(result) => match node.as_result() {
            Ok(Ok(Some(item))) => {
                let ty = result.ok.as_deref()?;
                locate(item, ty, Path::Field(&path, "ok"), text)
            }
            Ok(Err(Some(item))) => {
                let ty = result.err.as_deref()?;
                locate(item, ty, Path::Field(&path, "err"), text)
            }
            _ => None,
        },
        _ => None,
    };
    let here = || {
        let found = text.get(node.span()).unwrap_or_default();
        ValueError::at(path, format!("expected {ty}, got {}", printable(found, 64)))
    };
    Some(inner.unwrap_or_else(here))
}

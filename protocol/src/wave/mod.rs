//! [`Value`] ↔ [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave), the
//! text form of values that WebAssembly tools share.
//!
//! WAVE has no form for maps and handles: a map is written as a list of `(key, value)`, a handle as
//! its number.

mod locate;
mod types;
mod values;

use std::borrow::Cow;

use wasm_wave::untyped::UntypedValue;

use crate::types::{Name, Type};
use crate::value::{Path, Value, ValueError};
use locate::locate;

/// The value of type `ty` that this text is. `root` names it in errors.
pub fn from_wave(text: &str, ty: &Type, root: &str) -> Result<Value, ValueError> {
    let path = Path::Root(root);
    let tree = UntypedValue::parse(text)
        .map_err(|error| ValueError::at(path, format!("expected {ty}: {error}")))?;
    tree.to_wasm_value(ty).map_err(|error| {
        // The library tells where in the text; we tell where in the value.
        locate(tree.node(), ty, path, text)
            .unwrap_or_else(|| ValueError::at(path, format!("expected {ty}: {error}")))
    })
}

/// A value as WAVE text.
pub fn to_wave(value: &Value) -> String {
    // The only errors are those of writing to a String, which cannot fail.
    wasm_wave::to_string(value).unwrap_or_default()
}

type Boxed<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

fn names_of(names: &[Name]) -> Boxed<'_, Cow<'_, str>> {
    Box::new(names.iter().map(|name| Cow::Borrowed(&**name)))
}

//! How many core values a type is where it does not go by way of memory.
//!
//! See [flattening](https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md#flattening).

use rpc_host_protocol::Type;
use rpc_host_protocol::types::ResultType;

/// How many a value of this type is. Saturates, far beyond what is ever flat.
pub(super) fn count(ty: &Type) -> usize {
    match ty {
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
        | Type::Enum(_)
        | Type::Own(_)
        | Type::Borrow(_) => 1,
        // Where they are, and how many.
        Type::String | Type::List(_) | Type::Map(..) => 2,
        Type::FixedList(inner, length) => {
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            count(inner).saturating_mul(length)
        }
        Type::Record(fields) => all(fields.iter().map(|field| &field.ty)),
        Type::Tuple(types) => all(types.iter()),
        Type::Variant(cases) => one_of(cases.iter().filter_map(|case| case.ty.as_ref())),
        Type::Option(inner) => one_of([&**inner].into_iter()),
        Type::Result(ResultType { ok, err }) => {
            one_of([ok, err].into_iter().filter_map(Option::as_deref))
        }
        Type::Flags(names) => names.len().div_ceil(32),
    }
}

/// How many values of these types are, one after the other.
pub(super) fn all<'t>(types: impl Iterator<Item = &'t Type>) -> usize {
    types.map(count).fold(0, usize::saturating_add)
}

/// Which one it is, and as many as the largest.
fn one_of<'t>(payloads: impl Iterator<Item = &'t Type>) -> usize {
    1_usize.saturating_add(payloads.map(count).max().unwrap_or_default())
}

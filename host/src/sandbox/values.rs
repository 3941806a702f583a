//! [`Value`] ↔ the engine's [`Val`], by type.
//!
//! The engine checks every value once more against the function it is passed to, so a mistake here ends
//! in an error and never in a wrong value. Live objects are looked up by whoever converts, see [`Objects`].

use std::slice::from_ref;
use std::time::Duration;

use rpc_host_protocol::Type;
use rpc_host_protocol::Value;
use rpc_host_protocol::types::{Name, NamePlaces};
use rpc_host_protocol::value::Handle;
use tokio::time::Instant;
use wasmtime::component::{ResourceAny, Val};

use super::engine::TICK;
use crate::budget::{Budget, Spent};

/// Why a value does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is of another shape than its type.
    Shape,
    /// It holds an object that whoever gets it did not make.
    Foreign,
    /// It holds one object more than there may be.
    Full,
}

/// What stands for a live object on either side.
pub(super) trait Objects {
    /// The object of a handle, for a place of the resource `name` that takes it over, or borrows it.
    fn lower(&mut self, handle: Handle, name: &Name, is_borrowed: bool) -> Result<Val, Unfit>;

    /// The handle of an object, from a place of the resource `name` that gives it away, or lends it.
    fn lift(&mut self, object: ResourceAny, name: &Name) -> Result<Handle, Unfit>;
}

/// Where no live object can be.
#[cfg(test)]
pub(super) struct NoObjects;

#[cfg(test)]
impl Objects for NoObjects {
    fn lower(&mut self, _: Handle, _: &Name, _: bool) -> Result<Val, Unfit> {
        Err(Unfit::Shape)
    }

    fn lift(&mut self, _: ResourceAny, _: &Name) -> Result<Handle, Unfit> {
        Err(Unfit::Shape)
    }
}

/// The time that values take on their way, for which no tick of the epoch ends anybody's turn.
pub(super) struct Converting(Instant);

impl Converting {
    pub(super) fn begin() -> Self {
        Converting(Instant::now())
    }

    /// Takes it from the budget of whoever they are for or from, and gives up the thread where it was
    /// long: a guest that passes large values in a loop would have it to itself.
    pub(super) async fn end(self, budget: &Budget) -> Result<(), Spent> {
        // The engine does as much again, between its values and the guest's memory.
        spent(budget, self.0.elapsed() * 2).await
    }
}

/// Takes a time from a budget that the host worked for whoever has it, and gives up the thread where it was long.
pub(super) async fn spent(budget: &Budget, took: Duration) -> Result<(), Spent> {
    budget.spend(took)?;
    if took >= TICK {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What values take, counted as the engine counts what a guest hands over: each as much as one of its own
/// values, texts and bytes for their length, or as many values as they become.
pub(super) fn size_bytes(values: &[Value]) -> u64 {
    let inner: u64 = values.iter().map(inner_bytes).fold(0, u64::saturating_add);
    own_bytes(values.len()).saturating_add(inner)
}

fn own_bytes(count: usize) -> u64 {
    (count as u64).saturating_mul(size_of::<Val>() as u64)
}

/// What a name takes beside its letters, which a value of the engine's has of its own.
const NAME_BYTES: u64 = 40;

/// What a value takes beside itself.
fn inner_bytes(value: &Value) -> u64 {
    let of_name = |name: &Name| NAME_BYTES.saturating_add(name.len() as u64);
    let of_boxed = |value: Option<&Value>| value.map_or(0, |value| size_bytes(from_ref(value)));
    match value {
        Value::String(text) => text.len() as u64,
        Value::Bytes(bytes) => own_bytes(bytes.len()),
        Value::List(values) | Value::Tuple(values) => size_bytes(values),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                size_bytes(from_ref(key)).saturating_add(size_bytes(from_ref(value)))
            })
            .fold(0, u64::saturating_add),
        Value::Record(fields) => fields
            .iter()
            .map(|(name, value)| of_name(name).saturating_add(size_bytes(from_ref(value))))
            .fold(0, u64::saturating_add),
        Value::Variant(name, value) => of_name(name).saturating_add(of_boxed(value.as_deref())),
        Value::Option(value) | Value::Result(Ok(value) | Err(value)) => of_boxed(value.as_deref()),
        Value::Enum(name) => of_name(name),
        Value::Flags(names) => names.iter().map(of_name).fold(0, u64::saturating_add),
        Value::Bool(_)
        | Value::S8(_)
        | Value::U8(_)
        | Value::S16(_)
        | Value::U16(_)
        | Value::S32(_)
        | Value::U32(_)
        | Value::S64(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Char(_)
        | Value::Handle(_) => 0,
    }
}

/// What a conversion needs beside the value and its type.
struct Conversion<'t, 'o> {
    places: NamePlaces<'t>,
    objects: &'o mut dyn Objects,
}

/// For a guest.
pub(super) fn lower(value: Value, ty: &Type, objects: &mut dyn Objects) -> Result<Val, Unfit> {
    let places = NamePlaces::default();
    lower_with(value, ty, &mut Conversion { places, objects })
}

fn lower_with<'t>(value: Value, ty: &'t Type, with: &mut Conversion<'t, '_>) -> Result<Val, Unfit> {
    let boxed =
        |value: Option<Box<Value>>, ty: Option<&'t Type>, with: &mut Conversion<'t, '_>| match (
            value, ty,
        ) {
            (Some(value), Some(ty)) => lower_with(*value, ty, with).map(|val| Some(Box::new(val))),
            (None, None) => Ok(None),
            _ => Err(Unfit::Shape),
        };
    Ok(match (value, ty) {
        (Value::Bool(value), Type::Bool) => Val::Bool(value),
        (Value::S8(value), Type::S8) => Val::S8(value),
        (Value::U8(value), Type::U8) => Val::U8(value),
        (Value::S16(value), Type::S16) => Val::S16(value),
        (Value::U16(value), Type::U16) => Val::U16(value),
        (Value::S32(value), Type::S32) => Val::S32(value),
        (Value::U32(value), Type::U32) => Val::U32(value),
        (Value::S64(value), Type::S64) => Val::S64(value),
        (Value::U64(value), Type::U64) => Val::U64(value),
        (Value::F32(value), Type::F32) => Val::Float32(value),
        (Value::F64(value), Type::F64) => Val::Float64(value),
        (Value::Char(value), Type::Char) => Val::Char(value),
        (Value::String(value), Type::String) => Val::String(value),
        (Value::Bytes(bytes), Type::List(_)) => Val::List(bytes.into_iter().map(Val::U8).collect()),
        (Value::Bytes(bytes), Type::FixedList(..)) => {
            Val::FixedLengthList(bytes.into_iter().map(Val::U8).collect())
        }
        (Value::List(values), Type::List(inner)) => Val::List(lower_all(values, inner, with)?),
        (Value::List(values), Type::FixedList(inner, _)) => {
            Val::FixedLengthList(lower_all(values, inner, with)?)
        }
        (Value::Map(entries), Type::Map(key_type, value_type)) => {
            let entries = entries.into_iter().map(|(key, value)| {
                Ok((
                    lower_with(key, key_type, with)?,
                    lower_with(value, value_type, with)?,
                ))
            });
            Val::Map(entries.collect::<Result<_, _>>()?)
        }
        (Value::Record(values), Type::Record(fields)) if values.len() == fields.len() => {
            let values = values
                .into_iter()
                .zip(fields.iter())
                .map(|((name, value), field)| {
                    Ok((name.to_string(), lower_with(value, &field.ty, with)?))
                });
            Val::Record(values.collect::<Result<_, _>>()?)
        }
        (Value::Tuple(values), Type::Tuple(types)) if values.len() == types.len() => {
            let values = values
                .into_iter()
                .zip(types.iter())
                .map(|(value, ty)| lower_with(value, ty, with));
            Val::Tuple(values.collect::<Result<_, _>>()?)
        }
        (Value::Variant(name, payload), Type::Variant(cases)) => {
            let place = with.places.of(cases, &name);
            let case = place.and_then(|place| cases.get(place));
            let case = case.ok_or(Unfit::Shape)?;
            Val::Variant(name.to_string(), boxed(payload, case.ty.as_ref(), with)?)
        }
        (Value::Enum(name), Type::Enum(_)) => Val::Enum(name.to_string()),
        (Value::Option(value), Type::Option(inner)) => {
            let inner = value.is_some().then_some(&**inner);
            Val::Option(boxed(value, inner, with)?)
        }
        (Value::Result(Ok(value)), Type::Result(result)) => {
            Val::Result(Ok(boxed(value, result.ok.as_deref(), with)?))
        }
        (Value::Result(Err(value)), Type::Result(result)) => {
            Val::Result(Err(boxed(value, result.err.as_deref(), with)?))
        }
        (Value::Flags(names), Type::Flags(_)) => {
            Val::Flags(names.iter().map(|name| name.to_string()).collect())
        }
        (Value::Handle(handle), Type::Own(name)) => with.objects.lower(handle, name, false)?,
        (Value::Handle(handle), Type::Borrow(name)) => with.objects.lower(handle, name, true)?,
        _ => return Err(Unfit::Shape),
    })
}

fn lower_all<'t>(
    values: Vec<Value>,
    ty: &'t Type,
    with: &mut Conversion<'t, '_>,
) -> Result<Vec<Val>, Unfit> {
    values
        .into_iter()
        .map(|value| lower_with(value, ty, with))
        .collect()
}

/// From a guest.
pub(super) fn lift(val: &Val, ty: &Type, objects: &mut dyn Objects) -> Result<Value, Unfit> {
    let places = NamePlaces::default();
    lift_with(val, ty, &mut Conversion { places, objects })
}

fn lift_with<'t>(val: &Val, ty: &'t Type, with: &mut Conversion<'t, '_>) -> Result<Value, Unfit> {
    let boxed =
        |val: Option<&Val>, ty: Option<&'t Type>, with: &mut Conversion<'t, '_>| match (val, ty) {
            (Some(val), Some(ty)) => lift_with(val, ty, with).map(|value| Some(Box::new(value))),
            (None, None) => Ok(None),
            _ => Err(Unfit::Shape),
        };
    Ok(match (val, ty) {
        (Val::Bool(value), Type::Bool) => Value::Bool(*value),
        (Val::S8(value), Type::S8) => Value::S8(*value),
        (Val::U8(value), Type::U8) => Value::U8(*value),
        (Val::S16(value), Type::S16) => Value::S16(*value),
        (Val::U16(value), Type::U16) => Value::U16(*value),
        (Val::S32(value), Type::S32) => Value::S32(*value),
        (Val::U32(value), Type::U32) => Value::U32(*value),
        (Val::S64(value), Type::S64) => Value::S64(*value),
        (Val::U64(value), Type::U64) => Value::U64(*value),
        (Val::Float32(value), Type::F32) => Value::F32(*value),
        (Val::Float64(value), Type::F64) => Value::F64(*value),
        (Val::Char(value), Type::Char) => Value::Char(*value),
        (Val::String(value), Type::String) => Value::String(value.clone()),
        (Val::List(vals), Type::List(inner))
        | (Val::FixedLengthList(vals), Type::FixedList(inner, _)) => {
            if **inner == Type::U8 {
                let bytes = vals.iter().map(|val| match val {
                    Val::U8(byte) => Ok(*byte),
                    _ => Err(Unfit::Shape),
                });
                Value::Bytes(bytes.collect::<Result<_, _>>()?)
            } else {
                Value::List(
                    vals.iter()
                        .map(|val| lift_with(val, inner, with))
                        .collect::<Result<_, _>>()?,
                )
            }
        }
        (Val::Map(entries), Type::Map(key_type, value_type)) => {
            let mut distinct: Vec<(Value, Value)> = Vec::with_capacity(entries.len());
            let mut positions = std::collections::HashMap::new();
            for (key, val) in entries {
                let key = lift_with(key, key_type, with)?;
                let value = lift_with(val, value_type, with)?;
                // A guest may give a key twice; the last one counts, as the component model says.
                let position = *positions
                    .entry(rpc_host_protocol::cbor::encode_value(&key))
                    .or_insert(distinct.len());
                match distinct.get_mut(position) {
                    Some(entry) => entry.1 = value,
                    None => distinct.push((key, value)),
                }
            }
            Value::Map(distinct)
        }
        (Val::Record(vals), Type::Record(fields)) if vals.len() == fields.len() => {
            let values = vals.iter().zip(fields.iter()).map(|((_, val), field)| {
                Ok((field.name.clone(), lift_with(val, &field.ty, with)?))
            });
            Value::Record(values.collect::<Result<_, _>>()?)
        }
        (Val::Tuple(vals), Type::Tuple(types)) if vals.len() == types.len() => {
            let values = vals
                .iter()
                .zip(types.iter())
                .map(|(val, ty)| lift_with(val, ty, with));
            Value::Tuple(values.collect::<Result<_, _>>()?)
        }
        (Val::Variant(name, payload), Type::Variant(cases)) => {
            let place = with.places.of(cases, name);
            let case = place.and_then(|place| cases.get(place));
            let case = case.ok_or(Unfit::Shape)?;
            Value::Variant(
                case.name.clone(),
                boxed(payload.as_deref(), case.ty.as_ref(), with)?,
            )
        }
        (Val::Enum(name), Type::Enum(names)) => {
            let place = with.places.of(names, name);
            let name = place.and_then(|place| names.get(place));
            Value::Enum(name.ok_or(Unfit::Shape)?.clone())
        }
        (Val::Option(val), Type::Option(inner)) => {
            let inner = val.is_some().then_some(&**inner);
            Value::Option(boxed(val.as_deref(), inner, with)?)
        }
        (Val::Result(Ok(val)), Type::Result(result)) => {
            Value::Result(Ok(boxed(val.as_deref(), result.ok.as_deref(), with)?))
        }
        (Val::Result(Err(val)), Type::Result(result)) => {
            Value::Result(Err(boxed(val.as_deref(), result.err.as_deref(), with)?))
        }
        (Val::Flags(names), Type::Flags(known)) => {
            let mut set = vec![false; known.len()];
            for name in names {
                let place = with.places.of(known, name);
                *place
                    .and_then(|place| set.get_mut(place))
                    .ok_or(Unfit::Shape)? = true;
            }
            let set = known.iter().zip(set).filter(|(_, is_set)| *is_set);
            Value::Flags(set.map(|(flag, _)| flag.clone()).collect())
        }
        (Val::Resource(object), Type::Own(name) | Type::Borrow(name)) => {
            Value::Handle(with.objects.lift(*object, name)?)
        }
        _ => return Err(Unfit::Shape),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use rpc_host_protocol::cbor::{decode_value, encode_value};
    use rpc_host_protocol::types::Name;
    use rpc_host_protocol::value::ValueLimits;

    /// The most elements times the most cases: gone through one by one, this would take minutes of a
    /// thread that nobody can take back.
    #[test]
    fn many_elements_of_many_cases_take_no_longer_than_of_few() {
        const CASES: usize = 10_000;
        const ELEMENTS: usize = 300_000;
        let names: Vec<Name> = (0..CASES).map(|case| format!("c{case}").into()).collect();
        let last = names.last().unwrap().to_string();
        let ty = Type::List(Type::Enum(names.into()).into());
        let started = Instant::now();
        let lifted = lift(
            &Val::List(vec![Val::Enum(last); ELEMENTS]),
            &ty,
            &mut NoObjects,
        )
        .unwrap();
        let bytes = encode_value(&lifted);
        let decoded = decode_value(&bytes, &ty, "x", ValueLimits::default()).unwrap();
        let Ok(Val::List(lowered)) = lower(decoded, &ty, &mut NoObjects) else {
            panic!("no list");
        };
        assert_eq!(lowered.len(), ELEMENTS);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

//! What becomes of what is read: a [`Value`], or nothing where it is only checked.
//!
//! One decoder makes both, so a check refuses exactly what a conversion refuses, in the same words.

use crate::types::{Field, Name};
use crate::value::Value;

/// What a decoder makes of values.
pub(super) trait Made: Sized {
    /// Room for so many in any order, a record's fields or a call's arguments.
    type Slots;

    fn scalar(value: Value) -> Self;
    fn text(text: &str) -> Self;
    fn bytes(bytes: &[u8]) -> Self;
    fn list(values: Vec<Self>) -> Self;
    fn map(entries: Vec<(Self, Self)>) -> Self;
    fn record(fields: &[Field], values: Vec<Self>) -> Self;
    fn tuple(values: Vec<Self>) -> Self;
    fn variant(name: &Name, payload: Option<Box<Self>>) -> Self;
    fn enumerated(name: &Name) -> Self;
    fn option(value: Option<Box<Self>>) -> Self;
    fn result(value: Result<Option<Box<Self>>, Option<Box<Self>>>) -> Self;
    fn flags(names: &[Name], set: &Seen) -> Self;

    fn slots(count: usize) -> Self::Slots;
    fn is_filled(slots: &Self::Slots, index: usize) -> bool;
    fn fill(self, slots: &mut Self::Slots, index: usize);
    /// All `count` of them, in order; `missing` gives those that did not come.
    fn all<E>(
        slots: Self::Slots,
        count: usize,
        missing: impl FnMut(usize) -> Result<Self, E>,
    ) -> Result<Vec<Self>, E>;
}

impl Made for Value {
    type Slots = Vec<Option<Value>>;

    fn scalar(value: Value) -> Self {
        value
    }

    fn text(text: &str) -> Self {
        Value::String(text.to_owned())
    }

    fn bytes(bytes: &[u8]) -> Self {
        Value::Bytes(bytes.to_owned())
    }

    fn list(values: Vec<Self>) -> Self {
        Value::List(values)
    }

    fn map(entries: Vec<(Self, Self)>) -> Self {
        Value::Map(entries)
    }

    fn record(fields: &[Field], values: Vec<Self>) -> Self {
        let names = fields.iter().map(|field| field.name.clone());
        Value::Record(names.zip(values).collect())
    }

    fn tuple(values: Vec<Self>) -> Self {
        Value::Tuple(values)
    }

    fn variant(name: &Name, payload: Option<Box<Self>>) -> Self {
        Value::Variant(name.clone(), payload)
    }

    fn enumerated(name: &Name) -> Self {
        Value::Enum(name.clone())
    }

    fn option(value: Option<Box<Self>>) -> Self {
        Value::Option(value)
    }

    fn result(value: Result<Option<Box<Self>>, Option<Box<Self>>>) -> Self {
        Value::Result(value)
    }

    fn flags(names: &[Name], set: &Seen) -> Self {
        let names = names.iter().enumerate();
        let names = names.filter(|(place, _)| set.has(*place));
        Value::Flags(names.map(|(_, name)| name.clone()).collect())
    }

    fn slots(count: usize) -> Self::Slots {
        vec![None; count]
    }

    fn is_filled(slots: &Self::Slots, index: usize) -> bool {
        slots.get(index).is_some_and(Option::is_some)
    }

    fn fill(self, slots: &mut Self::Slots, index: usize) {
        if let Some(slot) = slots.get_mut(index) {
            *slot = Some(self);
        }
    }

    fn all<E>(
        slots: Self::Slots,
        _count: usize,
        mut missing: impl FnMut(usize) -> Result<Self, E>,
    ) -> Result<Vec<Self>, E> {
        let slots = slots.into_iter().enumerate();
        slots
            .map(|(index, slot)| slot.map_or_else(|| missing(index), Ok))
            .collect()
    }
}

/// Nothing: what is read is right or not.
impl Made for () {
    type Slots = Seen;

    fn scalar(_: Value) {}
    fn text(_: &str) {}
    fn bytes(_: &[u8]) {}
    fn list(_: Vec<()>) {}
    fn map(_: Vec<((), ())>) {}
    fn record(_: &[Field], _: Vec<()>) {}
    fn tuple(_: Vec<()>) {}
    fn variant(_: &Name, _: Option<Box<()>>) {}
    fn enumerated(_: &Name) {}
    fn option(_: Option<Box<()>>) {}
    fn result(_: Result<Option<Box<()>>, Option<Box<()>>>) {}
    fn flags(_: &[Name], _: &Seen) {}

    fn slots(count: usize) -> Seen {
        Seen::none(count)
    }

    fn is_filled(slots: &Seen, index: usize) -> bool {
        slots.has(index)
    }

    fn fill(self, slots: &mut Seen, index: usize) {
        slots.insert(index);
    }

    fn all<E>(
        slots: Seen,
        count: usize,
        mut missing: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Vec<()>, E> {
        (0..count)
            .map(|index| match slots.has(index) {
                true => Ok(()),
                false => missing(index),
            })
            .collect()
    }
}

/// Which of so many places were seen. Few take no room of their own.
#[derive(Debug)]
pub(super) enum Seen {
    Few(u64),
    Many(Vec<bool>),
}

impl Seen {
    pub(super) fn none(places: usize) -> Self {
        match places {
            0..=64 => Seen::Few(0),
            _ => Seen::Many(vec![false; places]),
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        match self {
            Seen::Few(seen) => bit(place).is_some_and(|bit| seen & bit != 0),
            Seen::Many(seen) => seen.get(place).copied().unwrap_or_default(),
        }
    }

    pub(super) fn insert(&mut self, place: usize) {
        match self {
            Seen::Few(seen) => *seen |= bit(place).unwrap_or_default(),
            Seen::Many(seen) => {
                if let Some(seen) = seen.get_mut(place) {
                    *seen = true;
                }
            }
        }
    }
}

fn bit(place: usize) -> Option<u64> {
    1_u64.checked_shl(u32::try_from(place).ok()?)
}

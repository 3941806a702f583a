//! What a guest gives → data, in one pass over both: the result of a function of its own, or the arguments of one that
//! it imports.
//!
//! It is what the engine does to make its dynamic values, and refuses what that refuses, in the same words and by the
//! same count of what a guest hands over; only a byte of a list of bytes counts as one. What is written never gets
//! much longer than the caller's limit: past it, the rest is checked and nothing kept.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use rpc_host_protocol::cbor::Writer;
use tokio::time::Instant;
use wasmtime::component::__internal::wasmtime_environ::component::{
    StringEncoding, TypeMapIndex, VariantInfo,
};
use wasmtime::component::__internal::{ComponentTypes, InterfaceType, LiftContext};
use wasmtime::component::{Lift, Val};
use wasmtime::{Result, ValRaw, bail, format_err};

use super::dynamic::MAX_FLAT_RESULTS;
use super::encoded::{Reply, worth_counting};

/// What is ever kept of arguments. With most limits the engine's count of what a guest hands over at once ends it long
/// before.
const MOST_ARGUMENT_BYTES: usize = 1 << 30;

/// What the engine's dynamic value takes, by which it counts.
const VALUE_BYTES: usize = size_of::<Val>();

/// The result of a function, of which `most` bytes are kept.
pub(super) fn lift(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    flat: &[ValRaw; MAX_FLAT_RESULTS],
    most: usize,
) -> Result<Reply> {
    let InterfaceType::Tuple(index) = ty else {
        return Err(unlike());
    };
    let mut began = None;
    let mut lifting = Lifting {
        data: Data::new(most),
        maps: 0,
    };
    let results = &cx.types[index];
    match results.types.first() {
        None => lifting.data.null(),
        Some(ty) if results.abi.flat_count(MAX_FLAT_RESULTS).is_some() => {
            lifting.flat(cx, ty, &mut flat.iter())?;
        }
        Some(ty) => {
            began = Some(Instant::now());
            let [place] = flat;
            let at = usize::try_from(place.get_u32())?;
            if at % usize::try_from(results.abi.align32)? != 0 {
                bail!("return pointer not aligned");
            }
            let bytes = slice(cx.memory(), at, to_usize(results.abi.size32)?)?;
            lifting.load(cx, ty, bytes)?;
        }
    }
    let bytes = lifting.data.into_bytes();
    let took = began.map_or(Duration::ZERO, |began| worth_counting(began.elapsed()));
    Ok(Reply { bytes, took })
}

/// Where arguments are.
pub(super) enum Source<'f> {
    /// They are these values.
    Flat(&'f [ValRaw]),
    /// From this place on in the guest's memory.
    Memory(usize),
}

/// The arguments of a function that the guest imports, as a call brings them.
pub(super) fn lift_arguments(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    source: Source<'_>,
) -> Result<Reply> {
    let InterfaceType::Tuple(index) = ty else {
        return Err(unlike());
    };
    let began = Instant::now();
    let mut lifting = Lifting {
        data: Data::new(MOST_ARGUMENT_BYTES),
        maps: 0,
    };
    let types = cx.types;
    let all = &types[index].types;
    lifting.data.array(all.len());
    match source {
        Source::Flat(flat) => {
            let mut flat = flat.iter();
            for ty in all {
                lifting.flat(cx, ty, &mut flat)?;
            }
        }
        Source::Memory(place) => {
            let mut offset = 0;
            for ty in all {
                let abi = types.canonical_abi(ty);
                let at = place.checked_add(to_usize(abi.next_field32(&mut offset))?);
                let at = at.ok_or_else(unlike)?;
                let bytes = slice(cx.memory(), at, to_usize(abi.size32)?)?;
                lifting.load(cx, ty, bytes)?;
            }
        }
    }
    lifting.data.end_arguments();
    let bytes = lifting.data.into_bytes();
    let took = worth_counting(began.elapsed());
    Ok(Reply { bytes, took })
}

fn slice(memory: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    let rest = memory.get(at..);
    rest.and_then(|rest| rest.get(..length))
        .ok_or_else(|| format_err!("pointer out of bounds of memory"))
}

/// What is written, up to its limit.
struct Data {
    writer: Writer,
    most: usize,
    is_full: bool,
}

/// The most bytes of what begins an item, or is a number.
const HEAD_BYTES: usize = 9;

impl Data {
    fn new(most: usize) -> Self {
        Data {
            writer: Writer::new(),
            most,
            is_full: false,
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        let is_within = !self.is_full && self.writer.written_bytes() <= self.most;
        is_within.then(|| self.writer.into_bytes())
    }

    /// Writes an item with so much text, so many bytes or so many items in it, if there is room.
    #[inline]
    fn write(&mut self, length: usize, write: impl FnOnce(&mut Writer)) {
        if self.is_full {
            return;
        }
        // A head more than there may be is still short.
        if self.writer.written_bytes().saturating_add(length) > self.most {
            self.is_full = true;
            self.writer = Writer::new();
            return;
        }
        self.writer.reserve(length.saturating_add(HEAD_BYTES));
        write(&mut self.writer);
    }

    fn null(&mut self) {
        self.write(1, Writer::null);
    }

    fn unsigned(&mut self, number: u64) {
        self.write(1, |writer| writer.unsigned(number));
    }

    fn signed(&mut self, number: i64) {
        self.write(1, |writer| writer.signed(number));
    }

    fn text(&mut self, text: &str) {
        self.write(text.len(), |writer| writer.text(text));
    }

    fn array(&mut self, length: usize) {
        self.write(length, |writer| writer.array(length));
    }

    fn map(&mut self, length: usize) {
        self.write(length, |writer| writer.map(length));
    }

    /// None that are named. There is room for that behind any head, which may have been shorter.
    fn end_arguments(&mut self) {
        if !self.is_full {
            self.writer.map(0);
        }
    }

    fn char(&mut self, character: char) {
        self.text(character.encode_utf8(&mut [0; 4]));
    }
}

struct Lifting {
    data: Data,
    /// How many maps what is read now is in.
    maps: usize,
}

type Flat<'f> = std::slice::Iter<'f, ValRaw>;

impl Lifting {
    /// A value that is flat.
    fn flat(
        &mut self,
        cx: &mut LiftContext<'_>,
        ty: &InterfaceType,
        flat: &mut Flat<'_>,
    ) -> Result<()> {
        let types = cx.types;
        let mut next = || flat.next().ok_or_else(unlike);
        match ty {
            InterfaceType::Bool => {
                let value = next()?.get_i32() != 0;
                self.data.write(1, |writer| writer.bool(value));
            }
            InterfaceType::S8 => {
                let [low, ..] = next()?.get_i32().to_le_bytes();
                self.data.signed(i8::from_le_bytes([low]).into());
            }
            InterfaceType::U8 => {
                let [low, ..] = next()?.get_i32().to_le_bytes();
                self.data.unsigned(low.into());
            }
            InterfaceType::S16 => {
                let [a, b, ..] = next()?.get_i32().to_le_bytes();
                self.data.signed(i16::from_le_bytes([a, b]).into());
            }
            InterfaceType::U16 => {
                let [a, b, ..] = next()?.get_i32().to_le_bytes();
                self.data.unsigned(u16::from_le_bytes([a, b]).into());
            }
            InterfaceType::S32 => self.data.signed(next()?.get_i32().into()),
            InterfaceType::U32 => self.data.unsigned(next()?.get_u32().into()),
            InterfaceType::S64 => self.data.signed(next()?.get_i64()),
            InterfaceType::U64 => self.data.unsigned(next()?.get_u64()),
            InterfaceType::Float32 => {
                let number = f32::from_bits(next()?.get_f32());
                self.data.write(1, |writer| writer.float(number.into()));
            }
            InterfaceType::Float64 => {
                let number = f64::from_bits(next()?.get_f64());
                self.data.write(1, |writer| writer.float(number));
            }
            InterfaceType::Char => {
                let character = char::try_from(next()?.get_u32())?;
                self.data.char(character);
            }
            InterfaceType::Record(index) => {
                let fields = &types[*index].fields;
                cx.consume_fuel_array(fields.len(), VALUE_BYTES)?;
                self.data.map(fields.len());
                for field in fields {
                    self.data.text(&field.name);
                    self.flat(cx, &field.ty, flat)?;
                    cx.consume_fuel(field.name.len())?;
                }
            }
            InterfaceType::Tuple(index) => {
                let all = &types[*index].types;
                cx.consume_fuel_array(all.len(), VALUE_BYTES)?;
                self.data.array(all.len());
                for ty in all {
                    self.flat(cx, ty, flat)?;
                }
            }
            InterfaceType::FixedLengthList(index) => {
                let list = &types[*index];
                let length = usize::try_from(list.size)?;
                if list.element == InterfaceType::U8 {
                    cx.consume_fuel(length)?;
                    let mut bytes = Vec::with_capacity(length.min(MAX_FLAT_RESULTS));
                    for _ in 0..length {
                        let [low, ..] = flat.next().ok_or_else(unlike)?.get_i32().to_le_bytes();
                        bytes.push(low);
                    }
                    let writes = |writer: &mut Writer| writer.byte_string(&bytes);
                    self.data.write(length, writes);
                } else {
                    cx.consume_fuel_array(length, VALUE_BYTES)?;
                    self.data.array(length);
                    for _ in 0..length {
                        self.flat(cx, &list.element, flat)?;
                    }
                }
            }
            InterfaceType::Variant(_)
            | InterfaceType::Enum(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_) => {
                let case = next()?.get_u32();
                let mut left = flat_count(types, ty).saturating_sub(1);
                if let Some(payload) = self.case(cx, ty, case)? {
                    self.flat(cx, payload, flat)?;
                    left = left.saturating_sub(flat_count(types, payload));
                }
                // What this case does not take.
                for _ in 0..left {
                    flat.next().ok_or_else(unlike)?;
                }
            }
            InterfaceType::Flags(index) => {
                let names = &types[*index].names;
                let mut words = Vec::with_capacity(MAX_FLAT_RESULTS);
                for _ in 0..names.len().div_ceil(32) {
                    words.extend_from_slice(&next()?.get_u32().to_le_bytes());
                }
                self.flags(cx, names.iter(), &words)?;
            }
            InterfaceType::String => self.text(cx, &flat_pair(flat)?)?,
            InterfaceType::List(index) => {
                let element = &types[*index].element;
                self.list(cx, element, &flat_pair(flat)?)?;
            }
            InterfaceType::Map(index) => self.map(cx, *index, &flat_pair(flat)?)?,
            InterfaceType::Own(_)
            | InterfaceType::Borrow(_)
            | InterfaceType::Future(_)
            | InterfaceType::Stream(_)
            | InterfaceType::ErrorContext(_) => return Err(unlike()),
        }
        Ok(())
    }

    /// A value in memory, which is all of `bytes`.
    fn load<'a>(
        &mut self,
        cx: &mut LiftContext<'a>,
        ty: &InterfaceType,
        bytes: &'a [u8],
    ) -> Result<()> {
        let types = cx.types;
        match ty {
            InterfaceType::Bool => {
                let value = number::<1>(bytes)? != [0];
                self.data.write(1, |writer| writer.bool(value));
            }
            InterfaceType::S8 => self.data.signed(i8::from_le_bytes(number(bytes)?).into()),
            InterfaceType::U8 => self.data.unsigned(u8::from_le_bytes(number(bytes)?).into()),
            InterfaceType::S16 => self.data.signed(i16::from_le_bytes(number(bytes)?).into()),
            InterfaceType::U16 => self
                .data
                .unsigned(u16::from_le_bytes(number(bytes)?).into()),
            InterfaceType::S32 => self.data.signed(i32::from_le_bytes(number(bytes)?).into()),
            InterfaceType::U32 => self
                .data
                .unsigned(u32::from_le_bytes(number(bytes)?).into()),
            InterfaceType::S64 => self.data.signed(i64::from_le_bytes(number(bytes)?)),
            InterfaceType::U64 => self.data.unsigned(u64::from_le_bytes(number(bytes)?)),
            InterfaceType::Float32 => {
                let number = f32::from_le_bytes(number(bytes)?);
                self.data.write(1, |writer| writer.float(number.into()));
            }
            InterfaceType::Float64 => {
                let number = f64::from_le_bytes(number(bytes)?);
                self.data.write(1, |writer| writer.float(number));
            }
            InterfaceType::Char => {
                let character = char::try_from(u32::from_le_bytes(number(bytes)?))?;
                self.data.char(character);
            }
            InterfaceType::String => self.text(cx, bytes)?,
            InterfaceType::List(index) => {
                let element = &types[*index].element;
                self.list(cx, element, bytes)?;
            }
            InterfaceType::Map(index) => self.map(cx, *index, bytes)?,
            InterfaceType::FixedLengthList(index) => {
                let list = &types[*index];
                let length = usize::try_from(list.size)?;
                let size = to_usize(types.canonical_abi(&list.element).size32)?;
                let all = length.checked_mul(size).and_then(|all| bytes.get(..all));
                let Some(all) = all else {
                    bail!("fixed length list out of bounds of memory");
                };
                cx.consume_fuel_array(length, counted_bytes(&list.element))?;
                self.elements(cx, &list.element, (all, length, size))?;
            }
            InterfaceType::Record(index) => {
                let fields = &types[*index].fields;
                cx.consume_fuel_array(fields.len(), VALUE_BYTES)?;
                self.data.map(fields.len());
                let mut offset = 0;
                for field in fields {
                    cx.consume_fuel(field.name.len())?;
                    self.data.text(&field.name);
                    let abi = types.canonical_abi(&field.ty);
                    let at = to_usize(abi.next_field32(&mut offset))?;
                    self.load(cx, &field.ty, slice(bytes, at, to_usize(abi.size32)?)?)?;
                }
            }
            InterfaceType::Tuple(index) => {
                let all = &types[*index].types;
                cx.consume_fuel_array(all.len(), VALUE_BYTES)?;
                self.data.array(all.len());
                let mut offset = 0;
                for ty in all {
                    let abi = types.canonical_abi(ty);
                    let at = to_usize(abi.next_field32(&mut offset))?;
                    self.load(cx, ty, slice(bytes, at, to_usize(abi.size32)?)?)?;
                }
            }
            InterfaceType::Variant(index) => self.stored(cx, ty, &types[*index].info, bytes)?,
            InterfaceType::Enum(index) => self.stored(cx, ty, &types[*index].info, bytes)?,
            InterfaceType::Option(index) => self.stored(cx, ty, &types[*index].info, bytes)?,
            InterfaceType::Result(index) => self.stored(cx, ty, &types[*index].info, bytes)?,
            InterfaceType::Flags(index) => {
                self.flags(cx, types[*index].names.iter(), bytes)?;
            }
            InterfaceType::Own(_)
            | InterfaceType::Borrow(_)
            | InterfaceType::Future(_)
            | InterfaceType::Stream(_)
            | InterfaceType::ErrorContext(_) => return Err(unlike()),
        }
        Ok(())
    }

    /// Text, by where it is and how long.
    fn text(&mut self, cx: &mut LiftContext<'_>, pair: &[u8]) -> Result<()> {
        if cx.options().string_encoding != StringEncoding::Utf8 {
            let text = String::linear_lift_from_memory(cx, InterfaceType::String, pair)?;
            self.data.text(&text);
            return Ok(());
        }
        let (place, length) = place_and_length(pair)?;
        let end = place.checked_add(length);
        let Some(text) = end.and_then(|end| cx.memory().get(place..end)) else {
            bail!("string pointer/length out of bounds of memory");
        };
        cx.consume_fuel(length)?;
        self.data.text(std::str::from_utf8(text)?);
        Ok(())
    }

    /// A list, by where it is and how long.
    fn list(
        &mut self,
        cx: &mut LiftContext<'_>,
        element: &InterfaceType,
        pair: &[u8],
    ) -> Result<()> {
        let (place, length) = place_and_length(pair)?;
        let abi = cx.types.canonical_abi(element);
        let size = to_usize(abi.size32)?;
        let all = length.checked_mul(size);
        let end = all.and_then(|all| place.checked_add(all));
        let Some(all) = end.and_then(|end| cx.memory().get(place..end)) else {
            bail!("list pointer/length out of bounds of memory");
        };
        cx.consume_fuel_array(length, counted_bytes(element))?;
        if place % usize::try_from(abi.align32)? != 0 {
            bail!("list pointer is not aligned");
        }
        self.elements(cx, element, (all, length, size))
    }

    /// So many values of a size, one after the other.
    fn elements<'a>(
        &mut self,
        cx: &mut LiftContext<'a>,
        element: &InterfaceType,
        (all, length, size): (&'a [u8], usize, usize),
    ) -> Result<()> {
        if *element == InterfaceType::U8 {
            self.data.write(length, |writer| writer.byte_string(all));
            return Ok(());
        }
        self.data.array(length);
        let mut rest = all;
        for _ in 0..length {
            let (one, others) = rest.split_at_checked(size).ok_or_else(unlike)?;
            self.load(cx, element, one)?;
            rest = others;
        }
        Ok(())
    }

    /// A map, by where it is and how long. A guest may give a key twice; the last value counts, at the place
    /// of the first.
    fn map(&mut self, cx: &mut LiftContext<'_>, index: TypeMapIndex, pair: &[u8]) -> Result<()> {
        let types = cx.types;
        let map = &types[index];
        let key_bytes = to_usize(types.canonical_abi(&map.key).size32)?;
        let value_bytes = to_usize(types.canonical_abi(&map.value).size32)?;
        let value_offset = to_usize(map.value_offset32)?;
        let size = to_usize(map.entry_abi.size32)?;
        let (place, length) = place_and_length(pair)?;
        let all = length.checked_mul(size);
        let end = all.and_then(|all| place.checked_add(all));
        let Some(mut rest) = end.and_then(|end| cx.memory().get(place..end)) else {
            bail!("map pointer/length out of bounds of memory");
        };
        cx.consume_fuel_array(length, 2 * VALUE_BYTES)?;
        if place % usize::try_from(map.entry_abi.align32)? != 0 {
            bail!("map pointer is not aligned");
        }
        // Written apart: how many there are is known when all are.
        let most = match self.data.is_full {
            true => 0,
            false => (self.data.most).saturating_sub(self.data.writer.written_bytes()),
        };
        let apart = std::mem::replace(&mut self.data, Data::new(most));
        let mut entries: Vec<[Range<usize>; 2]> = Vec::new();
        self.maps += 1;
        for _ in 0..length {
            let (entry, others) = rest.split_at_checked(size).ok_or_else(unlike)?;
            rest = others;
            let begin = self.data.writer.written_bytes();
            self.load(cx, &map.key, slice(entry, 0, key_bytes)?)?;
            let middle = self.data.writer.written_bytes();
            self.load(cx, &map.value, slice(entry, value_offset, value_bytes)?)?;
            let end = self.data.writer.written_bytes();
            if !self.data.is_full {
                entries.push([begin..middle, middle..end]);
            }
        }
        let written = std::mem::replace(&mut self.data, apart);
        if written.is_full {
            self.data.write(usize::MAX, |_| ());
            self.maps -= 1;
            return Ok(());
        }
        let written = written.writer.into_bytes();
        // What is within another map is moved once more for each of those.
        self.maps -= 1;
        if self.maps > 0 {
            cx.consume_fuel(written.len())?;
        }
        let item = |range: &Range<usize>| written.get(range.clone()).unwrap_or_default();
        let mut places = HashMap::new();
        let mut distinct: Vec<[&[u8]; 2]> = Vec::new();
        for [key, value] in &entries {
            let (key, value) = (item(key), item(value));
            let place = *places.entry(key).or_insert(distinct.len());
            match distinct.get_mut(place) {
                Some([_, earlier]) => *earlier = value,
                None => distinct.push([key, value]),
            }
        }
        self.data.map(distinct.len());
        for item in distinct.into_iter().flatten() {
            self.data.write(item.len(), |writer| writer.raw(item));
        }
        Ok(())
    }

    /// One of several cases in memory.
    fn stored<'a>(
        &mut self,
        cx: &mut LiftContext<'a>,
        ty: &InterfaceType,
        info: &VariantInfo,
        bytes: &'a [u8],
    ) -> Result<()> {
        let mut case = [0; size_of::<u32>()];
        let size = usize::from(info.size);
        let number = slice(bytes, 0, size)?;
        case.get_mut(..size)
            .ok_or_else(unlike)?
            .copy_from_slice(number);
        let types = cx.types;
        if let Some(ty) = self.case(cx, ty, u32::from_le_bytes(case))? {
            let size = to_usize(types.canonical_abi(ty).size32)?;
            self.load(
                cx,
                ty,
                slice(bytes, to_usize(info.payload_offset32)?, size)?,
            )?;
        }
        Ok(())
    }

    /// Which case it is of a type of several. Gives the type of its payload, which comes next.
    fn case<'a>(
        &mut self,
        cx: &mut LiftContext<'a>,
        ty: &InterfaceType,
        number: u32,
    ) -> Result<Option<&'a InterfaceType>> {
        let types = cx.types;
        let case = usize::try_from(number)?;
        let outside =
            |length: usize| format_err!("discriminant {number} out of range [0..{length})");
        match ty {
            InterfaceType::Variant(index) => {
                let cases = &types[*index].cases;
                let found = cases.get_index(case);
                let (name, payload) = found.ok_or_else(|| outside(cases.len()))?;
                cx.consume_fuel(name.len())?;
                if payload.is_some() {
                    cx.consume_fuel(VALUE_BYTES)?;
                    self.data.map(1);
                }
                self.data.text(name);
                Ok(payload.as_ref())
            }
            InterfaceType::Enum(index) => {
                let names = &types[*index].names;
                let name = (case < names.len()).then(|| &names[case]);
                let name = name.ok_or_else(|| outside(names.len()))?;
                cx.consume_fuel(name.len())?;
                self.data.text(name);
                Ok(None)
            }
            InterfaceType::Option(index) => match number {
                0 => {
                    self.data.null();
                    Ok(None)
                }
                1 => {
                    cx.consume_fuel(VALUE_BYTES)?;
                    let inner = &types[*index].ty;
                    if matches!(inner, InterfaceType::Option(_)) {
                        self.data.map(1);
                        self.data.text("some");
                    }
                    Ok(Some(inner))
                }
                _ => Err(outside(2)),
            },
            InterfaceType::Result(index) => {
                let result = &types[*index];
                let (name, payload) = match number {
                    0 => ("ok", &result.ok),
                    1 => ("err", &result.err),
                    _ => return Err(outside(2)),
                };
                self.data.map(1);
                self.data.text(name);
                match payload {
                    Some(_) => cx.consume_fuel(VALUE_BYTES)?,
                    None => self.data.null(),
                }
                Ok(payload.as_ref())
            }
            _ => Err(unlike()),
        }
    }

    /// The flags that are set, by their bits. Bits without a name mean nothing.
    fn flags<'n>(
        &mut self,
        cx: &mut LiftContext<'_>,
        names: impl Iterator<Item = &'n String> + Clone,
        bits: &[u8],
    ) -> Result<()> {
        let is_set = |place: usize| {
            let byte = bits.get(place / 8).copied().unwrap_or_default();
            byte >> (place % 8) & 1 != 0
        };
        let set = names.enumerate().filter(|(place, _)| is_set(*place));
        self.data.array(set.clone().count());
        for (_, name) in set {
            cx.consume_fuel(name.len())?;
            self.data.text(name);
        }
        Ok(())
    }
}

/// What an element of a list counts.
fn counted_bytes(element: &InterfaceType) -> usize {
    match element {
        InterfaceType::U8 => 1,
        _ => VALUE_BYTES,
    }
}

/// How many values it is where it is flat.
fn flat_count(types: &ComponentTypes, ty: &InterfaceType) -> usize {
    let count = types.canonical_abi(ty).flat_count(usize::MAX);
    count.unwrap_or_default()
}

/// A place and a length that are flat, as they are in memory.
fn flat_pair(flat: &mut Flat<'_>) -> Result<[u8; 8]> {
    let mut next = || flat.next().map(ValRaw::get_u32).ok_or_else(unlike);
    let (place, length) = (next()?, next()?);
    Ok((u64::from(length) << 32 | u64::from(place)).to_le_bytes())
}

fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    Ok(<[u8; N]>::try_from(bytes)?)
}

fn place_and_length(pair: &[u8]) -> Result<(usize, usize)> {
    let (place, length) = pair.split_first_chunk::<4>().ok_or_else(unlike)?;
    let both = (
        u32::from_le_bytes(*place),
        u32::from_le_bytes(number(length)?),
    );
    Ok((to_usize(both.0)?, to_usize(both.1)?))
}

fn to_usize(number: u32) -> Result<usize> {
    Ok(usize::try_from(number)?)
}

/// The engine sees another function than the node.
#[cold]
fn unlike() -> wasmtime::Error {
    format_err!("what a guest gives is not of the type of its function")
}

//! Data → what a guest takes, in one pass over both: the arguments of a function of its own, or the result of one that it
//! imports.
//!
//! The data was checked by type before, or taken by the same type from another guest
//! ([`Encoded`](super::encoded::Encoded)), so what is found wrong here is a fault of the host's, and ends in an error. Where things go is told by the engine's own description of the function; it is what
//! the engine does with its dynamic values, without them. Nothing here relies on what the guest answers
//! when it is asked for room: each place in its memory is looked up and checked.

use std::collections::HashMap;

use rpc_host_protocol::cbor::{Head, Reader};
use wasmtime::component::__internal::wasmtime_environ::component::{
    TypeFlagsIndex, TypeRecordIndex, TypeTuple, VariantInfo,
};
use wasmtime::component::__internal::{
    CanonicalAbiInfo, ComponentTypes, InterfaceType, LowerContext,
};
use wasmtime::{Result, ValRaw, format_err};

use super::dynamic::{MAX_FLAT_PARAMS, lower_text};
use super::encoded::Arguments;

/// Puts arguments where the function expects them: into `flat`, and what does not fit there into its memory.
pub(super) fn lower<T>(
    arguments: Arguments<'_>,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    flat: &mut [ValRaw; MAX_FLAT_PARAMS],
) -> Result<()> {
    let InterfaceType::Tuple(index) = ty else {
        return Err(unlike());
    };
    let types = cx.types;
    let parameters = &types[index];
    let is_flat = parameters.abi.flat_count(MAX_FLAT_PARAMS).is_some();
    let mut lowering = Lowering {
        types,
        reader: Reader::new(arguments.bytes, u32::MAX),
        places: HashMap::new(),
        is_plain: HashMap::new(),
    };
    let place = match is_flat {
        true => 0,
        false => {
            let size = to_usize(parameters.abi.size32)?;
            let place = cx.realloc(0, 0, parameters.abi.align32, size)?;
            flat[0] = ValRaw::i64(i64::try_from(place)?);
            place
        }
    };
    let mut next = Offsets::default();
    let Head::Array(positional) = lowering.head()? else {
        return Err(unlike());
    };
    let mut one = |lowering: &mut Lowering<'_, '_>, ty: &InterfaceType, at: Offsets| {
        if is_flat {
            lowering.flat(cx, ty, flat.get_mut(at.flat..).ok_or_else(unlike)?)
        } else {
            let at = place.checked_add(to_usize(at.memory)?);
            lowering.store(&mut Guest(cx), ty, at.ok_or_else(unlike)?)
        }
    };
    for ty in parameters.types.iter().take(positional) {
        let at = next.take(types, ty);
        one(&mut lowering, ty, at)?;
    }
    let Head::Map(named) = lowering.head()? else {
        return Err(unlike());
    };
    for _ in 0..named {
        let name = lowering.text()?;
        let mut all = arguments.signature.parameters.iter();
        let index = all.position(|parameter| &*parameter.name == name);
        let (ty, at) = parameter(types, parameters, index.ok_or_else(unlike)?)?;
        one(&mut lowering, ty, at)?;
    }
    lowering.reader.finish().map_err(|_| unlike())
}

/// Where the result of a function goes that the guest imports.
pub(super) enum Target<'f> {
    /// It is this one value, which is zero before, or none.
    Flat(&'f mut [ValRaw]),
    /// To this place of the guest's memory.
    Memory(usize),
}

/// Puts a result where the guest expects it.
pub(super) fn lower_result<T>(
    data: &[u8],
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    target: Target<'_>,
) -> Result<()> {
    let InterfaceType::Tuple(index) = ty else {
        return Err(unlike());
    };
    let types = cx.types;
    let Some(ty) = types[index].types.first() else {
        return Ok(());
    };
    let mut lowering = Lowering {
        types,
        reader: Reader::new(data, u32::MAX),
        places: HashMap::new(),
        is_plain: HashMap::new(),
    };
    match target {
        Target::Flat(flat) => lowering.flat(cx, ty, flat)?,
        Target::Memory(at) => lowering.store(&mut Guest(cx), ty, at)?,
    }
    lowering.reader.finish().map_err(|_| unlike())
}

/// A parameter and its place among all.
fn parameter<'t>(
    types: &ComponentTypes,
    all: &'t TypeTuple,
    index: usize,
) -> Result<(&'t InterfaceType, Offsets)> {
    let mut next = Offsets::default();
    let mut places = all.types.iter().map(|ty| (ty, next.take(types, ty)));
    places.nth(index).ok_or_else(unlike)
}

/// Places within what is made of several, in memory and among flat values.
#[derive(Clone, Copy, Debug, Default)]
struct Offsets {
    memory: u32,
    flat: usize,
}

impl Offsets {
    /// Where the next one is, which is of this type.
    fn take(&mut self, types: &ComponentTypes, ty: &InterfaceType) -> Offsets {
        let abi = types.canonical_abi(ty);
        let memory = abi.next_field32(&mut self.memory);
        let flat = self.flat;
        // Too many to be flat are never asked for their place there.
        self.flat = flat.saturating_add(abi.flat_count(usize::MAX).unwrap_or_default());
        Offsets { memory, flat }
    }
}

/// Memory that values are put into.
trait Room {
    fn slice(&mut self, at: usize, length: usize) -> Result<&mut [u8]>;
    fn text(&mut self, text: &str) -> Result<(ValRaw, ValRaw)>;
    /// New room in the guest, or an error where none can be needed.
    fn reserve(&mut self, align: u32, length: usize) -> Result<usize>;
}

/// All of a guest's.
struct Guest<'c, 'a, T: 'static>(&'c mut LowerContext<'a, T>);

impl<T> Room for Guest<'_, '_, T> {
    fn slice(&mut self, at: usize, length: usize) -> Result<&mut [u8]> {
        slice(self.0.as_slice_mut(), at, length)
    }

    fn text(&mut self, text: &str) -> Result<(ValRaw, ValRaw)> {
        lower_text(self.0, text)
    }

    fn reserve(&mut self, align: u32, length: usize) -> Result<usize> {
        self.0.realloc(0, 0, align, length)
    }
}

/// A part of it that was looked up once, for values that lead to nothing elsewhere.
struct Part<'m>(&'m mut [u8]);

impl Room for Part<'_> {
    fn slice(&mut self, at: usize, length: usize) -> Result<&mut [u8]> {
        slice(self.0, at, length)
    }

    fn text(&mut self, _: &str) -> Result<(ValRaw, ValRaw)> {
        Err(unlike())
    }

    fn reserve(&mut self, _: u32, _: usize) -> Result<usize> {
        Err(unlike())
    }
}

fn slice(memory: &mut [u8], at: usize, length: usize) -> Result<&mut [u8]> {
    let rest = memory.get_mut(at..);
    rest.and_then(|rest| rest.get_mut(..length))
        .ok_or_else(|| format_err!("pointer out of bounds of memory"))
}

/// So many fields are gone through faster than they are looked up.
const FEW_FIELDS: usize = 16;

struct Lowering<'b, 't> {
    types: &'t ComponentTypes,
    reader: Reader<'b>,
    /// Where the fields of large records are.
    places: HashMap<TypeRecordIndex, HashMap<&'t str, (usize, Offsets)>>,
    /// Which types lead to nothing elsewhere.
    is_plain: HashMap<InterfaceType, bool>,
}

impl<'b, 't> Lowering<'b, 't> {
    fn head(&mut self) -> Result<Head<'b>> {
        self.reader.head().map_err(|_| unlike())
    }

    fn text(&mut self) -> Result<&'b str> {
        match self.head()? {
            Head::Text(text) => Ok(text),
            _ => Err(unlike()),
        }
    }

    /// An integer as 64 bits, of which the lower ones are those of any width that holds it.
    fn bits(&mut self) -> Result<u64> {
        match self.reader.integer() {
            Some((number, false)) => Ok(number),
            Some((number, true)) => Ok(!number),
            None => Err(unlike()),
        }
    }

    fn bool(&mut self) -> Result<bool> {
        match self.head()? {
            Head::Bool(value) => Ok(value),
            _ => Err(unlike()),
        }
    }

    fn char(&mut self) -> Result<u32> {
        let text = self.text()?;
        Ok(text.chars().next().ok_or_else(unlike)?.into())
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "integers here are exact, which was checked"
    )]
    fn f64(&mut self) -> Result<f64> {
        match self.head()? {
            Head::Float(number) => Ok(number),
            Head::Unsigned(number) => Ok(number as f64),
            Head::Negative(number) => Ok(-1.0 - number as f64),
            _ => Err(unlike()),
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "rounding is meant, and that it stays finite was checked"
    )]
    fn f32(&mut self) -> Result<f32> {
        Ok(self.f64()? as f32)
    }

    /// Whether there is a value, of an option.
    fn some(&mut self, inner: &InterfaceType) -> Result<bool> {
        if matches!(self.reader.peek(), Ok(Head::Null)) {
            self.head()?;
            return Ok(false);
        }
        if matches!(inner, InterfaceType::Option(_)) {
            self.head()?;
            self.text()?;
        }
        Ok(true)
    }

    /// The case of a variant, and whether a payload follows.
    fn named_case(&mut self) -> Result<&'b str> {
        match self.head()? {
            Head::Text(name) => Ok(name),
            Head::Map(_) => self.text(),
            _ => Err(unlike()),
        }
    }

    /// The case that comes next of what is made of cases, by its number, and what it holds; how large any of
    /// them is.
    fn case(
        &mut self,
        ty: &InterfaceType,
    ) -> Result<(u32, Option<&'t InterfaceType>, &'t VariantInfo)> {
        let types = self.types;
        Ok(match ty {
            InterfaceType::Variant(index) => {
                let variant = &types[*index];
                let name = self.named_case()?;
                let (place, _, payload) = variant.cases.get_full(name).ok_or_else(unlike)?;
                (u32::try_from(place)?, payload.as_ref(), &variant.info)
            }
            InterfaceType::Enum(index) => {
                let cases = &types[*index];
                let name = self.text()?;
                let place = cases.names.get_index_of(name).ok_or_else(unlike)?;
                (u32::try_from(place)?, None, &cases.info)
            }
            InterfaceType::Option(index) => {
                let option = &types[*index];
                match self.some(&option.ty)? {
                    true => (1, Some(&option.ty), &option.info),
                    false => (0, None, &option.info),
                }
            }
            InterfaceType::Result(index) => {
                let result = &types[*index];
                self.head()?;
                let (place, payload) = match self.text()? {
                    "ok" => (0, result.ok.as_ref()),
                    _ => (1, result.err.as_ref()),
                };
                if payload.is_none() {
                    self.head()?;
                }
                (place, payload, &result.info)
            }
            _ => return Err(unlike()),
        })
    }

    /// The flags that come next, each told by its number.
    fn flags(
        &mut self,
        index: TypeFlagsIndex,
        mut set: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let names = &self.types[index].names;
        let Head::Array(length) = self.head()? else {
            return Err(unlike());
        };
        for _ in 0..length {
            let name = self.text()?;
            set(names.get_index_of(name).ok_or_else(unlike)?)?;
        }
        Ok(())
    }

    /// The fields of a record that come next, each by its type and its place, and then the places of those that
    /// do not come.
    fn fields(
        &mut self,
        index: TypeRecordIndex,
        mut one: impl FnMut(&mut Self, Option<&'t InterfaceType>, Offsets) -> Result<()>,
    ) -> Result<()> {
        let fields = &self.types[index].fields;
        let Head::Map(length) = self.head()? else {
            return Err(unlike());
        };
        let is_whole = length == fields.len();
        let mut seen = match is_whole {
            true => Vec::new(),
            false => vec![false; fields.len()],
        };
        let mut next = Offsets::default();
        let mut in_order = fields.iter().enumerate();
        for _ in 0..length {
            // Senders mostly keep the order of the type, so look there first.
            let expected = in_order.next().and_then(|(place, field)| {
                let at = next.take(self.types, &field.ty);
                self.reader.text_is(&field.name).then_some((place, at))
            });
            let (place, at) = match expected {
                Some(found) => found,
                None => {
                    let name = self.text()?;
                    self.field(index, name)?
                }
            };
            if let Some(seen) = seen.get_mut(place) {
                *seen = true;
            }
            let field = fields.get(place).ok_or_else(unlike)?;
            one(self, Some(&field.ty), at)?;
        }
        if !is_whole {
            let mut next = Offsets::default();
            for (field, is_there) in fields.iter().zip(seen) {
                let at = next.take(self.types, &field.ty);
                if !is_there {
                    one(self, None, at)?;
                }
            }
        }
        Ok(())
    }

    /// Where the field of this name is.
    fn field(&mut self, index: TypeRecordIndex, name: &str) -> Result<(usize, Offsets)> {
        let types = self.types;
        let fields = &types[index].fields;
        let mut next = Offsets::default();
        let mut all = fields.iter().enumerate().map(|(place, field)| {
            let at = next.take(types, &field.ty);
            (field.name.as_str(), (place, at))
        });
        if fields.len() <= FEW_FIELDS {
            let found = all.find(|(known, _)| *known == name);
            return found.map(|(_, place)| place).ok_or_else(unlike);
        }
        let places = self.places.entry(index).or_insert_with(|| all.collect());
        places.get(name).copied().ok_or_else(unlike)
    }

    /// Whether values of this type lead to nothing elsewhere in memory.
    fn is_plain(&mut self, ty: &InterfaceType) -> bool {
        let types = self.types;
        fn all<'i>(
            this: &mut Lowering<'_, '_>,
            mut inner: impl Iterator<Item = &'i InterfaceType>,
        ) -> bool {
            inner.all(|ty| this.is_plain(ty))
        }
        match ty {
            InterfaceType::Bool
            | InterfaceType::S8
            | InterfaceType::U8
            | InterfaceType::S16
            | InterfaceType::U16
            | InterfaceType::S32
            | InterfaceType::U32
            | InterfaceType::S64
            | InterfaceType::U64
            | InterfaceType::Float32
            | InterfaceType::Float64
            | InterfaceType::Char
            | InterfaceType::Enum(_)
            | InterfaceType::Flags(_) => return true,
            InterfaceType::String | InterfaceType::List(_) | InterfaceType::Map(_) => return false,
            _ => {}
        }
        if let Some(known) = self.is_plain.get(ty) {
            return *known;
        }
        let is_plain = match ty {
            InterfaceType::FixedLengthList(index) => self.is_plain(&types[*index].element),
            InterfaceType::Record(index) => {
                all(self, types[*index].fields.iter().map(|one| &one.ty))
            }
            InterfaceType::Tuple(index) => all(self, types[*index].types.iter()),
            InterfaceType::Variant(index) => all(self, types[*index].cases.values().flatten()),
            InterfaceType::Option(index) => self.is_plain(&types[*index].ty),
            InterfaceType::Result(index) => {
                let result = &types[*index];
                all(self, [&result.ok, &result.err].into_iter().flatten())
            }
            _ => false,
        };
        self.is_plain.insert(*ty, is_plain);
        is_plain
    }

    /// The value that comes next, at a place in memory.
    fn store(&mut self, room: &mut impl Room, ty: &InterfaceType, at: usize) -> Result<()> {
        let types = self.types;
        match ty {
            InterfaceType::Bool => put(room, at, [u8::from(self.bool()?)]),
            InterfaceType::S8 | InterfaceType::U8 => put_bits::<1>(room, at, self.bits()?),
            InterfaceType::S16 | InterfaceType::U16 => put_bits::<2>(room, at, self.bits()?),
            InterfaceType::S32 | InterfaceType::U32 => put_bits::<4>(room, at, self.bits()?),
            InterfaceType::S64 | InterfaceType::U64 => put_bits::<8>(room, at, self.bits()?),
            InterfaceType::Float32 => put(room, at, self.f32()?.to_le_bytes()),
            InterfaceType::Float64 => put(room, at, self.f64()?.to_le_bytes()),
            InterfaceType::Char => put(room, at, self.char()?.to_le_bytes()),
            InterfaceType::String => {
                let pair = room.text(self.text()?)?;
                put_pair(room, at, pair)
            }
            InterfaceType::List(index) => {
                let pair = self.list(room, &types[*index].element)?;
                put_pair(room, at, pair)
            }
            InterfaceType::Map(index) => {
                let map = &types[*index];
                let entry = Entry {
                    key: &map.key,
                    value: &map.value,
                    value_offset: to_usize(map.value_offset32)?,
                    abi: &map.entry_abi,
                };
                let pair = self.map(room, entry)?;
                put_pair(room, at, pair)
            }
            InterfaceType::FixedLengthList(index) => {
                let list = &types[*index];
                let size = to_usize(types.canonical_abi(&list.element).size32)?;
                match self.head()? {
                    Head::Bytes(bytes) => {
                        room.slice(at, bytes.len())?.copy_from_slice(bytes);
                        Ok(())
                    }
                    Head::Array(length) => self.elements(room, &list.element, (at, length, size)),
                    _ => Err(unlike()),
                }
            }
            InterfaceType::Record(index) => self.fields(*index, |this, ty, offsets| {
                let at = at.checked_add(to_usize(offsets.memory)?);
                let at = at.ok_or_else(unlike)?;
                match ty {
                    Some(ty) => this.store(room, ty, at),
                    // None.
                    None => put(room, at, [0]),
                }
            }),
            InterfaceType::Tuple(index) => {
                let Head::Array(_) = self.head()? else {
                    return Err(unlike());
                };
                let mut next = Offsets::default();
                for ty in &types[*index].types {
                    let offset = to_usize(next.take(types, ty).memory)?;
                    self.store(room, ty, at.checked_add(offset).ok_or_else(unlike)?)?;
                }
                Ok(())
            }
            InterfaceType::Variant(_)
            | InterfaceType::Enum(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_) => {
                let (case, payload, info) = self.case(ty)?;
                let size = usize::from(info.size);
                let number = case.to_le_bytes();
                let number = number.get(..size).ok_or_else(unlike)?;
                room.slice(at, size)?.copy_from_slice(number);
                let Some(ty) = payload else {
                    return Ok(());
                };
                let at = at.checked_add(to_usize(info.payload_offset32)?);
                self.store(room, ty, at.ok_or_else(unlike)?)
            }
            InterfaceType::Flags(index) => {
                let size = to_usize(types[*index].abi.size32)?;
                let bytes = room.slice(at, size)?;
                bytes.fill(0);
                self.flags(*index, |flag| {
                    let byte = bytes.get_mut(flag / 8).ok_or_else(unlike)?;
                    *byte |= 1 << (flag % 8);
                    Ok(())
                })
            }
            InterfaceType::Own(_)
            | InterfaceType::Borrow(_)
            | InterfaceType::Future(_)
            | InterfaceType::Stream(_)
            | InterfaceType::ErrorContext(_) => Err(unlike()),
        }
    }

    /// A list, in room of its own.
    fn list(&mut self, room: &mut impl Room, element: &InterfaceType) -> Result<(ValRaw, ValRaw)> {
        let length = match self.head()? {
            Head::Bytes(bytes) => {
                let at = room.reserve(1, bytes.len())?;
                room.slice(at, bytes.len())?.copy_from_slice(bytes);
                return pair(at, bytes.len());
            }
            Head::Array(length) => length,
            _ => return Err(unlike()),
        };
        let abi = self.types.canonical_abi(element);
        let size = to_usize(abi.size32)?;
        let all = length
            .checked_mul(size)
            .ok_or_else(|| format_err!("size overflow copying a list"))?;
        let at = room.reserve(abi.align32, all)?;
        if self.is_plain(element) {
            let mut part = Part(room.slice(at, all)?);
            self.elements(&mut part, element, (0, length, size))?;
        } else {
            self.elements(room, element, (at, length, size))?;
        }
        pair(at, length)
    }

    /// So many values from a place on, each of a size.
    fn elements(
        &mut self,
        room: &mut impl Room,
        element: &InterfaceType,
        (mut at, length, size): (usize, usize, usize),
    ) -> Result<()> {
        for _ in 0..length {
            self.store(room, element, at)?;
            at = at.checked_add(size).ok_or_else(unlike)?;
        }
        Ok(())
    }

    /// A map, as a list of pairs.
    fn map(&mut self, room: &mut impl Room, entry: Entry<'_>) -> Result<(ValRaw, ValRaw)> {
        let Head::Map(length) = self.head()? else {
            return Err(unlike());
        };
        let size = to_usize(entry.abi.size32)?;
        let all = length
            .checked_mul(size)
            .ok_or_else(|| format_err!("size overflow copying a map"))?;
        let place = room.reserve(entry.abi.align32, all)?;
        let mut at = place;
        for _ in 0..length {
            self.store(room, entry.key, at)?;
            let value = at.checked_add(entry.value_offset);
            self.store(room, entry.value, value.ok_or_else(unlike)?)?;
            at = at.checked_add(size).ok_or_else(unlike)?;
        }
        pair(place, length)
    }

    /// The value that comes next, as the first of these. All of them are zero before.
    fn flat<T>(
        &mut self,
        cx: &mut LowerContext<'_, T>,
        ty: &InterfaceType,
        flat: &mut [ValRaw],
    ) -> Result<()> {
        let types = self.types;
        let at = |offset: usize, flat: &mut [ValRaw], value| {
            *flat.get_mut(offset).ok_or_else(unlike)? = value;
            Ok(())
        };
        match ty {
            InterfaceType::Bool => at(0, flat, ValRaw::u32(u32::from(self.bool()?))),
            // Sign and all: the lower half of what it is in 64 bits.
            InterfaceType::S8
            | InterfaceType::S16
            | InterfaceType::S32
            | InterfaceType::U8
            | InterfaceType::U16
            | InterfaceType::U32 => {
                let [a, b, c, d, ..] = self.bits()?.to_le_bytes();
                at(0, flat, ValRaw::u32(u32::from_le_bytes([a, b, c, d])))
            }
            InterfaceType::S64 | InterfaceType::U64 => at(0, flat, ValRaw::u64(self.bits()?)),
            InterfaceType::Float32 => at(0, flat, ValRaw::f32(self.f32()?.to_bits())),
            InterfaceType::Float64 => at(0, flat, ValRaw::f64(self.f64()?.to_bits())),
            InterfaceType::Char => at(0, flat, ValRaw::u32(self.char()?)),
            InterfaceType::String => {
                let (place, length) = lower_text(cx, self.text()?)?;
                at(0, flat, place)?;
                at(1, flat, length)
            }
            InterfaceType::List(index) => {
                let (place, length) = self.list(&mut Guest(cx), &types[*index].element)?;
                at(0, flat, place)?;
                at(1, flat, length)
            }
            InterfaceType::Map(index) => {
                let map = &types[*index];
                let entry = Entry {
                    key: &map.key,
                    value: &map.value,
                    value_offset: to_usize(map.value_offset32)?,
                    abi: &map.entry_abi,
                };
                let (place, length) = self.map(&mut Guest(cx), entry)?;
                at(0, flat, place)?;
                at(1, flat, length)
            }
            InterfaceType::FixedLengthList(index) => {
                let list = &types[*index];
                match self.head()? {
                    Head::Bytes(bytes) => {
                        for (offset, byte) in bytes.iter().enumerate() {
                            at(offset, flat, ValRaw::u32(u32::from(*byte)))?;
                        }
                        Ok(())
                    }
                    Head::Array(length) => {
                        let mut next = Offsets::default();
                        for _ in 0..length {
                            let offset = next.take(types, &list.element).flat;
                            let rest = flat.get_mut(offset..).ok_or_else(unlike)?;
                            self.flat(cx, &list.element, rest)?;
                        }
                        Ok(())
                    }
                    _ => Err(unlike()),
                }
            }
            InterfaceType::Record(index) => self.fields(*index, |this, ty, offsets| {
                let rest = flat.get_mut(offsets.flat..).ok_or_else(unlike)?;
                match ty {
                    Some(ty) => this.flat(cx, ty, rest),
                    // None, as it is.
                    None => Ok(()),
                }
            }),
            InterfaceType::Tuple(index) => {
                let Head::Array(_) = self.head()? else {
                    return Err(unlike());
                };
                let mut next = Offsets::default();
                for ty in &types[*index].types {
                    let offset = next.take(types, ty).flat;
                    self.flat(cx, ty, flat.get_mut(offset..).ok_or_else(unlike)?)?;
                }
                Ok(())
            }
            InterfaceType::Variant(_)
            | InterfaceType::Enum(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_) => {
                let (case, payload, _) = self.case(ty)?;
                at(0, flat, ValRaw::u32(case))?;
                match payload {
                    Some(ty) => self.flat(cx, ty, flat.get_mut(1..).ok_or_else(unlike)?),
                    None => Ok(()),
                }
            }
            InterfaceType::Flags(index) => self.flags(*index, |flag| {
                let word = flat.get_mut(flag / 32).ok_or_else(unlike)?;
                *word = ValRaw::u32(word.get_u32() | 1 << (flag % 32));
                Ok(())
            }),
            InterfaceType::Own(_)
            | InterfaceType::Borrow(_)
            | InterfaceType::Future(_)
            | InterfaceType::Stream(_)
            | InterfaceType::ErrorContext(_) => Err(unlike()),
        }
    }
}

/// An entry of a map, as it is in memory.
#[derive(Clone, Copy)]
struct Entry<'t> {
    key: &'t InterfaceType,
    value: &'t InterfaceType,
    value_offset: usize,
    abi: &'t CanonicalAbiInfo,
}

fn put<const N: usize>(room: &mut impl Room, at: usize, bytes: [u8; N]) -> Result<()> {
    room.slice(at, N)?.copy_from_slice(&bytes);
    Ok(())
}

fn put_bits<const N: usize>(room: &mut impl Room, at: usize, bits: u64) -> Result<()> {
    let bytes = bits.to_le_bytes();
    let bytes = bytes.first_chunk::<N>().ok_or_else(unlike)?;
    put(room, at, *bytes)
}

fn put_pair(room: &mut impl Room, at: usize, (place, length): (ValRaw, ValRaw)) -> Result<()> {
    let length_at = at.checked_add(size_of::<u32>()).ok_or_else(unlike)?;
    put(room, at, place.get_u32().to_le_bytes())?;
    put(room, length_at, length.get_u32().to_le_bytes())
}

fn pair(place: usize, length: usize) -> Result<(ValRaw, ValRaw)> {
    let both = (u32::try_from(place)?, u32::try_from(length)?);
    Ok((ValRaw::u32(both.0), ValRaw::u32(both.1)))
}

fn to_usize(number: u32) -> Result<usize> {
    Ok(usize::try_from(number)?)
}

/// Data is not what it was when it was checked, or the engine sees another function than the node.
#[cold]
fn unlike() -> wasmtime::Error {
    format_err!("data is not of the type of its function")
}

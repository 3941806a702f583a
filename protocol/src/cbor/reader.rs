//! Reads CBOR item by item, refusing everything outside of the strict subset.

use std::collections::HashSet;

use ciborium_ll::{Decoder, Header, simple};

use super::{HANDLE_TAG, OBJECT_TAG};
use crate::value::Handle;

/// The beginning of a CBOR item; text and bytes are whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head<'a> {
    /// An integer ≥ 0.
    Unsigned(u64),
    /// An integer < 0: −1 − this.
    Negative(u64),
    /// A float of any width.
    Float(f64),
    /// `false` or `true`.
    Bool(bool),
    /// `null`
    Null,
    /// Bytes.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// An array; so many items follow.
    Array(usize),
    /// A map; so many pairs of items follow.
    Map(usize),
    /// The number of an object, with the tag that says whose it is. Both together are two items.
    Handle(Handle),
}

impl Head<'_> {
    /// What it is, for a message.
    pub fn name(&self) -> &'static str {
        match self {
            Head::Unsigned(_) | Head::Negative(_) => "integer",
            Head::Float(_) => "float",
            Head::Bool(_) => "bool",
            Head::Null => "null",
            Head::Bytes(_) => "bytes",
            Head::Text(_) => "text",
            Head::Array(_) => "array",
            Head::Map(_) => "map",
            Head::Handle(Handle::Host(_)) => "handle",
            Head::Handle(Handle::Client(_)) => "object",
        }
    }
}

/// Why bytes are not the strict subset of CBOR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The bytes end within an item.
    #[error("the data ends in the middle of an item")]
    Truncated,
    /// No item begins so, or it is outside of the subset.
    #[error("byte {offset} does not begin an item of the strict subset of cbor: {reason}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More bytes after the item that should have been the last.
    #[error("{0} bytes follow the last item")]
    Trailing(usize),
    /// Nested too deep.
    #[error("nested deeper than {0} levels")]
    TooDeep(u32),
    /// Too many items.
    #[error("more than the limit of items")]
    TooManyItems,
    /// A map has the same key twice.
    #[error("a map has the same key twice")]
    DuplicateKey,
    /// A map that is part of a key has an array or a map as a key. Each level of such keys would have to be compared as a
    /// whole.
    #[error("a map within a key has an array or a map as a key")]
    KeyWithinKey,
}

/// A cursor over CBOR bytes with a budget of items.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    items_left: u32,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, at most `max_items` items of them.
    pub fn new(bytes: &'a [u8], max_items: u32) -> Self {
        Reader {
            bytes,
            position: 0,
            items_left: max_items,
        }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes that have not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The next head, without moving.
    pub fn peek(&mut self) -> Result<Head<'a>, SyntaxError> {
        let (position, items_left) = (self.position, self.items_left);
        let head = self.head();
        (self.position, self.items_left) = (position, items_left);
        head
    }

    /// The next head. Of an array or map, at least as many bytes follow as it announces items, so
    /// reserving room for them is bounded by the length of the message and the budget of items.
    #[inline]
    pub fn head(&mut self) -> Result<Head<'a>, SyntaxError> {
        self.spend(1)?;
        match self.common_head() {
            Some(head) => Ok(head),
            None => self.any_head(),
        }
    }

    /// The next item if it is an integer with which nothing is wrong, as most items of long lists are: its number, and
    /// whether that is −1 − it. Else the reader stays where it is.
    #[inline]
    pub fn integer(&mut self) -> Option<(u64, bool)> {
        const NEGATIVE_BIT: u8 = 0x20;
        const ARGUMENT_BITS: u8 = 0x1f;
        let items_left = self.items_left.checked_sub(1)?;
        let rest = self.bytes.get(self.position..)?;
        let (first, rest) = rest.split_first()?;
        if *first >= 2 * NEGATIVE_BIT {
            return None;
        }
        let (number, head_bytes) = match first & ARGUMENT_BITS {
            short @ 0..24 => (u64::from(short), 1),
            24 => (u64::from(u8::from_be_bytes(*rest.first_chunk()?)), 2),
            25 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 3),
            26 => (u64::from(u32::from_be_bytes(*rest.first_chunk()?)), 5),
            27 => (u64::from_be_bytes(*rest.first_chunk()?), 9),
            _ => return None,
        };
        if head_bytes != shortest_head_bytes(number) {
            return None;
        }
        self.items_left = items_left;
        self.position += head_bytes;
        Some((number, first & NEGATIVE_BIT != 0))
    }

    /// Whether the next item is this text, as the names of fields mostly are that come in order. If it is not, or is
    /// long, the reader stays where it is.
    #[inline]
    pub fn text_is(&mut self, expected: &str) -> bool {
        const TEXT: u8 = 0x60;
        const MAX_BYTES: u8 = 23;
        let length = u8::try_from(expected.len()).unwrap_or(u8::MAX);
        let Some(items_left) = self.items_left.checked_sub(1) else {
            return false;
        };
        let Some((first, rest)) = self.rest().split_first() else {
            return false;
        };
        if length > MAX_BYTES || *first != TEXT + length || !rest.starts_with(expected.as_bytes()) {
            return false;
        }
        self.items_left = items_left;
        self.position += 1 + expected.len();
        true
    }

    /// Counts so many items, which are there without being read.
    pub(super) fn spend(&mut self, items: usize) -> Result<(), SyntaxError> {
        let left = u32::try_from(items).ok();
        let left = left.and_then(|items| self.items_left.checked_sub(items));
        self.items_left = left.ok_or(SyntaxError::TooManyItems)?;
        Ok(())
    }

    /// The next head if it is one of those that nearly all are, and nothing is wrong with it. Everything else is
    /// for [`Reader::any_head`], which would read these to the same.
    #[inline]
    pub(super) fn common_head(&mut self) -> Option<Head<'a>> {
        const MAJOR_TYPE_SHIFT: u32 = 5;
        const ARGUMENT_BITS: u8 = 0x1f;
        let (first, rest) = self.rest().split_first()?;
        let (argument, rest) = match first & ARGUMENT_BITS {
            short @ 0..24 => (u64::from(short), rest),
            24 => {
                let (argument, rest) = rest.split_first_chunk()?;
                (u64::from(u8::from_be_bytes(*argument)), rest)
            }
            25 => {
                let (argument, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*argument)), rest)
            }
            26 => {
                let (argument, rest) = rest.split_first_chunk()?;
                (u64::from(u32::from_be_bytes(*argument)), rest)
            }
            27 => {
                let (argument, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*argument), rest)
            }
            _ => return None,
        };
        let head_bytes = self.bytes.len() - self.position - rest.len();
        let is_shortest = head_bytes == shortest_head_bytes(argument);
        let (head, rest) = match first >> MAJOR_TYPE_SHIFT {
            0 if is_shortest => (Head::Unsigned(argument), rest),
            1 if is_shortest => (Head::Negative(argument), rest),
            2 if is_shortest => {
                let (bytes, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
                (Head::Bytes(bytes), rest)
            }
            3 if is_shortest => {
                let (bytes, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
                (Head::Text(std::str::from_utf8(bytes).ok()?), rest)
            }
            7 => match first & ARGUMENT_BITS {
                20 => (Head::Bool(false), rest),
                21 => (Head::Bool(true), rest),
                22 => (Head::Null, rest),
                27 => (Head::Float(f64::from_bits(argument)), rest),
                _ => return None,
            },
            4 if is_shortest => {
                let length = usize::try_from(argument).ok()?;
                if length > rest.len().min(self.items_left as usize) {
                    return None;
                }
                (Head::Array(length), rest)
            }
            5 if is_shortest => {
                let length = usize::try_from(argument).ok()?;
                if length.checked_mul(2)? > rest.len().min(self.items_left as usize) {
                    return None;
                }
                (Head::Map(length), rest)
            }
            _ => return None,
        };
        self.position = self.bytes.len() - rest.len();
        Some(head)
    }

    pub(super) fn any_head(&mut self) -> Result<Head<'a>, SyntaxError> {
        let start = self.position;
        let malformed = |reason| SyntaxError::Malformed {
            offset: start,
            reason,
        };
        let mut decoder = Decoder::from(self.rest());
        let header = decoder.pull().map_err(|error| match error {
            ciborium_ll::Error::Io(_) => SyntaxError::Truncated,
            ciborium_ll::Error::Syntax(_) => malformed("no item begins so"),
        })?;
        let head_bytes = decoder.offset();
        self.position += head_bytes;
        let shortest = |argument: u64| {
            if head_bytes == shortest_head_bytes(argument) {
                Ok(())
            } else {
                Err(malformed("a number or length is not in its shortest form"))
            }
        };
        let shortest_length = |length: Option<usize>| match length {
            None => Err(malformed("an indefinite length")),
            Some(length) => shortest(length as u64).map(|()| length),
        };
        Ok(match header {
            Header::Positive(number) => {
                shortest(number)?;
                Head::Unsigned(number)
            }
            Header::Negative(number) => {
                shortest(number)?;
                Head::Negative(number)
            }
            Header::Float(number) => Head::Float(number),
            Header::Simple(simple::FALSE) => Head::Bool(false),
            Header::Simple(simple::TRUE) => Head::Bool(true),
            Header::Simple(simple::NULL) => Head::Null,
            Header::Simple(_) => return Err(malformed("a simple value without meaning here")),
            Header::Break => return Err(malformed("a break outside of an indefinite length")),
            Header::Tag(tag) => {
                shortest(tag)?;
                match tag {
                    HANDLE_TAG => Head::Handle(Handle::Host(self.number_of_handle()?)),
                    OBJECT_TAG => Head::Handle(Handle::Client(self.number_of_handle()?)),
                    _ => return Err(malformed("a tag without meaning here")),
                }
            }
            Header::Bytes(length) => Head::Bytes(self.take(shortest_length(length)?)?),
            Header::Text(length) => {
                let bytes = self.take(shortest_length(length)?)?;
                Head::Text(
                    std::str::from_utf8(bytes).map_err(|_| malformed("text that is not utf-8"))?,
                )
            }
            Header::Array(length) => Head::Array(self.announced(shortest_length(length)?, 1)?),
            Header::Map(length) => Head::Map(self.announced(shortest_length(length)?, 2)?),
        })
    }

    /// What follows the tag of a handle.
    fn number_of_handle(&mut self) -> Result<u64, SyntaxError> {
        const MAJOR_TYPE_BITS: u32 = 3;
        let offset = self.position;
        let no_number = SyntaxError::Malformed {
            offset,
            reason: "a handle is an unsigned integer",
        };
        // Looked at before it is read, so that tags over tags cost no stack.
        let first = self.rest().first().ok_or(SyntaxError::Truncated)?;
        if first >> (u8::BITS - MAJOR_TYPE_BITS) != 0 {
            return Err(no_number);
        }
        match self.head()? {
            Head::Unsigned(number) => Ok(number),
            _ => Err(no_number),
        }
    }

    /// Reads one whole item, checking all of it, and gives its bytes.
    pub fn item(&mut self, max_depth: u32) -> Result<&'a [u8], SyntaxError> {
        let start = self.position;
        self.walk(max_depth, max_depth, false)?;
        Ok(self.bytes.get(start..self.position).unwrap_or_default())
    }

    /// That nothing is left.
    pub fn finish(&self) -> Result<(), SyntaxError> {
        match self.rest().len() {
            0 => Ok(()),
            trailing => Err(SyntaxError::Trailing(trailing)),
        }
    }

    fn walk(&mut self, levels_left: u32, max_depth: u32, in_key: bool) -> Result<(), SyntaxError> {
        let deeper = || {
            levels_left
                .checked_sub(1)
                .ok_or(SyntaxError::TooDeep(max_depth))
        };
        match self.head()? {
            Head::Array(length) => {
                let levels_left = deeper()?;
                for _ in 0..length {
                    self.walk(levels_left, max_depth, in_key)?;
                }
            }
            Head::Map(length) => {
                let levels_left = deeper()?;
                let mut keys = Keys::default();
                for _ in 0..length {
                    if in_key && matches!(self.peek()?, Head::Array(_) | Head::Map(_)) {
                        return Err(SyntaxError::KeyWithinKey);
                    }
                    let key = self.position;
                    self.walk(levels_left, max_depth, true)?;
                    let key = self.bytes.get(key..self.position).unwrap_or_default();
                    if !keys.insert(key) {
                        return Err(SyntaxError::DuplicateKey);
                    }
                    self.walk(levels_left, max_depth, in_key)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], SyntaxError> {
        let taken = self.rest().get(..length).ok_or(SyntaxError::Truncated)?;
        self.position += length;
        Ok(taken)
    }

    fn announced(&self, length: usize, items_each: usize) -> Result<usize, SyntaxError> {
        let items = length
            .checked_mul(items_each)
            .ok_or(SyntaxError::Truncated)?;
        if items > self.rest().len() {
            return Err(SyntaxError::Truncated);
        }
        if items > self.items_left as usize {
            return Err(SyntaxError::TooManyItems);
        }
        Ok(length)
    }
}

/// The keys of a map so far. Most maps have few, which need no room of their own.
#[derive(Default)]
struct Keys<'a> {
    first: [&'a [u8]; 8],
    count: usize,
    others: HashSet<&'a [u8]>,
}

impl<'a> Keys<'a> {
    /// False if it was there before.
    fn insert(&mut self, key: &'a [u8]) -> bool {
        let first = self.first.iter().take(self.count);
        if first.clone().any(|known| *known == key) {
            return false;
        }
        match self.first.get_mut(self.count) {
            Some(free) => {
                *free = key;
                self.count += 1;
                true
            }
            None => self.others.insert(key),
        }
    }
}

/// The handles that these items hold, wherever in them, in their order; up to where they are malformed. For
/// whoever has to know them before there is a type to read the items by.
pub fn handles(items: &[u8]) -> impl Iterator<Item = Handle> {
    let mut reader = Reader::new(items, u32::MAX);
    let heads = std::iter::from_fn(move || reader.head().ok());
    heads.filter_map(|head| match head {
        Head::Handle(handle) => Some(handle),
        _ => None,
    })
}

fn shortest_head_bytes(argument: u64) -> usize {
    match argument {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

//! Writes CBOR item by item, in the strict subset.

use ciborium_ll::{Encoder, Header, simple};

use super::{HANDLE_TAG, OBJECT_TAG};
use crate::value::Handle;

/// The major types, the three high bits of an item.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// From so many bytes on they are not to be copied for want of a little room.
const LONG_BYTES: usize = 4 << 10;
/// What may come after them, or be put before them: their own head, and that of a message.
const AROUND_BYTES: usize = 512;

/// Appends CBOR items to a buffer.
///
/// The caller sees to it that an array or map is followed by as many items as it announced.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with an empty buffer.
    pub fn new() -> Self {
        Writer::default()
    }

    /// What has been written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Room for so many bytes more, and for what is around them if they are many.
    pub fn reserve(&mut self, bytes: usize) {
        let around = if bytes >= LONG_BYTES { AROUND_BYTES } else { 0 };
        self.bytes.reserve(bytes.saturating_add(around));
    }

    /// How many bytes have been written.
    pub fn written_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A head of a major type other than that of floats, in its shortest form.
    #[inline]
    fn head(&mut self, major_type: u8, argument: u64) {
        let first = major_type << 5;
        let bytes = &mut self.bytes;
        if argument < 24 {
            bytes.push(first | argument.to_be_bytes()[7]);
        } else if let Ok(argument) = u8::try_from(argument) {
            bytes.extend_from_slice(&[first | 24, argument]);
        } else if let Ok(argument) = u16::try_from(argument) {
            let [a, b] = argument.to_be_bytes();
            bytes.extend_from_slice(&[first | 25, a, b]);
        } else if let Ok(argument) = u32::try_from(argument) {
            let [a, b, c, d] = argument.to_be_bytes();
            bytes.extend_from_slice(&[first | 26, a, b, c, d]);
        } else {
            let [a, b, c, d, e, f, g, h] = argument.to_be_bytes();
            bytes.extend_from_slice(&[first | 27, a, b, c, d, e, f, g, h]);
        }
    }

    /// An integer ≥ 0.
    pub fn unsigned(&mut self, number: u64) {
        self.head(UNSIGNED, number);
    }

    /// Any integer.
    pub fn signed(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.head(UNSIGNED, number),
            // −1 − n of a negative number: its bits, inverted.
            Err(_) => self.head(NEGATIVE, (!number).cast_unsigned()),
        }
    }

    /// A float, in the shortest width that holds it exactly.
    pub fn float(&mut self, number: f64) {
        const EIGHT_BYTES: u8 = 0xfb;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whether it is the same is what is asked"
        )]
        let narrowed = f64::from(number as f32);
        if !number.is_nan() && narrowed != number {
            self.bytes.push(EIGHT_BYTES);
            self.bytes.extend_from_slice(&number.to_be_bytes());
            return;
        }
        // Writing to a Vec cannot fail.
        let _infallible = Encoder::from(&mut self.bytes).push(Header::Float(number));
    }

    /// `false` or `true`.
    pub fn bool(&mut self, value: bool) {
        let value = if value { simple::TRUE } else { simple::FALSE };
        self.head(SIMPLE, u64::from(value));
    }

    /// `null`
    pub fn null(&mut self) {
        self.head(SIMPLE, u64::from(simple::NULL));
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Bytes.
    pub fn byte_string(&mut self, bytes: &[u8]) {
        if bytes.len() >= LONG_BYTES {
            self.reserve(bytes.len());
        }
        self.head(BYTES, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins an array of so many items.
    pub fn array(&mut self, length: usize) {
        self.head(ARRAY, length as u64);
    }

    /// Begins a map of so many pairs.
    pub fn map(&mut self, length: usize) {
        self.head(MAP, length as u64);
    }

    /// The number of an object.
    pub fn handle(&mut self, handle: Handle) {
        let (tag, number) = match handle {
            Handle::Host(number) => (HANDLE_TAG, number),
            Handle::Client(number) => (OBJECT_TAG, number),
        };
        self.tag(tag);
        self.unsigned(number);
    }

    /// A tag, for which a number follows.
    pub(crate) fn tag(&mut self, tag: u64) {
        self.head(TAG, tag);
    }

    /// An item that is encoded already.
    pub fn raw(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
    }
}

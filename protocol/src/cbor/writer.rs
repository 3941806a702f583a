//! Writes CBOR item by item, in the strict subset.

use ciborium_ll::{Encoder, Header, simple};

use super::{HANDLE_TAG, OBJECT_TAG};
use crate::value::Handle;

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

    /// How many bytes have been written.
    pub fn written_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, header: Header) {
        // Writing to a Vec cannot fail.
        let _infallible = Encoder::from(&mut self.bytes).push(header);
    }

    /// An integer ≥ 0.
    pub fn unsigned(&mut self, number: u64) {
        self.push(Header::Positive(number));
    }

    /// Any integer.
    pub fn signed(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.push(Header::Positive(number)),
            // −1 − n of a negative number: its bits, inverted.
            Err(_) => self.push(Header::Negative((!number).cast_unsigned())),
        }
    }

    /// A float, in the shortest width that holds it exactly.
    pub fn float(&mut self, number: f64) {
        self.push(Header::Float(number));
    }

    /// `false` or `true`.
    pub fn bool(&mut self, value: bool) {
        self.push(Header::Simple(if value {
            simple::TRUE
        } else {
            simple::FALSE
        }));
    }

    /// `null`
    pub fn null(&mut self) {
        self.push(Header::Simple(simple::NULL));
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.push(Header::Text(Some(text.len())));
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Bytes.
    pub fn byte_string(&mut self, bytes: &[u8]) {
        self.push(Header::Bytes(Some(bytes.len())));
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins an array of so many items.
    pub fn array(&mut self, length: usize) {
        self.push(Header::Array(Some(length)));
    }

    /// Begins a map of so many pairs.
    pub fn map(&mut self, length: usize) {
        self.push(Header::Map(Some(length)));
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
        self.push(Header::Tag(tag));
    }

    /// An item that is encoded already.
    pub fn raw(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
    }
}

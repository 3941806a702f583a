//! What has been written, and what has been held back.

use serde::Serialize;

use super::Encoder;
use crate::cbor::Writer;
use crate::serde::error::Misfit;

/// What has been written, and a list that may turn out to be bytes.
///
/// serde shows a `Vec<u8>` as a list of numbers. So a list is held back for as long as it has nothing
/// but `u8` in it, and is written as bytes if it ends like that. Anything else written first settles
/// that it is a list; so the list held back is always the innermost one.
#[derive(Debug, Default)]
pub(in crate::serde) struct Output {
    writer: Writer,
    held_back: Option<HeldBack>,
}

#[derive(Debug)]
struct HeldBack {
    length: usize,
    bytes: Vec<u8>,
}

/// The most that is reserved on the word of a `Serialize` about its length.
const MAX_RESERVED_BYTES: usize = 1 << 20;

impl Output {
    pub(in crate::serde) fn write<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), Misfit> {
        value.serialize(Encoder {
            output: self,
            in_some: false,
        })
    }

    pub(in crate::serde) fn into_bytes(self) -> Vec<u8> {
        self.writer.into_bytes()
    }

    pub(in crate::serde) fn writer(&mut self) -> &mut Writer {
        if let Some(HeldBack { length, bytes }) = self.held_back.take() {
            self.writer.array(length);
            for byte in bytes {
                self.writer.unsigned(u64::from(byte));
            }
        }
        &mut self.writer
    }

    pub(super) fn byte(&mut self, byte: u8) {
        match &mut self.held_back {
            Some(list) => list.bytes.push(byte),
            None => self.writer.unsigned(u64::from(byte)),
        }
    }

    pub(super) fn begin_list(&mut self, length: usize) {
        self.writer();
        self.held_back = Some(HeldBack {
            length,
            bytes: Vec::with_capacity(length.min(MAX_RESERVED_BYTES)),
        });
    }

    pub(super) fn end_list(&mut self) {
        match self.held_back.take() {
            None => {}
            Some(list) if list.bytes.is_empty() => self.writer.array(0),
            Some(list) => self.writer.byte_string(&list.bytes),
        }
    }

    /// Sets aside what has been written so far; gives it to be put back.
    pub(super) fn set_aside(&mut self) -> Writer {
        std::mem::take(self.writer())
    }

    /// Puts back what was set aside; gives what was written meanwhile.
    pub(super) fn put_back(&mut self, outer: Writer) -> Vec<u8> {
        std::mem::replace(self.writer(), outer).into_bytes()
    }
}

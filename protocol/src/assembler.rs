//! Frames → messages, and messages → frames.
//!
//! A message longer than a frame is cut into frames that carry [`FLAG_MORE`] but for the last. Frames
//! of different exchanges may be interleaved, so one long reply never blocks a short one.

use std::collections::HashMap;

use crate::frame::{ExchangeId, FLAG_MORE, FRAGMENT_BYTES, Header, Kind};
use crate::payload::Payload;

/// What a peer may make us hold of messages that are not complete yet.
#[derive(Clone, Copy, Debug)]
pub struct AssemblerLimits {
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// Bytes of all incomplete messages together.
    pub max_buffered_bytes: usize,
    /// How many messages may be incomplete at once.
    pub max_incomplete_messages: usize,
}

/// Why a frame does not fit what came before it. Each of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// One message grew too long.
    #[error("a message is over the limit of {max_bytes} bytes")]
    MessageTooLong {
        /// The limit in force.
        max_bytes: usize,
    },
    /// All incomplete messages together grew too long.
    #[error("incomplete messages are over the limit of {max_bytes} bytes together")]
    TooMuchBuffered {
        /// The limit in force.
        max_bytes: usize,
    },
    /// Too many messages were begun and not ended.
    #[error("more than {max} messages are incomplete at once")]
    TooManyIncomplete {
        /// The limit in force.
        max: usize,
    },
    /// A frame of another kind came between two frames of one message.
    #[error("exchange {id} went on as {found} within a {expected}", expected = .expected.name(), found = .found.name())]
    KindChanged {
        /// The exchange.
        id: ExchangeId,
        /// What it began as.
        expected: Kind,
        /// What came.
        found: Kind,
    },
}

/// A complete message, not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// What it is.
    pub kind: Kind,
    /// The flags of its last frame, without [`FLAG_MORE`].
    pub flags: u8,
    /// The exchange it belongs to.
    pub id: ExchangeId,
    /// All of its bytes.
    pub payload: Payload,
}

/// Puts the frames of one direction of one connection together.
#[derive(Debug)]
pub struct Assembler {
    limits: AssemblerLimits,
    incomplete: HashMap<ExchangeId, (Kind, Vec<u8>)>,
    buffered_bytes: usize,
}

impl Assembler {
    /// An assembler that has seen nothing yet.
    pub fn new(limits: AssemblerLimits) -> Self {
        Assembler {
            limits,
            incomplete: HashMap::new(),
            buffered_bytes: 0,
        }
    }

    /// Other limits from now on: those before a hello are far lower than those after it.
    pub fn set_limits(&mut self, limits: AssemblerLimits) {
        self.limits = limits;
    }

    /// Whether a message has begun that has not come to its end.
    pub fn is_amidst(&self) -> bool {
        !self.incomplete.is_empty()
    }

    /// Takes one frame; gives the message that it completes, if it does.
    ///
    /// # Errors
    /// When the frame does not fit what came before it.
    pub fn accept(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<RawMessage>, AssemblyError> {
        let mut bytes = self.begin(&header)?;
        bytes.extend_from_slice(payload);
        Ok(self.end(header, bytes))
    }

    /// What has come of a frame's message before it, with room for its payload: whoever reads puts that behind it, and
    /// gives all of it to [`Assembler::end`]. So a long message is nowhere twice.
    ///
    /// # Errors
    /// When the frame does not fit what came before it.
    pub fn begin(&mut self, header: &Header) -> Result<Vec<u8>, AssemblyError> {
        let is_last = header.flags & FLAG_MORE == 0;
        let more_bytes = header.length_bytes as usize;
        let begun = self.incomplete.get_mut(&header.id);
        let is_first = begun.is_none();
        let earlier_bytes = match &begun {
            Some((kind, _)) if *kind != header.kind => {
                return Err(AssemblyError::KindChanged {
                    id: header.id,
                    expected: *kind,
                    found: header.kind,
                });
            }
            Some((_, earlier)) => earlier.len(),
            None => 0,
        };
        if earlier_bytes.saturating_add(more_bytes) > self.limits.max_message_bytes {
            return Err(AssemblyError::MessageTooLong {
                max_bytes: self.limits.max_message_bytes,
            });
        }
        let mut bytes = begun.map_or_else(Vec::new, |(_, earlier)| std::mem::take(earlier));
        let needed = bytes.len().saturating_add(more_bytes);
        if needed > bytes.capacity() {
            // As a vector grows, but not beyond what a message may be: the longest ones would get twice their room.
            let grown = bytes.capacity().saturating_mul(2);
            let grown = grown.min(self.limits.max_message_bytes).max(needed);
            bytes.reserve_exact(grown - bytes.len());
        }
        if is_last {
            return Ok(bytes);
        }
        if self.buffered_bytes.saturating_add(more_bytes) > self.limits.max_buffered_bytes {
            return Err(AssemblyError::TooMuchBuffered {
                max_bytes: self.limits.max_buffered_bytes,
            });
        }
        if is_first && self.incomplete.len() >= self.limits.max_incomplete_messages {
            return Err(AssemblyError::TooManyIncomplete {
                max: self.limits.max_incomplete_messages,
            });
        }
        Ok(bytes)
    }

    /// The payload of the frame that was begun last is there, behind what came before it. Gives the message that the
    /// frame completes, if it does.
    pub fn end(&mut self, header: Header, bytes: Vec<u8>) -> Option<RawMessage> {
        let of_frame = header.length_bytes as usize;
        if header.flags & FLAG_MORE != 0 {
            self.buffered_bytes = self.buffered_bytes.saturating_add(of_frame);
            self.incomplete.insert(header.id, (header.kind, bytes));
            return None;
        }
        if !self.incomplete.is_empty() && self.incomplete.remove(&header.id).is_some() {
            let earlier = bytes.len().saturating_sub(of_frame);
            self.buffered_bytes = self.buffered_bytes.saturating_sub(earlier);
        }
        Some(RawMessage {
            kind: header.kind,
            flags: header.flags,
            id: header.id,
            payload: bytes.into(),
        })
    }
}

/// The frames of one message, in order: header and the part of the payload that follows it.
pub fn fragments(message: &RawMessage) -> impl Iterator<Item = (Header, &[u8])> {
    let count = message.payload.len().div_ceil(FRAGMENT_BYTES).max(1);
    (0..count).map(move |index| {
        let start = index * FRAGMENT_BYTES;
        let end = message.payload.len().min(start + FRAGMENT_BYTES);
        let part = message.payload.get(start..end).unwrap_or_default();
        let more = if index + 1 < count { FLAG_MORE } else { 0 };
        let header = Header {
            // At most FRAGMENT_BYTES, so the conversion never saturates.
            length_bytes: u32::try_from(part.len()).unwrap_or(u32::MAX),
            kind: message.kind,
            flags: message.flags | more,
            id: message.id,
        };
        (header, part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AssemblerLimits = AssemblerLimits {
        max_message_bytes: 100_000,
        max_buffered_bytes: 120_000,
        max_incomplete_messages: 3,
    };

    fn message(id: u32, bytes: usize) -> RawMessage {
        RawMessage {
            kind: Kind::Reply,
            flags: 0,
            id: ExchangeId(id),
            payload: (0..=250).cycle().take(bytes).collect::<Vec<_>>().into(),
        }
    }

    #[test]
    fn interleaved_messages_come_out_whole() {
        let (long, short) = (message(1, 50_000), message(3, 10));
        let mut assembler = Assembler::new(LIMITS);
        let mut out = Vec::new();
        let mut frames: Vec<_> = fragments(&long).collect();
        assert_eq!(frames.len(), 4);
        frames.splice(1..1, fragments(&short));
        for (header, part) in frames {
            out.extend(assembler.accept(header, part).unwrap());
        }
        assert_eq!(
            out,
            [short, long],
            "the short one did not wait for the long one"
        );
        assert_eq!(assembler.buffered_bytes, 0);
    }

    #[test]
    fn a_long_message_is_put_together_where_it_stays() {
        let mut assembler = Assembler::new(LIMITS);
        let long = message(1, 100_000);
        let (mut moved, mut place, mut out) = (0, std::ptr::null(), None);
        for (header, part) in fragments(&long) {
            let mut bytes = assembler.begin(&header).unwrap();
            assert!(bytes.capacity() - bytes.len() >= part.len());
            moved += usize::from(bytes.as_ptr() != place);
            bytes.extend_from_slice(part);
            assert!(
                bytes.capacity() <= 2 * bytes.len(),
                "not much more than came"
            );
            place = bytes.as_ptr();
            out = assembler.end(header, bytes);
        }
        assert_eq!(out, Some(long));
        assert!(moved <= 4, "{moved} times, of seven frames");
        assert_eq!(
            (assembler.incomplete.len(), assembler.buffered_bytes),
            (0, 0)
        );
    }

    #[test]
    fn a_message_gets_no_more_room_than_it_may_take() {
        let max_message_bytes = 100_000;
        let mut assembler = Assembler::new(AssemblerLimits {
            max_message_bytes,
            ..LIMITS
        });
        let mut out = None;
        for (header, part) in fragments(&message(1, 70_000)) {
            out = assembler.accept(header, part).unwrap();
        }
        let payload = out.unwrap().payload;
        assert_eq!(payload.len(), 70_000);
        assert!(payload.into_vec().capacity() <= max_message_bytes);
    }

    #[test]
    fn frames_of_nothing_are_frames() {
        let mut assembler = Assembler::new(LIMITS);
        let nothing = Header {
            length_bytes: 0,
            kind: Kind::Chunk,
            flags: FLAG_MORE,
            id: ExchangeId(1),
        };
        for _ in 0..3 {
            assert_eq!(assembler.accept(nothing, &[]), Ok(None));
        }
        let last = Header {
            flags: 0,
            ..nothing
        };
        let message = assembler.accept(last, &[]).unwrap().unwrap();
        assert!(message.payload.is_empty());
        assert_eq!(
            (assembler.incomplete.len(), assembler.buffered_bytes),
            (0, 0)
        );
    }

    #[test]
    fn an_empty_message_is_one_frame() {
        let empty = message(1, 0);
        assert_eq!(fragments(&empty).count(), 1);
    }

    #[test]
    fn every_budget_is_enforced() {
        let feed = |messages: &[RawMessage], all: bool| {
            let mut assembler = Assembler::new(LIMITS);
            for message in messages {
                let mut frames: Vec<_> = fragments(message).collect();
                if !all {
                    frames.pop();
                }
                for (header, part) in frames {
                    assembler.accept(header, part)?;
                }
            }
            Ok(())
        };
        assert_eq!(feed(&[message(1, 100_000)], true), Ok(()));
        assert_eq!(
            feed(&[message(1, 100_001)], true),
            Err(AssemblyError::MessageTooLong { max_bytes: 100_000 })
        );
        assert_eq!(
            feed(&[message(1, 90_000), message(3, 90_000)], false),
            Err(AssemblyError::TooMuchBuffered { max_bytes: 120_000 })
        );
        let four: Vec<_> = [1, 3, 5, 7].map(|id| message(id, 20_000)).into();
        assert_eq!(feed(&four[..3], false), Ok(()));
        assert_eq!(
            feed(&four, false),
            Err(AssemblyError::TooManyIncomplete { max: 3 })
        );
    }

    #[test]
    fn a_message_cannot_change_its_kind() {
        let mut assembler = Assembler::new(LIMITS);
        let first = Header {
            length_bytes: 1,
            kind: Kind::Call,
            flags: FLAG_MORE,
            id: ExchangeId(1),
        };
        assembler.accept(first, &[0]).unwrap();
        let second = Header {
            kind: Kind::Chunk,
            ..first
        };
        assert!(matches!(
            assembler.accept(second, &[0]),
            Err(AssemblyError::KindChanged { .. })
        ));
    }
}

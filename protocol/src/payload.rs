//! The bytes of a message.

use std::fmt;
use std::ops::Deref;

/// Bytes, perhaps with room before them. What is put there, or taken from their front, does not move the rest: it may
/// be long.
#[derive(Clone, Default)]
pub struct Payload {
    bytes: Vec<u8>,
    /// Where they begin; never behind their end.
    start: usize,
}

impl Payload {
    /// What follows the first `room` bytes, which are of no account.
    pub(crate) fn behind(room: usize, bytes: Vec<u8>) -> Self {
        let start = room.min(bytes.len());
        Payload { bytes, start }
    }

    /// Puts these in front.
    pub(crate) fn put_in_front(&mut self, head: &[u8]) {
        let place = self.start.checked_sub(head.len());
        let place = place.map(|from| from..self.start);
        match place.and_then(|place| Some((place.start, self.bytes.get_mut(place)?))) {
            Some((start, room)) => {
                room.copy_from_slice(head);
                self.start = start;
            }
            None => {
                self.bytes.splice(..self.start, head.iter().copied());
                self.start = 0;
            }
        }
    }

    /// Leaves out so many from the front, or all there are.
    pub(crate) fn leave_out(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.bytes.len());
    }

    /// The same in a vector. They are moved if there was room before them.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload { bytes, start: 0 }
    }
}

impl From<Payload> for Vec<u8> {
    fn from(payload: Payload) -> Self {
        payload.into_vec()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assembler::RawMessage;
    use crate::message::CallHeader;
    use crate::serde::ArgumentList;
    use crate::{ExchangeId, Message};

    #[test]
    fn what_is_put_in_front_uses_the_room_there_is() {
        for room in 0..6 {
            let bytes = [vec![0; room], vec![4, 5, 6]].concat();
            let place = bytes.as_ptr();
            let mut payload = Payload::behind(room, bytes);
            assert_eq!(*payload, [4, 5, 6]);
            payload.put_in_front(&[3]);
            payload.put_in_front(&[1, 2]);
            assert_eq!(*payload, [1, 2, 3, 4, 5, 6], "with room for {room}");
            if room >= 3 {
                assert_eq!(payload.bytes.as_ptr(), place);
            }
            assert_eq!(payload.into_vec(), [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn what_is_left_out_is_room() {
        let mut payload = Payload::from(vec![1, 2, 3]);
        let place = payload.as_ptr();
        payload.leave_out(2);
        assert_eq!((&*payload, payload.clone().into_vec()), (&[3][..], vec![3]));
        payload.put_in_front(&[7, 8]);
        assert_eq!((&*payload, payload.as_ptr()), (&[7, 8, 3][..], place));
        payload.leave_out(9);
        assert!(payload.is_empty() && payload.into_vec().is_empty());
        assert!(Payload::behind(3, vec![1]).is_empty());
    }

    #[test]
    fn a_call_has_the_header_it_was_given_last() {
        let header = |length| CallHeader {
            module: "m".repeat(length),
            ..CallHeader::default()
        };
        let id = ExchangeId(1);
        // Each in the room that the one before left, with room to spare, and without.
        let mut list = ArgumentList::new();
        list.push("text").unwrap();
        let mut arguments = list.into_payload();
        let expected = arguments.clone();
        for length in [10, 1000, 20, 30, 2000, 0] {
            let call = Message::Call {
                header: header(length),
                arguments,
            };
            let whole = call.clone().encode(id);
            let again = Message::decode(whole.clone()).unwrap();
            assert_eq!(again, call, "{length}");
            let moved = RawMessage {
                payload: whole.payload.to_vec().into(),
                ..whole
            };
            assert_eq!(Message::decode(moved).unwrap(), call);
            let Message::Call {
                arguments: left, ..
            } = again
            else {
                panic!("{again:?}");
            };
            arguments = left;
            assert_eq!(arguments, expected);
        }
    }

    #[test]
    fn equal_is_what_is_there_without_the_room() {
        assert_eq!(Payload::behind(2, vec![9, 9, 1]), Payload::from(vec![1]));
        assert_ne!(Payload::from(vec![9, 1]), Payload::behind(1, vec![9, 1]));
    }
}

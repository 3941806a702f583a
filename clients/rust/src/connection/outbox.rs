//! What waits to be written: one lane for each exchange, one frame from each lane in turn.
//!
//! So a long message does not hold up a short one, and the messages of one exchange keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::{FLAG_MORE, FRAGMENT_BYTES, Header};
use tokio::sync::OwnedSemaphorePermit;

use super::objects::Sent;
use super::window::Place;

#[derive(Default)]
pub(super) struct Outbox {
    lanes: VecDeque<Lane>,
}

struct Lane {
    id: ExchangeId,
    /// Whether the host has seen anything of this exchange.
    is_begun: bool,
    /// Never empty.
    messages: VecDeque<RawMessage>,
    /// Bytes of the first message that are out.
    written_bytes: usize,
    /// What the first message takes of the host's room for incomplete ones.
    room: Option<OwnedSemaphorePermit>,
    /// Of an answer: the place of its call, which is free when the answer is out.
    _place: Option<Arc<Place>>,
    /// Of an answer: the objects in it, which must not be let go of before it is out.
    _sent: Option<Sent>,
}

impl Outbox {
    /// Adds the first message of a new exchange. Exchanges begin on the wire in this order.
    pub(super) fn begin(&mut self, message: RawMessage, room: Option<OwnedSemaphorePermit>) {
        self.lanes.push_back(Lane {
            id: message.id,
            is_begun: false,
            messages: VecDeque::from([message]),
            written_bytes: 0,
            room,
            _place: None,
            _sent: None,
        });
    }

    /// Adds the answer to a call into this client.
    pub(super) fn answer(
        &mut self,
        message: RawMessage,
        room: Option<OwnedSemaphorePermit>,
        place: Arc<Place>,
        sent: Option<Sent>,
    ) {
        self.lanes.push_back(Lane {
            id: message.id,
            is_begun: true,
            messages: VecDeque::from([message]),
            written_bytes: 0,
            room,
            _place: Some(place),
            _sent: sent,
        });
    }

    /// Adds a further message to an exchange, or one to the connection itself.
    pub(super) fn append(&mut self, message: RawMessage) {
        match self.lanes.iter_mut().find(|lane| lane.id == message.id) {
            Some(lane) => lane.messages.push_back(message),
            None => self.lanes.push_back(Lane::further(message)),
        }
    }

    /// The same, for a message that is to go out before those of other exchanges.
    pub(super) fn lead(&mut self, message: RawMessage) {
        match self.lanes.iter_mut().find(|lane| lane.id == message.id) {
            Some(lane) => lane.messages.push_back(message),
            None => self.lanes.push_front(Lane::further(message)),
        }
    }

    /// Takes back what has not been written of an exchange. True: all of it, so that the host never
    /// hears of it.
    pub(super) fn retract(&mut self, id: ExchangeId) -> bool {
        let Some(index) = self.lanes.iter().position(|lane| lane.id == id) else {
            return false;
        };
        let Some(lane) = self.lanes.get_mut(index) else {
            return false;
        };
        let is_begun = lane.is_begun;
        if lane.written_bytes > 0 {
            // The frames of a message that is partly out must be completed.
            lane.messages.truncate(1);
        } else {
            self.lanes.remove(index);
        }
        !is_begun
    }

    /// Messages that wait on one exchange.
    pub(super) fn waiting(&self, id: ExchangeId) -> usize {
        let lane = self.lanes.iter().find(|lane| lane.id == id);
        lane.map_or(0, |lane| lane.messages.len())
    }

    /// Exchanges that something waits for.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Appends frames to `buffer` until it holds `enough_bytes` or there are none left.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, enough_bytes: usize) {
        while buffer.len() < enough_bytes {
            let Some(mut lane) = self.lanes.pop_front() else {
                return;
            };
            if lane.write_frame(buffer) {
                self.lanes.push_back(lane);
            }
        }
    }
}

impl Lane {
    /// One for a message that begins no exchange.
    fn further(message: RawMessage) -> Self {
        Lane {
            id: message.id,
            is_begun: true,
            messages: VecDeque::from([message]),
            written_bytes: 0,
            room: None,
            _place: None,
            _sent: None,
        }
    }

    /// Writes the next frame; whether more is left.
    fn write_frame(&mut self, buffer: &mut Vec<u8>) -> bool {
        let Some(message) = self.messages.front() else {
            return false;
        };
        let start = self.written_bytes;
        let end = message.payload.len().min(start + FRAGMENT_BYTES);
        let part = message.payload.get(start..end).unwrap_or_default();
        let is_last = end == message.payload.len();
        let header = Header {
            // At most FRAGMENT_BYTES, so the conversion never saturates.
            length_bytes: u32::try_from(part.len()).unwrap_or(u32::MAX),
            kind: message.kind,
            flags: message.flags | if is_last { 0 } else { FLAG_MORE },
            id: message.id,
        };
        buffer.extend_from_slice(&header.encode());
        buffer.extend_from_slice(part);
        self.is_begun = true;
        self.written_bytes = end;
        if is_last {
            self.messages.pop_front();
            self.written_bytes = 0;
            self.room = None;
        }
        !self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_protocol::Kind;
    use rpc_host_protocol::assembler::{Assembler, AssemblerLimits};
    use rpc_host_protocol::frame::HEADER_BYTES;

    fn message(id: u32, kind: Kind, bytes: usize) -> RawMessage {
        RawMessage {
            kind,
            flags: 0,
            id: ExchangeId(id),
            payload: vec![7; bytes].into(),
        }
    }

    /// (id, kind, bytes, whether more follows) of each frame.
    fn frames(outbox: &mut Outbox, enough_bytes: usize) -> Vec<(u32, Kind, usize, bool)> {
        let mut buffer = Vec::new();
        outbox.fill(&mut buffer, enough_bytes);
        let mut rest = &buffer[..];
        let mut frames = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(*header).unwrap();
            let length = header.length_bytes as usize;
            frames.push((
                header.id.0,
                header.kind,
                length,
                header.flags & FLAG_MORE != 0,
            ));
            rest = &after[length..];
        }
        frames
    }

    #[test]
    fn a_long_message_lets_a_short_one_pass() {
        let mut outbox = Outbox::default();
        outbox.begin(message(1, Kind::Call, FRAGMENT_BYTES * 2 + 5), None);
        outbox.begin(message(3, Kind::Call, 10), None);
        assert_eq!(
            frames(&mut outbox, usize::MAX),
            [
                (1, Kind::Call, FRAGMENT_BYTES, true),
                (3, Kind::Call, 10, false),
                (1, Kind::Call, FRAGMENT_BYTES, true),
                (1, Kind::Call, 5, false),
            ]
        );
    }

    #[test]
    fn messages_of_one_exchange_keep_their_order() {
        let mut outbox = Outbox::default();
        outbox.begin(message(1, Kind::Upload, 3), None);
        outbox.append(message(1, Kind::Chunk, FRAGMENT_BYTES));
        outbox.append(message(1, Kind::Chunk, 0));
        outbox.append(message(0, Kind::Ping, 4));
        outbox.begin(message(3, Kind::Call, 5), None);
        outbox.lead(message(0, Kind::Release, 6));
        assert_eq!(
            frames(&mut outbox, usize::MAX),
            [
                (1, Kind::Upload, 3, false),
                (0, Kind::Ping, 4, false),
                (3, Kind::Call, 5, false),
                (1, Kind::Chunk, FRAGMENT_BYTES, false),
                (0, Kind::Release, 6, false),
                (1, Kind::Chunk, 0, false),
            ]
        );
        outbox.begin(message(5, Kind::Call, 5), None);
        outbox.lead(message(0, Kind::Release, 6));
        let frames = frames(&mut outbox, usize::MAX);
        assert_eq!(frames.first().map(|frame| frame.1), Some(Kind::Release));
    }

    #[test]
    fn what_the_host_has_not_seen_is_taken_back() {
        let mut outbox = Outbox::default();
        outbox.begin(message(1, Kind::Call, 10), None);
        assert!(outbox.retract(ExchangeId(1)));
        assert!(frames(&mut outbox, usize::MAX).is_empty());

        outbox.begin(message(3, Kind::Call, FRAGMENT_BYTES + 1), None);
        assert_eq!(frames(&mut outbox, 1).len(), 1);
        assert!(!outbox.retract(ExchangeId(3)), "half of it is out");
        outbox.append(message(3, Kind::Cancel, 0));
        assert_eq!(
            frames(&mut outbox, usize::MAX),
            [(3, Kind::Call, 1, false), (3, Kind::Cancel, 0, false)]
        );

        outbox.begin(message(5, Kind::Upload, 1), None);
        outbox.append(message(5, Kind::Chunk, 1));
        assert_eq!(frames(&mut outbox, 1).len(), 1);
        assert!(
            !outbox.retract(ExchangeId(5)),
            "the chunk is not, but it is begun"
        );
        assert_eq!(outbox.waiting(ExchangeId(5)), 0);
        assert!(!outbox.retract(ExchangeId(7)), "nothing of it is left here");
    }

    #[test]
    fn whatever_is_written_can_be_assembled() {
        let mut outbox = Outbox::default();
        let messages: Vec<_> = (0..20u32)
            .map(|n| message(2 * n + 1, Kind::Call, n as usize * 5_000))
            .collect();
        for message in &messages {
            outbox.begin(message.clone(), None);
        }
        let mut assembler = Assembler::new(AssemblerLimits {
            max_message_bytes: 1 << 20,
            max_buffered_bytes: 1 << 20,
            max_incomplete_messages: 20,
        });
        let mut seen = Vec::new();
        loop {
            let mut buffer = Vec::new();
            outbox.fill(&mut buffer, 10_000);
            let mut rest = &buffer[..];
            if rest.is_empty() {
                break;
            }
            while let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
                let header = Header::decode(*header).unwrap();
                let (payload, after) = after.split_at(header.length_bytes as usize);
                seen.extend(assembler.accept(header, payload).unwrap());
                rest = after;
            }
        }
        seen.sort_by_key(|message| message.id);
        assert_eq!(seen, messages);
    }
}

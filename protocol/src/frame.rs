//! The frame header: the only part of the wire that is not CBOR.
//!
//! ```text
//!  0       4       5       6           8              12
//!  ├───────┼───────┼───────┼───────────┼──────────────┤
//!  │length │ kind  │ flags │ reserved=0│ exchange id  │ payload (length bytes)
//!  └───────┴───────┴───────┴───────────┴──────────────┘   all numbers big-endian
//! ```

use std::fmt;

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 12;

/// The most payload bytes that one frame may carry. Small enough that a frame of another exchange
/// never waits long behind it, large enough that the header costs nothing.
pub const MAX_FRAME_PAYLOAD_BYTES: usize = 64 * 1024;

/// Payload bytes of the frames that this library makes of a long message: with its header, a frame
/// fills one TLS record of 16 KiB.
pub const FRAGMENT_BYTES: usize = 16 * 1024 - HEADER_BYTES;

/// Flag: the message goes on in the next frame of the same exchange.
pub const FLAG_MORE: u8 = 0b0000_0001;
/// Flag of a reply: the called function returns a WIT `result`, so the value is `{ok: …}` or `{err: …}`.
pub const FLAG_RESULT: u8 = 0b0000_0010;

/// Names one exchange (a message and all that answers it) on one connection.
///
/// The side that begins an exchange chooses its id: odd for the client, even for the host, so that
/// the two never collide. Id 0 is the connection itself (hello, welcome, ping, pong, goaway, event,
/// lapse, and a release that nobody waits for).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u32);

impl ExchangeId {
    /// The connection itself.
    pub const CONNECTION: ExchangeId = ExchangeId(0);

    /// Whether the client begins exchanges of this id.
    pub fn is_from_client(self) -> bool {
        self.0 % 2 == 1
    }

    /// Whether the host begins exchanges of this id.
    pub fn is_from_host(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(2)
    }
}

impl fmt::Debug for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// What a message is. The numbers are the wire; none is ever given a second meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[doc = $doc])+ $name = $number),+ }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// The kind of this number, if there is one.
            pub fn from_number(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)+ _ => None }
            }

            /// Its name as `PROTOCOL.md` and logs write it.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$name => $text),+ }
            }
        }
    };
}

kinds! {
    /// Client → host, first on the connection: versions, token.
    Hello = 1, "hello";
    /// Host → client: the version taken, who the client is, limits in force.
    Welcome = 2, "welcome";
    /// Begins a call of a function; either side.
    Call = 3, "call";
    /// Ends an exchange with a value.
    Reply = 4, "reply";
    /// Ends an exchange with an error.
    Failure = 5, "failure";
    /// Asks to end a call that is under way.
    Cancel = 6, "cancel";
    /// Begins an operation on modules, registrations, tenants or tokens.
    Request = 7, "request";
    /// Begins an upload.
    Upload = 8, "upload";
    /// The next bytes of an upload.
    Chunk = 9, "chunk";
    /// How many bytes of an upload have been taken.
    Ack = 10, "ack";
    /// Offers to serve a name.
    Provide = 11, "provide";
    /// Ends such an offer.
    Withdraw = 12, "withdraw";
    /// Lets go of objects.
    Release = 13, "release";
    /// Something that happened, for information.
    Event = 14, "event";
    /// Asks for a sign of life.
    Ping = 15, "ping";
    /// The sign of life.
    Pong = 16, "pong";
    /// No new exchanges are taken on this connection.
    Goaway = 17, "goaway";
    /// An offer has ended on the host.
    Lapse = 18, "lapse";
    /// Host → client: a line that a guest wrote.
    Output = 19, "output";
}

/// A decoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow; at most [`MAX_FRAME_PAYLOAD_BYTES`].
    pub length_bytes: u32,
    /// What the message is.
    pub kind: Kind,
    /// [`FLAG_MORE`] and [`FLAG_RESULT`].
    pub flags: u8,
    /// The exchange it belongs to.
    pub id: ExchangeId,
}

/// Why 12 bytes are no frame header. Each of these ends the connection: after it, nobody knows where
/// the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The payload would be larger than a frame may be.
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_PAYLOAD_BYTES} bytes")]
    TooLong(u32),
    /// No such kind of message.
    #[error("{0} is not a kind of message")]
    UnknownKind(u8),
    /// A flag that has no meaning (for this kind).
    #[error("flags {flags:#010b} have no meaning on a {kind}", kind = .kind.name())]
    UnknownFlags {
        /// The flags as they came.
        flags: u8,
        /// The kind they came with.
        kind: Kind,
    },
    /// The reserved bytes are not zero.
    #[error("the reserved bytes of a frame header are not zero")]
    Reserved,
}

impl Header {
    /// The 12 bytes of the wire.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.length_bytes.to_be_bytes();
        let [w, x, y, z] = self.id.0.to_be_bytes();
        [a, b, c, d, self.kind as u8, self.flags, 0, 0, w, x, y, z]
    }

    /// Reads the 12 bytes of the wire.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Header, HeaderError> {
        let [a, b, c, d, kind, flags, r0, r1, w, x, y, z] = bytes;
        let length_bytes = u32::from_be_bytes([a, b, c, d]);
        if length_bytes as usize > MAX_FRAME_PAYLOAD_BYTES {
            return Err(HeaderError::TooLong(length_bytes));
        }
        let kind = Kind::from_number(kind).ok_or(HeaderError::UnknownKind(kind))?;
        let allowed = match kind {
            Kind::Reply => FLAG_MORE | FLAG_RESULT,
            _ => FLAG_MORE,
        };
        if flags & !allowed != 0 {
            return Err(HeaderError::UnknownFlags { flags, kind });
        }
        if (r0, r1) != (0, 0) {
            return Err(HeaderError::Reserved);
        }
        let id = ExchangeId(u32::from_be_bytes([w, x, y, z]));
        Ok(Header {
            length_bytes,
            kind,
            flags,
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        for kind in Kind::ALL {
            let header = Header {
                length_bytes: 65_536,
                kind: *kind,
                flags: FLAG_MORE,
                id: ExchangeId(u32::MAX),
            };
            assert_eq!(Header::decode(header.encode()), Ok(header));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = Header {
            length_bytes: 0,
            kind: Kind::Ping,
            flags: 0,
            id: ExchangeId(0),
        }
        .encode();
        let with = |index: usize, byte: u8| {
            let mut bytes = good;
            bytes[index] = byte;
            Header::decode(bytes)
        };
        assert_eq!(with(1, 1).map(|h| h.length_bytes), Ok(65_536));
        assert_eq!(with(1, 2), Err(HeaderError::TooLong(131_072)));
        assert_eq!(with(0, 0xff), Err(HeaderError::TooLong(0xff00_0000)));
        assert_eq!(with(4, 0), Err(HeaderError::UnknownKind(0)));
        assert_eq!(with(4, 20), Err(HeaderError::UnknownKind(20)));
        assert_eq!(with(7, 1), Err(HeaderError::Reserved));
        assert!(matches!(
            with(5, FLAG_RESULT),
            Err(HeaderError::UnknownFlags { .. })
        ));
        assert!(matches!(
            with(5, 0x80),
            Err(HeaderError::UnknownFlags { .. })
        ));
    }
}

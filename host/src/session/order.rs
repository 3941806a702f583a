//! Which frame may come when.
//!
//! Ids of exchanges only grow, so an id never means two things, and a late cancel or chunk can be
//! told from one for an exchange that never was. The rule holds for the *first* frame of each
//! message: with interleaving, an earlier one may well be complete after a later one.

use std::collections::HashSet;

use rpc_host_protocol::frame::{ExchangeId, FLAG_MORE, Header, Kind};

/// A frame that may not come now. Each of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// An exchange that begins with an id that was used, or passed over, before.
    #[error("exchange {id} cannot begin after {last}; ids of a connection only grow")]
    IdReused {
        /// The id.
        id: ExchangeId,
        /// The highest one yet.
        last: ExchangeId,
    },
    /// An exchange that begins with an id of the other side's.
    #[error("exchange {0} is not the client's to begin; its ids are odd")]
    IdNotOdd(ExchangeId),
    /// A frame that goes on with an exchange that has not begun.
    #[error("a {kind} came for exchange {id}, which has not begun", kind = .kind.name())]
    NotBegun {
        /// What came.
        kind: Kind,
        /// The exchange.
        id: ExchangeId,
    },
    /// A message about the connection that names an exchange.
    #[error("a {kind} belongs to exchange #0, not to {id}", kind = .kind.name())]
    NotTheConnection {
        /// What came.
        kind: Kind,
        /// The exchange.
        id: ExchangeId,
    },
    /// A message that only the host sends, or that only comes first.
    #[error("a {kind} cannot come from a client here", kind = .0.name())]
    Unexpected(Kind),
}

/// What a client has begun.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: u32,
    /// Exchanges whose first message is not complete yet. The assembler bounds how many.
    opening: HashSet<ExchangeId>,
}

impl Order {
    /// Checks a frame that came after the hello.
    pub(super) fn check(&mut self, header: &Header) -> Result<(), OrderError> {
        let Header { kind, id, .. } = *header;
        match kind {
            _ if begins_exchange(kind, id) => self.begin(id, header.flags & FLAG_MORE != 0),
            Kind::Chunk | Kind::Cancel if !id.is_from_client() || id.0 > self.last => {
                Err(OrderError::NotBegun { kind, id })
            }
            Kind::Ping | Kind::Pong | Kind::Goaway | Kind::Event
                if id != ExchangeId::CONNECTION =>
            {
                Err(OrderError::NotTheConnection { kind, id })
            }
            Kind::Hello | Kind::Welcome | Kind::Lapse | Kind::Output => {
                Err(OrderError::Unexpected(kind))
            }
            Kind::Chunk | Kind::Cancel | Kind::Ping | Kind::Pong | Kind::Goaway | Kind::Event => {
                Ok(())
            }
            // They answer exchanges of the host's, which may have ended in the meantime.
            Kind::Reply | Kind::Failure | Kind::Ack => Ok(()),
            Kind::Call
            | Kind::Request
            | Kind::Upload
            | Kind::Provide
            | Kind::Withdraw
            | Kind::Release => Ok(()),
        }
    }

    fn begin(&mut self, id: ExchangeId, is_more_to_come: bool) -> Result<(), OrderError> {
        if !self.opening.is_empty() && self.opening.contains(&id) {
            if !is_more_to_come {
                self.opening.remove(&id);
            }
            return Ok(());
        }
        if !id.is_from_client() {
            return Err(OrderError::IdNotOdd(id));
        }
        if id.0 <= self.last {
            return Err(OrderError::IdReused {
                id,
                last: ExchangeId(self.last),
            });
        }
        self.last = id.0;
        if is_more_to_come {
            self.opening.insert(id);
        }
        Ok(())
    }
}

/// Whether a message of this kind begins an exchange, which then has to be answered. A release on the
/// connection itself begins none.
pub(super) fn begins_exchange(kind: Kind, id: ExchangeId) -> bool {
    match kind {
        Kind::Call | Kind::Request | Kind::Upload | Kind::Provide | Kind::Withdraw => true,
        Kind::Release => id != ExchangeId::CONNECTION,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (kind, id, more to come) one after the other; the last one decides.
    fn check(frames: &[(Kind, u32, bool)]) -> Result<(), OrderError> {
        let mut order = Order::default();
        let mut last = Ok(());
        for (kind, id, more) in frames {
            assert_eq!(last, Ok(()));
            last = order.check(&Header {
                length_bytes: 0,
                kind: *kind,
                flags: if *more { FLAG_MORE } else { 0 },
                id: ExchangeId(*id),
            });
        }
        last
    }

    #[test]
    fn ids_only_grow_and_only_the_first_frame_of_a_message_counts() {
        use Kind::{Call, Cancel, Chunk, Request, Upload};
        assert_eq!(
            check(&[(Call, 1, false), (Request, 7, false), (Call, 9, false)]),
            Ok(())
        );
        assert_eq!(
            check(&[
                (Call, 1, true),
                (Call, 3, false),
                (Call, 1, true),
                (Call, 1, false)
            ]),
            Ok(())
        );
        let reused = |id, last| {
            Err(OrderError::IdReused {
                id: ExchangeId(id),
                last: ExchangeId(last),
            })
        };
        assert_eq!(check(&[(Call, 1, false), (Call, 1, false)]), reused(1, 1));
        assert_eq!(check(&[(Call, 5, false), (Call, 3, false)]), reused(3, 5));
        let twice = [(Call, 1, true), (Call, 1, false), (Call, 1, false)];
        assert_eq!(check(&twice), reused(1, 1));
        assert_eq!(
            check(&[(Call, 2, false)]),
            Err(OrderError::IdNotOdd(ExchangeId(2)))
        );
        assert_eq!(
            check(&[(Call, 0, false)]),
            Err(OrderError::IdNotOdd(ExchangeId(0)))
        );
        assert_eq!(
            check(&[
                (Upload, 1, false),
                (Chunk, 1, true),
                (Chunk, 1, false),
                (Cancel, 1, false)
            ]),
            Ok(())
        );
        for id in [0, 2, 3] {
            let error = OrderError::NotBegun {
                kind: Chunk,
                id: ExchangeId(id),
            };
            assert_eq!(check(&[(Upload, 1, false), (Chunk, id, false)]), Err(error));
        }
    }

    #[test]
    fn messages_about_the_connection_name_no_exchange() {
        for kind in [Kind::Ping, Kind::Pong, Kind::Goaway, Kind::Event] {
            assert_eq!(check(&[(kind, 0, false)]), Ok(()));
            let error = OrderError::NotTheConnection {
                kind,
                id: ExchangeId(1),
            };
            assert_eq!(check(&[(kind, 1, false)]), Err(error));
        }
        for kind in [Kind::Hello, Kind::Welcome, Kind::Lapse, Kind::Output] {
            assert_eq!(
                check(&[(kind, 0, false)]),
                Err(OrderError::Unexpected(kind))
            );
        }
        for kind in Kind::ALL {
            let begins =
                check(&[(*kind, 1, false)]).is_ok() && check(&[(*kind, 2, false)]).is_err();
            assert_eq!(begins, begins_exchange(*kind, ExchangeId(1)), "{kind:?}");
        }
        assert_eq!(
            check(&[(Kind::Release, 0, false), (Kind::Release, 0, true)]),
            Ok(())
        );
        {}
    }
}

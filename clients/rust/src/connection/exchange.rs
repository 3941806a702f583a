//! One exchange, seen from the side that began it.

use std::sync::Arc;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::Ack;
use rpc_host_protocol::{ExchangeId, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{Connection, Term, Waiting};
use crate::call::RawReply;
use crate::error::Error;

/// An exchange under way. Dropped before its end, it is cancelled on the host.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    id: ExchangeId,
    reply: oneshot::Receiver<Result<RawReply, Error>>,
    acks: watch::Receiver<Ack>,
    has_ended: bool,
}

impl Exchange {
    pub(super) fn begin(
        connection: Arc<Connection>,
        mut message: RawMessage,
        offered: Option<Arc<Term>>,
        slot: OwnedSemaphorePermit,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, Error> {
        let (reply_sender, reply) = oneshot::channel();
        let (ack_sender, acks) = watch::channel(Ack {
            received_bytes: 0,
            window_bytes: 0,
        });
        let id = {
            let mut state = connection.shared.state();
            if let Some(why) = &state.end {
                return Err(why.clone());
            }
            if let Some(failure) = &state.goaway {
                return Err(Error::Remote(failure.clone()));
            }
            let id = ExchangeId(state.next_id);
            state.next_id = state
                .next_id
                .checked_add(2)
                .ok_or_else(|| Error::lost("its numbers are used up; call again"))?;
            state.waiting.insert(
                id,
                Waiting {
                    reply: reply_sender,
                    acks: ack_sender,
                    slot,
                },
            );
            // Under the same lock as the number: exchanges must begin in the order of their numbers.
            message.id = id;
            if let Some(term) = offered {
                state.serving.offer(id, term);
            }
            state.outbox.begin(message, room);
            id
        };
        connection.shared.write_now();
        Ok(Exchange {
            connection,
            id,
            reply,
            acks,
            has_ended: false,
        })
    }

    pub(crate) fn id(&self) -> ExchangeId {
        self.id
    }

    /// Sends a further message on this exchange.
    pub(crate) fn send(&self, message: Message) {
        let shared = &self.connection.shared;
        {
            let mut state = shared.state();
            if state.end.is_some() {
                return;
            }
            state.outbox.append(message.encode(self.id));
        }
        shared.write_now();
    }

    /// How it ended.
    pub(crate) async fn finished(mut self) -> Result<RawReply, Error> {
        let end = (&mut self.reply).await;
        self.has_ended = true;
        end.unwrap_or_else(|_| Err(self.connection.shared.why_ended()))
    }

    /// What the host has taken of an upload since this was last asked, or how the exchange ended.
    pub(crate) async fn ack_or_end(&mut self) -> Result<Ack, Result<RawReply, Error>> {
        tokio::select! {
            biased;
            end = &mut self.reply => {
                self.has_ended = true;
                Err(end.unwrap_or_else(|_| Err(self.connection.shared.why_ended())))
            }
            Ok(()) = self.acks.changed() => Ok(*self.acks.borrow_and_update()),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let shared = &self.connection.shared;
        let unsaid = {
            let mut state = shared.state();
            if state.end.is_some() || !state.waiting.contains_key(&self.id) {
                return;
            }
            if state.outbox.retract(self.id) {
                state.waiting.remove(&self.id);
                Some(state.serving.retract(self.id))
            } else {
                state.outbox.append(Message::Cancel.encode(self.id));
                None
            }
        };
        match unsaid {
            // Without a lock: what was offered may hold the client.
            Some(offered) => drop(offered),
            None => shared.write_now(),
        }
    }
}

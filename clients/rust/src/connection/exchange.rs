//! One exchange, seen from the side that began it.

use std::sync::Arc;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::Ack;
pub(crate) use rpc_host_protocol::message::Output as Line;
use rpc_host_protocol::{ExchangeId, Kind, Message};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::{Connection, Passed, Term, Waiting};
use crate::call::RawReply;
use crate::error::Error;

/// An exchange under way. Dropped before its end, it is cancelled on the host.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    id: ExchangeId,
    reply: oneshot::Receiver<Result<RawReply, Error>>,
    /// Of an upload.
    acks: Option<watch::Receiver<Ack>>,
    has_ended: bool,
}

/// An exchange that has not begun.
pub(super) struct Opening {
    pub(super) message: RawMessage,
    pub(super) offered: Option<Arc<Term>>,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) passed: Passed,
    pub(super) lines: Option<mpsc::UnboundedSender<Line>>,
    /// Whether it goes on to its end though nobody waits for that.
    pub(super) is_final: bool,
}

impl Opening {
    pub(super) fn new(message: RawMessage, slot: OwnedSemaphorePermit) -> Self {
        Opening {
            message,
            offered: None,
            slot,
            room: None,
            passed: Passed::default(),
            lines: None,
            is_final: false,
        }
    }
}

impl Exchange {
    pub(super) fn begin(connection: Arc<Connection>, opening: Opening) -> Result<Self, Error> {
        let Opening {
            mut message,
            offered,
            slot,
            room,
            passed,
            lines,
            is_final,
        } = opening;
        // Before the host can say anything about them.
        let sent = connection.shared.sending(passed);
        let (reply_sender, reply) = oneshot::channel();
        let (ack_sender, acks) = match message.kind {
            Kind::Upload => {
                let (sender, acks) = watch::channel(Ack::default());
                (Some(sender), Some(acks))
            }
            _ => (None, None),
        };
        let id = {
            let mut state = connection.shared.state();
            if let Some(why) = &state.end {
                return Err(why.clone());
            }
            if let Some(failure) = &state.goaway {
                return Err(Error::Remote(failure.clone()));
            }
            let id = ExchangeId(state.next_id);
            state.next_id = state.next_id.checked_add(2).ok_or_else(super::used_up)?;
            state.waiting.insert(
                id,
                Waiting {
                    reply: reply_sender,
                    acks: ack_sender,
                    slot,
                    sent,
                    lines,
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
        connection.shared.write_begun();
        Ok(Exchange {
            connection,
            id,
            reply,
            acks,
            has_ended: is_final,
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

    /// The same; shows each line that is written meanwhile to `show`, in their order.
    pub(crate) async fn finished_showing(
        mut self,
        mut lines: mpsc::UnboundedReceiver<Line>,
        mut show: impl FnMut(Line),
    ) -> Result<RawReply, Error> {
        let end = loop {
            tokio::select! {
                biased;
                Some(line) = lines.recv() => show(line),
                end = &mut self.reply => break end,
            }
        };
        self.has_ended = true;
        while let Ok(line) = lines.try_recv() {
            show(line);
        }
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
            Some(ack) = next(&mut self.acks) => Ok(ack),
        }
    }
}

/// `None`: there will be none.
async fn next(acks: &mut Option<watch::Receiver<Ack>>) -> Option<Ack> {
    let acks = acks.as_mut()?;
    acks.changed().await.ok()?;
    Some(*acks.borrow_and_update())
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
                let waiting = state.waiting.remove(&self.id);
                Some((waiting, state.serving.retract(self.id)))
            } else {
                state.outbox.append(Message::Cancel.encode(self.id));
                None
            }
        };
        match unsaid {
            // Without a lock: what was offered or given may hold the client.
            Some(unsaid) => drop(unsaid),
            None => shared.write_now(),
        }
    }
}

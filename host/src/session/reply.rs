//! The right to answer an exchange.

use std::sync::Arc;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::Message;
use rpc_host_protocol::{ExchangeId, Failure};

use super::outlet::{Outlet, Tap};
use super::{CallReply, Told};
use crate::transport::frames::Outbox;

/// Answers one exchange. There is one for each, and answering consumes it, so two answers do not
/// compile; dropped, it leaves the peer without one, which only the end of the connection excuses.
#[derive(Debug)]
#[must_use = "the peer waits for an answer"]
pub(super) struct ReplyToken {
    exchange: ExchangeId,
    outbox: Outbox,
    /// Hears what is sent before the answer, and nothing after it.
    tap: Option<Arc<Tap>>,
}

impl ReplyToken {
    /// For an exchange that has just begun.
    pub(super) fn new(exchange: ExchangeId, outbox: Outbox) -> Self {
        ReplyToken {
            exchange,
            outbox,
            tap: None,
        }
    }

    /// Lets the client hear what the guests of its call say.
    pub(super) fn tap(&mut self) -> Arc<Tap> {
        let tap = Tap::new(self.outlet());
        self.tap = Some(Arc::clone(&tap));
        tap
    }

    /// Where the output of the exchange goes.
    pub(super) fn outlet(&self) -> Outlet {
        Outlet::new(self.exchange, self.outbox.clone())
    }

    pub(super) fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    pub(super) async fn answer(self, outcome: Result<CallReply, Failure>) {
        self.answer_after(outcome, ()).await;
    }

    /// Answers, and lets go of `held` just before the peer can know.
    pub(super) async fn answer_after<H>(self, outcome: Result<CallReply, Failure>, held: H) {
        self.close_tap().await;
        let (message, told) = self.message(outcome);
        // A connection that has ended needs no answers; its own task says why it ended.
        let _ended = self.outbox.send_after(message, held).await;
        told.keep(self.exchange);
    }

    /// The same from the task of the session itself, which cannot wait: as long as it did, it would not read, and a
    /// peer that reads only once it has written would wait for it. Where something is to be waited for, it gives what
    /// is left to do.
    pub(super) fn answer_within_session<H: Send>(
        self,
        outcome: Result<CallReply, Failure>,
        held: H,
    ) -> Option<impl Future<Output = ()> + Send> {
        let (message, told) = self.message(outcome);
        let unsent = match &self.tap {
            None => self.outbox.try_send_within_writing_task(message, held),
            Some(_) => Some((message, held)),
        };
        let Some((message, held)) = unsent else {
            told.keep(self.exchange);
            return None;
        };
        Some(async move {
            self.close_tap().await;
            let _ended = self.outbox.send_after(message, held).await;
            told.keep(self.exchange);
        })
    }

    async fn close_tap(&self) {
        if let Some(tap) = &self.tap {
            tap.close().await;
        }
    }

    /// The answer, and what is to be done when it was left to be written. Where the connection ends before it is
    /// written, the session ends, and all that it held.
    fn message(&self, outcome: Result<CallReply, Failure>) -> (RawMessage, Told) {
        let (message, told) = match outcome {
            Ok(CallReply {
                value,
                is_result,
                told,
            }) => (Message::Reply { value, is_result }, told),
            Err(failure) => (Message::Failure(failure), Told::default()),
        };
        (message.encode(self.exchange), told)
    }

    pub(super) async fn fail(self, failure: Failure) {
        self.answer(Err(failure)).await;
    }
}

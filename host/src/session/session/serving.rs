//! What a client does as one that serves: offers and withdrawals, answers to the host's calls, and calls
//! that it makes meanwhile.

use std::sync::Arc;

use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::error::printable;
use rpc_host_protocol::message::{Provide, Withdraw};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault};
use serde::Serialize;
use tracing::debug_span;

use super::{Holder, MAX_LOGGED_NAME_BYTES, Session};
use crate::chain::Chain;
use crate::session::reply::ReplyToken;
use crate::session::{Backend, CallReply, ReachError, SessionEnd};

impl<B: Backend> Session<B> {
    pub(super) async fn on_provide(
        &mut self,
        id: ExchangeId,
        provide: Provide,
        bytes: usize,
    ) -> Result<(), SessionEnd> {
        let name = printable(&provide.name, MAX_LOGGED_NAME_BYTES);
        let span = self.span(debug_span!("provide", exchange = id.0, name));
        let Some((token, slot)) = self.admit_call(id, bytes).await? else {
            return Ok(());
        };
        let (holder, reach) = (Arc::clone(&self.holder), self.reach.clone());
        let origin = self.origin;
        let work = async move {
            let Holder { backend, principal } = &*holder;
            let leased = backend.provide(principal, origin, provide, reach).await?;
            Ok(answer(&leased))
        };
        self.begin(token, slot, span, work);
        Ok(())
    }

    pub(super) async fn on_withdraw(
        &mut self,
        id: ExchangeId,
        withdraw: Withdraw,
    ) -> Result<(), SessionEnd> {
        let Some((token, _slot)) = self.admit_call(id, 0).await? else {
            return Ok(());
        };
        let Holder { backend, principal } = &*self.holder;
        let outcome = backend.withdraw(principal, self.origin, withdraw);
        token.answer(outcome.map(|()| answer(&()))).await;
        Ok(())
    }

    /// The client has answered a call of the host's. Whoever lost its standing is not believed.
    pub(super) fn on_answer(
        &mut self,
        id: ExchangeId,
        answer: Result<Vec<u8>, ReachError>,
    ) -> Result<(), SessionEnd> {
        if !self.holder.backend.still_valid(&self.holder.principal) {
            return Err(SessionEnd::Revoked);
        }
        self.reach.answer(id, answer);
        Ok(())
    }

    /// Whether a call may begin that is part of a call of the host's. If that one is over, there is
    /// nothing that it could be part of.
    pub(super) async fn admit_within(
        &mut self,
        id: ExchangeId,
        outer: ExchangeId,
    ) -> Result<Option<(ReplyToken, Option<Chain>)>, SessionEnd> {
        let token = self.admit_known(id).await?;
        let Some(chain) = self.reach.chain_of(outer) else {
            let message = format!(
                "the host has no call {outer} under way in this session (any more), so no call can be \
                 within it"
            );
            let failure = Failure::new(ErrorCode::FailedPrecondition, Fault::Peer, message);
            token.fail(failure).await;
            return Ok(None);
        };
        Ok(Some((token, Some(chain))))
    }
}

/// A reply of the host's own making.
pub(super) fn answer<T: Serialize>(value: &T) -> CallReply {
    CallReply::new(encode_envelope(value), false)
}

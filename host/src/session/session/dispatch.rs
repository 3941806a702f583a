//! What each message of a client sets going.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::error::printable;
use rpc_host_protocol::message::{CallHeader, Message, Release, UploadHeader};
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, Operation};
use tracing::{Span, debug_span};

use super::serving::answer;
use super::{Holder, MAX_LOGGED_NAME_BYTES, Session};
use crate::journal::Ear;
use crate::session::calls::{Began, Slot};
use crate::session::order::begins_exchange;
use crate::session::reply::ReplyToken;
use crate::session::shortcut::{Place, SitsOut, has_time};
use crate::session::uploads::{Inlet, Upload};
use crate::session::{Backend, CallReply, CallRequest, ReachError, SessionEnd, end};
use crate::transport::frames::Frame;

impl<B: Backend> Session<B> {
    pub(super) async fn on_frame(&mut self, frame: Frame) -> Result<(), SessionEnd> {
        match self.incoming.end(frame) {
            None => Ok(()),
            Some(raw) => self.on_message(raw).await,
        }
    }

    async fn on_message(&mut self, raw: RawMessage) -> Result<(), SessionEnd> {
        let (id, kind, bytes) = (raw.id, raw.kind, raw.payload.len());
        let message = match Message::decode(raw) {
            Ok(message) => message,
            Err(error) => {
                let failure =
                    Failure::new(ErrorCode::InvalidArgument, Fault::Peer, error.to_string());
                if begins_exchange(kind, id) {
                    self.token(id).fail(failure).await;
                } else if kind == Kind::Failure && id.is_from_host() {
                    let malformed = ReachError::Malformed(error.to_string());
                    self.on_answer(id, Err(malformed))?;
                } else {
                    self.say(Message::Failure(failure)).await;
                }
                return Ok(());
            }
        };
        match message {
            Message::Call { header, arguments } => self.on_call(id, header, arguments, bytes).await,
            Message::Request(operation) => self.on_request(id, operation, bytes).await,
            Message::Upload(header) => self.on_upload(id, header).await,
            Message::Chunk(chunk) => {
                self.on_chunk(id, chunk).await;
                Ok(())
            }
            Message::Cancel => {
                self.on_cancel(id).await;
                Ok(())
            }
            Message::Provide(provide) => self.on_provide(id, provide, bytes).await,
            Message::Withdraw(withdraw) => self.on_withdraw(id, withdraw).await,
            Message::Reply { value, .. } if id.is_from_host() => self.on_answer(id, Ok(value)),
            Message::Failure(failure) if id.is_from_host() => {
                self.on_answer(id, Err(ReachError::Failed(failure)))
            }
            Message::Ping(beat) => {
                self.say(Message::Pong(beat)).await;
                Ok(())
            }
            Message::Pong(_) => Ok(()),
            Message::Release(release) if id == ExchangeId::CONNECTION => {
                let Holder { backend, principal } = &*self.holder;
                backend.release_unanswered(principal, self.origin, &release);
                Ok(())
            }
            Message::Release(release) => self.on_release(id, &release).await,
            // Answers to what nobody asks, and news that change nothing here.
            Message::Reply { .. }
            | Message::Failure(_)
            | Message::Ack(_)
            | Message::Event(_)
            | Message::Goaway(_)
            | Message::Hello(_)
            | Message::Welcome(_)
            | Message::Lapse(_)
            | Message::Output(_) => {
                self.ignored += 1;
                Ok(())
            }
        }
    }

    pub(super) fn token(&self, id: ExchangeId) -> ReplyToken {
        ReplyToken::new(id, self.outbox.clone())
    }

    /// Whether an exchange may begin now; if not, it is answered here.
    async fn admit(&mut self, id: ExchangeId) -> Result<Option<ReplyToken>, SessionEnd> {
        let token = self.admit_known(id).await?;
        if self.stop_at.is_some() {
            token.fail(end::stopping()).await;
            return Ok(None);
        }
        Ok(Some(token))
    }

    /// The same, also while the node stops: for what is part of work under way.
    pub(super) async fn admit_known(&mut self, id: ExchangeId) -> Result<ReplyToken, SessionEnd> {
        let token = self.token(id);
        if !self.holder.backend.still_valid(&self.holder.principal) {
            token.fail(end::revoked()).await;
            return Err(SessionEnd::Revoked);
        }
        Ok(token)
    }

    async fn on_call(
        &mut self,
        id: ExchangeId,
        header: CallHeader,
        arguments: Payload,
        bytes: usize,
    ) -> Result<(), SessionEnd> {
        let span = self.span(debug_span!(
            "call",
            exchange = id.0,
            module = printable(&header.module, MAX_LOGGED_NAME_BYTES),
            function = printable(&header.function, MAX_LOGGED_NAME_BYTES),
        ));
        let admitted = match header.within {
            None => self.admit(id).await?.map(|token| (token, None)),
            Some(outer) => self.admit_within(id, ExchangeId(outer)).await?,
        };
        let Some((token, chain)) = admitted else {
            return Ok(());
        };
        let account = self.holder.principal.account();
        if let Err(too_fast) = self.paces.begin_call(account, self.last_heard.into_std()) {
            token.fail(too_fast).await;
            return Ok(());
        }
        let Some((mut token, slot)) = self.take_slot(token, bytes).await else {
            return Ok(());
        };
        let ear = header.output.then(|| token.tap() as Arc<dyn Ear>);
        let place = Place::of(&header);
        let sits_out = self.shortcut.sits_out(place);
        let meter = sits_out.as_ref().map(SitsOut::meter);
        let is_long = meter.is_some();
        let call = CallRequest {
            origin: self.origin,
            exchange: id,
            header,
            arguments,
            chain,
            ear,
            meter,
        };
        let holder = Arc::clone(&self.holder);
        let call = holder.backend.begin_call(&holder.principal, call);
        // Boxed as soon as it is there: all that is passed on from here to its task is small.
        let work = Box::pin(async move {
            let outcome = holder.backend.call(&holder.principal, call).await;
            if let Some(call) = sits_out {
                call.end();
            }
            outcome
        });
        let began = Began {
            at: self.last_heard,
            span,
        };
        if !is_long && self.uploads.taken() == 0 && has_time(self.last_heard) {
            let turn = self.shortcut.begin(place);
            let is_over = self.in_flight.try_at_once(token, slot, began, work).await;
            self.shortcut.end(&turn, is_over);
        } else {
            self.in_flight.spawn(token, slot, None, began, work);
        }
        Ok(())
    }

    async fn on_request(
        &mut self,
        id: ExchangeId,
        operation: Operation,
        bytes: usize,
    ) -> Result<(), SessionEnd> {
        let span = self.span(debug_span!(
            "request",
            exchange = id.0,
            operation = operation.name()
        ));
        let Some((token, slot)) = self.admit_call(id, bytes).await? else {
            return Ok(());
        };
        let (holder, origin) = (Arc::clone(&self.holder), self.origin);
        // Who follows a log waits for ever, and must not hold up the end of the node.
        let lasts = matches!(&operation, Operation::Logs(logs) if logs.follow);
        let (outlet, stopping) = (token.outlet(), self.context.stopping.clone());
        let work = async move {
            let Holder { backend, principal } = &*holder;
            let value = tokio::select! {
                value = backend.operate(principal, origin, operation, outlet) => value?,
                _deadline = stopping.begun(), if lasts => return Err(end::stopping()),
            };
            Ok(CallReply::new(value, false))
        };
        self.begin(token, slot, span, work);
        Ok(())
    }

    async fn on_release(&mut self, id: ExchangeId, release: &Release) -> Result<(), SessionEnd> {
        let span = self.span(debug_span!("release", exchange = id.0));
        let Some((token, slot)) = self.admit_call(id, 0).await? else {
            return Ok(());
        };
        let Holder { backend, principal } = &*self.holder;
        // What is released is released in the order in which that came, too.
        match backend.release(principal, self.origin, release) {
            Ok(released) => {
                let work = async move { released.await.map(|()| answer(&())) };
                self.begin(token, slot, span, work);
            }
            Err(failure) => {
                drop(slot);
                token.fail(failure).await;
            }
        }
        Ok(())
    }

    /// Whether an exchange that is no call may begin now.
    async fn admit_request(&mut self, id: ExchangeId) -> Result<Option<ReplyToken>, SessionEnd> {
        let Some(token) = self.admit(id).await? else {
            return Ok(None);
        };
        let (account, now) = (self.holder.principal.account(), self.last_heard.into_std());
        Ok(match self.paces.begin_request(account, now) {
            Ok(()) => Some(token),
            Err(too_fast) => {
                token.fail(too_fast).await;
                None
            }
        })
    }

    /// The same, for an exchange that came with so many bytes and needs nothing more.
    pub(super) async fn admit_call(
        &mut self,
        id: ExchangeId,
        bytes: usize,
    ) -> Result<Option<(ReplyToken, Slot)>, SessionEnd> {
        Ok(match self.admit_request(id).await? {
            Some(token) => self.take_slot(token, bytes).await,
            None => None,
        })
    }

    async fn take_slot(&self, token: ReplyToken, bytes: usize) -> Option<(ReplyToken, Slot)> {
        match self.calls.try_take(bytes) {
            Ok(slot) => Some((token, slot)),
            Err(full) => {
                token.fail(full.failure("calls")).await;
                None
            }
        }
    }

    /// Begins the work of an exchange that gets a task of its own.
    pub(super) fn begin(
        &self,
        token: ReplyToken,
        slot: Slot,
        span: Span,
        work: impl Future<Output = Result<CallReply, Failure>> + Send + 'static,
    ) {
        let at = self.last_heard;
        let began = Began { at, span };
        self.in_flight.spawn(token, slot, None, began, work);
    }

    async fn on_upload(&mut self, id: ExchangeId, header: UploadHeader) -> Result<(), SessionEnd> {
        let Some(token) = self.admit_request(id).await? else {
            return Ok(());
        };
        let slot = match self.uploads.try_take(0) {
            Ok(slot) => slot,
            Err(full) => {
                token.fail(full.failure("uploads")).await;
                return Ok(());
            }
        };
        let span = self.span(debug_span!(
            "upload",
            exchange = id.0,
            size_bytes = header.size_bytes
        ));
        let inlet = Arc::new(Inlet::new(header.size_bytes));
        let upload = Upload {
            origin: self.origin,
            exchange: id,
            header,
            inlet: Arc::clone(&inlet),
            outbox: self.outbox.clone(),
            window_bytes: self.context.limits.upload_window_bytes,
            chunk_timeout: Duration::from_millis(self.context.limits.idle_timeout_ms),
        };
        let holder = Arc::clone(&self.holder);
        let work = async move { upload.run(&*holder.backend, &holder.principal).await };
        let began = Began {
            at: self.last_heard,
            span,
        };
        self.in_flight.spawn(token, slot, Some(inlet), began, work);
        Ok(())
    }

    async fn on_chunk(&mut self, id: ExchangeId, chunk: Vec<u8>) {
        let Some(inlet) = self.in_flight.inlet(id) else {
            // Was on its way when the upload ended.
            self.ignored += 1;
            return;
        };
        if let Err(failure) = inlet.accept(chunk)
            && let Some(token) = self.in_flight.abort(id).await
        {
            token.fail(failure).await;
        }
    }

    async fn on_cancel(&mut self, id: ExchangeId) {
        match self.in_flight.abort(id).await {
            Some(token) => {
                let message = "the client ended it";
                token
                    .fail(Failure::new(ErrorCode::Cancelled, Fault::Peer, message))
                    .await;
            }
            None => self.ignored += 1,
        }
    }

    /// `span`, or that of the session where nobody looks so closely.
    pub(super) fn span(&self, span: Span) -> Span {
        if span.is_disabled() {
            self.span.clone()
        } else {
            span
        }
    }
}

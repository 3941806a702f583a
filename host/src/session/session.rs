//! The loop of a session after its welcome.

mod dispatch;
mod serving;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::assembler::AssemblerLimits;
use rpc_host_protocol::message::{Beat, Goaway, Message};
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep_until};
use tracing::{Span, debug, info};

use super::calls::{InFlight, Slots};
use super::fellows::Fellow;
use super::incoming::Incoming;
use super::paces::Paces;
use super::shortcut::Shortcut;
use super::{Backend, Origin, Reach, SessionContext, SessionEnd, end};
use crate::tenant::Principal;
use crate::transport::frames::{Frame, FrameReader, Outbox};

/// Names that clients choose are cut to this in the log.
pub(super) const MAX_LOGGED_NAME_BYTES: usize = 96;
/// After so many reads without a rest, replies that are ready get their turn.
const READS_IN_A_ROW: u32 = 8;
/// After so many frames, other connections have a turn: a read may bring hundreds.
const FRAMES_IN_A_ROW: u32 = 32;
/// How many of the longest messages may be incomplete, or under way as arguments, at once.
const LONG_MESSAGES: usize = 4;

/// What the tasks of a session share.
struct Holder<B> {
    backend: Arc<B>,
    principal: Principal,
}

/// One authenticated connection.
pub(super) struct Session<B: Backend> {
    origin: Origin,
    context: SessionContext<B>,
    holder: Arc<Holder<B>>,
    outbox: Outbox,
    incoming: Incoming,
    in_flight: Arc<InFlight>,
    calls: Slots,
    uploads: Slots,
    paces: Paces,
    reach: Reach,
    fellow: Fellow,
    last_heard: Instant,
    shortcut: Shortcut,
    /// Until when work under way may go on; `None` while the node does not stop.
    stop_at: Option<Instant>,
    /// That of the session, for exchanges that have none.
    span: Span,
    /// Messages that nobody waits for (any more).
    ignored: u64,
}

/// What the loop waits for.
enum Happening {
    Frame(Option<Frame>),
    Stop(Instant),
    Heartbeat,
    AllAnswered,
    TimeIsUp,
}

impl<B: Backend> Session<B> {
    pub(super) fn new(
        origin: Origin,
        context: SessionContext<B>,
        principal: Principal,
        outbox: Outbox,
    ) -> Self {
        let limits = &context.limits;
        let max_message_bytes = usize::try_from(limits.max_message_bytes).unwrap_or(usize::MAX);
        let max_exchanges = limits
            .max_calls_in_flight_per_session
            .saturating_add(limits.max_uploads_per_session)
            .saturating_add(limits.max_calls_into_client_per_session);
        let max_long_bytes = max_message_bytes.saturating_mul(LONG_MESSAGES);
        let account = Arc::clone(principal.account());
        let reach = Reach::new(origin.session, outbox.clone(), limits, max_long_bytes);
        context
            .backend
            .session_began(&principal, origin, reach.clone());
        Session {
            origin,
            holder: Arc::new(Holder {
                backend: Arc::clone(&context.backend),
                principal,
            }),
            reach,
            fellow: context.fellows.join(),
            outbox,
            incoming: Incoming::new(AssemblerLimits {
                max_message_bytes,
                max_buffered_bytes: max_long_bytes,
                max_incomplete_messages: usize::try_from(max_exchanges).unwrap_or(usize::MAX),
            }),
            in_flight: Arc::new(InFlight::new(
                limits.max_unread_reply_bytes_per_session,
                &account,
            )),
            calls: Slots::new(
                limits.max_calls_in_flight_per_session,
                max_long_bytes,
                &account,
            ),
            uploads: Slots::new(limits.max_uploads_per_session, max_long_bytes, &account),
            paces: Paces::new(limits),
            last_heard: Instant::now(),
            shortcut: Shortcut::default(),
            stop_at: None,
            span: Span::current(),
            ignored: 0,
            context,
        }
    }

    /// Serves the peer until the session ends. The stream is as it was left then; what the peer is to
    /// hear about the end is [`Session::leave`]'s to say.
    pub(super) async fn run<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut FrameReader<R>,
    ) -> SessionEnd {
        match self.serve(reader).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn serve<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut FrameReader<R>,
    ) -> Result<SessionEnd, SessionEnd> {
        let mut stop = pin!(self.context.stopping.clone().begun());
        let mut heartbeat = pin!(sleep_until(self.last_heard + self.keepalive()));
        let (mut reads, mut frames): (u32, u32) = (0, 0);
        loop {
            let mut has_rested = false;
            let happening = tokio::select! {
                biased;
                at = &mut stop, if self.stop_at.is_none() => Happening::Stop(at),
                () = all_answered(&self.calls, &self.uploads, &mut self.fellow, &self.reach, &self.holder), if self.stop_at.is_some() => Happening::AllAnswered,
                () = until(self.stop_at), if self.stop_at.is_some() => Happening::TimeIsUp,
                () = &mut heartbeat => Happening::Heartbeat,
                frame = resting(reader.next_behind(|header| self.incoming.begin(header)), &mut has_rested) => Happening::Frame(frame?),
            };
            match happening {
                Happening::Frame(None) => return Ok(SessionEnd::PeerLeft),
                Happening::Frame(Some(frame)) => {
                    self.last_heard = Instant::now();
                    self.reach.hear(self.last_heard);
                    self.on_frame(frame).await?;
                    while let Some(frame) =
                        reader.next_buffered(|header| self.incoming.begin(header))?
                    {
                        frames = frames.wrapping_add(1);
                        if frames.is_multiple_of(FRAMES_IN_A_ROW) {
                            tokio::task::yield_now().await;
                        }
                        self.on_frame(frame).await?;
                    }
                    reads = if has_rested { 0 } else { reads + 1 };
                    if reads == READS_IN_A_ROW {
                        reads = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Happening::Stop(at) => {
                    self.stop_at = Some(at);
                    self.say(Message::Goaway(Goaway {
                        failure: end::stopping(),
                    }))
                    .await;
                }
                Happening::AllAnswered => return Ok(SessionEnd::Drained),
                Happening::TimeIsUp => return Ok(SessionEnd::DrainTimeout),
                Happening::Heartbeat => {
                    reader.rest();
                    let next = self.beat().await?;
                    heartbeat.as_mut().reset(next);
                }
            }
        }
    }

    /// Ends what is under way, and tells the peer why the session ends.
    pub(super) async fn leave(&mut self, end: &SessionEnd) {
        self.end_reach();
        let tokens = self.in_flight.abort_all();
        if let Some(verdict) = end.verdict() {
            for token in tokens {
                token.fail(verdict.clone()).await;
            }
        }
        if let Some(failure) = end.parting() {
            self.say(Message::Goaway(Goaway { failure })).await;
        }
    }

    /// Until when replies of a session that is drained may be on their way.
    pub(super) fn leave_deadline(&self) -> Instant {
        self.stop_at.unwrap_or_else(Instant::now)
    }

    fn keepalive(&self) -> Duration {
        Duration::from_millis(self.context.limits.keepalive_interval_ms)
    }

    /// In this order: what is served ends where its way has ended already, so that nothing can be
    /// served over a way that is none.
    fn end_reach(&self) {
        self.reach.end();
        let Holder { backend, principal } = &*self.holder;
        backend.session_ended(principal, self.origin.session);
    }

    /// Looks whether the peer is still there; tells when to look again.
    async fn beat(&mut self) -> Result<Instant, SessionEnd> {
        // Between exchanges nobody else asks, and a session may be silent, or busy, for ever.
        if !self.holder.backend.still_valid(&self.holder.principal) {
            return Err(SessionEnd::Revoked);
        }
        let now = Instant::now();
        let silence = now.duration_since(self.last_heard);
        let idle_timeout = Duration::from_millis(self.context.limits.idle_timeout_ms);
        let is_idle = self.calls.taken() == 0 && self.uploads.taken() == 0;
        if silence >= idle_timeout && is_idle {
            return Err(SessionEnd::Idle(silence));
        }
        if silence < self.keepalive() {
            return Ok(self.last_heard + self.keepalive());
        }
        self.say(Message::Ping(Beat { nonce: 0 })).await;
        let next = now + self.keepalive();
        let idle_at = self.last_heard + idle_timeout;
        Ok(if idle_at > now {
            next.min(idle_at)
        } else {
            next
        })
    }

    /// Sends a message about the connection.
    async fn say(&self, message: Message) {
        // Where the writer has failed, the session hears of it from there.
        let _ended = self
            .outbox
            .send(message.encode(ExchangeId::CONNECTION))
            .await;
    }
}

impl<B: Backend> Drop for Session<B> {
    /// However a session ends, nothing goes on for it.
    fn drop(&mut self) {
        self.end_reach();
        // Nobody is left to be answered.
        drop(self.in_flight.abort_all());
        if self.ignored > 0 {
            debug!(
                ignored = self.ignored,
                "messages came that nobody waited for"
            );
        }
        let late_answers = self.reach.late_answers();
        if late_answers > 0 {
            info!(late_answers, "answers of the client came too late");
        }
    }
}

/// Waits until a session that takes nothing new is done: with its own work, and then with what it does
/// for others. A client that serves a name stays until nobody has work under way who might need it.
async fn all_answered<B: Backend>(
    calls: &Slots,
    uploads: &Slots,
    fellow: &mut Fellow,
    reach: &Reach,
    holder: &Holder<B>,
) {
    calls.all_free().await;
    uploads.all_free().await;
    fellow.is_done();
    if holder
        .backend
        .is_serving(&holder.principal, reach.session())
    {
        fellow.all_done().await;
    }
    reach.all_answered().await;
}

/// Tells in `has_rested` whether there was something to wait for.
async fn resting<T>(work: impl Future<Output = T>, has_rested: &mut bool) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        *has_rested |= polled.is_pending();
        polled
    })
    .await
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

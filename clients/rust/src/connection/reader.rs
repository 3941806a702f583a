//! Socket → exchanges.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BytesMut};
use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage};
use rpc_host_protocol::frame::{HEADER_BYTES, Header};
use rpc_host_protocol::{ExchangeId, Message};
use tokio::io::AsyncReadExt;
use tokio::task::yield_now;

use super::serving::Settled;
use super::{Shared, Waiting};
use crate::call::RawReply;
use crate::error::Error;
use crate::provide::MAX_WINDOW;
use crate::streams::Input;

const READ_BYTES: usize = 64 << 10;
/// Answers to pings that may wait to be written; a host that asks for more does not read them.
const MAX_WAITING_PONGS: usize = 64;
/// So many calls into this client may be incomplete at once: more than any window has.
const MAX_INCOMPLETE_CALLS: usize = MAX_WINDOW as usize;
/// Incomplete replies together may take so many times what one may.
const BUFFERED_REPLIES: usize = 4;

/// Runs until the connection is over, and ends it.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut input: Input,
    max_reply_bytes: usize,
    slots: usize,
) {
    let mut assembler = Assembler::new(AssemblerLimits {
        max_message_bytes: max_reply_bytes,
        max_buffered_bytes: max_reply_bytes.saturating_mul(BUFFERED_REPLIES),
        max_incomplete_messages: slots.saturating_add(1 + MAX_INCOMPLETE_CALLS),
    });
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let why = loop {
        match input.read_buf(&mut buffer).await {
            Ok(0) => break closed(&shared),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break closed(&shared),
            Err(error) => break Error::lost(format!("cannot read: {error}")),
        }
        shared.heard.store(true, Ordering::Relaxed);
        shared.begun.store(0, Ordering::Relaxed);
        match take_frames(&shared, &mut assembler, &mut buffer) {
            // Whoever waited for one of these waits for this thread now, and more of a long message may come for long.
            Ok(messages) if messages > 0 && assembler.is_amidst() => yield_now().await,
            Ok(_) => {}
            Err(why) => break why,
        }
        buffer.reserve(READ_BYTES);
    };
    shared.end(why);
}

fn closed(shared: &Shared) -> Error {
    match &shared.state().goaway {
        None => Error::lost("the host closed the connection"),
        Some(failure) => Error::lost(format!("the host closed the connection ({failure})")),
    }
}

fn violation(what: impl std::fmt::Display) -> Error {
    Error::lost(format!("the host broke the protocol: {what}"))
}

/// Gives how many messages were complete.
fn take_frames(
    shared: &Arc<Shared>,
    assembler: &mut Assembler,
    buffer: &mut BytesMut,
) -> Result<usize, Error> {
    let mut messages = 0;
    while let Some(header) = buffer.first_chunk::<HEADER_BYTES>() {
        let header = Header::decode(*header).map_err(violation)?;
        let length = header.length_bytes as usize;
        if buffer.len() < HEADER_BYTES + length {
            buffer.reserve(HEADER_BYTES + length - buffer.len());
            return Ok(messages);
        }
        buffer.advance(HEADER_BYTES);
        let payload = buffer.split_to(length);
        if let Some(message) = assembler.accept(header, &payload).map_err(violation)? {
            take_message(shared, message)?;
            messages += 1;
        }
    }
    Ok(messages)
}

fn take_message(shared: &Arc<Shared>, raw: RawMessage) -> Result<(), Error> {
    let id = raw.id;
    match Message::decode(raw).map_err(violation)? {
        Message::Reply { value, is_result } => {
            let arrival = shared.arrived(&value);
            finish(shared, id, Ok(RawReply::new(value, is_result, arrival)))
        }
        Message::Failure(failure) if id == ExchangeId::CONNECTION => {
            Err(Error::lost(format!("the host ended it ({failure})")))
        }
        Message::Failure(failure) => finish(shared, id, Err(Error::Remote(failure))),
        Message::Ack(ack) => {
            let state = shared.state();
            if let Some(acks) = state.waiting.get(&id).and_then(|of| of.acks.as_ref()) {
                acks.send_replace(ack);
            }
            Ok(())
        }
        Message::Ping(beat) => {
            {
                let outbox = &mut shared.state().outbox;
                if outbox.waiting(ExchangeId::CONNECTION) >= MAX_WAITING_PONGS {
                    return Err(violation("pings without end"));
                }
                outbox.append(Message::Pong(beat).encode(ExchangeId::CONNECTION));
            }
            shared.write_now();
            Ok(())
        }
        // That it came is all there is to it, and that has been noted.
        Message::Pong(_) => Ok(()),
        Message::Goaway(goaway) => {
            tracing::info!(reason = %goaway.failure, "the host is going away");
            shared.state().goaway = Some(goaway.failure);
            Ok(())
        }
        Message::Event(event) => {
            tracing::info!(event = event.event, "{}", event.message);
            Ok(())
        }
        Message::Call { header, arguments } if id.is_from_host() => {
            shared.take_call(id, header, arguments).map_err(violation)
        }
        Message::Cancel if id.is_from_host() => {
            shared.stop_call(id);
            Ok(())
        }
        Message::Release(release) if id == ExchangeId::CONNECTION => {
            shared.released(release);
            Ok(())
        }
        Message::Output(line) if id.is_from_client() => {
            let state = shared.state();
            let waiting = state.waiting.get(&id);
            if let Some(lines) = waiting.and_then(|waiting| waiting.lines.as_ref()) {
                // Whoever wanted to see them may have gone.
                drop(lines.send(line));
            }
            Ok(())
        }
        Message::Lapse(lapse) if id == ExchangeId::CONNECTION => {
            shared.lapse(lapse);
            Ok(())
        }
        other => Err(violation(format_args!("it sent a {}", other.kind().name()))),
    }
}

fn finish(shared: &Shared, id: ExchangeId, end: Result<RawReply, Error>) -> Result<(), Error> {
    let (waiting, settled) = {
        let mut state = shared.state();
        if !id.is_from_client() || id.0 >= state.next_id {
            return Err(violation("it answered what was not asked"));
        }
        let Some(waiting) = state.waiting.remove(&id) else {
            tracing::debug!(exchange = %id, "answered more than once");
            return Ok(());
        };
        // What it still wants to send for an exchange that is over would answer nothing.
        state.outbox.retract(id);
        let answer = end.as_ref().ok().map(|reply| reply.value.as_slice());
        (waiting, Shared::settle(&mut state.serving, id, answer))
    };
    let Waiting {
        reply,
        slot,
        mut sent,
        ..
    } = waiting;
    if let (Some(sent), Ok(_)) = (&mut sent, &end) {
        sent.taken();
    }
    drop(sent);
    let settled = match settled {
        Ok(settled) => settled,
        Err(problem) => {
            let why = violation(problem);
            drop(reply.send(Err(why.clone())));
            return Err(why);
        }
    };
    match settled {
        Settled::Nothing => {}
        Settled::Granted => shared.keepalive_wanted.notify_one(),
        Settled::Over(term) => drop(term),
        Settled::Abandoned(withdraw, term) => {
            shared.say(Message::Withdraw(withdraw), slot);
            drop(term);
        }
    }
    // The caller may have gone; then nobody wants to know.
    drop(reply.send(end));
    Ok(())
}

//! Where the output of an exchange goes, before its answer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::{Message, Output, OutputStream};

use crate::journal::{Ear, Line};
use crate::transport::frames::Outbox;

/// Sends lines to whoever asked for them, and waits for room for them.
#[derive(Clone, Debug)]
pub struct Outlet {
    exchange: ExchangeId,
    outbox: Outbox,
}

impl Outlet {
    pub(super) fn new(exchange: ExchangeId, outbox: Outbox) -> Self {
        Outlet { exchange, outbox }
    }

    /// Sends a line that was kept. Whether the connection takes it still.
    pub async fn send(&self, line: &Line) -> bool {
        let kept = Output {
            at_ms: Some(line.at.unix_ms()),
            call: Some(line.call.to_string()),
            ..output(line)
        };
        self.outbox.send(self.message(kept)).await.is_ok()
    }

    /// Says that so many lines are missing here. Whether the connection takes it still.
    pub async fn send_lost(&self, lines: u64) -> bool {
        self.outbox.send(self.message(lost(lines))).await.is_ok()
    }

    fn message(&self, output: Output) -> RawMessage {
        Message::Output(output).encode(self.exchange)
    }
}

/// Hears what the guests of a call say, for whoever made it. A line that there is no room for is lost, and whoever made
/// the call is told how many were.
pub(super) struct Tap {
    outlet: Outlet,
    state: Mutex<State>,
}

struct State {
    lost: u64,
    /// The call is answered: nothing comes after that.
    is_closed: bool,
}

impl Tap {
    pub(super) fn new(outlet: Outlet) -> Arc<Self> {
        let state = State {
            lost: 0,
            is_closed: false,
        };
        Arc::new(Tap {
            outlet,
            state: Mutex::new(state),
        })
    }

    /// Nothing is sent from here on, but what is left to be said about lines that were lost.
    pub(super) async fn close(&self) {
        let lost_lines = {
            let mut state = self.state();
            state.is_closed = true;
            state.lost
        };
        if lost_lines > 0 {
            // The answer that follows fails as this does.
            let _ended = self.outlet.send_lost(lost_lines).await;
        }
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear for Tap {
    fn hear(&self, line: &Line) {
        let mut state = self.state();
        if state.is_closed {
            return;
        }
        let is_left = |output| {
            let message = self.outlet.message(output);
            self.outlet.outbox.try_send_aside(message).is_ok()
        };
        if state.lost > 0 && is_left(lost(state.lost)) {
            state.lost = 0;
        }
        if state.lost > 0 || !is_left(output(line)) {
            state.lost = state.lost.saturating_add(1);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tap({})", self.outlet.exchange)
    }
}

fn output(line: &Line) -> Output {
    Output {
        stream: line.stream,
        text: line.text.to_string(),
        level: line.level.map(str::to_owned),
        at_ms: None,
        call: None,
        lost: None,
    }
}

fn lost(lines: u64) -> Output {
    Output {
        stream: OutputStream::Log,
        text: format!("{lines} lines were lost: they came faster than they were read"),
        level: Some("warn".to_owned()),
        at_ms: None,
        call: None,
        lost: Some(lines),
    }
}

//! `rpc-host:guest/log`: structured lines in the node's log.
//!
//! A line carries tenant, registration and call as the node knows them, never as the guest says, and
//! comes under the target `guest`, so that it cannot pass for a line of the node.

use std::sync::Arc;
use std::time::Instant;

use rpc_host_protocol::error::printable;
use rpc_host_protocol::message::OutputStream;
use wasmtime::component::{HasData, Linker};

use super::{Grants, Kind, MissingGrant};
use crate::account::{Account, Hearing};
use crate::journal::{Room, Scribe};
use crate::sandbox::{CallLabel, CallLimits, State};

pub(super) const INTERFACE: &str = "rpc-host:guest/log";

/// Fields of one line.
const MAX_FIELDS: usize = 32;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "rpc-host:guest/guest",
        imports: { default: trappable },
    });
}

use bindings::rpc_host::guest::log::{Field, Host, Level, add_to_linker as add_bindings};

/// The log of one call.
pub(crate) struct LogCtx {
    label: CallLabel,
    account: Arc<Account>,
    max_line_bytes: usize,
    max_lines: u64,
    lines: u64,
    journal_room: Room,
}

impl LogCtx {
    pub(crate) fn new(label: CallLabel, account: Arc<Account>, limits: &CallLimits) -> Self {
        LogCtx {
            label,
            account,
            max_line_bytes: usize::try_from(limits.max_log_line_bytes).unwrap_or(usize::MAX),
            max_lines: limits.max_log_lines,
            lines: 0,
            journal_room: limits.journal_room,
        }
    }

    /// Another call begins, of the same account.
    pub(crate) fn begin(&mut self, label: CallLabel, limits: &CallLimits) {
        *self = LogCtx::new(label, Arc::clone(&self.account), limits);
    }

    /// The last call is over: nothing is written for it any more.
    pub(crate) fn end(&mut self) {
        self.label.scribe = Scribe::default();
    }

    /// Whose call it is.
    pub(crate) fn label(&self) -> &CallLabel {
        &self.label
    }
}

/// The log, and whether it is granted.
struct LogView<'a> {
    log: &'a mut LogCtx,
    grants: &'a Grants,
}

struct HasLog;

impl HasData for HasLog {
    type Data<'a> = LogView<'a>;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_bindings::<State, HasLog>(linker, |state| {
        let (log, grants) = state.log();
        LogView { log, grants }
    })
}

/// Whether a guest's line of so many bytes is written, or its tenant has written too much lately. That some
/// were dropped is told once in a while.
pub(crate) fn is_heard(account: &Account, label: &CallLabel, bytes: usize) -> bool {
    match account.chatter().hear(bytes, Instant::now()) {
        Hearing::Write => true,
        Hearing::Drop(None) => false,
        Hearing::Drop(Some(dropped)) => {
            let CallLabel {
                tenant,
                module,
                call,
                scribe: _,
            } = label;
            let limit = account.chatter().pace().per_second();
            tracing::warn!(target: "guest", %tenant, %module, %call, limit, dropped_lines = dropped.lines,
                dropped_bytes = dropped.bytes, "lines over `max-log-bytes-per-second-per-tenant` are dropped");
            false
        }
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

impl Host for LogView<'_> {
    fn log(&mut self, level: Level, message: String, fields: Vec<Field>) -> wasmtime::Result<()> {
        if !self.grants.has(Kind::Log) {
            let called = format!("{INTERFACE}.log");
            let grant = Kind::Log.as_str();
            return Err(MissingGrant {
                called,
                grant,
                is_withheld: true,
            }
            .into());
        }
        let log = &mut *self.log;
        log.lines = log.lines.saturating_add(1);
        let CallLabel {
            tenant,
            module,
            call,
            scribe,
        } = &log.label;
        let stream = OutputStream::Log;
        if log.lines > log.max_lines {
            if log.lines == log.max_lines.saturating_add(1) {
                tracing::warn!(target: "guest", %tenant, %module, %call, limit = log.max_lines,
                    "lines over the limit are dropped");
                let text = "lines over the limit are dropped (`max-log-lines-per-instance`)";
                scribe.write(module, log.journal_room, stream, Some("warn"), text);
            }
            return Ok(());
        }
        let message = printable(&message, log.max_line_bytes);
        let left_bytes = log.max_line_bytes.saturating_sub(message.len());
        let fields: Vec<String> = fields
            .iter()
            .take(MAX_FIELDS)
            .map(|Field { key, value }| {
                format!("{}={:?}", printable(key, 128), printable(value, left_bytes))
            })
            .collect();
        let fields = printable(&fields.join(" "), left_bytes);
        let bytes = message.len().saturating_add(fields.len());
        let text = match fields.is_empty() {
            true => message.clone(),
            false => format!("{message} {fields}"),
        };
        scribe.write(module, log.journal_room, stream, Some(name(level)), &text);
        if !is_heard(&log.account, &log.label, bytes) {
            return Ok(());
        }
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(target: "guest", tracing::Level::$level, %tenant, %module, %call, fields, "{message}")
            };
        }
        match level {
            Level::Trace => line!(TRACE),
            Level::Debug => line!(DEBUG),
            Level::Info => line!(INFO),
            Level::Warn => line!(WARN),
            Level::Error => line!(ERROR),
        }
        Ok(())
    }
}

//! `rpc-host:guest/log`: structured lines in the node's log.
//!
//! A line carries tenant, registration and call as the node knows them, never as the guest says, and
//! comes under the target `guest`, so that it cannot pass for a line of the node.

use rpc_host_protocol::error::printable;
use wasmtime::component::{HasData, Linker};

use super::{Grants, Kind, MissingGrant};
use crate::sandbox::{CallLabel, State};

pub(super) const INTERFACE: &str = "rpc-host:guest/log";

/// Lines of one call.
const MAX_LINES: u32 = 1000;
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
    max_line_bytes: usize,
    lines: u32,
}

impl LogCtx {
    pub(crate) fn new(label: CallLabel, max_line_bytes: u64) -> Self {
        let max_line_bytes = usize::try_from(max_line_bytes).unwrap_or(usize::MAX);
        LogCtx {
            label,
            max_line_bytes,
            lines: 0,
        }
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
    add_bindings::<State, HasLog>(linker, |state| LogView {
        log: &mut state.log,
        grants: &state.grants,
    })
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
        } = &log.label;
        if log.lines > MAX_LINES {
            if log.lines == MAX_LINES + 1 {
                tracing::warn!(target: "guest", %tenant, %module, %call, limit = MAX_LINES,
                    "lines over the limit are dropped");
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

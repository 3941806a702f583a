//! Writes the lines of other modules into the node's log.
//!
//! Each line has its number within the call: a call gets one instance of every module that it
//! reaches, so what is counted here is counted from one again in the next call.

#![forbid(unsafe_code)]

use std::cell::Cell;

use exports::acme::log::logger::{Guest, Level};
use rpc_guest::log;

rpc_guest::generate!({ world: "acme:node-logger/logger", path: ["../wit/acme-log", "wit"] });

thread_local! {
    /// How many lines there were.
    static LINES: Cell<u64> = const { Cell::new(0) };
}

struct NodeLogger;

impl Guest for NodeLogger {
    fn log(level: Level, message: String) {
        let line = LINES.get().saturating_add(1);
        LINES.set(line);
        log::write(in_the_node(level), &message, &[("line", &line)]);
    }
}

fn in_the_node(level: Level) -> log::Level {
    match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    }
}

export!(NodeLogger);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        NodeLogger::log(Level::Info, "one".into());
        NodeLogger::log(Level::Warn, "two".into());
        assert_eq!(LINES.get(), 2);
    }

    #[test]
    fn levels_keep_their_order() {
        let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
        assert!(levels.map(in_the_node).is_sorted());
    }
}

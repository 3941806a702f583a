//! What the node's log calls a call.

use std::fmt;

use rpc_host_protocol::ExchangeId;

/// Names a call: made into text only where it is written, as most calls say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallName {
    /// None yet: of an instance that is made before its call comes.
    Ahead,
    /// What a session does besides calls, by the session's number.
    Session(u64),
    /// A call, by its session's number and its exchange.
    Exchange(u64, ExchangeId),
}

impl fmt::Display for CallName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallName::Ahead => formatter.write_str("ahead"),
            CallName::Session(session) => write!(formatter, "{session:016x}"),
            CallName::Exchange(session, exchange) => write!(formatter, "{session:016x}{exchange}"),
        }
    }
}

//! What can go wrong with what clients serve.

use rpc_host_protocol::error::printable;

use super::{Lease, LeaseEnd};
use crate::chain::ChainError;
use crate::session::SessionId;

/// So much of a client's own words is passed on.
const MAX_QUOTED_BYTES: usize = 1024;

/// Why a name is not served, or a call of it did not end with a reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// The client that served the name is gone, or serves it no more.
    #[error("`{name}` was served by the client of session {session}, which {how}")]
    Lost {
        /// The name.
        name: String,
        /// The session that served it.
        session: SessionId,
        /// How that ended.
        how: LeaseEnd,
    },
    /// The client answered with a failure, or with what is no answer.
    #[error("`{name}` is served by the client of session {session}, which failed: {text}")]
    Failed {
        /// The name.
        name: String,
        /// The session that serves it.
        session: SessionId,
        /// What the client said, escaped and cut.
        text: String,
    },
    /// The call would wait for itself.
    #[error(
        "`{name}` is served by a client that takes {window} calls at once, all of which are under \
         way, and one of them waits for this one: {chain}"
    )]
    WouldDeadlock {
        /// The name.
        name: String,
        /// How many calls the client takes at once.
        window: u32,
        /// The chain, this call included.
        chain: String,
    },
    /// Too many calls would wait for one another.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The time for the call ran out.
    #[error("the client of session {session}, which serves `{name}`, {waited_for} in time")]
    DeadlineExceeded {
        /// The name.
        name: String,
        /// The session that serves it.
        session: SessionId,
        /// What did not happen.
        waited_for: &'static str,
    },
    /// The client has as many calls as a client may have.
    #[error("`{name}` is served by a client that has {limit} calls under way already; try again")]
    Full {
        /// The name.
        name: String,
        /// How many calls into one client there may be.
        limit: u64,
    },
    /// The arguments do not fit into a message.
    #[error(
        "`{name}` is served by a client, and a call of it with these arguments takes {bytes} bytes; a \
         message has {limit_bytes} at most"
    )]
    TooLong {
        /// The name.
        name: String,
        /// How many bytes the call takes.
        bytes: usize,
        /// How many there may be.
        limit_bytes: u64,
    },
    /// A name that only the host answers for.
    #[error(
        "`{name}` is the host's own to serve; names that begin with `wasi:` or `rpc-host:` are"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// A number that is not between its limits.
    #[error("{what} is {value}; it has to be between {least} and {most}")]
    OutOfBounds {
        /// What the number is, with its unit.
        what: &'static str,
        /// The number.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// More WIT text than is read.
    #[error("{bytes} bytes of WIT text were sent; the limit is {limit_bytes}")]
    WitTooLong {
        /// How many bytes.
        bytes: usize,
        /// How many there may be.
        limit_bytes: u64,
    },
    /// Too many names are served.
    #[error("clients of this {of} serve {limit} names already; withdraw one first")]
    TooMany {
        /// What has so many.
        of: &'static str,
        /// How many it may have.
        limit: u64,
    },
    /// Another client serves the name to the tenant.
    #[error(
        "`{name}` is served by the client of session {session} ({holder}); to end that, say \
         `rpc-host withdraw {name} --steal`"
    )]
    Taken {
        /// The name.
        name: String,
        /// The session that serves it.
        session: SessionId,
        /// The public id of its token.
        holder: String,
    },
    /// No client serves this to the tenant.
    #[error("no client serves `{name}` to the tenant")]
    NotServed {
        /// The name.
        name: String,
    },
    /// This is nothing that the session serves.
    #[error("this session does not serve `{name}`, or not under that lease")]
    NotServing {
        /// The name.
        name: String,
    },
    /// A name is served by a client, where an uploaded module was to answer.
    #[error(
        "`{name}` is served by the client of session {session}; to put a module in its place, say \
         `rpc-host promote {name} --to FILE`, or end it with `rpc-host withdraw {name} --steal`"
    )]
    ServedByClient {
        /// The name.
        name: String,
        /// The session that serves it.
        session: SessionId,
    },
    /// Nobody can tell what a name stands for.
    #[error(
        "nothing answered for `{name}` before and nothing imports it, so nobody knows its functions; \
         name it as `rpc-host inspect` shows the import, or send its interface as WIT text (`rpc-host provide --wit FILE`)"
    )]
    NoContract {
        /// The name.
        name: String,
    },
    /// What is offered is not what the name stands for.
    #[error("what is offered is not what `{name}` stands for: {}", .differences.join("; "))]
    Differs {
        /// The name.
        name: String,
        /// Each function that is missing or different.
        differences: Vec<String>,
    },
}

impl ProviderError {
    pub(super) fn lost(lease: &Lease, how: LeaseEnd) -> Self {
        ProviderError::Lost {
            name: lease.name().to_owned(),
            session: lease.session(),
            how,
        }
    }

    /// The client that serves a name answered with this failure, or with what is no answer.
    pub fn failed(lease: &Lease, text: &str) -> Self {
        Self::failed_at(lease.name(), lease.session(), text)
    }

    /// The same of a client of which an object is called, by the interface of that.
    pub fn failed_at(name: &str, session: SessionId, text: &str) -> Self {
        ProviderError::Failed {
            name: name.to_owned(),
            session,
            text: printable(text, MAX_QUOTED_BYTES),
        }
    }
}

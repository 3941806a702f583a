//! What the end-to-end tests stand on: a real node, started from the real binary, on a port that the
//! system chose, with a data directory of its own.
//!
//! | file | holds |
//! |---|---|
//! | `host` | a node, its log, its profile, and how it is started, stopped and killed |
//! | `tenant` | a tenant of its own for a test, so that tests can share a node |
//! | `cli` | the command line, run as a person would |
//! | `log` | the node's log, line by line, and waiting for a line |
//! | `pki` | an authority of an operator's, and what it signs |
//! | `raw_peer` | a peer that speaks in frames and bytes, and need not keep to any rule |
//! | `register_history` | what was written and read at the same time, and whether that can be |
//! | `operations` | which operations there are |
//! | `web` | a web server, and what it was asked |
//! | `documented` | runs an example of the documentation |
//! | `guest` | components: built ones by name, and ones written by hand |
//! | `hostile` | programs that mean no good, each with the end that it has to come to |
//! | `storm` | more objects than anybody needs, made, passed and dropped by many at once |
//!
//! Nothing here sleeps to wait for something: it waits for the line, the frame or the end of the
//! process itself, and fails when that does not come in [`PATIENCE`].
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness that cannot go on fails the test by a panic"
)]

mod cable;
mod cli;
mod documented;
mod guest;
mod host;
pub mod hostile;
mod log;
mod operations;
mod pki;
mod raw_peer;
mod register_history;
pub mod storm;
mod tenant;
mod web;

use std::time::Duration;

pub use cable::Cable;
pub use cli::{Cli, CliOutput, CliProcess};
pub use documented::documented;
pub use guest::{built, component};
pub use host::{HostOptions, TestHost};
pub use log::{Log, LogLine};
pub use operations::operation_names;
pub use pki::{Certified, Pki};
pub use raw_peer::{RawPeer, envelope, hello, tls_config, tls_connect};
pub use register_history::{NoRegister, Reading, RegisterHistory, Span, Writing};
pub use tenant::TestTenant;
pub use web::{Answer, WebServer};

/// How long a test waits for what has to come. Far longer than it takes, even on a busy machine, and
/// never waited for in full by a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What `work` gives, or a panic that says what did not happen in time.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

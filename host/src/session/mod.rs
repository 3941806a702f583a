//! One authenticated connection: who is at the other end, and the exchanges that are under way.
//!
//! | file | holds |
//! |---|---|
//! | `session` | the loop: frames in, exchanges begun, cancelled, answered; keep-alive and drain |
//! | `handshake` | hello, version, token, welcome |
//! | `incoming`, `order` | frames put together to messages, and which may come when |
//! | `calls` | the exchanges in flight, and who may answer them |
//! | `uploads` | bytes on their way in, with a window |
//! | `reach` | the way back: calls of the host's into the client |
//! | `fellows` | which sessions have work of their own, for the end of the node |
//! | `reply` | the right to answer an exchange, once |
//! | `outlet` | what is sent before that: lines that guests say |
//! | `told` | what is undone if an answer never leaves |
//! | `shortcut` | which calls need no task of their own |
//! | `end` | why a session ended |
//! | `backend` | what a session asks of the node behind it |
//!
//! It runs on any stream of bytes and knows nothing of TLS, WebAssembly or storage. It deliberately
//! decides nothing about modules or rights: it asks the [`Backend`].
//!
//! **Tasks.** One task reads and writes a connection, and each exchange has a task of its own. Guests
//! keep a processor busy, so calls of one session have to be able to run on several; and the reading
//! task must stay free for the cancel that ends one. It costs no wake-up across threads: a lone call
//! is spawned into the worker's own next slot, runs there when the reading task rests, and wakes that
//! task in turn, on the same worker, to write. Calls of functions that are known to be short are spared even
//! that, one alone and the first of many, see `shortcut`. Reading and writing share a task because TLS state is shared: two tasks would
//! only wait for each other's lock.

mod backend;
mod calls;
mod end;
mod fellows;
#[cfg(test)]
pub(crate) mod fixture;
mod handshake;
mod id;
mod incoming;
mod order;
mod outlet;
mod paces;
mod reach;
mod reply;
mod serve;
#[expect(
    clippy::module_inception,
    reason = "the session proper, beside its parts"
)]
mod session;
mod shortcut;
mod told;
mod uploads;

#[cfg(test)]
mod tests;

pub use backend::{
    Backend, CallReply, CallRequest, Doorstep, Origin, Peer, UploadSink, UploadStart,
};
pub use end::SessionEnd;
pub use fellows::Fellows;
pub use id::SessionId;
pub use order::OrderError;
pub use outlet::Outlet;
pub use reach::{ClientReply, Reach, ReachError};
pub use serve::{Connection, MAX_LEAVE_TIME, SessionContext, serve};
pub use told::{Telling, Told};

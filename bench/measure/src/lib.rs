//! What every client of a comparison does, and how it is measured: the same code for all of them.
//!
//! A client is a program of its own that is told what to do line by line on its standard input, and answers
//! with a line each. So whoever compares needs no crate of any of them, and none of them shares a process,
//! or a runtime, with another. A client in another language speaks the same lines.
//!
//! | line | answer | what it does |
//! |---|---|---|
//! | `time WORK COUNT` | `times NS NS …` | one call after the other |
//! | `rate CONNECTIONS IN-FLIGHT MS` | `rate CALLS NS` | so many calls of `add` under way at any time, together |
//! | `beside BYTES COUNT` | `times NS NS …` | at least so many calls of `add`, four milliseconds apart, on a connection on which replies of so many bytes follow one another |
//!
//! `none` is the answer to what a client does not do, `error TEXT` to what failed.
#![forbid(unsafe_code)]

mod caller;
mod obey;
mod timing;
mod work;

pub use caller::{Caller, Unsupported};
pub use obey::{Clients, obey};
pub use work::{Record, Request, Work};

//! `wasi:filesystem`: the volumes that were granted, each a directory `/NAME`; without a grant there are
//! no directories, and so nothing to ask about.
//!
//! The engine's library has an implementation of its own. This one is not built on it: what a guest does
//! here is counted, and has to be in turn with its count even when the call that asked for it is over; and
//! a path goes to the kernel in one way only, where the library has a second one for when the first fails.
//!
//! | file | holds |
//! |---|---|
//! | `descriptor` | the interface: what is open, and what is done with it |
//! | `streams` | reading and writing a file from a place on |
//! | `task` | work that goes on while the guest does something else |

mod descriptor;
mod streams;
mod task;

use std::hash::RandomState;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::filesystem;

use crate::sandbox::State;
use crate::volume::Mount;

/// Streams of one instance, each of which may hold bytes that are on their way.
const MAX_STREAMS: usize = 64;

/// What one instance has of files.
#[derive(Default)]
pub(crate) struct FilesCtx {
    mounts: Vec<Mount>,
    streams: Option<Arc<Semaphore>>,
    /// Tells files apart without telling their numbers.
    hashing: RandomState,
}

impl FilesCtx {
    pub(crate) fn new(mounts: Vec<Mount>) -> Self {
        let streams = (!mounts.is_empty()).then(|| Arc::new(Semaphore::new(MAX_STREAMS)));
        FilesCtx {
            mounts,
            streams,
            hashing: RandomState::default(),
        }
    }
}

/// That, with what the instance has open.
pub(crate) struct Files<'a> {
    pub(crate) ctx: &'a mut FilesCtx,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    filesystem::preopens::add_to_linker::<State, HasFiles>(linker, State::files)?;
    filesystem::types::add_to_linker::<State, HasFiles>(linker, State::files)
}

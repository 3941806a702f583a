//! The audit log: one line of JSON for each decision about security, in a file that is only ever appended
//! to, rotated by size.
//!
//! Whoever decides hands over an [`Entry`] and goes on: the line is made there, written by a thread of its
//! own, and between the two is a queue of so many lines. A disk that is full, slow or gone costs lines,
//! never a call: what is lost is counted, its numbers are missing, and the next line that can be written
//! says how many there were. What a tenant, or all strangers together, can cause at will has so many lines
//! a second; the rest is counted, too.
//!
//! It deliberately holds no arguments, results or secrets, and says nothing of calls that went well.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | what a line says, and how it is kept short and printable |
//! | `rate` | how many lines a second |
//! | `file` | the file, and those before it |
//! | `writer` | the queue and its thread |
//! | `tail` | reading it, from outside of the node |

mod entry;
mod file;
mod rate;
mod tail;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

pub use entry::{Entry, MAX_LINE_BYTES, Outcome, Record, grant};
pub use tail::Tail;

use crate::clock::{Timestamp, WallClock};
use crate::config::Limits;
use crate::storage::StorageError;
use file::LogFile;
use rate::{LeftOut, Windows};
use writer::Queue;

/// How long the end of a node waits for lines to be written.
const CLOSING_TIME: Duration = Duration::from_secs(5);
const EVENT_LEFT_OUT: &str = "left-out";

/// Where decisions are recorded. A clone is another handle to the same; the default records nothing.
#[derive(Clone, Default)]
pub struct Audit {
    front: Option<Arc<Front>>,
}

/// What those who record share. When it goes, the thread writes what there is, and ends.
struct Front {
    shared: Arc<Shared>,
    /// Tells that the thread has ended, and how many lines are lost.
    ended: Mutex<mpsc::Receiver<u64>>,
}

/// What they share with the thread.
struct Shared {
    clock: Arc<dyn WallClock>,
    queue: Queue,
    windows: Mutex<Windows>,
}

impl Audit {
    /// Opens the file, and goes on with the numbers of the lines that are in it. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be opened, unless it is a pipe that nobody reads (yet).
    pub fn open(
        path: PathBuf,
        limits: &Limits,
        clock: Arc<dyn WallClock>,
    ) -> Result<Self, StorageError> {
        let mut file = LogFile::new(path, limits.max_audit_file_bytes, limits.max_audit_files);
        let last = file.open()?;
        let shared = Arc::new(Shared {
            clock,
            queue: Queue::after(last),
            windows: Mutex::new(Windows::new(limits.max_audit_lines_per_second)),
        });
        let (end, ended) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let spawned = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let lost = writer::run(&of_thread, &mut file, last);
                // Nobody may be waiting.
                let _unheard = end.send(lost);
            });
        spawned.map_err(StorageError::file(
            "start a thread for",
            std::path::Path::new("the audit log"),
        ))?;
        let ended = Mutex::new(ended);
        Ok(Audit {
            front: Some(Arc::new(Front { shared, ended })),
        })
    }

    /// Records a decision, unless its tenant has had its lines for this second.
    pub fn record(&self, entry: Entry) {
        let Some(front) = &self.front else {
            return;
        };
        let shared = &front.shared;
        let now = shared.clock.now();
        if entry.is_bounded() {
            let (is_admitted, left_out) = shared.windows().admit(&entry, second(now));
            shared.note_left_out(left_out.into_iter().collect());
            if !is_admitted {
                return;
            }
        }
        shared.queue.push(now, entry);
    }

    /// Waits until all that was recorded is written and on the disk, for a while; gives how many lines were
    /// lost since the last one. Blocks.
    pub fn close(&self) -> u64 {
        let Some(front) = &self.front else {
            return 0;
        };
        front.shared.queue.close();
        let ended = front.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(CLOSING_TIME) {
            Ok(lost) => lost,
            Err(_) => {
                tracing::error!("the audit log could not be written to its end in time");
                0
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn windows(&self) -> MutexGuard<'_, Windows> {
        // Nothing panics while it is locked, so poison means nothing here.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says of seconds that are over how many lines were left out in them.
    fn settle(&self) {
        let now = self.clock.now();
        let stale = self.windows().stale(second(now));
        self.note_left_out(stale);
    }

    /// The same of the present second, at the end; tells whether there is more to write.
    fn settle_all(&self) -> bool {
        let left_out = self.windows().stale(u64::MAX);
        let is_any = !left_out.is_empty();
        self.note_left_out(left_out);
        is_any
    }

    fn note_left_out(&self, left_out: Vec<LeftOut>) {
        for LeftOut { tenant, lines } in left_out {
            let detail = format!("{lines} lines, over `max-audit-lines-per-second`");
            let entry = Entry::new(EVENT_LEFT_OUT, Outcome::Failed)
                .tenant(tenant)
                .detail(&detail);
            self.queue.push(self.clock.now(), entry);
        }
    }
}

fn second(now: Timestamp) -> u64 {
    now.unix_ms() / 1000
}

#[cfg(test)]
mod tests;

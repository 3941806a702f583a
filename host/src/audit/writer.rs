//! The queue of what is to be written, and the thread that writes it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::file::LogFile;
use super::{Entry, Record, Shared};
use crate::clock::Timestamp;

/// Lines that wait; with the longest of all, they take 16 MiB.
const MAX_WAITING_LINES: usize = 4096;
/// How long after a line the disk has it, if nothing else is written.
const REST: Duration = Duration::from_secs(1);

/// Lines on their way.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Record>,
    last_seq: u64,
    is_closing: bool,
}

/// What there is to do.
enum Work {
    Write(Box<Record>),
    /// Nothing for a while.
    Rest,
    End,
}

impl Queue {
    /// The next line is the one after `last_seq`.
    pub(super) fn after(last_seq: u64) -> Self {
        Queue {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                last_seq,
                is_closing: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Gives an entry its number, and leaves it for the thread. Never waits for the disk.
    pub(super) fn push(&self, at: Timestamp, entry: Entry) {
        let mut state = self.state();
        state.last_seq = state.last_seq.saturating_add(1);
        if state.waiting.len() >= MAX_WAITING_LINES {
            // Its number is missing, and that is how it is told.
            return;
        }
        let record = Record::new(state.last_seq, at, entry);
        state.waiting.push_back(record);
        drop(state);
        self.changed.notify_one();
    }

    /// No more lines come.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_one();
    }

    /// The next line, when there is one; or that there was none for a while, if somebody wants to know.
    fn next(&self, wants_rest: bool) -> Work {
        let mut state = self.state();
        loop {
            if let Some(record) = state.waiting.pop_front() {
                return Work::Write(Box::new(record));
            }
            if state.is_closing {
                return Work::End;
            }
            if wants_rest {
                let waited = self.changed.wait_timeout(state, REST);
                let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if waited.timed_out() && state.waiting.is_empty() && !state.is_closing {
                    return Work::Rest;
                }
            } else {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The number of the last line, written or not.
    fn last_seq(&self) -> u64 {
        self.state().last_seq
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, so poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the queue is closed and empty; gives how many lines are lost that no line has told of.
/// `last_seq` is the number of the last line that is in the file.
pub(super) fn run(shared: &Shared, file: &mut LogFile, mut last_seq: u64) -> u64 {
    let mut is_failing = false;
    loop {
        let wants_rest = file.is_dirty() || !shared.windows().is_empty();
        let mut record = match shared.queue.next(wants_rest) {
            Work::Write(record) => record,
            Work::Rest => {
                // What is not on the disk yet is tried again with the next line.
                let _later = file.sync();
                shared.settle();
                continue;
            }
            // What was left out in this second was left out for good.
            Work::End if shared.settle_all() => continue,
            Work::End => break,
        };
        let lost = record.seq.saturating_sub(last_seq).saturating_sub(1);
        record.lost = (lost > 0).then_some(lost);
        let written = match record.text() {
            Ok(line) => file.append(&line),
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => {
                last_seq = record.seq;
                if std::mem::take(&mut is_failing) {
                    tracing::warn!(lost, "the audit log is written again");
                }
            }
            Err(error) => {
                // Once, not for each line: whatever is wrong will be so for a while.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(%error, "the audit log cannot be written; lines are lost until it can");
                }
            }
        }
    }
    if let Err(error) = file.sync() {
        tracing::error!(%error, "the end of the audit log may not be on the disk");
    }
    let lost = shared.queue.last_seq().saturating_sub(last_seq);
    if lost > 0 {
        tracing::error!(lost, "lines of the audit log were lost");
    }
    lost
}

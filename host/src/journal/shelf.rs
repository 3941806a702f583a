//! The lines of one tenant's registrations.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Line, Room};

/// What a line takes beside its text, so that empty ones are not free.
const LINE_BYTES: u64 = 128;
/// How much a reader is given at once.
const MAX_READ_LINES: usize = 64;
const MAX_READ_BYTES: usize = 256 << 10;

/// All of a tenant's. Its lock is held for a few steps, by whoever says something or reads.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: HashMap<Arc<str>, Kept>,
    /// Whose oldest line came when, so that the oldest of all can go.
    oldest: BTreeMap<u64, Arc<str>>,
    bytes: u64,
    /// How many lines there ever were.
    lines: u64,
    /// How many registrations.
    openings: u64,
}

/// What is kept of a registration.
#[derive(Debug)]
struct Kept {
    /// No other has it: a registration that is made anew is another one.
    number: u64,
    /// Each with its place among all lines of the tenant.
    lines: VecDeque<(u64, Arc<Line>)>,
    bytes: u64,
    /// How many lines went.
    gone: u64,
    readers: u32,
    changed: Arc<Notify>,
}

/// What is read of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// How many lines went before anybody read them, since those that were read last.
    pub lost: u64,
    /// Some lines. There may be more.
    pub lines: Vec<Arc<Line>>,
}

/// The lines of one registration, for one reader.
#[derive(Debug)]
pub struct Journal {
    shelf: Arc<Shelf>,
    name: Arc<str>,
    number: u64,
    /// Where this reader is, counted from the first line that ever was.
    next: u64,
    changed: Arc<Notify>,
}

impl Shelf {
    pub(super) fn add(&self, name: &Arc<str>, line: Arc<Line>, room: Room) {
        let cost = cost(&line);
        let mut state = self.state();
        let place = state.lines;
        state.lines += 1;
        let kept = state.kept(name);
        kept.lines.push_back((place, line));
        kept.bytes = kept.bytes.saturating_add(cost);
        let (is_first, changed) = (kept.lines.len() == 1, Arc::clone(&kept.changed));
        state.bytes = state.bytes.saturating_add(cost);
        if is_first {
            state.oldest.insert(place, Arc::clone(name));
        }
        while state
            .kept
            .get(name)
            .is_some_and(|kept| kept.bytes > room.registration_bytes)
        {
            state.drop_oldest_of(name);
        }
        while state.bytes > room.tenant_bytes
            && let Some(oldest) = state.oldest.values().next().cloned()
        {
            state.drop_oldest_of(&oldest);
        }
        drop(state);
        changed.notify_waiters();
    }

    pub(super) fn open(self: &Arc<Self>, name: &str) -> Journal {
        let name = Arc::from(name);
        let mut state = self.state();
        let kept = state.kept(&name);
        kept.readers = kept.readers.saturating_add(1);
        let (number, next, changed) = (kept.number, kept.gone, Arc::clone(&kept.changed));
        drop(state);
        Journal {
            shelf: Arc::clone(self),
            name,
            number,
            next,
            changed,
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.state().bytes
    }

    pub(super) fn forget(&self, name: &str) {
        let mut state = self.state();
        let Some((name, forgotten)) = state.kept.remove_entry(name) else {
            return;
        };
        state.bytes = state.bytes.saturating_sub(forgotten.bytes);
        state.oldest.retain(|_, other| *other != name);
        drop(state);
        forgotten.changed.notify_waiters();
    }

    pub(super) fn forget_all(&self) {
        let mut state = self.state();
        let forgotten = mem::take(&mut state.kept);
        state.oldest.clear();
        state.bytes = 0;
        drop(state);
        for kept in forgotten.values() {
            kept.changed.notify_waiters();
        }
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, name: &Arc<str>) -> &mut Kept {
        let openings = &mut self.openings;
        self.kept.entry(Arc::clone(name)).or_insert_with(|| {
            *openings += 1;
            Kept {
                number: *openings,
                lines: VecDeque::new(),
                bytes: 0,
                gone: 0,
                readers: 0,
                changed: Arc::default(),
            }
        })
    }

    fn drop_oldest_of(&mut self, name: &Arc<str>) {
        let Some(kept) = self.kept.get_mut(name) else {
            return;
        };
        let Some((place, line)) = kept.lines.pop_front() else {
            return;
        };
        let cost = cost(&line);
        kept.gone += 1;
        kept.bytes = kept.bytes.saturating_sub(cost);
        self.bytes = self.bytes.saturating_sub(cost);
        self.oldest.remove(&place);
        match kept.lines.front() {
            Some((next, _)) => {
                self.oldest.insert(*next, Arc::clone(name));
            }
            None if kept.readers == 0 => {
                self.kept.remove(name);
            }
            None => {}
        }
    }
}

fn cost(line: &Line) -> u64 {
    LINE_BYTES.saturating_add(line.text.len() as u64)
}

impl Journal {
    /// Passes over all but so many of the newest lines.
    pub fn skip_to_last(&mut self, lines: u64) {
        let state = self.shelf.state();
        if let Some(kept) = self.kept(&state) {
            let end = kept.gone + kept.lines.len() as u64;
            self.next = self.next.max(end.saturating_sub(lines));
        }
    }

    /// How many lines there are for this reader, those that were lost included.
    pub fn left(&self) -> u64 {
        let state = self.shelf.state();
        let end = self
            .kept(&state)
            .map(|kept| kept.gone.saturating_add(kept.lines.len() as u64));
        end.unwrap_or_default().saturating_sub(self.next)
    }

    /// What came since this was last asked, as much of it as is given at once: nothing if there is no more. `None` when
    /// the registration is no more.
    pub fn read(&mut self) -> Option<Read> {
        let state = self.shelf.state();
        let kept = self.kept(&state)?;
        let lost = kept.gone.saturating_sub(self.next);
        let skipped = usize::try_from(self.next.saturating_sub(kept.gone)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut lines = Vec::new();
        for (_, line) in kept.lines.iter().skip(skipped).take(MAX_READ_LINES) {
            bytes += line.text.len();
            if bytes > MAX_READ_BYTES && !lines.is_empty() {
                break;
            }
            lines.push(Arc::clone(line));
        }
        drop(state);
        self.next = self
            .next
            .saturating_add(lost)
            .saturating_add(lines.len() as u64);
        Some(Read { lost, lines })
    }

    /// What comes next, when it is there. `None` when the registration is no more.
    pub async fn next(&mut self) -> Option<Read> {
        let changed = Arc::clone(&self.changed);
        loop {
            let change = changed.notified();
            tokio::pin!(change);
            // A change from here on is not missed.
            change.as_mut().enable();
            match self.read()? {
                Read { lost: 0, lines } if lines.is_empty() => change.await,
                read => return Some(read),
            }
        }
    }

    fn kept<'s>(&self, state: &'s State) -> Option<&'s Kept> {
        let kept = state.kept.get(&self.name);
        kept.filter(|kept| kept.number == self.number)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let mut state = self.shelf.state();
        let is_over = match state.kept.get_mut(&self.name) {
            Some(kept) if kept.number == self.number => {
                kept.readers = kept.readers.saturating_sub(1);
                kept.readers == 0 && kept.lines.is_empty()
            }
            _ => false,
        };
        if is_over {
            state.kept.remove(&self.name);
        }
    }
}

//! Fresh instances of one registration that wait for calls of it, and used ones that wait to be cleared away.
//!
//! What is ready was made of one *recipe*: a revision, its component, a tenant's account, grants in force, and
//! what its instances may hold for good. A call that comes with anything else gets none of it. It has never
//! been called, and its guest has never called out: see [`Fresh`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;

use super::demand::{Demand, Outlook};
use super::{CallLimits, Prepared, Setting, State};
use crate::account::Account;
use crate::capability::Grants;
use crate::share::Taken;

/// So many used ones wait beyond those that are cleared away at a time. Where there are more, calls come faster than
/// that is done, and whoever leaves one clears it away itself: its memory is in the caches, and the next call has it
/// at once.
const MAX_USED: usize = 4;
/// To clear away an instance with more memory than this may take as long as many calls. Most guests begin with a megabyte,
/// of which they touch little.
const LARGE_MEMORY_BYTES: u64 = 4 << 20;

/// What a call asks for: nothing but instances of its own registration at this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The number of the revision.
    pub revision: u64,
    /// How many its tenant may have ready.
    pub most_of_tenant: u32,
}

/// How often a call found an instance ready, and how many are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StockUse {
    /// Calls that found one.
    pub hits: u64,
    /// Calls that did not.
    pub misses: u64,
    /// How many are ready now.
    pub ready: u64,
}

/// What ready instances are made of.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) ahead: Ahead,
    /// Weak, so that a component that has nothing ready may be let go of.
    pub(super) prepared: Weak<Prepared>,
    pub(super) account: Arc<Account>,
    pub(super) grants: Arc<Grants>,
    pub(super) module: Arc<str>,
    pub(super) limits: CallLimits,
}

impl Recipe {
    pub(super) fn of(ahead: Ahead, prepared: &Arc<Prepared>, setting: &Setting) -> Self {
        Recipe {
            ahead,
            prepared: Arc::downgrade(prepared),
            account: Arc::clone(&setting.account),
            grants: Arc::clone(&setting.grants),
            module: Arc::clone(&setting.terms.label.module),
            limits: setting.terms.limits,
        }
    }

    /// Whether it is what an instance would be made of for such a call, but for grants.
    pub(super) fn is_of(&self, ahead: Ahead, prepared: &Arc<Prepared>, setting: &Setting) -> bool {
        let held = |limits: &CallLimits| {
            (
                limits.max_memory_bytes,
                limits.max_handles,
                limits.max_host_resources,
            )
        };
        self.ahead == ahead
            && std::ptr::eq(self.prepared.as_ptr(), Arc::as_ptr(prepared))
            && Arc::ptr_eq(&self.account, &setting.account)
            && held(&self.limits) == held(&setting.terms.limits)
    }

    /// Whether an instance may do what it could in such a call.
    pub(super) fn is_granted(&self, grants: &Arc<Grants>) -> bool {
        Arc::ptr_eq(&self.grants, grants) || self.grants == *grants
    }
}

/// An instance that no call has had. Its guest was started if it wants that, and has not called out: so nothing
/// that a call can see has gone into it, and it is as one that is made when the call comes. It holds no
/// grant, and what a call brings with it is put in its place before the guest goes on.
pub(super) struct Fresh {
    pub(super) store: Store<State>,
    pub(super) instance: wasmtime::component::Instance,
    pub(super) place: Taken,
}

/// What is left of an instance that served its call. Nothing works in it any more.
pub(super) struct Used {
    is_large: bool,
    _store: Store<State>,
    _place: Taken,
}

impl Used {
    pub(super) fn new(store: Store<State>, place: Taken) -> Self {
        Used {
            is_large: store.data().limiter.memory_bytes() > LARGE_MEMORY_BYTES,
            _store: store,
            _place: place,
        }
    }
}

/// Those of one registration.
pub(super) struct Stock {
    recipe: Recipe,
    state: Mutex<Content>,
    counts: Arc<Counts>,
}

/// Those of all recipes of a registration, one after the other.
#[derive(Debug, Default)]
pub(super) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Content {
    demand: Demand,
    /// The last one that was made is the first to go: what it needs is most likely in the caches.
    ready: Vec<Fresh>,
    used: Vec<Used>,
    /// The last one that was used has much to be cleared away.
    is_large: bool,
    /// Somebody clears away, and makes what is wanted.
    is_tended: bool,
    /// Nothing is kept any more.
    is_over: bool,
}

/// What is let go of. Dropped outside of all locks.
#[must_use = "to be dropped where nobody waits for it"]
pub(super) struct LetGo {
    _ready: Vec<Fresh>,
    _used: Vec<Used>,
}

/// What there is to do for whoever tends a stock.
pub(super) enum Task {
    /// To clear these away.
    Clear(Vec<Used>),
    /// To make one.
    Make,
}

/// The turn of whoever tends a stock. Dropped, somebody else may.
pub(super) struct Tending(Arc<Stock>);

impl Drop for Tending {
    fn drop(&mut self) {
        self.0.content().is_tended = false;
    }
}

impl Stock {
    pub(super) fn new(recipe: Recipe, counts: Arc<Counts>) -> Self {
        Stock {
            recipe,
            counts,
            state: Mutex::new(Content {
                demand: Demand::new(Instant::now()),
                ready: Vec::new(),
                used: Vec::new(),
                is_large: false,
                is_tended: false,
                is_over: false,
            }),
        }
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// A call comes. It gets an instance if there is one.
    pub(super) fn take(&self, most: u32) -> Option<Fresh> {
        let taken = {
            let mut content = self.content();
            let ready = count(&content.ready);
            content.demand.call(Instant::now(), ready, most);
            content.ready.pop()
        };
        let counted = match taken {
            Some(_) => &self.counts.hits,
            None => &self.counts.misses,
        };
        counted.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// What a call leaves behind, if anything. Gives the turn to tend it, if that is to be done and nobody does it.
    pub(super) fn leave(self: &Arc<Self>, used: Option<Used>) -> Option<Tending> {
        let mut content = self.content();
        let mut too_much = None;
        if let Some(used) = &used {
            content.is_large = used.is_large;
        }
        let at_a_time = content.demand.at_a_time() as usize;
        if content.is_over || content.used.len() >= at_a_time + MAX_USED {
            too_much = used;
        } else {
            content.used.extend(used);
        }
        let is_due = content.demand.is_due(Instant::now(), count(&content.ready));
        let is_asked = is_due || content.used.len() >= at_a_time;
        let is_turn = is_asked && !content.is_tended && !content.is_over;
        if is_turn {
            content.is_tended = true;
        }
        drop(content);
        drop(too_much);
        is_turn.then(|| Tending(Arc::clone(self)))
    }

    /// What there is to do next. Without an answer the turn to tend it is over.
    pub(super) fn next(&self, _turn: &Tending) -> Option<Task> {
        let mut content = self.content();
        if !content.used.is_empty() {
            return Some(Task::Clear(std::mem::take(&mut content.used)));
        }
        if content.is_over || !self.wants(&content) {
            return None;
        }
        content.demand.begun();
        Some(Task::Make)
    }

    /// One was made.
    pub(super) fn put(&self, ready: Fresh) {
        let mut content = self.content();
        content.demand.made();
        if !content.is_over {
            content.ready.push(ready);
            return;
        }
        drop(content);
        drop(ready);
    }

    /// There was no room for one. Tells how many calls in a span are to be asked of others of its tenant, if any.
    pub(super) fn lacks_room(&self) -> Option<u32> {
        self.content().demand.lacks_room(Instant::now())
    }

    /// There was none for another one of its tenant. What is kept for fewer calls in a span is let go of, if anything.
    pub(super) fn others_lack_room(&self, asked: u32) -> Option<LetGo> {
        let mut content = self.content();
        content.demand.others_lack_room(asked);
        let is_held = !content.ready.is_empty() || !content.used.is_empty();
        let is_seldom = !content.demand.is_frequent();
        (is_held && is_seldom).then(|| content.clear())
    }

    /// One could not be made.
    pub(super) fn failed(&self) {
        self.content().demand.failed(Instant::now());
    }

    /// A span of time is over, in which so many calls are asked for, if its tenant was short of room. What is too much is let
    /// go of; `None` beside it: nobody called for so long.
    pub(super) fn look(&self, idle: Duration, asked: Option<u32>) -> (LetGo, Option<()>) {
        let mut content = self.content();
        let ready = count(&content.ready);
        match content.demand.look(Instant::now(), ready, (idle, asked)) {
            Outlook::Idle => (content.end(), None),
            Outlook::Keep(most) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let too_many = content.ready.len().saturating_sub(most);
                let used = match content.is_tended {
                    true => Vec::new(),
                    // Whoever tended it last had no time left.
                    false => std::mem::take(&mut content.used),
                };
                let let_go = LetGo {
                    _ready: content.ready.drain(..too_many).collect(),
                    _used: used,
                };
                (let_go, Some(()))
            }
        }
    }

    /// Nothing of it is to be kept, for now.
    pub(super) fn give_way(&self) -> LetGo {
        self.content().clear()
    }

    /// Ends it if it holds nothing, and is not called so often that it should. Tells whether it did.
    pub(super) fn end_if_unused(&self) -> bool {
        let mut content = self.content();
        let is_empty = content.ready.is_empty() && content.used.is_empty();
        let is_unused = is_empty && !content.is_tended && !content.demand.is_frequent();
        content.is_over |= is_unused;
        is_unused
    }

    /// Nothing of it is kept any more.
    pub(super) fn end(&self) -> LetGo {
        self.content().end()
    }

    /// Whether to tend it takes long: what there is to do for many calls is done at a time, or much for each.
    pub(super) fn is_tended_long(&self) -> bool {
        let content = self.content();
        content.is_large || content.demand.at_a_time() > 1
    }

    /// How many are ready.
    pub(super) fn ready(&self) -> u64 {
        self.content().ready.len() as u64
    }

    fn wants(&self, content: &Content) -> bool {
        let ready = count(&content.ready);
        content.demand.wants(Instant::now(), ready)
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Stock {
    /// Whether nobody works on it.
    pub(super) fn is_at_rest(&self) -> bool {
        let content = self.content();
        !content.is_tended && content.used.is_empty()
    }
}

impl Content {
    fn clear(&mut self) -> LetGo {
        LetGo {
            _ready: std::mem::take(&mut self.ready),
            _used: std::mem::take(&mut self.used),
        }
    }

    fn end(&mut self) -> LetGo {
        self.is_over = true;
        self.clear()
    }
}

impl Counts {
    pub(super) fn with(&self, ready: u64) -> StockUse {
        StockUse {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ready,
        }
    }
}

fn count(ready: &[Fresh]) -> u32 {
    u32::try_from(ready.len()).unwrap_or(u32::MAX)
}

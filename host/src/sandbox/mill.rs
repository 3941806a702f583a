//! The threads on which calls go on that are not short.
//!
//! They stand back behind those that serve connections, so that a guest at work does not keep a message
//! waiting, and they take turns as the [run queue](super::run_queue) says. A call that waits, for a client
//! or for another's answer, takes no turn. What it waits for, and its timers, are those of the runtime
//! that it came from.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::SandboxError;
use super::engine::Ticker;
use super::quick::QuickWay;
use super::run_queue::{Given, Place, RunQueue};
use crate::account::Account;
use crate::processor;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads, and what they work on.
pub(super) struct Mill {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Somebody waits for a turn, or the mill ends.
    changed: Condvar,
    quick: Arc<QuickWay>,
    ticker: Arc<Ticker>,
}

struct State {
    jobs: HashMap<u64, Job>,
    queue: RunQueue<u64>,
    last: u64,
    is_ended: bool,
}

/// A call, or what is left of it.
struct Job {
    account: Arc<Account>,
    deadline: Instant,
    runtime: Handle,
    step: Step,
}

enum Step {
    /// It waits for something else than a turn.
    Rests(Work),
    /// It waits for a turn.
    Waits(Work, Place),
    /// A thread works on it. Whether it was woken since.
    Runs { is_woken: bool },
}

/// A job that its call waits for. Dropped, the job is over: at once, or if it has a turn, with that.
struct Ordered<'m> {
    shared: &'m Shared,
    number: u64,
}

/// Wakes a job.
struct Bell {
    shared: Arc<Shared>,
    number: u64,
}

impl Mill {
    /// So many threads. They end when this is dropped, or with the turn that they give then.
    pub(super) fn start(
        threads: usize,
        quick: Arc<QuickWay>,
        ticker: Arc<Ticker>,
    ) -> Result<Mill, SandboxError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                jobs: HashMap::new(),
                queue: RunQueue::new(),
                last: 0,
                is_ended: false,
            }),
            changed: Condvar::new(),
            quick,
            ticker,
        });
        let mill = Mill { shared };
        for number in 0..threads {
            let shared = Arc::clone(&mill.shared);
            std::thread::Builder::new()
                .name(format!("mill-{number}"))
                .spawn(move || {
                    if let Err(error) = processor::stand_back() {
                        tracing::warn!(%error, "guests compete with connections for the processors");
                    }
                    while let Some((given, number, job)) = shared.next() {
                        turn(&shared, &given, number, job);
                    }
                })
                .map_err(SandboxError::io("cannot start the threads of guests"))?;
        }
        Ok(mill)
    }

    /// Does the work by turns. Dropping the future ends it, at the latest with its turn.
    ///
    /// # Panics
    /// When the work does.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        account: &Arc<Account>,
        deadline: Instant,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, outcome) = oneshot::channel();
        let work = async move {
            // Nobody waits for it any more where this fails.
            let _unheard = done.send(work.await);
        };
        let ordered = self.order(account, deadline, Box::pin(work.in_current_span()));
        match outcome.await {
            Ok(outcome) => {
                drop(ordered);
                outcome
            }
            // The thread that worked on it has said how it panicked.
            Err(_gone) => resume_unwind(Box::new("the work of a call panicked")),
        }
    }

    fn order(&self, account: &Arc<Account>, deadline: Instant, work: Work) -> Ordered<'_> {
        let shared = &*self.shared;
        let runtime = Handle::current();
        let mut state = shared.state();
        state.last += 1;
        let number = state.last;
        let place = state.enqueue(account, deadline, number);
        let job = Job {
            account: Arc::clone(account),
            deadline,
            runtime,
            step: Step::Waits(work, place),
        };
        state.jobs.insert(number, job);
        drop(state);
        shared.ticker.hurry();
        shared.changed.notify_one();
        Ordered { shared, number }
    }
}

impl Drop for Mill {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_ended = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.shared.changed.notify_all();
        drop(jobs);
    }
}

impl fmt::Debug for Mill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mill").finish_non_exhaustive()
    }
}

/// What a thread works on: the job's own parts that a turn needs.
struct Running {
    work: Work,
    account: Arc<Account>,
    runtime: Handle,
}

/// Gives a job its turn.
fn turn(shared: &Arc<Shared>, given: &Given, number: u64, running: Running) {
    let Running {
        mut work,
        account,
        runtime,
    } = running;
    let waker = Waker::from(Arc::new(Bell {
        shared: Arc::clone(shared),
        number,
    }));
    let before = processor::time_of_this_thread();
    let is_over = {
        let _within = runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            work.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        // A panic has been told by its hook; whoever waits for the work hears of it by what it drops.
        !matches!(polled, Ok(Poll::Pending))
    };
    let mut left = Some(work);
    if is_over {
        let _within = runtime.enter();
        let over = left.take();
        let _told_by_its_hook = catch_unwind(AssertUnwindSafe(|| drop(over)));
    }
    let took = processor::time_of_this_thread().saturating_sub(before);
    shared.quick.note_elsewhere(&account);
    // What nobody waits for any more is dropped here, when the lock is given back. What it lets go of may need
    // its runtime, and may not end this thread.
    if let Some(unwanted) = shared.ended(given, number, left, took) {
        let _within = runtime.enter();
        let _told_by_its_hook = catch_unwind(AssertUnwindSafe(|| drop(unwanted)));
    }
}

impl Shared {
    /// Waits for somebody to give a turn to. `None`: the mill has ended.
    fn next(&self) -> Option<(Given, u64, Running)> {
        let mut state = self.state();
        loop {
            if state.is_ended {
                return None;
            }
            if let Some(next) = state.next() {
                return Some(next);
            }
            if !state.queue.is_busy() {
                self.ticker.slow_down();
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A turn has ended; `work` is what is left. Gives it back if nobody wants it any more.
    fn ended(
        &self,
        given: &Given,
        number: u64,
        work: Option<Work>,
        took: Duration,
    ) -> Option<Work> {
        let mut state = self.state();
        state.queue.end(given, took);
        let Some(work) = work else {
            state.jobs.remove(&number);
            return None;
        };
        let Some(job) = state.jobs.get_mut(&number) else {
            return Some(work);
        };
        if !matches!(job.step, Step::Runs { is_woken: true }) {
            job.step = Step::Rests(work);
            return None;
        }
        let (account, deadline) = (Arc::clone(&job.account), job.deadline);
        let place = state.enqueue(&account, deadline, number);
        if let Some(job) = state.jobs.get_mut(&number) {
            job.step = Step::Waits(work, place);
        }
        // This thread looks for the next turn itself: nobody else has to wake.
        None
    }

    /// A job can go on.
    fn wake(&self, number: u64) {
        let mut state = self.state();
        let Some(job) = state.jobs.get_mut(&number) else {
            return;
        };
        let work = match std::mem::replace(&mut job.step, Step::Runs { is_woken: true }) {
            Step::Rests(work) => work,
            Step::Runs { .. } => return,
            waits @ Step::Waits(..) => {
                job.step = waits;
                return;
            }
        };
        let (account, deadline) = (Arc::clone(&job.account), job.deadline);
        let place = state.enqueue(&account, deadline, number);
        if let Some(job) = state.jobs.get_mut(&number) {
            job.step = Step::Waits(work, place);
        }
        drop(state);
        self.ticker.hurry();
        self.changed.notify_one();
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enqueue(&mut self, account: &Account, deadline: Instant, number: u64) -> Place {
        let owed = Duration::from_nanos(account.quick_use().settle());
        let (tenant, weight) = (account.tenant(), account.weight());
        self.queue.push(tenant, weight, owed, deadline, number)
    }

    fn next(&mut self) -> Option<(Given, u64, Running)> {
        let (given, number) = self.queue.next(Instant::now())?;
        let job = self.jobs.get_mut(&number)?;
        let step = std::mem::replace(&mut job.step, Step::Runs { is_woken: false });
        let (Step::Rests(work) | Step::Waits(work, _)) = step else {
            return None;
        };
        let running = Running {
            work,
            account: Arc::clone(&job.account),
            runtime: job.runtime.clone(),
        };
        Some((given, number, running))
    }
}

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let job = state.jobs.remove(&self.number);
        if let Some(Job {
            step: Step::Waits(_, place),
            ..
        }) = &job
        {
            state.queue.remove(place);
        }
        drop(state);
        drop(job);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.shared.wake(self.number);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.wake(self.number);
    }
}

#[cfg(test)]
mod tests;

//! Instances that are made before their calls come, and cleared away after those were answered.
//!
//! Both are work of the tenant's whose calls they are for: done by turns as its calls are, and charged to it.
//! Neither can fail a call. What cannot be made is made when its call comes, which then is told why not.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::limiter::Refusal;
use super::spare::Spare;
use super::stock::{Fresh, Recipe, Stock, Task, Tending, Used};
use super::{
    CallLabel, CallLimits, Forecast, Instance, InstanceId, Sandbox, Setting, State, StockUse, Terms,
};
use crate::budget::Budget;
use crate::journal::{CallName, Scribe};

/// Time that a guest has to start, and processor time, where no call waits for it. Whoever needs longer is started
/// when its call comes.
const MAX_START: Duration = Duration::from_millis(MAX_START_MS);
pub(super) const MAX_START_MS: u64 = 1000;

/// Where this is done others wait for the thread, so several are made in several turns.
const LONGEST_TURN: Duration = Duration::from_micros(100);

impl Sandbox {
    /// A call is over: what it held goes, so that whoever is told so may count on it. The instance itself is
    /// cleared away when there is time, and another one made ready where calls ask for that.
    pub fn retire(self: &Arc<Self>, instance: Instance) {
        let (mut store, prepared, stock, held) = instance.into_parts();
        let Some(stock) = stock else {
            // In this order: the place stands for the engine's.
            drop(store);
            drop(held);
            return;
        };
        let Recipe { ahead, account, .. } = stock.recipe();
        let (places, most) = (&self.stocks.places, ahead.most_of_tenant);
        let place = places.try_take(account.name(), prepared.places, most);
        let used = match place {
            Ok(place) if store.data_mut().end(&self.stocks) => Some(Used::new(store, place)),
            Ok(_) | Err(_) => {
                drop(store);
                None
            }
        };
        drop(held);
        // Without a runtime nobody will call again.
        if let Some(turn) = stock.leave(used)
            && let Ok(runtime) = Handle::try_current()
        {
            let sandbox = Arc::clone(self);
            runtime.spawn(async move { sandbox.tend(stock, turn).await });
        }
    }

    /// What was ready for a registration's calls, or for all of a tenant's, is of no use any more.
    pub fn forget_ready(&self, tenant: u64, module: Option<&str>) {
        self.stocks.forget(tenant, module);
    }

    /// The node stops: nothing is made ready any more.
    pub fn stop_making_ready(&self) {
        self.stocks.close();
    }

    /// How calls of a registration fared, or all of a tenant's, and how many instances are ready for them.
    pub fn ready_use(&self, tenant: u64, module: Option<&str>) -> StockUse {
        match module {
            Some(module) => self.stocks.of_registration(tenant, module),
            None => self.stocks.of_tenant(tenant),
        }
    }

    /// An instance that is ready, if there is one that such a call may have.
    pub(super) fn taken(&self, stock: &Stock, setting: &Setting) -> Option<Fresh> {
        let most = self.stocks.most(stock.recipe().ahead.most_of_tenant);
        let mut ready = stock.take(most)?;
        let limiter = &mut ready.store.data_mut().limiter;
        // Where there is no room for it among calls, there is none for a fresh one, and that is told as ever.
        limiter
            .begin_call(&setting.account, &self.stocks)
            .then_some(ready)
    }

    /// Clears away what is used and makes what is wanted, one after the other, by turns like a call.
    async fn tend(self: Arc<Self>, stock: Arc<Stock>, turn: Tending) {
        let account = Arc::clone(&stock.recipe().account);
        let begun = Instant::now();
        let mut turn_begun = begun;
        let sandbox = Arc::clone(&self);
        let forecast = match stock.is_tended_long() {
            // Where a call was read, the next one would wait for it.
            true => Forecast::Long(None),
            false => Forecast::Open,
        };
        let work = Box::pin(async move {
            while let Some(task) = stock.next(&turn) {
                if turn_begun.elapsed() > LONGEST_TURN {
                    tokio::task::yield_now().await;
                    turn_begun = Instant::now();
                }
                // What is overdue has turns before all others. So this ends before it is; the next call has it
                // gone on with.
                if begun.elapsed() >= MAX_START {
                    drop(task);
                    return;
                }
                match task {
                    Task::Clear(used) => drop(used),
                    Task::Make => match sandbox.make_ready(stock.recipe()).await {
                        Ok(ready) => stock.put(ready),
                        Err(NotMade::NoRoom) => sandbox.stocks.lacks_room(&stock),
                        Err(NotMade::Unfit) => stock.failed(),
                    },
                }
            }
        });
        let deadline = begun + 2 * MAX_START;
        self.work(&account, forecast, deadline, work).await;
    }

    async fn make_ready(&self, recipe: &Recipe) -> Result<Fresh, NotMade> {
        let Recipe {
            ahead,
            prepared,
            account,
            module,
            limits,
            ..
        } = recipe;
        let prepared = prepared.upgrade().ok_or(NotMade::Unfit)?;
        if prepared.calls_out_at_start() {
            return Err(NotMade::Unfit);
        }
        let places = &self.stocks.places;
        let place = places.try_take(account.name(), prepared.places, ahead.most_of_tenant);
        let place = place.map_err(|_full| NotMade::NoRoom)?;
        let spare = Spare::try_take(account, &self.stocks.memory, 0).ok_or(NotMade::NoRoom)?;
        let deadline = Instant::now() + MAX_START;
        let terms = Terms {
            label: CallLabel {
                tenant: Arc::clone(account.name()),
                module: Arc::clone(module),
                call: CallName::Ahead,
                scribe: Scribe::default(),
            },
            limits: CallLimits {
                timeout: MAX_START,
                ..*limits
            },
            began_at: Duration::ZERO,
            deadline,
            budget: Budget::new(MAX_START, Arc::clone(account)),
        };
        let state = State::ahead(InstanceId::next(), terms, account, &prepared, spare);
        let mut store = self.store(state);
        let started = timeout_at(deadline, prepared.pre.instantiate_async(&mut store)).await;
        let state = store.data();
        if state.has_called_out() {
            prepared.note_call_out_at_start();
            return Err(NotMade::Unfit);
        }
        match started {
            // A guest that got no memory knows.
            Ok(Ok(instance)) if !state.limiter.has_refused() => Ok(Fresh {
                store,
                instance,
                place,
            }),
            Ok(_) if matches!(state.limiter.refusal(), Some(Refusal::Tenant { .. })) => {
                Err(NotMade::NoRoom)
            }
            Ok(_) | Err(_) => Err(NotMade::Unfit),
        }
    }
}

/// Why no instance was made ahead.
enum NotMade {
    /// There is no place for it now, or not as much memory as it wants.
    NoRoom,
    /// It does not start, or not so that no call could see it.
    Unfit,
}

#[cfg(test)]
mod tests;

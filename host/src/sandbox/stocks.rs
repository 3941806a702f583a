//! The stocks of all registrations: who has which, how much all of them may hold, and when one goes.
//!
//! Nothing here is needed by a call. Places and memory of what is ready are apart from those of calls, so
//! that no call ever waits for them or is refused because of them; what comes to be too much by what calls
//! take goes at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::Duration;

use tokio::runtime::Handle;

use super::demand;
use super::stock::{Ahead, Counts, LetGo, Recipe, Stock, StockUse};
use super::{Prepared, SandboxLimits, Setting};
use crate::account::{Account, Quantity};
use crate::share::Shares;

/// Registrations that are remembered before those are forgotten that nobody has called lately; half of them are one
/// tenant's.
pub(super) const MAX_REMEMBERED: usize = 16_384;
/// From so many of one tenant on, those of them are forgotten, too, that are called so seldom that nothing is made for
/// them: they would be in the way of one that is called often.
pub(super) const MANY_OF_TENANT: usize = MAX_REMEMBERED / 4;
/// So many stocks are looked after at once: others wait for the thread.
const LOOKED_AT_ONCE: usize = 64;

/// Those of all tenants.
pub(super) struct Stocks {
    table: RwLock<Table>,
    /// One unit for each instance that is ready, or used and not cleared away; large ones take several.
    pub(super) places: Shares,
    /// Bytes that all of them may take.
    pub(super) memory: Arc<Quantity>,
    /// The tenants that had no room for one since they were last looked after: how many calls in a span they ask for.
    short: Mutex<HashMap<u64, u32>>,
    most_of_registration: u32,
    idle: Duration,
}

#[derive(Default)]
struct Table {
    tenants: HashMap<u64, HashMap<Arc<str>, Remembered>>,
    remembered: usize,
    /// Those that nobody has called lately are forgotten, and it is too early to look for others.
    is_swept: bool,
    /// Somebody looks after those that nobody calls.
    is_watched: bool,
    /// The node stops.
    is_closed: bool,
}

/// What is known of one registration.
#[derive(Default)]
struct Remembered {
    counts: Arc<Counts>,
    /// None while nobody calls it.
    stock: Option<Arc<Stock>>,
}

impl Stocks {
    pub(super) fn new(limits: &SandboxLimits) -> Arc<Self> {
        let most_of_tenant = limits.max_ready_instances.div_ceil(2);
        Arc::new(Stocks {
            table: RwLock::default(),
            places: Shares::with_share(limits.max_ready_instances, most_of_tenant),
            memory: Arc::new(Quantity::new(limits.max_ready_memory_bytes)),
            short: Mutex::default(),
            most_of_registration: limits.max_ready_instances_per_registration,
            idle: Duration::from_millis(limits.ready_instance_idle_ms),
        })
    }

    /// How many of one registration there may be, of a tenant that may have so many.
    pub(super) fn most(&self, of_tenant: u32) -> u32 {
        self.most_of_registration.min(of_tenant)
    }

    /// The stock for such a call. None where there is none for calls like this one: of an earlier revision, or under
    /// grants that most of its calls do not have.
    pub(super) fn find(
        self: &Arc<Self>,
        prepared: &Arc<Prepared>,
        setting: &Setting,
    ) -> Option<Arc<Stock>> {
        let ahead = setting.ahead?;
        let (tenant, module) = (setting.account.tenant(), &setting.terms.label.module);
        let known = {
            let table = self.table();
            if table.is_swept && table.is_full_for(tenant, module) {
                return None;
            }
            let of_tenant = table.tenants.get(&tenant);
            let known = of_tenant.and_then(|of_tenant| of_tenant.get(&**module));
            known.and_then(|known| known.stock.clone())
        };
        let stock = match known {
            Some(stock) if stock.recipe().is_of(ahead, prepared, setting) => stock,
            Some(stock) if stock.recipe().ahead.revision > ahead.revision => return None,
            _ => self.begin(ahead, prepared, setting)?,
        };
        let is_granted = stock.recipe().is_granted(&setting.grants);
        is_granted.then_some(stock)
    }

    /// A stock of this recipe from now on, in the place of what was there.
    fn begin(
        self: &Arc<Self>,
        ahead: Ahead,
        prepared: &Arc<Prepared>,
        setting: &Setting,
    ) -> Option<Arc<Stock>> {
        let (tenant, module) = (setting.account.tenant(), &setting.terms.label.module);
        // Dropped when the lock is given back: what is declared first is dropped last.
        let _over: LetGo;
        let mut table = self.table_mut();
        if table.is_closed {
            return None;
        }
        if table.is_full_for(tenant, module) && !table.is_swept {
            table.is_swept = true;
            table.forget_idle();
        }
        if table.is_full_for(tenant, module) {
            return None;
        }
        let Table {
            tenants,
            remembered,
            is_watched,
            ..
        } = &mut *table;
        let of_tenant = tenants.entry(tenant).or_default();
        let known = match of_tenant.entry(Arc::clone(module)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                *remembered += 1;
                vacant.insert(Remembered::default())
            }
        };
        // Somebody may have been quicker.
        if let Some(stock) = &known.stock
            && stock.recipe().is_of(ahead, prepared, setting)
        {
            return Some(Arc::clone(stock));
        }
        let recipe = Recipe::of(ahead, prepared, setting);
        let stock = Arc::new(Stock::new(recipe, Arc::clone(&known.counts)));
        if let Some(asked) = self.short().get(&tenant).copied() {
            // It holds nothing yet.
            drop(stock.others_lack_room(asked));
        }
        if let Some(before) = known.stock.replace(Arc::clone(&stock)) {
            _over = before.end();
        }
        if !*is_watched {
            *is_watched = self.watch();
        }
        Some(stock)
    }

    /// Has all stocks looked after at the end of each span of time, as long as there are any.
    fn watch(self: &Arc<Self>) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let stocks = Arc::downgrade(self);
        let span = demand::span(self.idle);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(span).await;
                let Some(stocks) = Weak::upgrade(&stocks) else {
                    return;
                };
                if !stocks.look().await {
                    return;
                }
            }
        });
        true
    }

    /// A span is over. False: there is nothing left to look after, and the next call has it looked after again.
    pub(super) async fn look(&self) -> bool {
        let stocks: Vec<_> = self.table().all().cloned().collect();
        let short = std::mem::take(&mut *self.short());
        for some in stocks.chunks(LOOKED_AT_ONCE) {
            for stock in some {
                let tenant = stock.recipe().account.tenant();
                // Since this look began, too.
                let asked = short.get(&tenant).max(self.short().get(&tenant)).copied();
                self.look_at(stock, asked);
            }
            tokio::task::yield_now().await;
        }
        let mut table = self.table_mut();
        table.is_swept = false;
        let is_needed = table.all().next().is_some();
        table.is_watched = is_needed;
        is_needed
    }

    fn look_at(&self, stock: &Arc<Stock>, asked: Option<u32>) {
        let (let_go, is_called) = stock.look(self.idle, asked);
        drop(let_go);
        let account = &stock.recipe().account;
        if !account.has_to_spare(0) {
            self.give_way(account);
        }
        if is_called.is_none() {
            self.table_mut().end(stock);
        } else if self.table().is_crowded_by(account.tenant()) && stock.end_if_unused() {
            self.table_mut().forget(stock);
        }
    }

    /// There was no room for an instance of this one. What its tenant keeps for calls that come much more seldom goes: all that
    /// it has is looked through for that, in each span of time once, and again for one that is called more often still.
    pub(super) fn lacks_room(self: &Arc<Self>, stock: &Stock) {
        let tenant = stock.recipe().account.tenant();
        let Some(asked) = stock.lacks_room() else {
            return;
        };
        if !self.asks_for(tenant, asked) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let stocks = Arc::clone(self);
            runtime.spawn(async move { stocks.make_room(tenant, asked).await });
        }
    }

    /// Whether it is much more than is asked for already.
    fn asks_for(&self, tenant: u64, asked: u32) -> bool {
        let mut short = self.short();
        let present = short.entry(tenant).or_default();
        let is_more = asked >= present.saturating_mul(2).max(1);
        if is_more {
            *present = asked;
        }
        is_more
    }

    /// To clear away what somebody's guests left may take long: others have their turns between.
    async fn make_room(&self, tenant: u64, asked: u32) {
        for some in self.of(tenant).chunks(LOOKED_AT_ONCE) {
            for stock in some {
                if let Some(let_go) = stock.others_lack_room(asked) {
                    drop(let_go);
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Calls of a tenant need what its stocks hold. They give back as much as is too much.
    pub(super) fn give_way(&self, account: &Account) {
        for stock in self.of(account.tenant()) {
            if account.has_to_spare(0) {
                return;
            }
            drop(stock.give_way());
        }
    }

    /// Those of a tenant.
    fn of(&self, tenant: u64) -> Vec<Arc<Stock>> {
        let table = self.table();
        let of_tenant = table.tenants.get(&tenant).into_iter().flatten();
        of_tenant
            .filter_map(|(_, known)| known.stock.clone())
            .collect()
    }

    /// What a registration was is over, or all that a tenant had.
    pub(super) fn forget(&self, tenant: u64, name: Option<&str>) {
        let mut over = Vec::new();
        let mut table = self.table_mut();
        let of_tenant = table.tenants.get_mut(&tenant).into_iter().flatten();
        for (_, known) in of_tenant.filter(|(known, _)| name.is_none_or(|name| ***known == *name)) {
            over.extend(known.stock.take());
        }
        drop(table);
        for stock in over {
            drop(stock.end());
        }
    }

    /// The node stops: nothing is made ahead any more.
    pub(super) fn close(&self) {
        let mut table = self.table_mut();
        table.is_closed = true;
        let tenants = std::mem::take(&mut table.tenants);
        table.remembered = 0;
        drop(table);
        for (_, known) in tenants.into_values().flatten() {
            if let Some(stock) = known.stock {
                drop(stock.end());
            }
        }
    }

    /// How a registration's calls fared.
    pub(super) fn of_registration(&self, tenant: u64, name: &str) -> StockUse {
        let (counts, stock) = {
            let table = self.table();
            let of_tenant = table.tenants.get(&tenant);
            let Some(known) = of_tenant.and_then(|of_tenant| of_tenant.get(name)) else {
                return StockUse::default();
            };
            (Arc::clone(&known.counts), known.stock.clone())
        };
        counts.with(stock.map_or(0, |stock| stock.ready()))
    }

    /// How those of a tenant did, all together.
    pub(super) fn of_tenant(&self, tenant: u64) -> StockUse {
        let known: Vec<_> = {
            let table = self.table();
            let of_tenant = table.tenants.get(&tenant).into_iter().flatten();
            let known =
                of_tenant.map(|(_, known)| (Arc::clone(&known.counts), known.stock.clone()));
            known.collect()
        };
        let each = known.into_iter();
        let each = each.map(|(counts, stock)| counts.with(stock.map_or(0, |stock| stock.ready())));
        each.fold(StockUse::default(), |all, one| StockUse {
            hits: all.hits.saturating_add(one.hits),
            misses: all.misses.saturating_add(one.misses),
            ready: all.ready.saturating_add(one.ready),
        })
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn short(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same.
    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same.
    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Stocks {
    /// Whether nobody works on any of them.
    pub(super) fn is_at_rest(&self) -> bool {
        self.table().all().all(|stock| stock.is_at_rest())
    }
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Arc<Stock>> {
        let known = self.tenants.values().flat_map(HashMap::values);
        known.filter_map(|known| known.stock.as_ref())
    }

    /// Nobody calls it: what it was made of is let go of, and how its calls fared is remembered.
    fn end(&mut self, stock: &Arc<Stock>) {
        if let Some(Entry::Occupied(mut known)) = self.entry_of(stock) {
            known.get_mut().stock = None;
        }
    }

    /// The same, and nothing is remembered.
    fn forget(&mut self, stock: &Arc<Stock>) {
        if let Some(Entry::Occupied(known)) = self.entry_of(stock) {
            known.remove();
            self.remembered -= 1;
        }
    }

    /// Where it stands, if nothing else has come into its place.
    fn entry_of(&mut self, stock: &Arc<Stock>) -> Option<Entry<'_, Arc<str>, Remembered>> {
        let Recipe {
            account, module, ..
        } = stock.recipe();
        let of_tenant = self.tenants.get_mut(&account.tenant())?;
        let known = of_tenant.get(&**module)?.stock.as_ref()?;
        Arc::ptr_eq(known, stock).then(|| of_tenant.entry(Arc::clone(module)))
    }

    /// Whether a tenant has so many that those in the way are to be forgotten. What others have does not matter, so that
    /// none has another's forgotten.
    fn is_crowded_by(&self, tenant: u64) -> bool {
        let of_tenant = self.tenants.get(&tenant).map_or(0, HashMap::len);
        of_tenant >= MANY_OF_TENANT
    }

    /// Whether there is no room for this registration.
    fn is_full_for(&self, tenant: u64, module: &str) -> bool {
        let of_tenant = self.tenants.get(&tenant);
        let count = of_tenant.map_or(0, HashMap::len);
        (self.remembered >= MAX_REMEMBERED || count >= MAX_REMEMBERED / 2)
            && !of_tenant.is_some_and(|of_tenant| of_tenant.contains_key(module))
    }

    fn forget_idle(&mut self) {
        for of_tenant in self.tenants.values_mut() {
            of_tenant.retain(|_, known| known.stock.is_some());
        }
        self.tenants.retain(|_, of_tenant| !of_tenant.is_empty());
        self.remembered = self.tenants.values().map(HashMap::len).sum();
    }
}

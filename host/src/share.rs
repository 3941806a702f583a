//! Something that the node has only so much of, shared among tenants.
//!
//! All of it can be in use, but never all of it by one tenant: whoever fills its share waits for itself,
//! not the others for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tenants that are remembered before those that hold nothing are forgotten.
const MANY_TENANTS: usize = 64;

/// A bounded number of units.
#[derive(Debug)]
pub(crate) struct Shares {
    node: Arc<Semaphore>,
    /// The most that one tenant may hold.
    of_tenant: u32,
    tenants: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// Units that are in use. They go back when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, it gives back what it holds"]
pub(crate) struct Taken {
    _of_node: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

/// What there are no units of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The tenant's share.
    Tenant,
    /// All that the node has.
    Node,
}

impl Shares {
    /// So many units, of which a tenant may hold half.
    pub(crate) fn new(units: u32) -> Self {
        Shares::with_share(units, units.div_ceil(2))
    }

    /// So many units, of which a tenant may hold so many.
    pub(crate) fn with_share(units: u32, of_tenant: u32) -> Self {
        Shares {
            node: Arc::new(Semaphore::new(units as usize)),
            of_tenant,
            tenants: Mutex::default(),
        }
    }

    /// So many units, if they are free now, for a tenant that may hold so many.
    pub(crate) fn try_take(&self, tenant: &Arc<str>, units: u32, most: u32) -> Result<Taken, Full> {
        let share = self.share(tenant);
        let of_tenant = Arc::clone(&share).try_acquire_many_owned(units);
        let of_tenant = of_tenant.map_err(|_none| Full::Tenant)?;
        // These included.
        let held = (self.of_tenant as usize).saturating_sub(share.available_permits());
        if held > most as usize {
            return Err(Full::Tenant);
        }
        let of_node = Arc::clone(&self.node).try_acquire_many_owned(units);
        let of_node = of_node.map_err(|_none| Full::Node)?;
        Ok(Taken {
            _of_node: of_node,
            _of_tenant: of_tenant,
        })
    }

    /// Waits for so many units; for a tenant's whole share where it asks for more than that. `None`
    /// never comes about while the node runs.
    pub(crate) async fn take(&self, tenant: &Arc<str>, units: u32) -> Option<Taken> {
        let units = units.min(self.of_tenant);
        let share = self.share(tenant);
        // The share first: who waits for itself holds nothing that others wait for.
        let of_tenant = share.acquire_many_owned(units).await.ok()?;
        let of_node = Arc::clone(&self.node);
        let of_node = of_node.acquire_many_owned(units).await.ok()?;
        Some(Taken {
            _of_node: of_node,
            _of_tenant: of_tenant,
        })
    }

    fn share(&self, tenant: &Arc<str>) -> Arc<Semaphore> {
        // Nothing panics while it is locked, so poison means nothing here.
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = tenants.get(tenant) {
            return Arc::clone(share);
        }
        if tenants.len() >= MANY_TENANTS {
            // Whoever holds units, or waits for some, has a share beside this one.
            tenants.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new(self.of_tenant as usize));
        tenants.insert(Arc::clone(tenant), Arc::clone(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn take(shares: &Shares, tenant: &str, units: u32) -> Option<Taken> {
        let tenant = Arc::from(tenant);
        let taken = timeout(Duration::from_secs(1), shares.take(&tenant, units));
        taken.await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_takes_all_it_can_leaves_as_much_for_others() {
        let shares = Shares::new(4);
        let first = take(&shares, "greedy", 1).await.unwrap();
        let _second = take(&shares, "greedy", 1).await.unwrap();
        assert!(take(&shares, "greedy", 1).await.is_none());
        let _other = take(&shares, "other", 2).await.unwrap();
        assert!(take(&shares, "third", 1).await.is_none(), "all are taken");
        drop(first);
        assert!(take(&shares, "greedy", 1).await.is_some());
    }

    #[tokio::test]
    async fn whoever_does_not_wait_is_told_at_once() {
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        let shares = Shares::with_share(3, 2);
        let held = [
            shares.try_take(&greedy, 1, 2).unwrap(),
            shares.try_take(&greedy, 1, 2).unwrap(),
        ];
        assert_eq!(shares.try_take(&greedy, 1, 2).unwrap_err(), Full::Tenant);
        let _other = shares.try_take(&other, 1, 2).unwrap();
        assert_eq!(shares.try_take(&other, 1, 2).unwrap_err(), Full::Node);
        let narrowed: Arc<str> = "narrowed".into();
        assert_eq!(shares.try_take(&narrowed, 1, 0).unwrap_err(), Full::Tenant);
        drop(held);
        assert_eq!(shares.try_take(&greedy, 3, 3).unwrap_err(), Full::Tenant);
        let _again = shares.try_take(&other, 1, 2).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_share_waits_for_all_of_it() {
        let shares = Shares::new(1);
        let all = take(&shares, "one", u32::MAX).await.unwrap();
        assert!(take(&shares, "one", 1).await.is_none());
        drop(all);
        assert!(take(&shares, "one", 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_units_or_waits_for_some_is_not_forgotten() {
        let shares = Shares::with_share(1000, 2);
        let _held = [
            take(&shares, "holds", 1).await.unwrap(),
            take(&shares, "holds", 1).await.unwrap(),
        ];
        let all = take(&shares, "waits", 2).await.unwrap();
        let waiting: Arc<str> = "waits".into();
        let mut waiting = pin!(shares.take(&waiting, 2));
        let once = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending()));
        assert!(once.await);
        drop(all);
        for number in 0..2 * MANY_TENANTS {
            drop(take(&shares, &format!("t{number}"), 1).await);
        }
        assert!(take(&shares, "holds", 1).await.is_none());
        assert!(take(&shares, "waits", 1).await.is_none());
        let _all = waiting.await.unwrap();
    }

    #[tokio::test]
    async fn few_are_remembered_of_tenants_that_hold_nothing() {
        let shares = Shares::new(1);
        for number in 0..10 * MANY_TENANTS {
            drop(take(&shares, &format!("t{number}"), 1).await);
        }
        assert!(shares.tenants.lock().unwrap().len() <= MANY_TENANTS);
    }
}

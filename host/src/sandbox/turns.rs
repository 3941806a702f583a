//! Turns at the compiler.
//!
//! One module of a tenant at a time is compiled, and those that wait are so many, of each tenant and of all.
//! Whoever waits, waits for its own tenant first: among those that wait for the node there is one of each
//! tenant, and they come in the order in which they asked. So a tenant that sends many modules waits for
//! itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SandboxError;

/// Tenants that are remembered before those that want nothing are forgotten.
const MANY_TENANTS: usize = 64;

#[derive(Debug)]
pub(super) struct Turns {
    /// How many may be under way at once.
    node: Arc<Semaphore>,
    /// How many may wait.
    queue: Arc<Semaphore>,
    max_queued: u64,
    max_queued_per_tenant: u64,
    tenants: Mutex<HashMap<Arc<str>, Weak<Tenant>>>,
}

/// What a tenant has, as long as it wants or has a turn.
#[derive(Debug)]
struct Tenant {
    turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// The tenant's turn among its own.
#[derive(Debug)]
#[must_use = "dropped, the next one of the tenant has its turn"]
pub(super) struct Next<'a> {
    turns: &'a Turns,
    tenant: Arc<Tenant>,
    _of_tenant: OwnedSemaphorePermit,
    /// Its place among those that wait; none where nothing had to be waited for.
    place: Option<Place>,
}

/// A turn. It is over when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the turn is over"]
pub(super) struct Turn {
    _tenant: Arc<Tenant>,
    _of_tenant: OwnedSemaphorePermit,
    _of_node: OwnedSemaphorePermit,
}

type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Turns {
    /// So many at once, and so many that wait.
    pub(super) fn new(units: u32, max_queued: u32, max_queued_per_tenant: u32) -> Self {
        Turns {
            node: Arc::new(Semaphore::new(units as usize)),
            queue: Arc::new(Semaphore::new(max_queued as usize)),
            max_queued: max_queued.into(),
            max_queued_per_tenant: max_queued_per_tenant.into(),
            tenants: Mutex::default(),
        }
    }

    /// Waits until it is this one's turn among its tenant's.
    ///
    /// # Errors
    /// At once, when too many wait already.
    pub(super) async fn among_own(&self, tenant: &Arc<str>) -> Result<Next<'_>, SandboxError> {
        let tenant = self.tenant(tenant);
        let (of_tenant, place) = match Arc::clone(&tenant.turn).try_acquire_owned() {
            Ok(of_tenant) => (of_tenant, None),
            Err(_taken) => {
                let place = self.place(&tenant)?;
                let turn = Arc::clone(&tenant.turn).acquire_owned().await;
                (turn.map_err(|_| closed())?, Some(place))
            }
        };
        Ok(Next {
            turns: self,
            tenant,
            _of_tenant: of_tenant,
            place,
        })
    }

    /// A place among those that wait, if there is one.
    fn place(&self, tenant: &Tenant) -> Result<Place, SandboxError> {
        let of_tenant = Arc::clone(&tenant.queue).try_acquire_owned();
        let of_tenant = of_tenant.map_err(|_full| SandboxError::CompilerQueueFull {
            limit: self.max_queued_per_tenant,
        })?;
        let of_node = Arc::clone(&self.queue).try_acquire_owned();
        let of_node = of_node.map_err(|_full| SandboxError::CompilerBusy {
            limit: self.max_queued,
        })?;
        Ok((of_tenant, of_node))
    }

    fn tenant(&self, name: &Arc<str>) -> Arc<Tenant> {
        // Nothing panics while it is locked, so poison means nothing here.
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name).and_then(Weak::upgrade) {
            return tenant;
        }
        if tenants.len() >= MANY_TENANTS {
            tenants.retain(|_, tenant| tenant.strong_count() > 0);
        }
        let max_queued = usize::try_from(self.max_queued_per_tenant).unwrap_or(usize::MAX);
        let tenant = Arc::new(Tenant {
            turn: Arc::new(Semaphore::new(1)),
            queue: Arc::new(Semaphore::new(max_queued.min(Semaphore::MAX_PERMITS))),
        });
        tenants.insert(Arc::clone(name), Arc::downgrade(&tenant));
        tenant
    }
}

impl Next<'_> {
    /// Waits for its turn among all.
    ///
    /// # Errors
    /// At once, when too many wait already.
    pub(super) async fn among_all(self) -> Result<Turn, SandboxError> {
        let node = &self.turns.node;
        let of_node = match Arc::clone(node).try_acquire_owned() {
            Ok(of_node) => of_node,
            Err(_taken) => {
                let _place = match self.place {
                    Some(place) => place,
                    None => self.turns.place(&self.tenant)?,
                };
                let turn = Arc::clone(node).acquire_owned().await;
                turn.map_err(|_| closed())?
            }
        };
        Ok(Turn {
            _tenant: self.tenant,
            _of_tenant: self._of_tenant,
            _of_node: of_node,
        })
    }
}

fn closed() -> SandboxError {
    SandboxError::Internal("the compiler is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use polling::is_pending;

    use super::*;

    /// Whether a future waits, after one look at it.
    mod polling {
        use std::future::poll_fn;
        use std::pin::Pin;
        use std::task::Poll;

        pub(super) async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
            poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
        }
    }

    async fn turn(turns: &Turns, tenant: &str) -> Result<Turn, SandboxError> {
        turns.among_own(&Arc::from(tenant)).await?.among_all().await
    }

    #[tokio::test]
    async fn a_tenant_has_one_turn_at_a_time_and_another_has_the_next() {
        let turns = Turns::new(2, 8, 8);
        let first = turn(&turns, "flood").await.unwrap();
        let mut second = pin!(turn(&turns, "flood"));
        assert!(
            is_pending(second.as_mut()).await,
            "one at a time, though there is room"
        );
        let other = turn(&turns, "other").await.unwrap();
        // All is taken: whoever asks waits, in the order of asking, one of each tenant.
        let mut third = pin!(turn(&turns, "third"));
        assert!(is_pending(third.as_mut()).await);
        drop(first);
        assert!(
            is_pending(second.as_mut()).await,
            "it asked the node after the third"
        );
        let third = third.await.unwrap();
        drop(other);
        let _second = second.await.unwrap();
        drop(third);
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more_of_a_tenant_and_of_all() {
        let turns = Turns::new(1, 3, 2);
        let held = turn(&turns, "a").await.unwrap();
        let mut a1 = Box::pin(turn(&turns, "a"));
        let mut a2 = Box::pin(turn(&turns, "a"));
        for waits in [&mut a1, &mut a2] {
            assert!(is_pending(waits.as_mut()).await);
        }
        let refused = turn(&turns, "a").await.unwrap_err();
        assert!(
            matches!(refused, SandboxError::CompilerQueueFull { limit: 2 }),
            "{refused}"
        );
        let mut b = Box::pin(turn(&turns, "b"));
        assert!(is_pending(b.as_mut()).await);
        let refused = turn(&turns, "c").await.unwrap_err();
        assert!(
            matches!(refused, SandboxError::CompilerBusy { limit: 3 }),
            "{refused}"
        );
        // Who gives up leaves the place to others.
        drop(a2);
        let mut c = Box::pin(turn(&turns, "c"));
        assert!(is_pending(c.as_mut()).await);
        drop(held);
        drop(b.await.unwrap());
        drop(c.await.unwrap());
        drop(a1.await.unwrap());
        drop(turn(&turns, "a").await.unwrap());
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_tenants_that_want_nothing() {
        let turns = Turns::new(1, 1, 1);
        for number in 0..10 * MANY_TENANTS {
            drop(turn(&turns, &format!("t{number}")).await.unwrap());
        }
        assert!(turns.tenants.lock().unwrap().len() <= MANY_TENANTS);
    }
}

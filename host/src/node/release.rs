//! How objects end that nobody outside holds any more.
//!
//! Their destructors run in the root that they live in, when it is their turn: after the calls that came
//! before. Many that are let go of while others wait are ended together, some at a turn. At the end of a session
//! all that it holds ends so, each object once, within a bound of time and of processor time for all of them;
//! what is not through by then ends with its instance.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_protocol::Failure;
use rpc_host_protocol::value::Handle;
use tokio::time::{Instant, timeout_at};

use super::calls::call_budget;
use super::line::Ticket;
use super::root::{Caller, Present, Root};
use crate::budget::Budget;
use crate::chain::Chain;
use crate::objects::Gone;
use crate::sandbox::Forecast;

/// So many end in one turn, and then it is the next call's.
const AT_A_TURN: usize = 256;

/// Objects whose destructors are to run.
#[derive(Debug, Default)]
pub(super) struct Unheld {
    objects: Vec<Handle>,
    /// Whether somebody sees to them.
    is_seen_to: bool,
}

/// How much time destructors have.
pub(super) struct Bounds {
    pub(super) until: Instant,
    pub(super) budget: Budget,
}

impl Bounds {
    /// As much as any call.
    fn of_call(caller: &Caller) -> Self {
        let limits = caller.permit.settings().limits();
        Bounds {
            until: Instant::now() + Duration::from_millis(limits.default_call_timeout_ms),
            budget: Budget::new(call_budget(limits), Arc::clone(&caller.account)),
        }
    }
}

impl Root {
    /// Nobody holds these objects any more. They end in their turn, and nobody waits for it.
    pub(super) fn let_go(self: &Arc<Self>, objects: Vec<Handle>, caller: &Arc<Caller>) {
        let ticket = {
            let mut unheld = self.unheld();
            unheld.objects.extend(objects);
            if unheld.is_seen_to {
                return;
            }
            // Whoever holds something of a root has given it a line.
            let Some(ticket) = self.join() else { return };
            unheld.is_seen_to = true;
            ticket
        };
        let (root, caller) = (Arc::clone(self), Arc::clone(caller));
        // Without a runtime nothing runs any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { root.see_to_unheld(ticket, caller).await });
        }
    }

    async fn see_to_unheld(self: Arc<Self>, ticket: Ticket, caller: Arc<Caller>) {
        let mut next = Some(ticket);
        while let Some(ticket) = next.take() {
            // In the turn itself it is settled who sees to what comes from now on, so that it ends before whatever
            // is called after it was let go of.
            let some = |root: &Arc<Root>| {
                let mut unheld = root.unheld();
                let rest = unheld.objects.len().saturating_sub(AT_A_TURN);
                let objects = unheld.objects.split_off(rest);
                if !unheld.objects.is_empty() {
                    next = root.join();
                }
                unheld.is_seen_to = next.is_some();
                objects
            };
            let bounds = || Bounds::of_call(&caller);
            // What went wrong is known by those who hold something of the root.
            let _failed = self.end_some(ticket, some, bounds, &caller).await;
        }
    }

    /// Ends these objects in the turn that `ticket` is for.
    ///
    /// # Errors
    /// As the first destructor that fails. The root is gone then.
    pub(super) async fn end_objects(
        self: Arc<Self>,
        ticket: Ticket,
        objects: Vec<Handle>,
        bounds: Option<Bounds>,
        caller: Arc<Caller>,
    ) -> Result<(), Failure> {
        let until = bounds.as_ref().map(|bounds| bounds.until);
        let bounds = || bounds.unwrap_or_else(|| Bounds::of_call(&caller));
        let ending = self.end_some(ticket, |_| objects, bounds, &caller);
        let Some(until) = until else {
            return ending.await;
        };
        match timeout_at(until, ending).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.end(Gone::Late);
                Ok(())
            }
        }
    }

    async fn end_some(
        self: &Arc<Self>,
        ticket: Ticket,
        objects: impl FnOnce(&Arc<Root>) -> Vec<Handle>,
        bounds: impl FnOnce() -> Bounds,
        caller: &Arc<Caller>,
    ) -> Result<(), Failure> {
        let visit = self.visit(ticket).await;
        let objects = objects(self);
        if self.gone().is_some() || self.check_grants(caller).is_err() {
            return Ok(());
        }
        let Bounds { until, budget } = bounds();
        let limits = caller.permit.settings().limits();
        let depth = u32::try_from(limits.max_chain_depth).unwrap_or(u32::MAX);
        let chain = Chain::begin(RELEASE.into(), until, depth, budget);
        let present = Present {
            caller: Arc::clone(caller),
            chain: chain.with_turn(self.line_number()),
        };
        let account = Arc::clone(&caller.account);
        let work = async move {
            for object in objects {
                visit.root().release(object, &present).await?;
            }
            Ok(())
        };
        let sandbox = self.node().targets.sandbox();
        sandbox
            .work(&account, Forecast::Open, until, Box::pin(work))
            .await
    }

    fn unheld(&self) -> MutexGuard<'_, Unheld> {
        self.unheld.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a chain begins with that a destructor is part of.
const RELEASE: &str = "release";

/// Objects by the root that they live in, in the order in which they come.
pub(super) fn by_root<T>(
    objects: impl IntoIterator<Item = (Arc<Root>, T)>,
) -> Vec<(Arc<Root>, Vec<T>)> {
    let mut sorted: Vec<(Arc<Root>, T)> = objects.into_iter().collect();
    sorted.sort_by_key(|(root, _)| Arc::as_ptr(root).addr());
    let mut roots: Vec<(Arc<Root>, Vec<T>)> = Vec::new();
    for (root, object) in sorted {
        match roots.last_mut() {
            Some((last, objects)) if Arc::ptr_eq(last, &root) => objects.push(object),
            _ => roots.push((root, vec![object])),
        }
    }
    roots
}

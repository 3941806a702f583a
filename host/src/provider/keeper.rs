//! Asks silent clients for a sign of life, and ends the leases of those that give none.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{Lease, LeaseEnd, Providers};

/// A silent client is asked so often within the time of its lease.
const ASKED_WITHIN_LEASE: u32 = 3;

/// Keeps one lease until it ends. Any frame of the client's is a sign of life, so of a client that says
/// something anyway nothing is asked.
pub(super) async fn keep(providers: Providers, lease: Arc<Lease>) {
    let interval = lease.lease_time() / ASKED_WITHIN_LEASE;
    let mut asked_at = Instant::now();
    loop {
        let ask_at = lease.reach().last_heard().max(asked_at) + interval;
        tokio::select! {
            biased;
            _how = lease.over() => return,
            () = sleep_until(ask_at.min(lease.until())) => {}
        }
        let now = Instant::now();
        if lease.until() <= now {
            providers.end(&lease, LeaseEnd::Expired(lease.lease_time()));
            return;
        }
        if lease.reach().last_heard().max(asked_at) + interval <= now {
            lease.reach().ping();
            asked_at = now;
        }
    }
}

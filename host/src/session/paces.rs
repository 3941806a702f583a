//! How fast exchanges may begin: in one session, and in all of its tenant.

use std::time::{Duration, Instant};

use rpc_host_protocol::{ErrorCode, Failure, Fault};

use crate::account::{Account, Pace, Rate};
use crate::config::Limits;

/// The paces of one session.
#[derive(Debug)]
pub(super) struct Paces {
    calls: Pace,
    requests: Pace,
}

impl Paces {
    pub(super) fn new(limits: &Limits) -> Self {
        let pace = |per_second| {
            Pace::new(Rate {
                per_second,
                burst: Duration::from_millis(limits.rate_burst_ms),
            })
        };
        Paces {
            calls: pace(limits.max_calls_per_second_per_session),
            requests: pace(limits.max_requests_per_second_per_session),
        }
    }

    /// Begins a call. The session first: what is too fast for it takes nothing of its tenant's.
    ///
    /// # Errors
    /// When it is too early for one more.
    pub(super) fn begin_call(&self, account: &Account, now: Instant) -> Result<(), Failure> {
        held_to(&self.calls, now, "max-calls-per-second-per-session")?;
        held_to(account.calls(), now, "max-calls-per-second-per-tenant")
    }

    /// Begins anything else: a request, an upload, an offer or a withdrawal.
    ///
    /// # Errors
    /// When it is too early for one more.
    pub(super) fn begin_request(&self, account: &Account, now: Instant) -> Result<(), Failure> {
        held_to(&self.requests, now, "max-requests-per-second-per-session")?;
        held_to(
            account.requests(),
            now,
            "max-requests-per-second-per-tenant",
        )
    }
}

fn held_to(pace: &Pace, now: Instant, limit: &str) -> Result<(), Failure> {
    let Err(wait) = pace.take(1, now) else {
        return Ok(());
    };
    // What is left of a millisecond is waited for, too.
    let wait_ms = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    let message = format!(
        "more came than the {} a second that `{limit}` allows; try again in {wait_ms} ms",
        pace.per_second()
    );
    let failure = Failure::new(ErrorCode::ResourceExhausted, Fault::Tenant, message);
    Err(failure.retry_after(Duration::from_millis(wait_ms)))
}

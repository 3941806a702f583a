//! What one instance may still send and receive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Excess;
use super::{OutgoingError, OutgoingLimits};

/// What is left to one instance, and so to its part of one call.
#[derive(Debug)]
pub(crate) struct Allowance {
    limits: OutgoingLimits,
    requests_left: AtomicU64,
    sent_bytes_left: AtomicU64,
    received_bytes_left: AtomicU64,
    at_once: Arc<Semaphore>,
    max_of_tenant: u32,
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Sent,
    Received,
}

impl Allowance {
    /// The limit that [`Allowance::take_request`] meets.
    pub(crate) const REQUESTS: &'static str = "max-http-requests-per-instance";

    /// What an instance has under the node's limits, of a tenant that may have so many requests under way.
    pub(crate) fn new(limits: &OutgoingLimits, max_of_tenant: u64) -> Self {
        let at_once = usize::try_from(limits.max_at_once_per_instance).unwrap_or(usize::MAX);
        Allowance {
            requests_left: AtomicU64::new(limits.max_requests_per_instance),
            sent_bytes_left: AtomicU64::new(limits.max_body_bytes_per_instance),
            received_bytes_left: AtomicU64::new(limits.max_body_bytes_per_instance),
            at_once: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            max_of_tenant: u32::try_from(max_of_tenant)
                .unwrap_or(u32::MAX)
                .min(limits.max_at_once_per_tenant),
            limits: limits.clone(),
        }
    }

    /// How many requests its tenant may have under way.
    pub(super) fn max_of_tenant(&self) -> u32 {
        self.max_of_tenant
    }

    /// Takes a request from what is left, whatever comes of it: to be refused is work too.
    pub(crate) fn take_request(&self) -> Result<(), OutgoingError> {
        let (limit, value) = (Self::REQUESTS, self.limits.max_requests_per_instance);
        let of = Excess::Requests;
        take(&self.requests_left, 1).ok_or(OutgoingError::OverLimit { limit, value, of })
    }

    /// A place among those that are under way.
    pub(super) fn try_begin(&self) -> Result<OwnedSemaphorePermit, OutgoingError> {
        let place = Arc::clone(&self.at_once).try_acquire_owned();
        place.map_err(|_none| OutgoingError::OverLimit {
            limit: "max-http-requests-at-once-per-instance",
            value: self.limits.max_at_once_per_instance,
            of: Excess::Requests,
        })
    }

    /// Takes so many bytes of a body.
    pub(super) fn take_bytes(&self, way: Way, bytes: u64) -> Result<(), OutgoingError> {
        take(self.left(way), bytes).ok_or_else(|| self.body_too_large(way))
    }

    /// Whether a body of so many bytes would fit as things are.
    pub(super) fn fits(&self, way: Way, bytes: u64) -> Result<(), OutgoingError> {
        if bytes <= self.left(way).load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(self.body_too_large(way))
    }

    fn left(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Sent => &self.sent_bytes_left,
            Way::Received => &self.received_bytes_left,
        }
    }

    fn body_too_large(&self, way: Way) -> OutgoingError {
        OutgoingError::OverLimit {
            limit: "max-http-body-bytes-per-instance",
            value: self.limits.max_body_bytes_per_instance,
            of: match way {
                Way::Sent => Excess::RequestBody,
                Way::Received => Excess::ResponseBody,
            },
        }
    }
}

fn take(left: &AtomicU64, amount: u64) -> Option<()> {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(amount)
    });
    taken.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_so_much_and_no_more() {
        let limits = OutgoingLimits {
            max_requests_per_instance: 2,
            max_at_once_per_instance: 1,
            max_body_bytes_per_instance: 10,
            ..OutgoingLimits::default()
        };
        let allowance = Allowance::new(&limits, 1);
        allowance.take_request().unwrap();
        allowance.take_request().unwrap();
        let over = allowance.take_request().unwrap_err().to_string();
        assert_eq!(over, "over the limit `max-http-requests-per-instance` of 2");

        let place = allowance.try_begin().unwrap();
        let over = allowance.try_begin().unwrap_err().to_string();
        assert_eq!(
            over,
            "over the limit `max-http-requests-at-once-per-instance` of 1"
        );
        drop(place);
        let _again = allowance.try_begin().unwrap();

        for way in [Way::Sent, Way::Received] {
            allowance.take_bytes(way, 6).unwrap();
            assert!(allowance.fits(way, 5).is_err());
            assert!(allowance.take_bytes(way, 5).is_err());
            allowance.fits(way, 4).unwrap();
            allowance.take_bytes(way, 4).unwrap();
            assert!(allowance.take_bytes(way, 1).is_err());
        }
    }
}

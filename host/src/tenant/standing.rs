//! Whether what was good when a session began still is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Credential;
use crate::clock::Timestamp;

/// Of a token, a certificate or a tenant. Shared by whoever ends it and every principal that rests
/// on it, so that a session can ask at each request without a lock.
#[derive(Debug)]
pub(super) struct Standing {
    revoked: AtomicBool,
    expires_at: Option<Timestamp>,
}

impl Standing {
    pub(super) fn until(expires_at: Option<Timestamp>) -> Self {
        Self {
            revoked: AtomicBool::new(false),
            expires_at,
        }
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        !self.revoked.load(Ordering::Acquire)
            && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// What a principal came in by, and all that has to be good for it to be good still.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) credential: Credential,
    rests_on: Arc<[Arc<Standing>]>,
}

impl Holder {
    pub(super) fn new(
        credential: Credential,
        rests_on: impl IntoIterator<Item = Arc<Standing>>,
    ) -> Self {
        Self {
            credential,
            rests_on: rests_on.into_iter().collect(),
        }
    }

    /// This one, as long as the other is good as well.
    pub(super) fn and(self, other: &Holder) -> Self {
        let all = self.rests_on.iter().chain(other.rests_on.iter());
        Self {
            rests_on: all.cloned().collect(),
            credential: self.credential,
        }
    }

    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.rests_on.iter().all(|standing| standing.is_good(now))
    }

    /// The first end of all that it rests on.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.rests_on
            .iter()
            .filter_map(|standing| standing.expires_at())
            .min()
    }
}

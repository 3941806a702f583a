//! Whether a token that was good when its session began still is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Timestamp;

/// Shared by the directory and every principal that came in by one token, so that a session can
/// ask at each request without a lock.
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

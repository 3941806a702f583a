//! What a client offers to serve, and for how long.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::message::{Fallback, Provide, ProvideScope};

use super::ProviderError;
use super::table::Room;
use crate::capability::is_reserved;
use crate::config::Limits;
use crate::registry::RegistrationName;

/// An offer within its limits.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) name: Arc<str>,
    pub(super) scope: ProvideScope,
    pub(super) lease_time: Duration,
    pub(super) window: u32,
    pub(super) fallback: Fallback,
    /// How many there may be beside it.
    pub(super) room: Room,
}

impl Offer {
    /// Checks what a client says about its offer, against the limits of its tenant.
    ///
    /// # Errors
    /// When the name is the host's, or a number is out of its bounds.
    pub fn check(
        name: &RegistrationName,
        provide: &Provide,
        limits: &Limits,
    ) -> Result<Self, ProviderError> {
        let name = name.as_str();
        // Whoever imports one of these has to find the host behind it.
        if is_reserved(name) {
            let name = name.to_owned();
            return Err(ProviderError::Reserved { name });
        }
        let most_at_once = limits.max_calls_into_client_per_session;
        bounded(
            "lease-ms",
            provide.lease_ms,
            limits.min_lease_ms,
            limits.max_lease_ms,
        )?;
        bounded("window", provide.window.into(), 1, most_at_once)?;
        Ok(Offer {
            name: name.into(),
            scope: provide.scope,
            lease_time: Duration::from_millis(provide.lease_ms),
            window: provide.window,
            fallback: provide.fallback,
            room: Room {
                per_session: limits.max_leases_per_session,
                per_tenant: limits.max_leases_per_tenant,
            },
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn bounded(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), ProviderError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ProviderError::OutOfBounds {
        what,
        value,
        least,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, lease_ms: u64, window: u32) -> Result<Offer, ProviderError> {
        let provide = Provide {
            name: name.to_owned(),
            scope: ProvideScope::Session,
            lease_ms,
            window,
            fallback: Fallback::Previous,
            wit: None,
        };
        Offer::check(&name.parse().unwrap(), &provide, &Limits::default())
    }

    #[test]
    fn numbers_have_bounds() {
        for (lease_ms, window) in [(1000, 1), (300_000, 256)] {
            assert!(check("n", lease_ms, window).is_ok());
        }
        for (lease_ms, window, text) in [
            (
                999,
                1,
                "lease-ms is 999; it has to be between 1000 and 300000",
            ),
            (300_001, 1, "lease-ms is 300001"),
            (u64::MAX, 1, "lease-ms"),
            (1000, 0, "window is 0; it has to be between 1 and 256"),
            (1000, 257, "window is 257"),
        ] {
            let error = check("n", lease_ms, window).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn names_of_the_host_are_not_to_be_had() {
        for name in [
            "wasi:cli/stdout@0.2.0",
            "wasi:x",
            "rpc-host:guest/log@0.1.0",
        ] {
            let error = check(name, 1000, 1).unwrap_err();
            assert!(matches!(error, ProviderError::Reserved { .. }), "{error}");
        }
        for name in ["wasi", "wasip2:x", "rpc-host", "acme:wasi/log"] {
            assert!(check(name, 1000, 1).is_ok(), "{name}");
        }
    }
}

//! Limits that somebody sets below those of the node: they narrow and never widen.

use std::collections::BTreeMap;

use super::{LIMITS, Limits};

/// A limit that cannot be set so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarrowingError {
    /// Not a limit that may be set there.
    #[error("a {whose} has no limit `{limit}`; known limits are {known}")]
    Unknown {
        /// What it was set for.
        whose: &'static str,
        /// What was asked for.
        limit: String,
        /// What there is.
        known: String,
    },
    /// Zero, twice, or above what the one above allows.
    #[error("`{limit}` cannot be {value}; set it once, between 1 and {most}")]
    OutOfBounds {
        /// Which limit.
        limit: &'static str,
        /// What was asked for.
        value: u64,
        /// What is allowed.
        most: u64,
    },
}

/// For whom limits are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A tenant: those of a registration, and those that are for each tenant.
    Tenant,
    /// A registration.
    Registration,
}

/// The limits that a registration may set for itself.
const OF_REGISTRATION: [&str; 11] = [
    "max-memory-bytes",
    "default-call-timeout-ms",
    "max-call-timeout-ms",
    "max-cpu-ms-per-call",
    "max-reply-bytes",
    "max-log-line-bytes",
    "max-hostcall-bytes",
    "max-handles-per-instance",
    "max-host-resources-per-instance",
    "max-log-lines-per-instance",
    "max-output-bytes-per-instance",
];

impl Scope {
    /// The names of the limits that may be set, in the order of the table.
    pub fn known(self) -> impl Iterator<Item = &'static str> {
        let names = LIMITS.iter().map(|row| row.name);
        names.filter(move |name| {
            // The queue of compiles has one number for every tenant.
            let is_of_each_tenant = self == Self::Tenant
                && name.ends_with("-per-tenant")
                && *name != "max-queued-compiles-per-tenant";
            is_of_each_tenant || OF_REGISTRATION.contains(name)
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Registration => "registration",
        }
    }
}

/// Limits that are set. Not set means those of the one above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing(BTreeMap<&'static str, u64>);

impl Narrowing {
    /// Sets limits by name, below those of the one above.
    ///
    /// # Errors
    /// When a name is unknown or named twice, or a value is zero or above that of the one above.
    pub fn parse<T: AsRef<str>>(
        settings: impl IntoIterator<Item = (T, u64)>,
        scope: Scope,
        above: &Limits,
    ) -> Result<Self, NarrowingError> {
        Self::read(settings, scope, |name| {
            above.value(name).unwrap_or_default()
        })
    }

    /// As stored: what was within bounds once. A node that was made stricter since does not make what is
    /// stored invalid; [`Narrowing::apply`] takes care of it.
    ///
    /// # Errors
    /// When a name is unknown or named twice, or a value is zero.
    pub fn restore<T: AsRef<str>>(
        settings: impl IntoIterator<Item = (T, u64)>,
        scope: Scope,
    ) -> Result<Self, NarrowingError> {
        Self::read(settings, scope, |_| u64::MAX)
    }

    fn read<T: AsRef<str>>(
        settings: impl IntoIterator<Item = (T, u64)>,
        scope: Scope,
        most: impl Fn(&str) -> u64,
    ) -> Result<Self, NarrowingError> {
        let mut set = BTreeMap::new();
        for (name, value) in settings {
            let name = name.as_ref();
            let Some(limit) = scope.known().find(|known| *known == name) else {
                let known: Vec<_> = scope.known().collect();
                return Err(NarrowingError::Unknown {
                    whose: scope.as_str(),
                    // An outsider's text, so no more of it than a message can bear.
                    limit: name.chars().take(64).collect(),
                    known: known.join(", "),
                });
            };
            let most = most(limit);
            if value == 0 || value > most || set.insert(limit, value).is_some() {
                return Err(NarrowingError::OutOfBounds { limit, value, most });
            }
        }
        Ok(Self(set))
    }

    /// The limits that hold: the smaller of each pair, so that a node that was made stricter later is
    /// obeyed too.
    pub fn apply(&self, above: &Limits) -> Limits {
        let mut limits = above.clone();
        for (name, value) in &self.0 {
            limits.lower(name, *value);
        }
        limits.default_call_timeout_ms = limits
            .default_call_timeout_ms
            .min(limits.max_call_timeout_ms);
        limits
    }

    /// What is set, by name.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, value)| (*name, *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_registration(name: &str, value: u64) -> Result<Narrowing, NarrowingError> {
        Narrowing::parse([(name, value)], Scope::Registration, &Limits::default())
    }

    #[test]
    fn narrows_and_never_widens() {
        let node = Limits {
            max_memory_bytes: 1000,
            ..Limits::default()
        };
        let set = [("max-memory-bytes", 600)];
        let narrowing = Narrowing::parse(set, Scope::Registration, &node).unwrap();
        assert_eq!(narrowing.apply(&node).max_memory_bytes, 600);
        let stricter = Limits {
            max_memory_bytes: 500,
            ..node.clone()
        };
        assert_eq!(narrowing.apply(&stricter).max_memory_bytes, 500);
        assert_eq!(Narrowing::default().apply(&node), node);
        let restored = Narrowing::restore(narrowing.set(), Scope::Registration);
        assert_eq!(restored.unwrap(), narrowing);
    }

    #[test]
    fn a_shorter_longest_call_shortens_the_default() {
        let narrowing = of_registration("max-call-timeout-ms", 7).unwrap();
        assert_eq!(
            narrowing.apply(&Limits::default()).default_call_timeout_ms,
            7
        );
    }

    #[test]
    fn every_limit_has_bounds_and_holds() {
        let node = Limits::default();
        for scope in [Scope::Tenant, Scope::Registration] {
            assert!(scope.known().count() >= OF_REGISTRATION.len());
            for name in scope.known() {
                let parse = |settings: &[(&str, u64)]| {
                    Narrowing::parse(settings.iter().copied(), scope, &node)
                };
                let one = parse(&[(name, 1)]).unwrap();
                assert_eq!(one.apply(&node).value(name), Some(1), "{name}");
                assert!(parse(&[(name, 0)]).is_err());
                assert!(parse(&[(name, u64::MAX)]).is_err());
                assert!(parse(&[(name, 1), (name, 1)]).is_err());
            }
        }
        let refused = of_registration("max-connections", 1)
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("a registration has no limit `max-connections`; known limits are "),
            "{refused}"
        );
    }

    #[test]
    fn what_is_for_each_tenant_is_no_registration_s_to_set() {
        let (name, node) = ("max-registrations-per-tenant", Limits::default());
        assert!(of_registration(name, 1).is_err());
        assert!(Narrowing::parse([(name, 1)], Scope::Tenant, &node).is_ok());
        assert!(Narrowing::parse([("max-tenants", 1)], Scope::Tenant, &node).is_err());
    }
}

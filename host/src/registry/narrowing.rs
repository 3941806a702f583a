//! Limits of a single registration: they narrow the node's and never widen them.

use std::collections::BTreeMap;

use super::RegistryError;
use crate::config::Limits;

macro_rules! narrowing {
    ($($name:literal $field:ident),+) => {
        /// The limits that a registration may set for itself. Not set means the node's.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Narrowing { $($field: Option<u64>),+ }

        impl Narrowing {
            /// The names of these limits.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The limits that hold: the smaller of each pair, so that a node that was made
            /// stricter later is obeyed too.
            pub fn apply(&self, node: &Limits) -> Limits {
                let mut limits = node.clone();
                $(if let Some(value) = self.$field { limits.$field = limits.$field.min(value); })+
                limits.default_call_timeout_ms =
                    limits.default_call_timeout_ms.min(limits.max_call_timeout_ms);
                limits
            }

            /// What is set, by name.
            pub fn set(&self) -> BTreeMap<&'static str, u64> {
                [$(($name, self.$field)),+]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect()
            }

            fn field(&mut self, name: &str) -> Option<(&mut Option<u64>, fn(&Limits) -> u64)> {
                match name {
                    $($name => Some((&mut self.$field, |limits| limits.$field)),)+
                    _ => None,
                }
            }
        }
    };
}

narrowing! {
    "max-memory-bytes" max_memory_bytes,
    "default-call-timeout-ms" default_call_timeout_ms,
    "max-call-timeout-ms" max_call_timeout_ms,
    "max-cpu-ms-per-call" max_cpu_ms_per_call,
    "max-reply-bytes" max_reply_bytes,
    "max-log-line-bytes" max_log_line_bytes,
    "max-hostcall-bytes" max_hostcall_bytes,
    "max-handles-per-instance" max_handles_per_instance,
    "max-host-resources-per-instance" max_host_resources_per_instance,
    "max-log-lines-per-instance" max_log_lines_per_instance,
    "max-output-bytes-per-instance" max_output_bytes_per_instance
}

impl Narrowing {
    /// Sets limits by name.
    ///
    /// # Errors
    /// When a name is unknown or named twice, or a value is zero or above the node's.
    pub fn parse<T: AsRef<str>>(
        settings: impl IntoIterator<Item = (T, u64)>,
        node: &Limits,
    ) -> Result<Self, RegistryError> {
        let mut narrowing = Self::default();
        for (name, value) in settings {
            narrowing.narrow(name.as_ref(), value, Some(node))?;
        }
        Ok(narrowing)
    }

    /// As stored: what was within bounds once. A node that was made stricter since does not make
    /// a stored registration invalid; [`Narrowing::apply`] takes care of it.
    pub(super) fn restore<'a>(
        settings: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<Self, RegistryError> {
        let mut narrowing = Self::default();
        for (name, value) in settings {
            narrowing.narrow(name, value, None)?;
        }
        Ok(narrowing)
    }

    fn narrow(
        &mut self,
        name: &str,
        value: u64,
        node: Option<&Limits>,
    ) -> Result<(), RegistryError> {
        let Some((field, of_node)) = self.field(name) else {
            let (limit, known) = (name.chars().take(64).collect(), Self::NAMES.join(", "));
            return Err(RegistryError::UnknownLimit { limit, known });
        };
        let most = node.map_or(u64::MAX, of_node);
        if field.is_some() || value == 0 || value > most {
            return Err(RegistryError::LimitOutOfBounds {
                limit: name.to_owned(),
                value,
                most,
            });
        }
        *field = Some(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrows_and_never_widens() {
        let node = Limits {
            max_memory_bytes: 1000,
            ..Limits::default()
        };
        let narrowing = Narrowing::parse([("max-memory-bytes", 600)], &node).unwrap();
        assert_eq!(narrowing.apply(&node).max_memory_bytes, 600);
        let stricter = Limits {
            max_memory_bytes: 500,
            ..node.clone()
        };
        assert_eq!(narrowing.apply(&stricter).max_memory_bytes, 500);
        assert_eq!(Narrowing::default().apply(&node), node);
        assert_eq!(Narrowing::restore(narrowing.set()).unwrap(), narrowing);
    }

    #[test]
    fn a_shorter_longest_call_shortens_the_default() {
        let node = Limits::default();
        let narrowing = Narrowing::parse([("max-call-timeout-ms", 7)], &node).unwrap();
        assert_eq!(narrowing.apply(&node).default_call_timeout_ms, 7);
    }

    #[test]
    fn every_limit_has_bounds() {
        let node = Limits::default();
        for name in Narrowing::NAMES {
            assert!(Narrowing::parse([(name, 1)], &node).is_ok());
            assert!(Narrowing::parse([(name, 0)], &node).is_err());
            assert!(Narrowing::parse([(name, u64::MAX)], &node).is_err());
            assert!(Narrowing::parse([(name, 1), (name, 1)], &node).is_err());
        }
        let refused = Narrowing::parse([("max-connections", 1)], &node)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("known limits are max-memory-bytes, "),
            "{refused}"
        );
    }
}

//! Every limit of a node, in one table: its unit is in its name, its default and its ceiling
//! beside it.

use serde::Deserialize;

use super::ConfigError;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// One row of the table of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// The name in `[limits]` of a configuration file.
    pub name: &'static str,
    /// What holds if nothing is said.
    pub default: u64,
    /// What no configuration can exceed.
    pub ceiling: u64,
    /// What it limits.
    pub doc: &'static str,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $field:ident, $name:literal = $default:expr, at most $ceiling:expr;)+) => {
        /// What a node allows. Every field lies between one and its ceiling when it comes out of
        /// a configuration; there is no value for "unlimited".
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $($(#[doc = $doc])+ pub $field: u64,)+ }

        /// The table of limits, in the order in which the documentation shows them.
        pub const LIMITS: &[LimitRow] = &[$(LimitRow {
            name: $name, default: $default, ceiling: $ceiling, doc: concat!($($doc),+),
        },)+];

        /// `[limits]` as written: absent means the default.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct LimitsTable { $(#[serde(rename = $name)] $field: Option<u64>,)+ }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Limits {
            /// The limit of this name, if there is one.
            pub fn value(&self, name: &str) -> Option<u64> {
                match name {
                    $($name => Some(self.$field),)+
                    _ => None,
                }
            }

            /// Lowers the limit of this name to `value`, if it is above that.
            pub(super) fn lower(&mut self, name: &str, value: u64) {
                match name {
                    $($name => self.$field = self.$field.min(value),)+
                    _ => {}
                }
            }
        }

        impl LimitsTable {
            fn bounded(&self) -> Result<Limits, ConfigError> {
                Ok(Limits { $($field: match self.$field {
                    None => $default,
                    Some(value) => bounded(value, $name, $default, $ceiling)?,
                },)+ })
            }
        }
    };
}

limits! {
    /// Time for a new connection to finish TLS and say hello.
    handshake_timeout_ms, "handshake-timeout-ms" = 5 * SECOND, at most MINUTE;
    /// Time without any frame from the peer after which a session is closed.
    idle_timeout_ms, "idle-timeout-ms" = 2 * MINUTE, at most HOUR;
    /// Time without traffic after which the node sends a ping.
    keepalive_interval_ms, "keepalive-interval-ms" = 20 * SECOND, at most HOUR;
    /// Time that calls under way get to finish when the node stops.
    drain_timeout_ms, "drain-timeout-ms" = 10 * SECOND, at most HOUR;
    /// Time one frame gets to arrive once its first byte is there, before its size is considered.
    frame_timeout_ms, "frame-timeout-ms" = 10 * SECOND, at most MINUTE;
    /// Time a peer gets to take what is written to it.
    write_timeout_ms, "write-timeout-ms" = 30 * SECOND, at most HOUR;
    /// Connections at once.
    max_connections, "max-connections" = 1024, at most 65_536;
    /// Connections at once that have not yet said who they are.
    max_unauthenticated_connections, "max-unauthenticated-connections" = 128, at most 65_536;
    /// Connections at once from one address (IPv6: one network of 64 bits).
    max_connections_per_address, "max-connections-per-address" = 256, at most 65_536;
    /// Calls under way at once in one session.
    max_calls_in_flight_per_session, "max-calls-in-flight-per-session" = 256, at most 65_536;
    /// Calls of the node into one client under way at once, and into what it serves under one name.
    max_calls_into_client_per_session, "max-calls-into-client-per-session" = 256, at most 65_536;
    /// Bytes of one message, all its frames together.
    max_message_bytes, "max-message-bytes" = 16 * MIB, at most GIB;
    /// Bytes of long messages that wait in one session for its peer to read.
    max_queued_bytes_per_session, "max-queued-bytes-per-session" = 4 * MIB, at most GIB;
    /// Uploads under way at once in one session.
    max_uploads_per_session, "max-uploads-per-session" = 4, at most 256;
    /// Bytes of an upload that may be on their way before the node has stored any of them.
    upload_window_bytes, "upload-window-bytes" = MIB, at most 64 * MIB;
    /// Bytes of one uploaded module.
    max_upload_bytes, "max-upload-bytes" = 64 * MIB, at most GIB;
    /// Time a call gets if its caller names none.
    default_call_timeout_ms, "default-call-timeout-ms" = 30 * SECOND, at most 24 * HOUR;
    /// Time a call gets at most; a longer wish is shortened to it.
    max_call_timeout_ms, "max-call-timeout-ms" = 5 * MINUTE, at most 24 * HOUR;
    /// Bytes of linear memory and tables of one instance.
    max_memory_bytes, "max-memory-bytes" = 256 * MIB, at most 4 * GIB;
    /// Instances alive at once on the node; a call beyond waits for a place until its deadline.
    max_live_instances, "max-live-instances" = 512, at most 16_384;
    /// Bytes of one reply.
    max_reply_bytes, "max-reply-bytes" = 16 * MIB, at most GIB;
    /// Bytes of one line that a guest logs; the rest of the line is cut off.
    max_log_line_bytes, "max-log-line-bytes" = 8 * KIB, at most MIB;
    /// Time to compile one module.
    compile_timeout_ms, "compile-timeout-ms" = 2 * MINUTE, at most HOUR;
    /// Bytes of memory of the process that compiles one module.
    max_compile_memory_bytes, "max-compile-memory-bytes" = 2 * GIB, at most 64 * GIB;
    /// Modules compiled at once.
    max_parallel_compiles, "max-parallel-compiles" = 2, at most 256;
    /// Bytes of the compiled code of one module.
    max_artifact_bytes, "max-artifact-bytes" = 512 * MIB, at most 4 * GIB;
    /// Processor time of one call, with all that it leads to.
    max_cpu_ms_per_call, "max-cpu-ms-per-call" = MINUTE, at most HOUR;
    /// Calls that may wait for one another: a call, what it leads to, and so on.
    max_chain_depth, "max-chain-depth" = 16, at most 64;
    /// Instances of one call: of the module that is called, and of those that this leads to.
    max_instances_per_call, "max-instances-per-call" = 32, at most 256;
    /// Tenants of the node.
    max_tenants, "max-tenants" = 1024, at most 1_000_000;
    /// Tokens of one tenant.
    max_tokens_per_tenant, "max-tokens-per-tenant" = 256, at most 65_536;
    /// Registrations of one tenant.
    max_registrations_per_tenant, "max-registrations-per-tenant" = 16_384, at most 1_000_000;
    /// Revisions kept of one registration; the oldest are forgotten.
    max_revisions_per_registration, "max-revisions-per-registration" = 100, at most 10_000;
    /// Patterns of what may be granted, in the configuration, of one tenant, and of one call.
    max_patterns_per_policy, "max-patterns-per-policy" = 64, at most 128;
    /// Grants of one registration.
    max_grants_per_registration, "max-grants-per-registration" = 64, at most 256;
    /// Bytes of all grants of one registration as text, the values of its environment included.
    max_grant_bytes_per_registration, "max-grant-bytes-per-registration" = 16 * KIB, at most 24 * KIB;
    /// Modules of one tenant.
    max_modules_per_tenant, "max-modules-per-tenant" = 1024, at most 1_000_000;
    /// Uploads of one tenant under way at once.
    max_uploads_per_tenant, "max-uploads-per-tenant" = 8, at most 1024;
    /// Time that a client may ask to be thought alive without a sign of life, at least.
    min_lease_ms, "min-lease-ms" = SECOND, at most MINUTE;
    /// The same at most; it takes so long until a client that hangs is given up.
    max_lease_ms, "max-lease-ms" = 5 * MINUTE, at most HOUR;
    /// Names that one session serves at once.
    max_leases_per_session, "max-leases-per-session" = 64, at most 4096;
    /// Names that clients of one tenant serve at once, each session's own included.
    max_leases_per_tenant, "max-leases-per-tenant" = 1024, at most 65_536;
    /// Bytes of WIT text that describe what a client serves.
    max_wit_bytes, "max-wit-bytes" = 256 * KIB, at most 4 * MIB;
    /// Bytes of one key of a bucket.
    max_kv_key_bytes, "max-kv-key-bytes" = 512, at most 4 * KIB;
    /// Bytes of one value of a bucket.
    max_kv_value_bytes, "max-kv-value-bytes" = 64 * KIB, at most 64 * KIB;
    /// Keys of a bucket that a guest names at once.
    max_kv_keys_per_batch, "max-kv-keys-per-batch" = 100, at most 256;
    /// Keys of a bucket that a guest is told at once.
    max_kv_keys_per_page, "max-kv-keys-per-page" = 1000, at most 10_000;
    /// Buckets of one tenant that something is in.
    max_kv_buckets_per_tenant, "max-kv-buckets-per-tenant" = 64, at most 1024;
    /// Keys of one bucket.
    max_kv_keys_per_bucket, "max-kv-keys-per-bucket" = 10_000, at most 10_000_000;
    /// Bytes of one bucket, keys and values.
    max_kv_bytes_per_bucket, "max-kv-bytes-per-bucket" = 16 * MIB, at most 64 * GIB;
    /// Keys of all buckets of one tenant.
    max_kv_keys_per_tenant, "max-kv-keys-per-tenant" = 100_000, at most 100_000_000;
    /// Bytes of all buckets of one tenant.
    max_kv_bytes_per_tenant, "max-kv-bytes-per-tenant" = 64 * MIB, at most 64 * GIB;
    /// Changes of its buckets that one tenant makes in a second; whoever comes earlier waits.
    max_kv_writes_per_second_per_tenant, "max-kv-writes-per-second-per-tenant" = 100, at most 100_000;
    /// Bytes of all modules of one tenant, uploads under way included.
    max_stored_bytes_per_tenant, "max-stored-bytes-per-tenant" = 4 * GIB, at most 1024 * GIB;
}

impl LimitsTable {
    /// Fills in what was left out, and refuses what is out of bounds or contradicts itself.
    pub(super) fn resolve(&self) -> Result<Limits, ConfigError> {
        let mut limits = self.bounded()?;
        let pairs = [
            Pair {
                lower: "max-unauthenticated-connections",
                upper: "max-connections",
                upper_value: limits.max_connections,
                lower_value: &mut limits.max_unauthenticated_connections,
                lower_was_set: self.max_unauthenticated_connections.is_some(),
            },
            Pair {
                lower: "default-call-timeout-ms",
                upper: "max-call-timeout-ms",
                upper_value: limits.max_call_timeout_ms,
                lower_value: &mut limits.default_call_timeout_ms,
                lower_was_set: self.default_call_timeout_ms.is_some(),
            },
            Pair {
                lower: "keepalive-interval-ms",
                upper: "idle-timeout-ms",
                upper_value: limits.idle_timeout_ms,
                lower_value: &mut limits.keepalive_interval_ms,
                lower_was_set: self.keepalive_interval_ms.is_some(),
            },
            Pair {
                lower: "min-lease-ms",
                upper: "max-lease-ms",
                upper_value: limits.max_lease_ms,
                lower_value: &mut limits.min_lease_ms,
                lower_was_set: self.min_lease_ms.is_some(),
            },
            Pair {
                lower: "max-upload-bytes",
                upper: "max-stored-bytes-per-tenant",
                upper_value: limits.max_stored_bytes_per_tenant,
                lower_value: &mut limits.max_upload_bytes,
                lower_was_set: self.max_upload_bytes.is_some(),
            },
        ];
        for pair in pairs {
            pair.settle()?;
        }
        Ok(limits)
    }
}

/// Two limits of which one bounds the other.
struct Pair<'a> {
    lower: &'static str,
    upper: &'static str,
    upper_value: u64,
    lower_value: &'a mut u64,
    lower_was_set: bool,
}

impl Pair<'_> {
    /// A default gives way to what was set; two settings that contradict are refused.
    fn settle(self) -> Result<(), ConfigError> {
        if *self.lower_value <= self.upper_value {
            return Ok(());
        }
        if self.lower_was_set {
            return Err(ConfigError::Contradiction {
                lower: self.lower,
                lower_value: *self.lower_value,
                upper: self.upper,
                upper_value: self.upper_value,
            });
        }
        *self.lower_value = self.upper_value;
        Ok(())
    }
}

fn bounded(value: u64, name: &'static str, default: u64, ceiling: u64) -> Result<u64, ConfigError> {
    match value {
        0 => Err(ConfigError::ZeroLimit {
            name,
            default,
            ceiling,
        }),
        value if value > ceiling => Err(ConfigError::OverCeiling {
            name,
            value,
            default,
            ceiling,
        }),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Limits, String> {
        let table: LimitsTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_the_documented_defaults() {
        assert_eq!(resolve("").unwrap(), Limits::default());
        for row in LIMITS {
            assert!(
                row.default >= 1 && row.default <= row.ceiling,
                "{}",
                row.name
            );
            let unit = [
                "-ms",
                "-ms-per-call",
                "-bytes",
                "-bytes-per-tenant",
                "-bytes-per-registration",
            ]
            .iter()
            .any(|u| row.name.ends_with(u));
            assert!(
                unit || row.name.starts_with("max-"),
                "{} has no unit",
                row.name
            );
        }
    }

    #[test]
    fn every_limit_refuses_zero_and_more_than_its_ceiling() {
        for row in LIMITS {
            assert!(
                resolve(&format!("{} = 0", row.name))
                    .unwrap_err()
                    .contains("is 0")
            );
            let over = format!("{} = {}", row.name, row.ceiling + 1);
            assert!(
                resolve(&over)
                    .unwrap_err()
                    .contains("must be between 1 and"),
                "{over}"
            );
            assert!(resolve(&format!("{} = -1", row.name)).is_err());
            assert!(resolve(&format!("{} = 9999999999999999999999", row.name)).is_err());
        }
    }

    #[test]
    fn a_default_gives_way_and_a_contradiction_does_not() {
        let limits = resolve("max-connections = 10").unwrap();
        assert_eq!(limits.max_unauthenticated_connections, 10);
        let refused =
            resolve("max-call-timeout-ms = 10\ndefault-call-timeout-ms = 11").unwrap_err();
        assert_eq!(
            refused,
            "`default-call-timeout-ms` (11) is above `max-call-timeout-ms` (10); lower the one or \
             raise the other"
        );
    }

    #[test]
    fn an_unknown_limit_is_refused() {
        assert!(
            resolve("max-conections = 10")
                .unwrap_err()
                .contains("unknown field")
        );
    }
}

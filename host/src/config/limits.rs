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

/// What a limit of this name counts.
pub fn unit(name: &str) -> &'static str {
    let has = |part| name.contains(part);
    match () {
        () if has("-bytes-per-second") => "bytes per second",
        () if has("-per-second") => "per second",
        () if has("-bytes") => "bytes",
        () if name.ends_with("-ms") || has("-ms-per-") => "ms",
        () => "",
    }
}

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

impl LimitRow {
    /// What it counts, as a person reads it; empty for a number of things.
    pub fn unit(&self) -> &'static str {
        unit(self.name)
    }
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
    /// New connections in a minute from one address; those beyond are closed at once.
    max_connections_per_minute_per_address, "max-connections-per-minute-per-address" = 6000, at most 1_000_000;
    /// Failed authentications in a minute from one address; the next are answered late, and after as
    /// many again, connections from there are closed at once until some time has passed.
    max_failed_authentications_per_minute_per_address, "max-failed-authentications-per-minute-per-address" = 60, at most 60_000;
    /// Bytes of the certificates that a client presents, all together.
    max_client_certificate_bytes, "max-client-certificate-bytes" = 16 * KIB, at most 64 * KIB;
    /// Calls under way at once in one session.
    max_calls_in_flight_per_session, "max-calls-in-flight-per-session" = 256, at most 65_536;
    /// Exchanges under way at once in all sessions of one tenant.
    max_calls_in_flight_per_tenant, "max-calls-in-flight-per-tenant" = 4096, at most 1_000_000;
    /// Calls that begin in one second in one session.
    max_calls_per_second_per_session, "max-calls-per-second-per-session" = 100_000, at most 100_000_000;
    /// Calls that begin in one second in all sessions of one tenant.
    max_calls_per_second_per_tenant, "max-calls-per-second-per-tenant" = 200_000, at most 100_000_000;
    /// Requests, uploads, offers and withdrawals that begin in one second in one session.
    max_requests_per_second_per_session, "max-requests-per-second-per-session" = 5000, at most 1_000_000;
    /// The same in all sessions of one tenant.
    max_requests_per_second_per_tenant, "max-requests-per-second-per-tenant" = 10_000, at most 1_000_000;
    /// Time for which what a limit per second allows may be saved up, to be used at once.
    rate_burst_ms, "rate-burst-ms" = 2 * SECOND, at most MINUTE;
    /// Calls of the node into one client under way at once, and into what it serves under one name.
    max_calls_into_client_per_session, "max-calls-into-client-per-session" = 256, at most 65_536;
    /// Bytes of one message, all its frames together.
    max_message_bytes, "max-message-bytes" = 16 * MIB, at most GIB;
    /// Bytes of long messages that wait in one session for its peer to read.
    max_queued_bytes_per_session, "max-queued-bytes-per-session" = 4 * MIB, at most GIB;
    /// Bytes of replies of one session that wait for room among those that wait for its peer to read.
    max_unread_reply_bytes_per_session, "max-unread-reply-bytes-per-session" = 256 * MIB, at most 16 * GIB;
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
    /// Bytes of linear memory and tables of all instances of one tenant together, and of its values that are
    /// on their way between them or to a client that does not read.
    max_memory_bytes_per_tenant, "max-memory-bytes-per-tenant" = 2 * GIB, at most 1024 * GIB;
    /// Instances alive at once on the node; a call beyond waits for a place until its deadline.
    max_live_instances, "max-live-instances" = 512, at most 16_384;
    /// Instances of one registration that are ready before a call comes, fresh and never used: as many as its
    /// calls of the last seconds had use for.
    max_ready_instances_per_registration, "max-ready-instances-per-registration" = 64, at most 256;
    /// The same of all registrations of one tenant, and those that served their call and are not cleared away yet;
    /// a large one counts as several. Never more than half of `max-ready-instances`.
    max_ready_instances_per_tenant, "max-ready-instances-per-tenant" = 128, at most 2048;
    /// The same of the node. They are beside `max-live-instances`: no call waits for them. Each place, of these and of
    /// those, that was used once keeps up to 1 MiB of each memory for the next instance, cleared.
    max_ready_instances, "max-ready-instances" = 256, at most 4096;
    /// Bytes that all of those take, 65536 for each and its memory and tables; half of it one tenant's. They count
    /// beside the memory of calls, and go where a call of their tenant needs it. With 1, nothing is ever made ready.
    max_ready_memory_bytes, "max-ready-memory-bytes" = 256 * MIB, at most 64 * GIB;
    /// Time without any call of a registration after which nothing is kept ready for it.
    ready_instance_idle_ms, "ready-instance-idle-ms" = 5 * SECOND, at most HOUR;
    /// Bytes that a guest hands over in one go, as the engine counts: 40 for each element of a list, 1 for a byte of
    /// bytes or text. A 24th of it for a module that hands flags to others, or gives them, where objects pass along with
    /// them.
    max_hostcall_bytes, "max-hostcall-bytes" = 128 * MIB, at most GIB;
    /// Bytes of all arguments that are on their way between the modules of one call; where objects are among them, counted
    /// like those.
    max_value_bytes_per_call, "max-value-bytes-per-call" = 512 * MIB, at most 16 * GIB;
    /// Handles that one instance holds.
    max_handles_per_instance, "max-handles-per-instance" = 10_000, at most 1_000_000;
    /// Objects of the host that one session holds.
    max_handles_per_session, "max-handles-per-session" = 65_536, at most 1_000_000;
    /// Instances that outlive their calls for the objects that one session holds of them, or because they are
    /// the session's; a large one counts as several.
    max_pinned_instances_per_session, "max-pinned-instances-per-session" = 64, at most 16_384;
    /// The same of all sessions of one tenant, and those that they share; never more than a quarter of
    /// `max-live-instances`.
    max_pinned_instances_per_tenant, "max-pinned-instances-per-tenant" = 128, at most 16_384;
    /// Time for the destructors of all that a session holds at its end.
    session_end_timeout_ms, "session-end-timeout-ms" = 2 * SECOND, at most MINUTE;
    /// Processor time for the same.
    max_cpu_ms_per_session_end, "max-cpu-ms-per-session-end" = SECOND, at most MINUTE;
    /// Resources of the host, streams and the like, that one instance holds.
    max_host_resources_per_instance, "max-host-resources-per-instance" = 1024, at most 65_536;
    /// Objects that the instances of one call hold of one another, and sessions of them.
    max_objects_per_call, "max-objects-per-call" = 10_000, at most 1_000_000;
    /// Bytes of one reply.
    max_reply_bytes, "max-reply-bytes" = 16 * MIB, at most GIB;
    /// Bytes of one line that a guest logs; the rest of the line is cut off.
    max_log_line_bytes, "max-log-line-bytes" = 8 * KIB, at most MIB;
    /// Lines that one instance logs in one call; the rest is dropped.
    max_log_lines_per_instance, "max-log-lines-per-instance" = 1000, at most 1_000_000;
    /// Bytes that one instance prints on stdout in one call, and as many on stderr; the rest is dropped.
    max_output_bytes_per_instance, "max-output-bytes-per-instance" = 64 * KIB, at most 16 * MIB;
    /// Bytes that the guests of one tenant log and print in one second; the rest is dropped.
    max_log_bytes_per_second_per_tenant, "max-log-bytes-per-second-per-tenant" = MIB, at most GIB;
    /// Bytes of the lines of one registration that are kept in memory to be read, each with its text and 128 bytes;
    /// the oldest go.
    max_kept_log_bytes_per_registration, "max-kept-log-bytes-per-registration" = 256 * KIB, at most 64 * MIB;
    /// The same of all registrations of one tenant.
    max_kept_log_bytes_per_tenant, "max-kept-log-bytes-per-tenant" = 4 * MIB, at most GIB;
    /// Time to compile one module.
    compile_timeout_ms, "compile-timeout-ms" = 2 * MINUTE, at most HOUR;
    /// Bytes of memory of the process that compiles one module.
    max_compile_memory_bytes, "max-compile-memory-bytes" = 2 * GIB, at most 64 * GIB;
    /// Modules compiled at once.
    max_parallel_compiles, "max-parallel-compiles" = 2, at most 256;
    /// Bytes of the compiled code of one module.
    max_artifact_bytes, "max-artifact-bytes" = 512 * MIB, at most 4 * GIB;
    /// Bytes of the compiled code of all modules of one tenant.
    max_artifact_bytes_per_tenant, "max-artifact-bytes-per-tenant" = 16 * GIB, at most 4096 * GIB;
    /// Modules that are kept in memory for their next call, each once for every set of kinds of grants.
    max_loaded_modules, "max-loaded-modules" = 2048, at most 65_536;
    /// Bytes of memory that these take.
    max_loaded_module_bytes, "max-loaded-module-bytes" = 2 * GIB, at most 1024 * GIB;
    /// Time after which a module that nobody calls is no longer kept in memory; it may take twice as long.
    loaded_module_idle_timeout_ms, "loaded-module-idle-timeout-ms" = 10 * MINUTE, at most 24 * HOUR;
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
    /// Volumes of one tenant's own.
    max_volumes_per_tenant, "max-volumes-per-tenant" = 16, at most 4096;
    /// Bytes of one volume of a tenant's own.
    max_volume_bytes, "max-volume-bytes" = GIB, at most 1024 * GIB;
    /// Bytes of all volumes of one tenant's own.
    max_volume_bytes_per_tenant, "max-volume-bytes-per-tenant" = 4 * GIB, at most 1024 * GIB;
    /// Files and directories in one volume.
    max_files_per_volume, "max-files-per-volume" = 10_000, at most 1_000_000;
    /// Files and listings that one instance has open.
    max_open_files_per_instance, "max-open-files-per-instance" = 32, at most 512;
    /// Files and listings that all instances of one tenant have open.
    max_open_files_per_tenant, "max-open-files-per-tenant" = 128, at most 65_536;
    /// Files and listings that all instances of the node have open.
    max_open_files, "max-open-files" = 512, at most 1_000_000;
    /// File operations of one tenant under way at once, each of which keeps a thread busy; further ones wait.
    max_file_operations_per_tenant, "max-file-operations-per-tenant" = 8, at most 64;
    /// Bytes of a path from the root of its volume.
    max_path_bytes, "max-path-bytes" = KIB, at most 4095;
    /// Names in such a path.
    max_path_depth, "max-path-depth" = 32, at most 128;
    /// Requests that one instance makes of hosts outside, those that are refused included. An instance is
    /// of one call. This and all limits of `http` matter where the node is built with it.
    max_http_requests_per_instance, "max-http-requests-per-instance" = 64, at most 65_536;
    /// Such requests of one instance under way at once; one is until its answer was read, or let go of.
    max_http_requests_at_once_per_instance, "max-http-requests-at-once-per-instance" = 8, at most 1024;
    /// The same of one tenant.
    max_http_requests_at_once_per_tenant, "max-http-requests-at-once-per-tenant" = 64, at most 16_384;
    /// The same of all tenants.
    max_http_requests_at_once, "max-http-requests-at-once" = 256, at most 16_384;
    /// Names of hosts looked up at once; a quarter of them for one tenant.
    max_name_look_ups_at_once, "max-name-look-ups-at-once" = 64, at most 256;
    /// Bytes of the header of one request to a host outside, and of that of its answer.
    max_http_header_bytes, "max-http-header-bytes" = 16 * KIB, at most 256 * KIB;
    /// Bytes of the bodies of all requests of one instance together, and of all their answers.
    max_http_body_bytes_per_instance, "max-http-body-bytes-per-instance" = 16 * MIB, at most GIB;
    /// Time to look up a host's name, connect to it and agree on TLS.
    http_connect_timeout_ms, "http-connect-timeout-ms" = 10 * SECOND, at most MINUTE;
    /// Time that a connection to a host outside may stand still while somebody waits for it.
    http_idle_timeout_ms, "http-idle-timeout-ms" = 30 * SECOND, at most HOUR;
    /// Bytes of one file of the audit log; then a new one is begun.
    max_audit_file_bytes, "max-audit-file-bytes" = 64 * MIB, at most 4 * GIB;
    /// Files of the audit log that are kept; the oldest goes.
    max_audit_files, "max-audit-files" = 16, at most 1024;
    /// Lines of the audit log that one tenant, or all strangers together, cause in a second, but for changes.
    max_audit_lines_per_second, "max-audit-lines-per-second" = 50, at most 10_000;
    /// Modules of all tenants that wait to be compiled.
    max_queued_compiles, "max-queued-compiles" = 256, at most 65_536;
    /// The same of one tenant. One of its modules at a time is compiled.
    max_queued_compiles_per_tenant, "max-queued-compiles-per-tenant" = 32, at most 4096;
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
                lower: "max-reply-bytes",
                upper: "max-unread-reply-bytes-per-session",
                upper_value: limits.max_unread_reply_bytes_per_session,
                lower_value: &mut limits.max_reply_bytes,
                lower_was_set: self.max_reply_bytes.is_some(),
            },
            Pair {
                lower: "max-artifact-bytes",
                upper: "max-artifact-bytes-per-tenant",
                upper_value: limits.max_artifact_bytes_per_tenant,
                lower_value: &mut limits.max_artifact_bytes,
                lower_was_set: self.max_artifact_bytes.is_some(),
            },
            Pair {
                lower: "max-queued-compiles-per-tenant",
                upper: "max-queued-compiles",
                upper_value: limits.max_queued_compiles,
                lower_value: &mut limits.max_queued_compiles_per_tenant,
                lower_was_set: self.max_queued_compiles_per_tenant.is_some(),
            },
            Pair {
                lower: "max-upload-bytes",
                upper: "max-stored-bytes-per-tenant",
                upper_value: limits.max_stored_bytes_per_tenant,
                lower_value: &mut limits.max_upload_bytes,
                lower_was_set: self.max_upload_bytes.is_some(),
            },
            Pair {
                lower: "max-kept-log-bytes-per-registration",
                upper: "max-kept-log-bytes-per-tenant",
                upper_value: limits.max_kept_log_bytes_per_tenant,
                lower_value: &mut limits.max_kept_log_bytes_per_registration,
                lower_was_set: self.max_kept_log_bytes_per_registration.is_some(),
            },
            Pair {
                lower: "max-volume-bytes",
                upper: "max-volume-bytes-per-tenant",
                upper_value: limits.max_volume_bytes_per_tenant,
                lower_value: &mut limits.max_volume_bytes,
                lower_was_set: self.max_volume_bytes.is_some(),
            },
            Pair {
                lower: "max-open-files-per-tenant",
                upper: "max-open-files",
                upper_value: limits.max_open_files,
                lower_value: &mut limits.max_open_files_per_tenant,
                lower_was_set: self.max_open_files_per_tenant.is_some(),
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

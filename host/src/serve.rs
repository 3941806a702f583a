//! From a configuration to a node that serves, and to its end.

#[cfg(any(test, feature = "bench"))]
pub(crate) mod counted;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, interval_at};

use crate::audit::{Audit, Entry, Outcome};
use crate::bootstrap::{BootstrapError, Foundation, ProfileOutcome};
use crate::clock::{SystemClock, Timestamp, WallClock};
use crate::config::{Config, Limits, ListenAddress, SandboxDemand, count};
use crate::confinement::standard_streams::StandardStreams;
use crate::confinement::{self, Enforcement, Use};
use crate::kv::Buckets;
use crate::node::{Node, Parts, tenant_volume_limits};
#[cfg(feature = "http")]
use crate::outgoing::Outgoing;
use crate::provider::Providers;
use crate::registry::{Registry, RegistryError, Targets};
use crate::sandbox::{ArtifactKey, Sandbox, SandboxError, SandboxLimits};
use crate::server::{self, Entrances};
use crate::storage::{StorageError, blocking, file};
use crate::tenant::{Starter, TenantError};
use crate::transport::{IdentityError, Listener, duplex_stdio, server_config};
use crate::volume::{HostDirectory, OpenVolumesError, VolumeLimits, Volumes};

/// How often the server's certificate is looked at.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the certificates of clients that are connected are.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60);

/// Why a node cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What has to be there before.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Modules and registrations.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The engine.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What is believed of hosts outside.
    #[cfg(feature = "http")]
    #[error("the authorities in `ca-file` of `[http]` cannot be used: {0}")]
    OutgoingTls(#[from] crate::transport::OutgoingTlsError),
    /// Directories for modules.
    #[error(transparent)]
    Volumes(#[from] OpenVolumesError),
    /// The streams of the process.
    #[error("cannot speak over stdin and stdout: {0}")]
    Stdio(std::io::Error),
    /// Who is at their other end.
    #[error("nobody can be served over stdin and stdout: {0}")]
    Starter(TenantError),
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another --listen")]
    Listen {
        /// What was asked for.
        address: ListenAddress,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel lacks what the operator demands.
    #[error(
        "{whose} not confined by {missing}; use a newer kernel, or --sandbox best-effort to do without"
    )]
    Unconfined {
        /// Who, with its verb.
        whose: &'static str,
        /// What is lacking.
        missing: String,
    },
    /// The audit log.
    #[error(
        "{0}; name another one with `file` in `[audit]` of the configuration, or say `enabled = false` \
         there"
    )]
    Audit(StorageError),
    /// The data directory, or a background thread that is gone.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Confines this process as the configuration says, for good. Before it starts any thread, as those that
/// are there already are not confined.
///
/// # Errors
/// When the kernel lacks what the configuration requires, or the data directory cannot be made.
pub fn confine(config: &Config) -> Result<Confined, ServeError> {
    let descriptors = confinement::take_all_descriptors();
    // Each of these holds one; what else there is fits into the rest of it.
    let wanted = config
        .limits
        .max_connections
        .saturating_add(config.limits.max_open_files)
        .saturating_add(config.limits.max_loaded_modules);
    if let Some(descriptors) = descriptors.filter(|descriptors| *descriptors < 2 * wanted) {
        tracing::warn!(
            descriptors,
            "the system lets this process have few descriptors for its limits of connections, open \
             files and loaded modules; raise `ulimit -n`"
        );
    }
    if config.sandbox == SandboxDemand::Off {
        tracing::warn!("the node is not confined: --sandbox is off");
        return Ok(Confined(None));
    }
    // What is allowed has to be there.
    file::create_directory(&config.data)?;
    let mut places = vec![(config.data.as_path(), Use::Own)];
    let audit = config.audit.as_deref().and_then(Path::parent);
    if let Some(outside) = audit.filter(|directory| !directory.starts_with(&config.data)) {
        file::create_directory(outside)?;
        places.push((outside, Use::Own));
    }
    let used = |directory: &HostDirectory| match directory.quota {
        None => Use::Read,
        Some(_) => Use::Change,
    };
    let volumes = config.volumes.values();
    places.extend(volumes.map(|directory| (directory.path.as_path(), used(directory))));
    let files = config.files_to_read();
    places.extend(files.iter().map(|file| (*file, Use::Beside)));
    let enforcement = confinement::node(&places, config.outgoing_ports());
    hold("the node is", config.sandbox, &enforcement)?;
    Ok(Confined(Some(enforcement)))
}

/// How this process is confined: in no way, where `--sandbox` is off.
#[derive(Clone, Debug)]
pub struct Confined(Option<Enforcement>);

/// By which ways clients come to a node.
#[derive(Debug)]
pub struct Ways {
    /// Whether it listens, where its configuration says.
    pub listens: bool,
    /// A connection over the streams that the process was started with, and who is at its other end. When it ends,
    /// so does the node.
    pub stdio: Option<(StandardStreams, Starter)>,
}

impl Ways {
    /// The usual one: it listens.
    pub fn listening() -> Self {
        Ways {
            listens: true,
            stdio: None,
        }
    }
}

/// Serves until `shutdown` is done, then drains. Calls `ready` once it listens. Whenever `reload` is notified, it
/// reads the operator's certificates anew.
///
/// # Errors
/// When the node cannot start. Nothing that happens after `ready` is an error.
pub async fn serve(
    config: Config,
    confined: Confined,
    ways: Ways,
    ready: impl FnOnce(SocketAddr),
    reload: &Notify,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let (limits, demand) = (config.limits.clone(), config.sandbox);
    #[cfg(feature = "http")]
    let outgoing = Arc::new(Outgoing::new(&config.http, &limits)?);
    let audit_file = config.audit.clone();
    let policy = config.policy.clone();
    let (address, config_of_blocking, clock_of_blocking) =
        (config.listen.clone(), config, Arc::clone(&clock));
    let (foundation, registry, volumes) =
        blocking(move || lay(&config_of_blocking, &clock_of_blocking))
            .await
            .map_err(StorageError::from)??;

    let audit = open_audit(audit_file, &limits, &clock).await?;
    audit.record(started(demand, &ways));
    audit.record(confined_entry("node", confined.0.as_ref()));
    let key = ArtifactKey::new(foundation.node_key.as_bytes());
    let sandbox = Sandbox::new(sandbox_limits(&limits), &key)?;
    #[cfg(feature = "http")]
    let sandbox = sandbox.with_outgoing(Arc::clone(&outgoing));
    let sandbox = Arc::new(sandbox);
    let workers = sandbox.compiler_confinement().await;
    let workers = workers.unwrap_or_else(|error| Enforcement {
        enforced: Vec::new(),
        missing: vec![error.to_string()],
    });
    audit.record(confined_entry("compile workers", Some(&workers)));
    hold("compile workers are", demand, &workers)?;
    let catalog = registry.catalog.clone();
    // Off the way of any call; one that comes earlier counts what it needs for itself.
    tokio::spawn(volumes.clone().count());
    let targets = Targets::new(Arc::clone(&sandbox), registry.modules.clone(), &limits);
    let node = Node::new(Parts {
        directory: foundation.directory.clone(),
        targets: targets.clone(),
        registry,
        buckets: Buckets::new(Arc::clone(&foundation.storage)),
        volumes,
        providers: Providers::new(Arc::clone(&clock)),
        audit: audit.clone(),
        policy,
        limits: limits.clone(),
        clock: Arc::clone(&clock),
    });

    let foundation = Arc::new(foundation);
    let stdio = match ways.stdio {
        Some((streams, starter)) => {
            let principal = foundation.directory.starter(&starter);
            principal.map_err(ServeError::Starter)?;
            let StandardStreams { input, output } = streams;
            let stream = duplex_stdio(input, output).map_err(ServeError::Stdio)?;
            Some((stream, starter))
        }
        None => None,
    };
    let listener = match ways.listens {
        true => {
            let (listener, address) = listen(&foundation, &address, &limits, &clock).await?;
            #[cfg(feature = "http")]
            outgoing.listens_on(address);
            ready(address);
            Some(listener)
        }
        false => None,
    };
    let entrances = Entrances { listener, stdio };
    let shutdown = async {
        shutdown.await;
        sandbox.stop_making_ready();
        audit.record(Entry::new("drain", Outcome::Allowed).kept());
    };
    let serving = server::run(entrances, Arc::new(node), Arc::new(limits), shutdown);
    tokio::select! {
        () = serving => {}
        never = keep_certificates(&foundation, &audit, clock, reload) => match never {},
        never = catalog.keep_notes() => match never {},
        never = targets.keep_trim() => match never {},
    }
    // The next start goes on with what is known of the calls until now.
    if let Err(error) = catalog.write_notes().await {
        tracing::error!(%error, "what clients have called was not written down");
    }
    audit.record(Entry::new("stop", Outcome::Allowed).kept());
    let _lost = blocking(move || audit.close())
        .await
        .map_err(StorageError::from)?;
    Ok(())
}

/// Listens, and says so in the profile for clients of this machine.
async fn listen(
    foundation: &Arc<Foundation>,
    address: &ListenAddress,
    limits: &Limits,
    clock: &Arc<dyn WallClock>,
) -> Result<(Listener, SocketAddr), ServeError> {
    let listening = async {
        let socket = TcpListener::bind((address.host().as_str(), address.port())).await?;
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    let (socket, bound) = listening.await.map_err(|source| ServeError::Listen {
        address: address.clone(),
        source,
    })?;
    let clients = Arc::clone(&foundation.clients);
    let tls = server_config(
        foundation.identity.certificate(),
        Arc::clone(&clients),
        Arc::clone(clock),
    )?;
    let profile = foundation.data.client_profile();
    let publishing = Arc::clone(foundation);
    let outcome = blocking(move || publishing.publish_profile(bound))
        .await
        .map_err(StorageError::from)??;
    note(outcome, &profile);
    Ok((Listener::new(socket, tls, clients, limits), bound))
}

/// Nothing is recorded where the configuration says so.
async fn open_audit(
    path: Option<PathBuf>,
    limits: &Limits,
    clock: &Arc<dyn WallClock>,
) -> Result<Audit, ServeError> {
    let Some(path) = path else {
        tracing::warn!("there is no audit log: it is off in the configuration");
        return Ok(Audit::default());
    };
    let (limits, clock) = (limits.clone(), Arc::clone(clock));
    let opened = blocking(move || Audit::open(path, &limits, clock)).await;
    opened
        .map_err(StorageError::from)?
        .map_err(ServeError::Audit)
}

fn started(demand: SandboxDemand, ways: &Ways) -> Entry {
    let stdio = if ways.stdio.is_some() {
        ", --stdio"
    } else {
        ""
    };
    let version = env!("CARGO_PKG_VERSION");
    let detail = format!("version {version}, --sandbox {demand}{stdio}");
    Entry::new("start", Outcome::Allowed).detail(&detail).kept()
}

/// How a process is confined, for the audit log.
fn confined_entry(whose: &str, enforcement: Option<&Enforcement>) -> Entry {
    let (outcome, detail) = match enforcement {
        None => (Outcome::Refused, "--sandbox is off".to_owned()),
        Some(Enforcement { enforced, missing }) if missing.is_empty() => {
            (Outcome::Allowed, enforced.join(", "))
        }
        Some(Enforcement { enforced, missing }) => {
            let (enforced, missing) = (enforced.join(", "), missing.join(", "));
            (
                Outcome::Failed,
                format!("missing: {missing}; enforced: {enforced}"),
            )
        }
    };
    let entry = Entry::new("confine", outcome).object(whose);
    entry.detail(&detail).kept()
}

/// Says what the kernel enforces, and holds it to what the operator demands.
fn hold(
    whose: &'static str,
    demand: SandboxDemand,
    enforcement: &Enforcement,
) -> Result<(), ServeError> {
    let Enforcement { enforced, missing } = enforcement;
    let (enforced, lacks) = (enforced.join(", "), missing.join(", "));
    if missing.is_empty() {
        tracing::info!(%enforced, "{whose} confined");
        return Ok(());
    }
    if demand == SandboxDemand::Require {
        return Err(ServeError::Unconfined {
            whose,
            missing: lacks,
        });
    }
    tracing::warn!(%enforced, missing = %lacks, "{whose} confined in part only");
    Ok(())
}

fn note(outcome: ProfileOutcome, profile: &Path) {
    let profile = profile.display();
    match outcome {
        ProfileOutcome::Created => {
            tracing::info!(%profile, "first start: a profile with an admin token was written");
        }
        ProfileOutcome::AddressRefreshed => {
            tracing::info!(%profile, "the profile has the new address")
        }
        ProfileOutcome::Unchanged => {}
        ProfileOutcome::Absent => {
            tracing::info!(%profile, "there is no profile; the first token was given out before")
        }
        ProfileOutcome::Unreadable => {
            tracing::warn!(%profile, "this is no profile, and is left alone")
        }
    }
}

/// What touches the disk at a start.
fn lay(
    config: &Config,
    clock: &Arc<dyn WallClock>,
) -> Result<(Foundation, Registry, Volumes), ServeError> {
    let foundation = Foundation::lay(config, clock)?;
    let tenants = foundation.directory.tenant_ids();
    let Foundation { storage, data, .. } = &foundation;
    let registry = Registry::open(storage, clock, data, &tenants, &config.limits)?;
    let numbers: Vec<_> = tenants.iter().map(|tenant| tenant.number()).collect();
    let limits = volume_limits(&config.limits);
    let volumes = Volumes::open(data.volumes(), limits, config.volumes.clone(), &numbers)?;
    Ok((foundation, registry, volumes))
}

fn volume_limits(limits: &Limits) -> VolumeLimits {
    VolumeLimits {
        of_tenant: tenant_volume_limits(limits),
        max_volume_bytes: limits.max_volume_bytes,
        max_files_per_volume: limits.max_files_per_volume,
        max_open_files_per_instance: count(limits.max_open_files_per_instance),
        max_open_files: count(limits.max_open_files),
        max_path_bytes: count(limits.max_path_bytes),
        max_path_depth: count(limits.max_path_depth),
    }
}

fn sandbox_limits(limits: &Limits) -> SandboxLimits {
    SandboxLimits {
        max_memory_bytes: limits.max_memory_bytes,
        max_live_instances: u32::try_from(limits.max_live_instances).unwrap_or(u32::MAX),
        compile_timeout_ms: limits.compile_timeout_ms,
        max_compile_memory_bytes: limits.max_compile_memory_bytes,
        max_parallel_compiles: u32::try_from(limits.max_parallel_compiles).unwrap_or(u32::MAX),
        max_queued_compiles: u32::try_from(limits.max_queued_compiles).unwrap_or(u32::MAX),
        max_queued_compiles_per_tenant: u32::try_from(limits.max_queued_compiles_per_tenant)
            .unwrap_or(u32::MAX),
        max_artifact_bytes: limits.max_artifact_bytes,
        max_ready_instances_per_registration: u32::try_from(
            limits.max_ready_instances_per_registration,
        )
        .unwrap_or(u32::MAX),
        max_ready_instances: u32::try_from(limits.max_ready_instances).unwrap_or(u32::MAX),
        max_ready_memory_bytes: limits.max_ready_memory_bytes,
        ready_instance_idle_ms: limits.ready_instance_idle_ms,
    }
}

/// Keeps the certificates what they should be: renews the server's in time, reads files anew when asked
/// to, and ends sessions whose certificate is no longer good. A failure leaves what was there.
async fn keep_certificates(
    foundation: &Arc<Foundation>,
    audit: &Audit,
    clock: Arc<dyn WallClock>,
    reload: &Notify,
) -> std::convert::Infallible {
    let every = |period| interval_at(Instant::now() + period, period);
    let (mut renewal, mut verification) = (every(RENEWAL_INTERVAL), every(VERIFY_INTERVAL));
    loop {
        let (foundation, audit, now) = (Arc::clone(foundation), audit.clone(), clock.now());
        let done = tokio::select! {
            () = reload.notified() => blocking(move || reload_certificates(&foundation, &audit, now)).await,
            _ = verification.tick() => blocking(move || note_ended(foundation.clients.verify_again())).await,
            _ = renewal.tick() => blocking(move || renew(&foundation, now)).await,
        };
        if let Err(error) = done {
            tracing::error!(%error, "the certificates were not looked after");
        }
    }
}

fn renew(foundation: &Foundation, now: Timestamp) {
    match foundation.identity.renew_if_due(now) {
        Ok(true) => tracing::info!("the server's certificate was renewed"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the server's certificate was not renewed"),
    }
}

/// Each part is taken as a whole or stays as it was, whatever becomes of the other.
fn reload_certificates(foundation: &Foundation, audit: &Audit, now: Timestamp) {
    if let Some(files) = &foundation.server {
        let part = "the operator's server certificate";
        note_reload(
            part,
            foundation.identity.certificate().load(files, now),
            audit,
        );
    }
    let reloaded = foundation.clients.reload();
    let ended = reloaded.as_ref().copied().unwrap_or_default();
    note_reload("the authorities of clients", reloaded.map(drop), audit);
    note_ended(ended);
}

fn note_reload(part: &'static str, reloaded: Result<(), IdentityError>, audit: &Audit) {
    let entry = Entry::new("reload", Outcome::Allowed).object(part).kept();
    match reloaded {
        Ok(()) => {
            tracing::info!("{part}: read anew");
            audit.record(entry);
        }
        Err(error) => {
            tracing::error!(
                %error,
                "{part}: as before; mend the file and send SIGHUP again"
            );
            let why = error.to_string();
            audit.record(entry.outcome(Outcome::Failed).why(Some(&why)));
        }
    }
}

fn note_ended(certificates: usize) {
    if certificates > 0 {
        tracing::warn!(
            certificates,
            "certificates of open connections are no longer good; their sessions end"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_volumes_are_held_to_the_limits_of_the_configuration() {
        let limits = Limits {
            max_file_operations_per_tenant: 3,
            max_volumes_per_tenant: 5,
            ..Limits::default()
        };
        let of_tenant = volume_limits(&limits).of_tenant;
        assert_eq!(
            (of_tenant.max_file_operations, of_tenant.max_volumes),
            (3, 5)
        );
    }

    #[test]
    fn what_is_missing_hinders_only_a_start_that_requires_it() {
        let enforcement = |missing: &[&str]| Enforcement {
            enforced: vec!["seccomp".to_owned()],
            missing: missing.iter().map(|&it| it.to_owned()).collect(),
        };
        let lacking = enforcement(&["landlock-tcp (the kernel is too old)"]);
        hold("the node is", SandboxDemand::BestEffort, &lacking).unwrap();
        hold("the node is", SandboxDemand::Require, &enforcement(&[])).unwrap();
        let refused = hold("the node is", SandboxDemand::Require, &lacking).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the node is not confined by landlock-tcp (the kernel is too old); use a newer kernel, or \
             --sandbox best-effort to do without"
        );
    }
}

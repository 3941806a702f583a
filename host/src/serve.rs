//! From a configuration to a node that serves, and to its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::bootstrap::{BootstrapError, Foundation, ProfileOutcome};
use crate::clock::{SystemClock, WallClock};
use crate::config::{Config, Limits, ListenAddress, SandboxDemand};
use crate::confinement::{self, Enforcement};
use crate::kv::Buckets;
use crate::node::{Node, Parts};
use crate::provider::Providers;
use crate::registry::{Registry, RegistryError, Targets};
use crate::sandbox::{ArtifactKey, Sandbox, SandboxError, SandboxLimits};
use crate::server;
use crate::storage::{StorageError, blocking, file};
use crate::transport::{IdentityError, Listener, server_config};

/// How often the server's certificate is looked at.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// The data directory, or a background thread that is gone.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Confines this process as the configuration says, for good. Before it starts any thread, as those that
/// are there already are not confined.
///
/// # Errors
/// When the kernel lacks what the configuration requires, or the data directory cannot be made.
pub fn confine(config: &Config) -> Result<(), ServeError> {
    if config.sandbox == SandboxDemand::Off {
        tracing::warn!("the node is not confined: --sandbox is off");
        return Ok(());
    }
    // What is allowed has to be there.
    file::create_directory(&config.data)?;
    hold(
        "the node is",
        config.sandbox,
        confinement::node(&config.data),
    )
}

/// Serves until `shutdown` is done, then drains. Calls `ready` once connections are taken.
///
/// # Errors
/// When the node cannot start. Nothing that happens after `ready` is an error.
pub async fn serve(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let (limits, demand) = (config.limits.clone(), config.sandbox);
    let policy = config.policy.clone();
    let (listen, config_of_blocking, clock_of_blocking) =
        (config.listen.clone(), config, Arc::clone(&clock));
    let (foundation, registry) = blocking(move || lay(&config_of_blocking, &clock_of_blocking))
        .await
        .map_err(StorageError::from)??;

    let key = ArtifactKey::new(foundation.node_key.as_bytes());
    let sandbox = Arc::new(Sandbox::new(sandbox_limits(&limits), &key)?);
    let workers = sandbox.compiler_confinement().await;
    let workers = workers.unwrap_or_else(|error| Enforcement {
        enforced: Vec::new(),
        missing: vec![error.to_string()],
    });
    hold("compile workers are", demand, workers)?;
    let catalog = registry.catalog.clone();
    let node = Node::new(Parts {
        directory: foundation.directory.clone(),
        targets: Targets::new(sandbox, registry.modules.clone()),
        registry,
        buckets: Buckets::new(Arc::clone(&foundation.storage)),
        providers: Providers::new(Arc::clone(&clock)),
        policy,
        limits: limits.clone(),
        clock: Arc::clone(&clock),
    });

    let listening = async {
        let socket = TcpListener::bind((listen.host().as_str(), listen.port())).await?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    let (socket, address) = listening.await.map_err(|source| ServeError::Listen {
        address: listen.clone(),
        source,
    })?;
    let tls = server_config(foundation.identity.certificate())?;
    let profile = foundation.data.client_profile();
    let foundation = Arc::new(foundation);
    let publishing = Arc::clone(&foundation);
    let outcome = blocking(move || publishing.publish_profile(address))
        .await
        .map_err(StorageError::from)??;
    note(outcome, &profile);
    ready(address);

    let listener = Listener::new(socket, tls, &limits);
    let serving = server::run(listener, Arc::new(node), Arc::new(limits), shutdown);
    tokio::select! {
        () = serving => {}
        never = renew(Arc::clone(&foundation), clock) => match never {},
        never = catalog.keep_notes() => match never {},
    }
    // The next start goes on with what is known of the calls until now.
    if let Err(error) = catalog.write_notes().await {
        tracing::error!(%error, "what clients have called was not written down");
    }
    Ok(())
}

/// Says what the kernel enforces, and holds it to what the operator demands.
fn hold(
    whose: &'static str,
    demand: SandboxDemand,
    enforcement: Enforcement,
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
fn lay(config: &Config, clock: &Arc<dyn WallClock>) -> Result<(Foundation, Registry), ServeError> {
    let foundation = Foundation::lay(config, clock)?;
    let tenants = foundation.directory.tenant_ids();
    let Foundation { storage, data, .. } = &foundation;
    let registry = Registry::open(storage, clock, data, &tenants, &config.limits)?;
    Ok((foundation, registry))
}

fn sandbox_limits(limits: &Limits) -> SandboxLimits {
    SandboxLimits {
        max_memory_bytes: limits.max_memory_bytes,
        max_live_instances: u32::try_from(limits.max_live_instances).unwrap_or(u32::MAX),
        compile_timeout_ms: limits.compile_timeout_ms,
        max_compile_memory_bytes: limits.max_compile_memory_bytes,
        max_parallel_compiles: u32::try_from(limits.max_parallel_compiles).unwrap_or(u32::MAX),
        max_artifact_bytes: limits.max_artifact_bytes,
    }
}

/// Renews the server's certificate in time. A failure leaves the old one and is tried again.
async fn renew(foundation: Arc<Foundation>, clock: Arc<dyn WallClock>) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        let (foundation, now) = (Arc::clone(&foundation), clock.now());
        match blocking(move || foundation.identity.renew_if_due(now)).await {
            Ok(Ok(true)) => tracing::info!("the server's certificate was renewed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the server's certificate was not renewed"),
            Err(error) => tracing::error!(%error, "the server's certificate was not renewed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_hinders_only_a_start_that_requires_it() {
        let enforcement = |missing: &[&str]| Enforcement {
            enforced: vec!["seccomp".to_owned()],
            missing: missing.iter().map(|&it| it.to_owned()).collect(),
        };
        let lacking = enforcement(&["landlock-tcp (the kernel is too old)"]);
        hold("the node is", SandboxDemand::BestEffort, lacking.clone()).unwrap();
        hold("the node is", SandboxDemand::Require, enforcement(&[])).unwrap();
        let refused = hold("the node is", SandboxDemand::Require, lacking).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the node is not confined by landlock-tcp (the kernel is too old); use a newer kernel, or \
             --sandbox best-effort to do without"
        );
    }
}

//! Names that clients serve.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::message::{Fallback, Provide, ProvideScope, Withdraw};
use rpc_host_protocol::operation::{ProviderEntry, RevisionEntry};
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{Message, Operation};

use crate::client::{Client, OPERATION_TIMEOUT, within};
use crate::error::Error;
use crate::lease::{Lease, Offer};
use crate::provider::{IntoProvider, Provider};
use crate::registry::Options;
use crate::upload::Module;

const DEFAULT_LEASE: Duration = Duration::from_secs(10);
const DEFAULT_WINDOW: u32 = 16;
/// The most calls that one offer takes at once.
pub(crate) const MAX_WINDOW: u32 = 1024;

/// An offer to serve a name that has not been made yet.
#[must_use = "nothing is offered before `start`"]
pub struct Provision {
    client: Client,
    provide: Provide,
    provider: Arc<dyn Provider>,
}

impl Provision {
    /// To whom it is offered. By default, to this session alone.
    pub fn scope(mut self, scope: ProvideScope) -> Self {
        self.provide.scope = scope;
        self
    }

    /// How long the offer stands without a sign of life of this client: so long it may take until a
    /// client that is stuck is noticed. 10 s by default; the host has a least and a most.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.provide.lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How many calls are served at once: 16 by default, 1024 at most. More than these are not sent.
    pub fn window(mut self, calls: u32) -> Self {
        self.provide.window = calls;
        self
    }

    /// Who answers when the lease is lost. By default, whatever answered before.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.provide.fallback = fallback;
        self
    }

    /// The interface as WIT text. Needed for a name that nothing imports and nothing has answered yet.
    pub fn wit(mut self, wit: impl Into<String>) -> Self {
        self.provide.wit = Some(wit.into());
        self
    }

    /// Makes the offer. When this returns, the name is served by this program.
    pub async fn start(self) -> Result<Lease, Error> {
        let Provision {
            client,
            provide,
            provider,
        } = self;
        if !(1..=MAX_WINDOW).contains(&provide.window) {
            return Err(Error::Encode(ValueError {
                path: "window".to_owned(),
                problem: format!("{} is not from 1 to {MAX_WINDOW}", provide.window),
            }));
        }
        let granted = async {
            let connection = client.connection().await?;
            let (exchange, term) = connection.clone().offer(provide, provider).await?;
            let offer = Offer::new(connection, exchange.id(), term);
            exchange.finished().await?;
            offer.lease()
        };
        within(OPERATION_TIMEOUT, granted).await
    }
}

impl fmt::Debug for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provision")
            .field("provide", &self.provide)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Serves a name from this program, as long as the lease lives: to this session, or to the whole
    /// tenant. Imports of the name, and calls of it, then come to `implementation`.
    ///
    /// See [`provider`](crate::provider) for what can be given.
    pub async fn provide<M>(
        &self,
        name: &str,
        implementation: impl IntoProvider<M>,
        scope: ProvideScope,
    ) -> Result<Lease, Error> {
        self.provision(name, implementation)
            .scope(scope)
            .start()
            .await
    }

    /// The same, put together step by step.
    pub fn provision<M>(&self, name: &str, implementation: impl IntoProvider<M>) -> Provision {
        Provision {
            client: self.clone(),
            provide: Provide {
                name: name.to_owned(),
                scope: ProvideScope::Session,
                lease_ms: u64::try_from(DEFAULT_LEASE.as_millis()).unwrap_or(u64::MAX),
                window: DEFAULT_WINDOW,
                fallback: Fallback::default(),
                wit: None,
            },
            provider: implementation.into_provider(),
        }
    }

    /// What clients serve: to the tenant, and to this session.
    pub async fn providers(&self) -> Result<Vec<ProviderEntry>, Error> {
        self.operate(Operation::Providers {}).await
    }

    /// Ends this session's lease on a name; or, with `steal`, whichever session's that serves it to the
    /// tenant.
    pub async fn withdraw(&self, name: &str, steal: bool) -> Result<(), Error> {
        self.ask(Message::Withdraw(Withdraw {
            name: name.to_owned(),
            lease: None,
            steal,
        }))
        .await
    }

    /// Points a name that a client serves at a module, and lets the client go when the calls that it has
    /// are done: no call fails.
    pub async fn promote(
        &self,
        name: &str,
        module: &Module,
        options: Options,
    ) -> Result<RevisionEntry, Error> {
        self.operate(Operation::Promote(options.of(name, module)))
            .await
    }
}

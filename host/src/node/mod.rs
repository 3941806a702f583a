//! The node: everything behind a session, put together.
//!
//! Sessions see it as a [`Backend`]. Here a request meets the layers in order: the principal gives a
//! permit, the permit a registration, the registration a component, the component a result. Each step
//! takes what the one before it gave, so none can be left out.
//!
//! | file | holds |
//! |---|---|
//! | `audited` | what of it is told to the audit log |
//! | `calls` | a call, from its permit to its reply |
//! | `answerer` | who answers for a name now: a client or a module |
//! | `root`, `imports` | what a call leads to: its instances, and from an import to whoever answers it |
//! | `line`, `pins` | whose turn it is in a root of several calls, and what it takes that outlives one |
//! | `kept` | instances that are there for a session, or for all |
//! | `holdings`, `border`, `release` | what sessions hold, what passes between them and roots, and how it ends |
//! | `far`, `abroad` | a call into a client, and objects that live there |
//! | `across` | a call from one root into another |
//! | `operations`, `inspection` | requests, and those that tell what is behind a name |
//! | `changes`, `contract` | changes of registrations, and whether one leaves everybody what they count on |
//! | `provide` | from a client's offer to its lease, and a module in its place |
//! | `limits` | what limits are in force |
//! | `logs` | what guests said, and say |
//! | `uploads` | a module on its way in |

mod abroad;
mod across;
mod answerer;
mod audited;
mod border;
mod calls;
mod changes;
mod contract;
mod far;
mod holdings;
mod imports;
mod inspection;
mod kept;
mod limits;
mod line;
mod logs;
mod operations;
mod pins;
mod provide;
mod release;
mod root;
mod uploads;

pub use limits::node_limits;

use std::sync::Arc;

use rpc_host_protocol::message::{Leased, Provide, Release, UploadHeader, Withdraw};
use rpc_host_protocol::{Failure, Operation};

use crate::audit::Audit;
use crate::capability::Policy;
use crate::clock::WallClock;
use crate::config::Limits;
use crate::error::HostError;
use crate::journal::Journals;
use crate::kv::Buckets;
use crate::objects::Gone;
use crate::provider::Providers;
use crate::registry::{Registry, Targets};
use crate::session::{
    Backend, CallReply, CallRequest, Origin, Outlet, Reach, SessionId, UploadStart,
};
use crate::tenant::{Directory, Principal, Shown, TenantId};
use crate::volume::Volumes;
use audited::Pending;
use calls::Begun;
pub(crate) use calls::tenant_volume_limits;
use holdings::AllHoldings;
use kept::Shared;

/// What a node consists of. A clone is another handle to the same.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    holdings: AllHoldings,
    shared: Shared,
    journals: Journals,
}

/// The parts of a node.
pub struct Parts {
    /// Tenants and tokens.
    pub directory: Directory,
    /// Modules and registrations.
    pub registry: Registry,
    /// Components that are ready for calls.
    pub targets: Targets,
    /// Buckets of keys and values.
    pub buckets: Buckets,
    /// Directories for modules.
    pub volumes: Volumes,
    /// What clients serve.
    pub providers: Providers,
    /// Where decisions are recorded.
    pub audit: Audit,
    /// What the node allows to be granted.
    pub policy: Policy,
    /// What the node allows.
    pub limits: Limits,
    /// The time of day.
    pub clock: Arc<dyn WallClock>,
}

impl Node {
    /// A node of these parts.
    pub fn new(parts: Parts) -> Self {
        Node {
            inner: Arc::new(Inner {
                journals: Journals::new(Arc::clone(&parts.clock)),
                parts,
                holdings: AllHoldings::default(),
                shared: Shared::default(),
            }),
        }
    }

    /// Instances that sessions share.
    fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// What guests said.
    fn journals(&self) -> &Journals {
        &self.inner.journals
    }

    /// What a registration that was removed leaves behind ends, or all that a removed tenant does.
    fn removed(&self, tenant: TenantId, name: Option<&str>) {
        self.journals().removed(tenant.number(), name);
        self.targets.sandbox().forget_ready(tenant.number(), name);
        self.shared().removed(tenant, name);
        self.holdings().removed(tenant, name);
        for root in self.shared().of_tenant(tenant) {
            if name.is_none_or(|name| root.has_part(name)) {
                root.end(Gone::Removed);
            }
        }
    }

    /// What sessions hold.
    fn holdings(&self) -> &AllHoldings {
        &self.inner.holdings
    }
}

impl std::ops::Deref for Node {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.inner.parts
    }
}

impl Backend for Node {
    type Upload = uploads::NodeUpload;
    type Call = Begun;

    fn authenticate(
        &self,
        token: Option<&str>,
        shown: &Shown,
        origin: Origin,
    ) -> Result<Principal, Failure> {
        let principal = self.directory.admit(token, shown);
        let principal = principal.map_err(HostError::from);
        audited::hello(&self.audit, (token, shown), origin, &principal);
        Ok(principal?)
    }

    fn still_valid(&self, principal: &Principal) -> bool {
        self.directory.still_valid(principal)
    }

    fn session_began(&self, principal: &Principal, origin: Origin, reach: Reach) {
        let settings = principal.settings();
        self.holdings()
            .begin(principal.tenant(), origin.session, reach, settings.limits());
    }

    fn begin_call(&self, principal: &Principal, call: CallRequest) -> Begun {
        calls::begin(self, principal, call)
    }

    async fn call(&self, principal: &Principal, call: Begun) -> Result<CallReply, Failure> {
        let (origin, module) = (call.origin(), call.module().to_owned());
        let called = calls::call(self, principal, call).await;
        if let Err(error) = &called {
            audited::failed_call(&self.audit, principal, origin, &module, error);
        }
        Ok(called?)
    }

    fn release(
        &self,
        principal: &Principal,
        origin: Origin,
        release: &Release,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, Failure> {
        Ok(holdings::release(self, principal, origin, release)?)
    }

    fn release_unanswered(&self, principal: &Principal, origin: Origin, release: &Release) {
        holdings::release_unanswered(self, principal, origin, release);
    }

    async fn operate(
        &self,
        principal: &Principal,
        origin: Origin,
        operation: Operation,
        outlet: Outlet,
    ) -> Result<Vec<u8>, Failure> {
        let mut asked = Pending::operation(&self.audit, principal, origin, &operation);
        let session = origin.session;
        let done =
            operations::operate(self, principal, (session, &outlet), operation, &mut asked).await;
        asked.end(&done);
        Ok(done?)
    }

    async fn begin_upload(
        &self,
        principal: &Principal,
        origin: Origin,
        header: UploadHeader,
    ) -> Result<UploadStart<uploads::NodeUpload>, Failure> {
        Ok(uploads::begin(self, principal, origin, header).await?)
    }

    async fn provide(
        &self,
        principal: &Principal,
        origin: Origin,
        provide: Provide,
        reach: Reach,
    ) -> Result<Leased, Failure> {
        let asked = Pending::provide(&self.audit, principal, origin, &provide);
        let leased = provide::provide(self, principal, provide, reach).await;
        asked.end(&leased);
        Ok(leased?)
    }

    fn withdraw(
        &self,
        principal: &Principal,
        origin: Origin,
        withdraw: Withdraw,
    ) -> Result<(), Failure> {
        let asked = Pending::withdraw(&self.audit, principal, origin, &withdraw);
        let withdrawn = provide::withdraw(self, principal, origin.session, &withdraw);
        asked.end(&withdrawn);
        Ok(withdrawn?)
    }

    fn is_serving(&self, principal: &Principal, session: SessionId) -> bool {
        self.providers.is_serving(principal.tenant(), session)
    }

    fn session_ended(&self, principal: &Principal, session: SessionId) {
        self.providers.session_ended(principal.tenant(), session);
        holdings::session_ended(self, principal, session);
    }
}

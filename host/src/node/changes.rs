//! Changes of registrations: wished for, checked against all whom they concern, and made.

use std::sync::Arc;

use rpc_host_protocol::operation::{Register, Rollback, Swap, SwapTo};

use super::Node;
use super::contract::check;
use crate::capability::{GrantError, Grants, Policies, Policy};
use crate::config::{Limits, Narrowing, Scope};
use crate::error::HostError;
use crate::registry::{
    Bindings, IfRevision, Proposed, RegisterOptions, Registration, RegistrationName, RegistryError,
    Wish,
};
use crate::tenant::DeployPermit;

/// How often a change is checked anew because somebody whom it concerns has changed meanwhile.
const MAX_CHECKS: usize = 16;

/// A wish with its conditions.
pub(super) struct Wanted {
    pub(super) name: RegistrationName,
    pub(super) wish: Wish,
    pub(super) if_revision: IfRevision,
    /// Whether it is made even if it leaves others without what they count on.
    pub(super) force: bool,
    /// The lease in whose place it is to be put. Without one, a name that a client serves to the tenant
    /// is not changed: the change would be without effect until the client goes.
    pub(super) promoted: Option<u64>,
}

impl Wanted {
    pub(super) fn register(
        node: &Node,
        limits: &Limits,
        request: Register,
    ) -> Result<Self, HostError> {
        let bindings = request
            .bindings
            .iter()
            .map(|(import, name)| Ok((import.parse()?, name.parse()?)));
        let options = RegisterOptions {
            grants: granted(node, &request.grants).map_err(RegistryError::from)?,
            narrowing: Narrowing::parse(request.limits, Scope::Registration, limits)
                .map_err(RegistryError::from)?,
            bindings: Bindings::collect(bindings.collect::<Result<Vec<_>, RegistryError>>()?)?,
            sealed: request.sealed,
            instancing: request.instancing,
        };
        Ok(Wanted {
            name: request.name.parse()?,
            wish: Wish::Register(request.digest.parse()?, options),
            if_revision: if_revision(request.if_revision),
            force: request.force,
            promoted: None,
        })
    }

    pub(super) fn swap(request: Swap) -> Result<Self, HostError> {
        Ok(Wanted {
            name: request.name.parse()?,
            wish: match request.to {
                SwapTo::Digest(digest) => Wish::Swap(digest.parse()?),
                SwapTo::Revision(number) => Wish::Restore(number),
            },
            if_revision: if_revision(request.if_revision),
            force: request.force,
            promoted: None,
        })
    }

    pub(super) fn rollback(request: Rollback) -> Result<Self, HostError> {
        Ok(Wanted {
            name: request.name.parse()?,
            wish: Wish::Rollback,
            if_revision: if_revision(request.if_revision),
            force: request.force,
            promoted: None,
        })
    }
}

/// Grants, and no more of them than a registration may have.
fn granted(node: &Node, texts: &[String]) -> Result<Grants, GrantError> {
    let Limits {
        max_grants_per_registration,
        max_grant_bytes_per_registration,
        ..
    } = node.limits;
    Grants::parse(texts)?.within(
        max_grants_per_registration,
        max_grant_bytes_per_registration,
    )
}

/// That the node has these grants to give, and that node and tenant allow them.
fn check_grants(node: &Node, permit: &DeployPermit, grants: &Grants) -> Result<(), RegistryError> {
    grants.check_served()?;
    let policies = Policies {
        node: &node.policy,
        tenant: permit.settings().allow(),
        caller: &Policy::Any,
    };
    match policies.withheld(grants).into_iter().next() {
        Some(withheld) => Err(RegistryError::NotAllowed {
            subject: withheld.grant.redacted(),
            by: withheld.by,
        }),
        None => Ok(()),
    }
}

/// What a client means by the number of a revision that it insists on.
fn if_revision(number: Option<u64>) -> IfRevision {
    match number {
        None => IfRevision::Any,
        Some(0) => IfRevision::Absent,
        Some(number) => IfRevision::Is(number),
    }
}

/// What a change came to.
pub(super) struct Changed {
    pub(super) registration: Arc<Registration>,
    /// Whether it made a revision, and not found all as it is wished for.
    pub(super) is_new: bool,
}

/// Makes a change. What is made is exactly what was checked, however many make changes at once.
pub(super) async fn change(
    node: &Node,
    permit: &DeployPermit,
    wanted: Wanted,
) -> Result<Changed, HostError> {
    let catalog = &node.registry.catalog;
    let Wanted {
        name,
        wish,
        if_revision,
        force,
        promoted,
    } = wanted;
    let (providers, tenant) = (&node.providers, permit.tenant());
    providers.check_unserved(tenant, name.as_str(), promoted)?;
    for _ in 0..MAX_CHECKS {
        let proposed = catalog.propose(permit, &name, &wish, if_revision).await?;
        let proposal = match proposed {
            Proposed::Stands(registration) => {
                providers.registered(tenant, name.as_str(), promoted);
                return Ok(Changed {
                    registration,
                    is_new: false,
                });
            }
            Proposed::Change(proposal) => proposal,
        };
        check_grants(node, permit, &proposal.registration.current.grants)?;
        let concerned = catalog.concerned(&proposal);
        let gone = check(node, &proposal.registration, &concerned, force).await?;
        if let Some(changed) = catalog.commit(proposal, concerned, gone).await? {
            providers.registered(tenant, name.as_str(), promoted);
            node.shared().changed(&changed);
            let sandbox = node.targets.sandbox();
            sandbox.forget_ready(tenant.number(), Some(changed.name.as_str()));
            tracing::info!(
                name = %changed.name, revision = changed.current.number,
                digest = %changed.current.digest, "registration changed"
            );
            return Ok(Changed {
                registration: changed,
                is_new: true,
            });
        }
    }
    Err(RegistryError::Unsettled { name }.into())
}

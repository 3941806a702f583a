//! What clients serve: from a client's offer to its lease.

use rpc_host_protocol::message::{Leased, Provide, ProvideScope, Withdraw};

use super::Node;
use super::operations::describe;
use crate::error::HostError;
use crate::provider::{Offer, ProviderError, of_interface, served_by_a_client};
use crate::registry::{RegistrationName, RegistryError};
use crate::sandbox::Functions;
use crate::session::{Reach, SessionId};
use crate::tenant::{CallPermit, Principal};

/// Lets a client serve a name.
pub(super) async fn provide(
    node: &Node,
    principal: &Principal,
    provide: Provide,
    reach: Reach,
) -> Result<Leased, HostError> {
    // What it serves to itself alone is its own affair, as long as it may call at all.
    let permit = principal.permit_call()?;
    if provide.scope == ProvideScope::Tenant {
        principal.permit_deploy()?;
    }
    let name: RegistrationName = provide.name.parse()?;
    let offer = Offer::check(&name, &provide, &node.limits)?;
    let contract = contract(node, &permit, offer.name()).await?;
    let leased = Leased {
        lease: 0,
        lease_ms: provide.lease_ms,
        window: provide.window,
        functions: contract.iter().map(describe).collect(),
    };
    let lease = node
        .providers
        .grant(offer, permit.tenant(), permit.holder(), contract, reach)?;
    Ok(Leased {
        lease: lease.id(),
        ..leased
    })
}

/// Ends what a client serves: the client that asks, or any.
pub(super) fn withdraw(
    node: &Node,
    principal: &Principal,
    session: SessionId,
    withdraw: &Withdraw,
) -> Result<(), HostError> {
    let Withdraw { name, lease, steal } = withdraw;
    if *steal {
        let permit = principal.permit_deploy()?;
        let (tenant, holder) = (permit.tenant(), permit.holder());
        return Ok(node.providers.steal(tenant, holder, name, *lease)?);
    }
    let permit = principal.permit_call()?;
    Ok(node
        .providers
        .withdraw(permit.tenant(), session, name, *lease)?)
}

/// Which functions a name stands for.
async fn contract(node: &Node, permit: &CallPermit, name: &str) -> Result<Functions, HostError> {
    let known = present(node, permit, name).await?;
    let Some(contract) = known else {
        let name = name.to_owned();
        return Err(ProviderError::NoContract { name }.into());
    };
    served_by_a_client(&contract)?;
    Ok(contract)
}

/// The functions of the module that is registered under a name.
async fn present(
    node: &Node,
    permit: &CallPermit,
    name: &str,
) -> Result<Option<Functions>, HostError> {
    match node.registry.catalog.resolve(permit, name) {
        Ok(registration) => {
            let prepared = node.targets.load(&registration).await?;
            Ok(Some(of_interface(name, prepared.functions())))
        }
        Err(RegistryError::NoSuchRegistration { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

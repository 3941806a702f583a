//! What clients serve: from a client's offer to its lease, and from there to a module in its place.

use std::collections::BTreeSet;

use rpc_host_protocol::message::{Leased, Provide, ProvideScope, Withdraw};

use super::Node;
use super::changes::{Changed, Wanted, change};
use super::contract::imported;
use crate::error::HostError;
use crate::provider::{Offer, ProviderError, lacking, of_interface};
use crate::registry::{Contract, RegistrationName, RegistryError, Wish, owner};
use crate::sandbox::{Function, Functions};
use crate::session::{Reach, SessionId};
use crate::tenant::{CallPermit, DeployPermit, Principal};

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
    let offer = Offer::check(&name, &provide, permit.settings().limits())?;
    let contract = contract(node, &permit, &name, provide.wit.as_deref()).await?;
    let functions = contract.iter().map(Function::describe).collect();
    let (tenant, holder) = (permit.tenant(), permit.holder());
    let lease = node
        .providers
        .grant(offer, tenant, holder, contract, reach)?;
    Ok(Leased {
        lease: lease.id(),
        lease_ms: provide.lease_ms,
        window: provide.window,
        functions,
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
    let name: RegistrationName = name.parse()?;
    if *steal {
        let permit = principal.permit_deploy()?;
        let (tenant, holder) = (permit.tenant(), permit.holder());
        return Ok(node.providers.steal(tenant, holder, &name, *lease)?);
    }
    let permit = principal.permit_call()?;
    Ok(node
        .providers
        .withdraw(permit.tenant(), session, &name, *lease)?)
}

/// Puts a module in the place of a client that serves a name to the tenant. It has to offer all that the
/// client serves; calls that the client has are finished there.
pub(super) async fn promote(
    node: &Node,
    permit: &DeployPermit,
    wanted: Wanted,
) -> Result<Changed, HostError> {
    let tenant = permit.tenant();
    let Some(serving) = node.providers.serving_tenant(tenant, wanted.name.as_str()) else {
        let name = wanted.name.to_string();
        return Err(ProviderError::NotServed { name }.into());
    };
    if let Wish::Register(digest, options) = &wanted.wish
        && !wanted.force
    {
        let digest = *digest;
        if node.registry.modules.find(tenant, &digest).is_none() {
            return Err(RegistryError::NoSuchModule { digest }.into());
        }
        let loading = node
            .targets
            .load_module(tenant, digest, options.grants.kinds());
        let mut contract = Contract::default();
        contract.serves(serving.contract(), loading.await?.functions());
        contract.holds(&wanted.name).map_err(RegistryError::from)?;
    }
    let promoted = Some(serving.id());
    drop(serving);
    change(node, permit, Wanted { promoted, ..wanted }).await
}

/// Which functions a client has to serve under a name: those that it stood for until now, or those that
/// are imported through it, or else those that the client's own text says. A text that is not needed has
/// to agree, so that nobody serves something else than what it means to.
async fn contract(
    node: &Node,
    permit: &CallPermit,
    name: &RegistrationName,
    wit: Option<&str>,
) -> Result<Functions, HostError> {
    let known = match present(node, permit, name).await? {
        Some(present) => Some(present),
        None => wanted_by_dependents(node, permit, name).await?,
    };
    let offered = match wit {
        Some(wit) => Some(described(node, permit, name, wit).await?),
        None => None,
    };
    let contract = match (known, offered) {
        (Some(known), Some(offered)) => {
            agree(name.as_str(), &known, &offered)?;
            offered
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => {
            let name = name.to_string();
            return Err(ProviderError::NoContract { name }.into());
        }
    };
    Ok(contract)
}

/// The functions of the module that is registered under a name.
async fn present(
    node: &Node,
    permit: &CallPermit,
    name: &RegistrationName,
) -> Result<Option<Functions>, HostError> {
    let name = name.as_str();
    match node.registry.catalog.resolve(permit, name) {
        Ok(registration) => {
            let prepared = node.targets.load(&registration).await?;
            Ok(Some(of_interface(name, prepared.functions())))
        }
        Err(RegistryError::NoSuchRegistration { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The functions that registrations import through a name for which nobody answers. Where two import
/// compatible versions of one function, one is enough.
async fn wanted_by_dependents(
    node: &Node,
    permit: &CallPermit,
    name: &RegistrationName,
) -> Result<Option<Functions>, HostError> {
    let mut wanted = Functions::new(Vec::new());
    let mut seen = BTreeSet::new();
    for dependent in node.registry.catalog.dependents(permit, name) {
        let registration = &dependent.registration;
        // What a module imports is the same under all grants, so each is looked at once.
        if !seen.insert((registration.current.digest, dependent.import.clone())) {
            continue;
        }
        let prepared = node.targets.load(registration).await?;
        for function in imported(&prepared, &dependent.import) {
            let answering = wanted.answering(function);
            if answering.is_none_or(|(_, one)| one.signature != function.signature) {
                wanted.push(function.clone());
            }
        }
    }
    Ok((!wanted.is_empty()).then_some(wanted))
}

/// The functions that a client says it serves.
async fn described(
    node: &Node,
    permit: &CallPermit,
    name: &RegistrationName,
    wit: &str,
) -> Result<Functions, HostError> {
    let limit_bytes = node.limits.max_wit_bytes;
    if wit.len() as u64 > limit_bytes {
        let bytes = wit.len();
        return Err(ProviderError::WitTooLong { bytes, limit_bytes }.into());
    }
    let sandbox = node.targets.sandbox();
    Ok(sandbox
        .described(&owner(permit.tenant()), name.as_str(), wit)
        .await?)
}

/// That those who count on `wanted` lack nothing in `offered`.
fn agree(name: &str, wanted: &Functions, offered: &Functions) -> Result<(), ProviderError> {
    let differences = lacking(wanted, offered);
    if differences.is_empty() {
        return Ok(());
    }
    let name = name.to_owned();
    Err(ProviderError::Differs { name, differences })
}

//! Operations on modules, registrations, tenants and tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_host_protocol::Operation;
use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::operation::{
    Instancing, NewToken, ReadyEntry, RegistrationEntry, RevisionEntry, TenantEntry,
    TenantSettings, TokenEntry, WithheldGrant,
};

use super::Node;
use super::audited::Pending;
use super::changes::{Changed, Wanted, change};
use super::inspection::{describe, inspect};
use super::limits::limits;
use super::logs::logs;
use super::provide::promote;
use super::uploads::entry;
use crate::capability::{Grants, Policies, Policy};
use crate::config::{Narrowing, Scope};
use crate::error::HostError;
use crate::registry::{Digest, Registration, Revision};
use crate::sandbox::StockUse;
use crate::session::{Outlet, SessionId};
use crate::tenant::{
    Principal, ReadPermit, Role, SettingsChange, Tenant, TenantError, TenantName, TokenDescription,
    TokenId, Weight,
};

/// Does one operation; gives the CBOR of what [`Operation`] names as its answer.
pub(super) async fn operate(
    node: &Node,
    principal: &Principal,
    (session, outlet): (SessionId, &Outlet),
    operation: Operation,
    asked: &mut Pending,
) -> Result<Vec<u8>, HostError> {
    let catalog = &node.registry.catalog;
    match operation {
        Operation::Register(request) => {
            let settings = principal.settings();
            let wanted = Wanted::register(node, settings.limits(), request);
            changed(node, principal, wanted, asked).await
        }
        Operation::Swap(request) => changed(node, principal, Wanted::swap(request), asked).await,
        Operation::Rollback(request) => {
            changed(node, principal, Wanted::rollback(request), asked).await
        }
        Operation::Promote(request) => {
            let permit = principal.permit_deploy()?;
            let wanted = Wanted::register(node, permit.settings().limits(), request)?;
            let promoted = promote(node, &permit, wanted).await?;
            Ok(encode_envelope(&entry_of(&promoted, asked)))
        }
        Operation::Providers {} => {
            let permit = principal.permit_read()?;
            let leases = node.providers.list(permit.tenant(), session);
            let now = node.clock.now();
            let entries: Vec<_> = leases.iter().map(|lease| lease.entry(now)).collect();
            Ok(encode_envelope(&entries))
        }
        Operation::Limits(of) => Ok(encode_envelope(&limits(node, principal, &of)?)),
        Operation::List {} => {
            let permit = principal.permit_read()?;
            let registrations = catalog.list(&permit);
            let sees = sees_values(principal);
            let entries = registrations
                .iter()
                .map(|one| registration(node, &permit, one, sees));
            Ok(encode_envelope(&entries.collect::<Result<Vec<_>, _>>()?))
        }
        Operation::Show(request) => {
            let permit = principal.permit_read()?;
            let found = catalog.show(&permit, &request.name)?;
            Ok(encode_envelope(&registration(
                node,
                &permit,
                &found,
                sees_values(principal),
            )?))
        }
        Operation::History(request) => {
            let permit = principal.permit_read()?;
            let revisions = catalog.history(&permit, &request.name).await?;
            let entries: Vec<_> = revisions
                .iter()
                .map(|one| revision(&request.name, one, sees_values(principal)))
                .collect();
            Ok(encode_envelope(&entries))
        }
        Operation::Remove(request) => {
            let permit = principal.permit_deploy()?;
            catalog.remove(&permit, &request.name).await?;
            node.removed(permit.tenant(), Some(&request.name));
            Ok(encode_envelope(&()))
        }
        Operation::Inspect(request) => {
            let permit = principal.permit_read()?;
            let inspection = inspect(node, &permit, session, &request.name).await?;
            Ok(encode_envelope(&inspection))
        }
        Operation::Describe(request) => {
            let permit = principal.permit_read()?;
            let description = describe(node, &permit, session, request).await?;
            Ok(encode_envelope(&description))
        }
        Operation::Logs(request) => Ok(encode_envelope(
            &logs(node, principal, request, outlet).await?,
        )),
        Operation::Modules {} => {
            let modules = node.registry.modules.list(&principal.permit_read()?);
            let entries: Vec<_> = modules.iter().map(|module| entry(module, true)).collect();
            Ok(encode_envelope(&entries))
        }
        Operation::RemoveModule(request) => {
            let permit = principal.permit_deploy()?;
            let digest: Digest = request.digest.parse()?;
            Ok(encode_envelope(
                &catalog.remove_module(&permit, digest).await?,
            ))
        }
        Operation::TenantCreate(request) => {
            let permit = principal.permit_operate()?;
            let name: TenantName = request.name.parse()?;
            let settings = settings(node, request)?;
            let made = node
                .directory
                .create_tenant(&permit, name, settings)
                .await?;
            Ok(encode_envelope(&tenant(node, principal, &made)?))
        }
        Operation::TenantSet(request) => {
            let permit = principal.permit_operate()?;
            let name: TenantName = request.name.parse()?;
            let settings = settings(node, request)?;
            let set = node.directory.set_tenant(&permit, &name, settings).await?;
            let sandbox = node.targets.sandbox();
            sandbox.forget_ready(set.id.number(), None);
            tracing::info!(tenant = %name, "tenant changed");
            Ok(encode_envelope(&tenant(node, principal, &set)?))
        }
        Operation::TenantList {} => {
            let tenants = node.directory.tenants(&principal.permit_operate()?);
            let entries = tenants.iter().map(|one| tenant(node, principal, one));
            Ok(encode_envelope(&entries.collect::<Result<Vec<_>, _>>()?))
        }
        Operation::TenantShow(request) => {
            let name: TenantName = request.name.parse()?;
            let own = (name == *principal.tenant_name())
                .then(|| principal.permit_read())
                .transpose()?
                .and_then(|permit| node.directory.own_tenant(&permit));
            let found = match own {
                Some(own) => own,
                None => node.directory.tenant(&principal.permit_operate()?, &name)?,
            };
            Ok(encode_envelope(&tenant(node, principal, &found)?))
        }
        Operation::TenantRemove(request) => {
            let permit = principal.permit_operate()?;
            let name: TenantName = request.name.parse()?;
            let removed = node.directory.remove_tenant(&permit, &name).await?;
            node.targets.forget(removed.id());
            node.providers.forget(removed.id());
            node.removed(removed.id(), None);
            // Whatever of the two fails, the other is tried, and the next start sweeps.
            let ended = node.volumes.forget(removed.id().number()).await;
            let forgotten = node.registry.forget(removed).await;
            ended?;
            Ok(encode_envelope(&forgotten?))
        }
        Operation::TokenCreate(request) => {
            let of = tenant_or_own(principal, request.tenant)?;
            let permit = principal.permit_tokens(&of)?;
            let role: Role = request.role.parse()?;
            let now = node.clock.now();
            let expires_at = request
                .expires_in_s
                .map(|s| now.plus(Duration::from_secs(s)));
            let issued = node
                .directory
                .create_token(&permit, role, expires_at)
                .await?;
            asked.note(|entry| entry.object(&issued.description.id.to_string()));
            Ok(encode_envelope(&NewToken {
                entry: token(&of, &issued.description),
                token: issued.token.expose().to_string(),
            }))
        }
        Operation::TokenList(request) => {
            let of = tenant_or_own(principal, request.tenant)?;
            let tokens = node.directory.tokens(&principal.permit_tokens(&of)?)?;
            let entries: Vec<_> = tokens.iter().map(|one| token(&of, one)).collect();
            Ok(encode_envelope(&entries))
        }
        Operation::TokenRevoke(request) => {
            let id: TokenId = request.id.parse()?;
            Ok(encode_envelope(&revoke(node, principal, id).await?))
        }
    }
}

/// Whether somebody may make a change comes before whether it makes sense.
async fn changed(
    node: &Node,
    principal: &Principal,
    wanted: Result<Wanted, HostError>,
    asked: &mut Pending,
) -> Result<Vec<u8>, HostError> {
    let permit = principal.permit_deploy()?;
    let changed = change(node, &permit, wanted?).await?;
    Ok(encode_envelope(&entry_of(&changed, asked)))
}

/// What a change came to, for the client and for the audit log.
fn entry_of(changed: &Changed, asked: &mut Pending) -> RevisionEntry {
    let Registration { name, current, .. } = &*changed.registration;
    if !changed.is_new {
        asked.changes_nothing();
    }
    let entry = revision(name.as_str(), current, true);
    asked.note(|told| {
        let forced = told.detail.as_deref().map(|detail| format!(", {detail}"));
        let instancing = match current.instancing {
            Instancing::Call => String::new(),
            other => format!(", instancing {}", other.name()),
        };
        let forced = forced.unwrap_or_default();
        let detail = format!("revision {}{instancing}{forced}", current.number);
        told.digest(&entry.digest)
            .grants(&entry.grants)
            .detail(&detail)
    });
    entry
}

/// Whether somebody is shown what the environment of a module holds, which may be secrets: those who could
/// read it anyway, by a module of their own in its place.
fn sees_values(principal: &Principal) -> bool {
    principal.permit_deploy().is_ok()
}

/// A token is named by its id alone; whose it is decides who may revoke it. A token of a tenant that
/// the caller does not administer is, to the caller, not there.
async fn revoke(node: &Node, principal: &Principal, id: TokenId) -> Result<(), HostError> {
    let own = principal.permit_tokens(principal.tenant_name())?;
    let mut permit = own;
    if let Ok(operator) = principal.permit_operate() {
        for tenant in node.directory.tenants(&operator) {
            let candidate = principal.permit_tokens(&tenant.name)?;
            if node
                .directory
                .tokens(&candidate)?
                .iter()
                .any(|token| token.id == id)
            {
                permit = candidate;
                break;
            }
        }
    }
    Ok(node.directory.revoke_token(&permit, id).await?)
}

fn tenant_or_own(principal: &Principal, name: Option<String>) -> Result<TenantName, HostError> {
    Ok(match name {
        Some(name) => name.parse()?,
        None => principal.tenant_name().clone(),
    })
}

fn revision(name: &str, revision: &Revision, sees_values: bool) -> RevisionEntry {
    let bindings = revision.bindings.iter();
    let limits = revision.narrowing.set();
    RevisionEntry {
        name: name.to_owned(),
        revision: revision.number,
        digest: revision.digest.to_string(),
        grants: revision
            .grants
            .iter()
            .map(|grant| match sees_values {
                true => grant.to_string(),
                false => grant.redacted(),
            })
            .collect(),
        limits: limits
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        bindings: bindings
            .map(|(import, name)| (import.to_string(), name.to_string()))
            .collect::<BTreeMap<_, _>>(),
        sealed: revision.sealed,
        instancing: revision.instancing,
        restores: revision.restores,
        created_at_ms: revision.created_at.unix_ms(),
        created_by: revision.created_by.to_string(),
    }
}

fn registration(
    node: &Node,
    permit: &ReadPermit,
    registration: &Registration,
    sees_values: bool,
) -> Result<RegistrationEntry, HostError> {
    let module = node
        .registry
        .modules
        .show(permit, &registration.current.digest)?;
    Ok(RegistrationEntry {
        current: revision(
            registration.name.as_str(),
            &registration.current,
            sees_values,
        ),
        size_bytes: module.size_bytes,
        withheld: withheld(node, permit, &registration.current.grants),
        ready: ready(node, registration),
    })
}

/// How its calls fared by instances that were ready, if it was called lately.
fn ready(node: &Node, registration: &Registration) -> Option<ReadyEntry> {
    let sandbox = node.targets.sandbox();
    let (tenant, name) = (registration.tenant.number(), registration.name.as_str());
    let StockUse {
        hits,
        misses,
        ready,
    } = sandbox.ready_use(tenant, Some(name));
    let entry = ReadyEntry {
        instances: ready,
        hits,
        misses,
    };
    (entry != ReadyEntry::default()).then_some(entry)
}

/// What of a registration's grants is not in force, by the policies as they are now.
fn withheld(node: &Node, permit: &ReadPermit, grants: &Grants) -> Vec<WithheldGrant> {
    let policies = Policies {
        node: &node.policy,
        tenant: permit.settings().allow(),
        caller: &Policy::Any,
    };
    let withheld = policies.withheld(grants).into_iter();
    withheld
        .map(|one| WithheldGrant {
            grant: one.grant.redacted(),
            left: one.left.map(|left| left.redacted()),
            by: one.by.as_str().to_owned(),
        })
        .collect()
}

/// What an operator sets for a tenant.
fn settings(node: &Node, request: TenantSettings) -> Result<SettingsChange, TenantError> {
    let most = node.limits.max_patterns_per_policy;
    let allow = request.allow.map(|allow| Policy::parse(&allow, most));
    let allow = allow.transpose()?.map(|allow| allow.within(&node.policy));
    let limits = request
        .limits
        .map(|limits| Narrowing::parse(limits, Scope::Tenant, &node.limits));
    Ok(SettingsChange {
        allow: allow.transpose()?,
        narrowing: limits.transpose()?,
        weight: request.weight.map(Weight::new).transpose()?,
    })
}

fn tenant(node: &Node, principal: &Principal, tenant: &Tenant) -> Result<TenantEntry, HostError> {
    let settings = tenant.settings();
    let usage = node.registry.usage(tenant.id);
    // Who may not manage a tenant's tokens is not told how many there are.
    let tokens = match principal.permit_tokens(&tenant.name) {
        Ok(permit) => node.directory.tokens(&permit)?.len() as u64,
        Err(_) => 0,
    };
    Ok(TenantEntry {
        name: tenant.name.to_string(),
        created_at_ms: tenant.created_at.unix_ms(),
        registrations: usage.registrations,
        modules: usage.modules,
        stored_bytes: usage.stored_bytes,
        tokens,
        allow: settings.allow().texts(),
        limits: settings
            .narrowing()
            .set()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        weight: settings.weight().number(),
    })
}

fn token(of: &TenantName, token: &TokenDescription) -> TokenEntry {
    TokenEntry {
        id: token.id.to_string(),
        tenant: of.to_string(),
        role: token.role.to_string(),
        created_at_ms: token.created_at.unix_ms(),
        expires_at_ms: token.expires_at.map(|at| at.unix_ms()),
    }
}

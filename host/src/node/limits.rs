//! What limits are in force, and how much of them is in use.

use rpc_host_protocol::operation::{LimitEntry, LimitsOf};

use super::Node;
use crate::config::{LIMITS, Limits, unit};
use crate::error::HostError;
use crate::sandbox::FIXED;
use crate::tenant::Principal;

/// The limits of a node, those that are fixed at the end.
pub fn node_limits(node: &Limits) -> Vec<LimitEntry> {
    entries(node, node)
}

/// Those that are in force for the principal's tenant, or for a registration of it, and what the tenant
/// uses of them.
pub(super) fn limits(
    node: &Node,
    principal: &Principal,
    of: &LimitsOf,
) -> Result<Vec<LimitEntry>, HostError> {
    let permit = principal.permit_read()?;
    let settings = permit.settings();
    let in_force = match &of.name {
        None => settings.limits().clone(),
        Some(name) => {
            let registration = node.registry.catalog.show(&permit, name)?;
            registration.current.narrowing.apply(settings.limits())
        }
    };
    let usage = node.registry.usage(principal.tenant());
    let account = principal.account();
    let sandbox = node.targets.sandbox();
    let ready = sandbox.ready_use(principal.tenant().number(), None).ready;
    let log_bytes = node.journals().used_bytes(principal.tenant().number());
    let volume_bytes = node.volumes.used_bytes(principal.tenant().number());
    // Who may not manage a tenant's tokens is not told how many there are.
    let tokens = match principal.permit_tokens(principal.tenant_name()) {
        Ok(permit) => Some(node.directory.tokens(&permit)?.len() as u64),
        Err(_) => None,
    };
    let used = |name: &str| match name {
        "max-memory-bytes-per-tenant" => Some(account.memory().used()),
        "max-calls-in-flight-per-tenant" => Some(account.calls_in_flight().used()),
        "max-registrations-per-tenant" => Some(usage.registrations),
        "max-modules-per-tenant" => Some(usage.modules),
        "max-volume-bytes-per-tenant" => Some(volume_bytes),
        "max-kept-log-bytes-per-tenant" => Some(log_bytes),
        "max-stored-bytes-per-tenant" => Some(usage.stored_bytes),
        "max-artifact-bytes-per-tenant" => Some(usage.artifact_bytes),
        "max-ready-instances-per-tenant" => Some(ready),
        "max-tokens-per-tenant" => tokens,
        _ => None,
    };
    let mut entries = entries(&node.limits, &in_force);
    for entry in &mut entries {
        entry.used = used(&entry.name);
    }
    Ok(entries)
}

fn entries(node: &Limits, in_force: &Limits) -> Vec<LimitEntry> {
    let set = LIMITS.iter().map(|row| LimitEntry {
        name: row.name.to_owned(),
        limits: row.doc.trim().to_owned(),
        unit: unit(row.name).to_owned(),
        value: in_force.value(row.name).unwrap_or_default(),
        node: node.value(row.name).unwrap_or_default(),
        default: row.default,
        ceiling: row.ceiling,
        used: None,
    });
    let fixed = FIXED.iter().map(|row| LimitEntry {
        name: row.name.to_owned(),
        limits: row.doc.to_owned(),
        unit: unit(row.name).to_owned(),
        value: row.value,
        node: row.value,
        default: row.value,
        ceiling: row.value,
        used: None,
    });
    set.chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::config::Scope;

    const HEAD: &str = "\
# Limits

Every number that somebody outside chooses has a limit; there is no value for \"unlimited\". An operator sets them in
`[limits]` of the configuration file, up to the ceiling. Those marked *tenant* may be narrowed for one tenant with
`rpc-host tenant set NAME --limit LIMIT=VALUE`, those marked *registration* for one registration with `--limit LIMIT=VALUE`: node ⊇
tenant ⊇ registration, and none of them widens. `rpc-host limits` prints what is in force, and what is in use.

This file is written by `UPDATE_LIMITS=1 cargo test -p rpc-host --lib node::limits`, from the table in
[host/src/config/limits.rs](host/src/config/limits.rs), and a test holds it to that table.

";

    fn document() -> String {
        let mut text = HEAD.to_owned();
        text += "| limit | default | ceiling | may be narrowed for | what it limits |\n|---|---|---|---|---|\n";
        for row in LIMITS {
            let is_for = |scope: Scope| scope.known().any(|name| name == row.name);
            let narrowed = match (is_for(Scope::Tenant), is_for(Scope::Registration)) {
                (_, true) => "tenant, registration",
                (true, false) => "tenant",
                (false, false) => "",
            };
            let (name, doc) = (row.name, row.doc.trim());
            let (default, ceiling) = (row.default, row.ceiling);
            writeln!(
                text,
                "| `{name}` | {default} | {ceiling} | {narrowed} | {doc} |"
            )
            .unwrap();
        }
        text += "\n## Fixed limits\n\nNo configuration changes these.\n\n| limit | value | what it limits |\n|---|---|---|\n";
        for row in FIXED {
            writeln!(text, "| `{}` | {} | {} |", row.name, row.value, row.doc).unwrap();
        }
        text
    }

    #[test]
    fn the_document_of_limits_is_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LIMITS.md");
        if std::env::var_os("UPDATE_LIMITS").is_some() {
            std::fs::write(&path, document()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(
            written == document(),
            "LIMITS.md is not what the table says; write it with UPDATE_LIMITS=1"
        );
    }

    #[test]
    fn each_limit_is_told_once_with_what_it_counts() {
        let entries = node_limits(&Limits::default());
        let mut names: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), LIMITS.len() + FIXED.len());
        for entry in entries {
            assert!(entry.value <= entry.ceiling, "{entry:?}");
            assert!(entry.limits.ends_with('.'), "{entry:?}");
        }
    }
}

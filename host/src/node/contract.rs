//! Whether a change leaves everybody with what they count on: loads what has to be compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpc_host_protocol::operation::ImportStanding;

use super::Node;
use crate::error::HostError;
use crate::registry::{
    Concerned, Contract, Digest, ImportName, Registration, RegistrationName, RegistryError,
};
use crate::sandbox::{Function, Prepared};

/// Checks a registration as it would be, and gives the paths that clients have called and can no more:
/// none, unless the change is forced.
pub(super) async fn check(
    node: &Node,
    next: &Registration,
    concerned: &Concerned,
    force: bool,
) -> Result<Vec<Arc<str>>, HostError> {
    let has_bindings = next.current.bindings.iter().next().is_some();
    let is_relied_on = !concerned.called.is_empty() || !concerned.dependents.is_empty();
    if !has_bindings && !is_relied_on && concerned.answers.is_empty() {
        return Ok(Vec::new());
    }
    let candidate = node.targets.load(next).await?;
    check_bindings(next, &candidate)?;
    if !force {
        let mut contract = Contract::default();
        hold_to_calls(node, &mut contract, concerned, &candidate).await?;
        hold_to_dependents(node, &mut contract, concerned, &candidate).await?;
        hold_to_needs(node, &mut contract, next, concerned, &candidate).await?;
        contract.holds(&next.name).map_err(RegistryError::from)?;
    }
    let is_gone = |path: &&Arc<str>| candidate.functions().find(path).is_err();
    Ok(concerned.called.iter().filter(is_gone).cloned().collect())
}

/// A binding without effect would be a promise that nobody keeps. The refusal names why.
fn check_bindings(next: &Registration, candidate: &Prepared) -> Result<(), RegistryError> {
    for (import, _) in next.current.bindings.iter() {
        let import = import.clone();
        let found = candidate
            .imports()
            .iter()
            .find(|one| one.name == import.as_str());
        match found {
            None => return Err(RegistryError::NotImported { import }),
            Some(found) if found.standing != ImportStanding::Unbound => {
                let note = found.note.clone();
                return Err(RegistryError::NotBindable { import, note });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn hold_to_calls(
    node: &Node,
    contract: &mut Contract,
    concerned: &Concerned,
    candidate: &Prepared,
) -> Result<(), HostError> {
    let Some(present) = &concerned.present else {
        return Ok(());
    };
    if concerned.called.is_empty() {
        return Ok(());
    }
    let present = node.targets.load(present).await?;
    for path in &concerned.called {
        contract.calls(path, present.functions(), candidate.functions());
    }
    Ok(())
}

/// What a module imports is the same under all grants, so each is loaded once.
async fn hold_to_dependents(
    node: &Node,
    contract: &mut Contract,
    concerned: &Concerned,
    candidate: &Prepared,
) -> Result<(), HostError> {
    type Importing<'a> = (
        &'a Arc<Registration>,
        Vec<(&'a RegistrationName, &'a ImportName)>,
    );
    let mut modules: BTreeMap<Digest, Importing<'_>> = BTreeMap::new();
    for dependent in &concerned.dependents {
        let registration = &dependent.registration;
        let (_, importing) = modules
            .entry(registration.current.digest)
            .or_insert_with(|| (registration, Vec::new()));
        importing.push((&registration.name, &dependent.import));
    }
    for (registration, importing) in modules.into_values() {
        let loaded = node.targets.load(registration).await?;
        for (name, import) in importing {
            contract.imports(name, imported(&loaded, import), candidate.functions());
        }
    }
    Ok(())
}

async fn hold_to_needs(
    node: &Node,
    contract: &mut Contract,
    next: &Registration,
    concerned: &Concerned,
    candidate: &Prepared,
) -> Result<(), HostError> {
    for answer in &concerned.answers {
        let wanted = imported(candidate, &answer.import);
        match &answer.by {
            None => contract.needs(wanted, &next.name, candidate.functions()),
            Some(by) => {
                let loaded = node.targets.load(by).await?;
                contract.needs(wanted, &by.name, loaded.functions());
            }
        }
    }
    Ok(())
}

/// The functions that a component imports under a name.
pub(super) fn imported<'a>(component: &'a Prepared, import: &ImportName) -> &'a [Function] {
    let found = component
        .imports()
        .iter()
        .find(|one| one.name == import.as_str());
    found.map_or(&[], |found| &found.functions)
}

//! What stands behind each import of a component.

use rpc_host_protocol::operation::ImportStanding;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};

use super::{SandboxError, State};
use crate::capability::{self, Grants, MissingGrant, Offer};

/// Functions and resources that stand-ins are made for. All of WASI has some hundreds; a component
/// chooses the names of interfaces and functions, and may import one interface under many.
const MAX_INERT_ITEMS: usize = 10_000;

/// One import and what stands behind it.
#[derive(Clone, Debug)]
pub struct Import {
    /// The interface or function.
    pub name: String,
    /// What stands behind it.
    pub standing: ImportStanding,
    /// In words.
    pub note: String,
}

/// What stands behind an import of this name; `callable` says whether there is anything to call.
pub(crate) fn standing(name: &str, callable: bool, grants: &Grants) -> Import {
    let (standing, note) = match capability::offer(name, grants) {
        _ if !callable => (ImportStanding::TypesOnly, "holds types only".to_owned()),
        Offer::Served => (ImportStanding::Granted, "served, gives no power".to_owned()),
        Offer::Granted(grant) => (ImportStanding::Granted, format!("granted by `{grant}`")),
        Offer::Ungranted(grant) => (
            ImportStanding::Inert,
            format!("a call of it fails: it needs the grant `{grant}`"),
        ),
        Offer::Unknown(reason) => (ImportStanding::Refused, reason),
    };
    Import {
        name: name.to_owned(),
        standing,
        note,
    }
}

/// Defines what `component` imports and `linker` does not have yet: granted capabilities, and inert
/// stand-ins for those that are not granted. A component that needs anything else is refused.
pub(super) fn define(
    engine: &Engine,
    linker: &mut Linker<State>,
    component: &Component,
    grants: &Grants,
) -> Result<Vec<Import>, SandboxError> {
    let mut imports = Vec::new();
    let mut inert_items = 0_usize;
    // Resources in the order in which they are introduced: a later mention is an alias, which must not
    // be defined a second time.
    let mut resources: Vec<ResourceType> = Vec::new();
    for (name, item) in component.component_type().imports(engine) {
        let import = match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                let mut functions = Vec::new();
                let mut own_resources = Vec::new();
                for (name, item) in instance.exports(engine) {
                    match item.ty {
                        ComponentItem::ComponentFunc(_) => functions.push(name.to_owned()),
                        ComponentItem::Resource(resource) if !resources.contains(&resource) => {
                            resources.push(resource);
                            own_resources.push(name.to_owned());
                        }
                        _ => {}
                    }
                }
                let callable = !functions.is_empty() || !own_resources.is_empty();
                let import = standing(name, callable, grants);
                match capability::offer(name, grants) {
                    _ if !callable => {}
                    Offer::Served => {}
                    Offer::Granted(grant) => {
                        capability::link(linker, grant).map_err(SandboxError::setup)?
                    }
                    Offer::Ungranted(grant) => {
                        inert_items += functions.len() + own_resources.len();
                        if inert_items > MAX_INERT_ITEMS {
                            return Err(SandboxError::TooComplex {
                                what: "imported functions that are not granted",
                                found: inert_items as u64,
                                limit: MAX_INERT_ITEMS as u64,
                            });
                        }
                        inert(linker, name, &functions, &own_resources, grant)
                            .map_err(SandboxError::setup)?
                    }
                    Offer::Unknown(_) => {}
                }
                import
            }
            ComponentItem::Resource(resource) if resources.contains(&resource) => continue,
            ComponentItem::Type(_) => continue,
            _ => standing(name, true, grants),
        };
        if import.standing == ImportStanding::Refused {
            return Err(SandboxError::RefusedImport {
                import: import.name,
                reason: import.note,
            });
        }
        imports.push(import);
    }
    Ok(imports)
}

/// Stand-ins that satisfy the linker and end any call with an error that names the missing grant.
fn inert(
    linker: &mut Linker<State>,
    interface: &str,
    functions: &[String],
    resources: &[String],
    grant: &'static str,
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(interface)?;
    for resource in resources {
        // Nothing makes one, so its destructor has nothing to do.
        instance.resource(
            resource,
            ResourceType::host::<MissingGrant>(),
            |_, _| Ok(()),
        )?;
    }
    for function in functions {
        let missing = MissingGrant {
            called: format!("{interface}.{function}"),
            grant,
        };
        instance.func_new(function, move |_, _, _, _| Err(missing.clone().into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{SandboxLimits, engine};

    #[test]
    fn there_are_so_many_stand_ins_and_no_more() {
        let limits = SandboxLimits {
            max_live_instances: 1,
            ..SandboxLimits::default()
        };
        let engine = engine::runtime(&limits).unwrap();
        let defined = |functions: usize| {
            let exports: String = (0..functions)
                .map(|number| format!("(export \"f{number}\" (func))"))
                .collect();
            let imports: String = (0..10)
                .map(|number| format!("(import \"wasi:http/i{number}@0.2.0\" (instance (type 0)))"))
                .collect();
            let text = format!("(component (type (instance {exports})) {imports})");
            let wasm = wat::parse_str(text).unwrap();
            let component = Component::from_binary(&engine, &wasm).unwrap();
            let mut linker = Linker::new(&engine);
            define(&engine, &mut linker, &component, &Grants::default())
        };
        assert_eq!(defined(1000).unwrap().len(), 10);
        assert!(matches!(
            defined(1001),
            Err(SandboxError::TooComplex { .. })
        ));
    }
}

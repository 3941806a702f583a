//! What stands behind each import of a component.

use std::sync::Arc;

use rpc_host_protocol::operation::ImportStanding;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, ResourceType};

use super::types::Converter;
use super::{Function, Imported, Resource, SandboxError, State, link};
use crate::capability::{self, Kind, Kinds, MissingGrant, Offer};

/// Functions and resources that are linked one by one: stand-ins, and those that others answer. All of
/// WASI has some hundreds; a component chooses the names of interfaces and functions, and may import one
/// interface under many.
pub(super) const MAX_LINKED_ITEMS: usize = 10_000;

/// One import and what stands behind it.
#[derive(Clone, Debug)]
pub struct Import {
    /// The interface or function.
    pub name: String,
    /// What stands behind it.
    pub standing: ImportStanding,
    /// In words.
    pub note: String,
    /// What the component may call of it. Only of those that others answer.
    pub functions: Vec<Function>,
}

/// What the imports of a component come to.
pub(super) struct Imports {
    /// One by one, in the order of the component.
    pub(super) all: Vec<Import>,
    /// The resources of others, by the number under which the engine knows them.
    pub(super) resources: Arc<[Resource]>,
}

/// What stands behind an import of this name; `callable` says whether there is anything to call.
pub(crate) fn standing(name: &str, callable: bool, kinds: Kinds) -> Import {
    let (standing, note) = match capability::offer(name, kinds) {
        _ if !callable => (ImportStanding::TypesOnly, "holds types only".to_owned()),
        Offer::Served => (ImportStanding::Granted, "served, gives no power".to_owned()),
        Offer::Granted(kind) => (ImportStanding::Granted, format!("granted by `{kind}`")),
        Offer::Ungranted(grant) => (
            ImportStanding::Inert,
            format!("a call of it fails: it needs the grant `{grant}`"),
        ),
        Offer::Bindable => (ImportStanding::Unbound, remedy(name)),
        Offer::Unknown(reason) => (ImportStanding::Refused, reason),
    };
    Import {
        name: name.to_owned(),
        standing,
        note,
        functions: Vec::new(),
    }
}

/// What has to be done for somebody to answer an import.
pub(crate) fn remedy(name: &str) -> String {
    let (without_version, _) = name.split_once('@').unwrap_or((name, ""));
    format!("register `{without_version}`, or bind another name to it with `--bind {name}=NAME`")
}

/// Defines what `component` imports and `linker` does not have yet: granted capabilities, inert
/// stand-ins for those that are not granted, and what others answer. A component that needs anything
/// else is refused.
pub(super) fn define(
    engine: &Engine,
    linker: &mut Linker<State>,
    component: &Component,
    kinds: Kinds,
    converter: &mut Converter,
) -> Result<Imports, SandboxError> {
    let mut definer = Definer {
        engine,
        linker,
        kinds,
        converter,
        items_left: MAX_LINKED_ITEMS,
        linked: Vec::new(),
        imported: 0,
        resources: Vec::new(),
    };
    let mut all = Vec::new();
    for (name, item) in component.component_type().imports(engine) {
        let import = match item.ty {
            ComponentItem::ComponentInstance(instance) => definer.interface(name, &instance)?,
            ComponentItem::ComponentFunc(function) => definer.function(name, &function)?,
            ComponentItem::Resource(resource) => {
                let introduced = definer.converter.introduce(resource, None, name);
                if introduced.is_none() {
                    continue;
                }
                refused(name, "is a resource outside of an interface")
            }
            ComponentItem::Type(_) => continue,
            ComponentItem::CoreFunc(_) | ComponentItem::Module(_) | ComponentItem::Component(_) => {
                refused(name, "is code, and nothing on this node gives that")
            }
        };
        if import.standing == ImportStanding::Refused {
            return Err(SandboxError::RefusedImport {
                import: import.name,
                reason: import.note,
            });
        }
        all.push(import);
    }
    Ok(Imports {
        all,
        resources: definer.resources.into(),
    })
}

fn refused(name: &str, reason: &str) -> Import {
    Import {
        name: name.to_owned(),
        standing: ImportStanding::Refused,
        note: reason.to_owned(),
        functions: Vec::new(),
    }
}

/// The imports of one component, on their way into its linker.
struct Definer<'a> {
    engine: &'a Engine,
    linker: &'a mut Linker<State>,
    kinds: Kinds,
    converter: &'a mut Converter,
    items_left: usize,
    /// What is granted and has been linked: a kind may have several interfaces, and one of them several
    /// versions.
    linked: Vec<Kind>,
    /// How many functions others answer.
    imported: usize,
    /// Resources of others, in the order in which they are introduced.
    resources: Vec<Resource>,
}

impl Definer<'_> {
    fn interface(
        &mut self,
        name: &str,
        instance: &ComponentInstance,
    ) -> Result<Import, SandboxError> {
        let mut functions = Vec::new();
        let mut resources = Vec::new();
        let interface: Arc<str> = name.into();
        for (name, item) in instance.exports(self.engine) {
            match item.ty {
                ComponentItem::ComponentFunc(function) => functions.push((name, function)),
                // What was introduced before is an alias, which must not be defined a second time.
                ComponentItem::Resource(resource) => {
                    resources.extend(self.converter.introduce(resource, Some(&interface), name));
                }
                _ => {}
            }
        }
        let callable = !functions.is_empty() || !resources.is_empty();
        let mut import = standing(name, callable, self.kinds);
        if !callable {
            return Ok(import);
        }
        match capability::offer(name, self.kinds) {
            Offer::Served | Offer::Unknown(_) => {}
            Offer::Granted(kind) => {
                if !self.linked.contains(&kind) {
                    capability::link(self.linker, kind).map_err(SandboxError::setup)?;
                    self.linked.push(kind);
                }
            }
            Offer::Ungranted(grant) => {
                self.spend(functions.len().saturating_add(resources.len()))?;
                let names: Vec<_> = functions.iter().map(|(name, _)| *name).collect();
                inert(self.linker, name, &names, &resources, grant).map_err(SandboxError::setup)?;
            }
            Offer::Bindable => {
                self.spend(functions.len().saturating_add(resources.len()))?;
                let mut linked = self.linker.instance(name).map_err(SandboxError::setup)?;
                for resource in resources {
                    let number = u32::try_from(self.resources.len()).unwrap_or(u32::MAX);
                    let linking = link::resource(&mut linked, &resource.name, number);
                    linking.map_err(SandboxError::setup)?;
                    self.resources.push(resource);
                }
                for (name, function) in functions {
                    let function = self.converter.function(Some(&interface), name, &function)?;
                    import.functions.push(function.clone());
                    let imported = Imported {
                        import: Arc::clone(&interface),
                        function,
                        index: self.imported,
                    };
                    self.imported = self.imported.saturating_add(1);
                    link::function(&mut linked, imported).map_err(SandboxError::setup)?;
                }
            }
        }
        Ok(import)
    }

    fn function(&mut self, name: &str, function: &ComponentFunc) -> Result<Import, SandboxError> {
        let mut import = standing(name, true, self.kinds);
        if capability::offer(name, self.kinds) == Offer::Bindable {
            self.spend(1)?;
            let function = self.converter.function(None, name, function)?;
            import.functions.push(function.clone());
            let imported = Imported {
                import: name.into(),
                function,
                index: self.imported,
            };
            self.imported = self.imported.saturating_add(1);
            link::function(&mut self.linker.root(), imported).map_err(SandboxError::setup)?;
        }
        Ok(import)
    }

    fn spend(&mut self, items: usize) -> Result<(), SandboxError> {
        let left = self.items_left.checked_sub(items);
        self.items_left = left.ok_or(SandboxError::TooComplex {
            what: "imported functions that are linked one by one",
            found: MAX_LINKED_ITEMS as u64 + 1,
            limit: MAX_LINKED_ITEMS as u64,
        })?;
        Ok(())
    }
}

/// Stand-ins that satisfy the linker and end any call with an error that names the missing grant.
fn inert(
    linker: &mut Linker<State>,
    interface: &str,
    functions: &[&str],
    resources: &[Resource],
    grant: &'static str,
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(interface)?;
    for resource in resources {
        // Nothing makes one, so its destructor has nothing to do.
        instance.resource(
            &resource.name,
            ResourceType::host::<MissingGrant>(),
            |_, _| Ok(()),
        )?;
    }
    for function in functions {
        let missing = MissingGrant {
            called: format!("{interface}.{function}"),
            grant,
            is_withheld: false,
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
    fn so_many_are_linked_one_by_one_and_no_more() {
        let limits = SandboxLimits {
            max_live_instances: 1,
            ..SandboxLimits::default()
        };
        let engine = engine::runtime(&limits).unwrap();
        let defined = |package: &str, functions: usize| {
            let exports: String = (0..functions)
                .map(|number| format!("(export \"f{number}\" (func))"))
                .collect();
            let imports: String = (0..10)
                .map(|number| format!("(import \"{package}/i{number}@0.2.0\" (instance (type 0)))"))
                .collect();
            let text = format!("(component (type (instance {exports})) {imports})");
            let wasm = wat::parse_str(text).unwrap();
            let component = Component::from_binary(&engine, &wasm).unwrap();
            let mut linker = Linker::new(&engine);
            let (kinds, mut converter) = (Kinds::default(), Converter::new());
            define(&engine, &mut linker, &component, kinds, &mut converter)
        };
        for package in ["wasi:http", "acme:many"] {
            assert_eq!(defined(package, 1000).unwrap().all.len(), 10);
            assert!(matches!(
                defined(package, 1001),
                Err(SandboxError::TooComplex { .. })
            ));
        }
    }
}

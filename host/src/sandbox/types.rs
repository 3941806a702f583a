//! The engine's types → [`Type`].

use std::sync::Arc;

use rpc_host_protocol::types::{Case, Field, Name, ResultType, Signature, Type};
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, ResourceType};

use super::{Function, Resource, SandboxError};

/// Nodes of all types of one component, and names. Types share what they are made of, so a few bytes
/// can describe a type of astronomic size; it is refused instead of written out.
const MAX_TYPE_NODES: u32 = 100_000;
/// So many bytes of a name count as one node more: each mention of a type writes its names out again.
const NAME_BYTES_OF_NODE: usize = 32;

/// Converts the types of one component. All that it converts has one budget.
pub(super) struct Converter {
    /// The names of its resources: those that it imports, each before its first mention, and then those
    /// that it exports. A name stands for its resource by where it is in memory, see [`same_resource`].
    resources: Vec<(ResourceType, Resource)>,
    nodes_left: u32,
}

/// Whether two names are of the same resource of the component whose types they come from. The text does
/// not tell: two interfaces may both have a `file`.
pub(super) fn same_resource(one: &Name, other: &Name) -> bool {
    Arc::ptr_eq(one, other)
}

/// The functions that a component exports, at world level and in its interfaces.
pub(super) fn functions(
    engine: &Engine,
    component: &Component,
    converter: &mut Converter,
) -> Result<Vec<Function>, SandboxError> {
    let ty = component.component_type();
    let mut functions = Vec::new();
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(function) => {
                functions.push(converter.function(None, name, &function)?);
            }
            ComponentItem::ComponentInstance(instance) => {
                let interface: Arc<str> = name.into();
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::Resource(resource) = item.ty {
                        converter.introduce(resource, Some(&interface), name);
                    }
                }
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(function) = item.ty {
                        functions.push(converter.function(Some(&interface), name, &function)?);
                    }
                }
            }
            ComponentItem::Resource(resource) => {
                converter.introduce(resource, None, name);
            }
            // Types and code without a function give nothing to call.
            ComponentItem::Type(_)
            | ComponentItem::CoreFunc(_)
            | ComponentItem::Module(_)
            | ComponentItem::Component(_) => {}
        }
    }
    Ok(functions)
}

impl Converter {
    pub(super) fn new() -> Self {
        Converter {
            resources: Vec::new(),
            nodes_left: MAX_TYPE_NODES,
        }
    }

    /// Gives a resource its name, where it is introduced. A later mention is an alias, and has it
    /// already: then there is nothing new.
    pub(super) fn introduce(
        &mut self,
        resource: ResourceType,
        interface: Option<&Arc<str>>,
        name: &str,
    ) -> Option<Resource> {
        if self.resources.iter().any(|(known, _)| *known == resource) {
            return None;
        }
        let introduced = Resource {
            interface: interface.cloned(),
            name: Name::from(name),
        };
        self.resources.push((resource, introduced.clone()));
        Some(introduced)
    }

    /// All that were introduced, in that order.
    pub(super) fn introduced(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(|(_, resource)| resource)
    }

    /// A function of an interface, or of the world.
    pub(super) fn function(
        &mut self,
        interface: Option<&Arc<str>>,
        name: &str,
        function: &types::ComponentFunc,
    ) -> Result<Function, SandboxError> {
        let name = self.name(name)?;
        let signature = self.signature(function)?;
        Ok(Function::new(interface.cloned(), name, signature))
    }

    fn signature(&mut self, function: &types::ComponentFunc) -> Result<Signature, SandboxError> {
        if function.async_() {
            return Err(unsupported("an async function"));
        }
        let mut parameters = Vec::new();
        for (name, ty) in function.params() {
            parameters.push(Field {
                name: self.name(name)?,
                ty: self.convert(&ty)?,
            });
        }
        let result = match function.results().next() {
            Some(ty) => Some(self.convert(&ty)?),
            None => None,
        };
        Ok(Signature { parameters, result })
    }

    fn shared(&mut self, ty: &types::Type) -> Result<Arc<Type>, SandboxError> {
        self.convert(ty).map(Arc::new)
    }

    fn optional(&mut self, ty: Option<types::Type>) -> Result<Option<Arc<Type>>, SandboxError> {
        ty.map(|ty| self.shared(&ty)).transpose()
    }

    fn spend(&mut self, nodes: usize) -> Result<(), SandboxError> {
        let left = u32::try_from(nodes).ok();
        let left = left.and_then(|nodes| self.nodes_left.checked_sub(nodes));
        self.nodes_left = left.ok_or(SandboxError::TooComplex {
            what: "types and names within the types of its functions",
            found: u64::from(MAX_TYPE_NODES) + 1,
            limit: u64::from(MAX_TYPE_NODES),
        })?;
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<Name, SandboxError> {
        self.spend(1 + name.len() / NAME_BYTES_OF_NODE)?;
        Ok(name.into())
    }

    fn names<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Arc<[Name]>, SandboxError> {
        let names: Vec<_> = names
            .map(|name| self.name(name))
            .collect::<Result<_, _>>()?;
        Ok(names.into())
    }

    fn convert(&mut self, ty: &types::Type) -> Result<Type, SandboxError> {
        self.spend(1)?;
        Ok(match ty {
            types::Type::Bool => Type::Bool,
            types::Type::S8 => Type::S8,
            types::Type::U8 => Type::U8,
            types::Type::S16 => Type::S16,
            types::Type::U16 => Type::U16,
            types::Type::S32 => Type::S32,
            types::Type::U32 => Type::U32,
            types::Type::S64 => Type::S64,
            types::Type::U64 => Type::U64,
            types::Type::Float32 => Type::F32,
            types::Type::Float64 => Type::F64,
            types::Type::Char => Type::Char,
            types::Type::String => Type::String,
            types::Type::List(list) => Type::List(self.shared(&list.ty())?),
            types::Type::FixedLengthList(list) => {
                Type::FixedList(self.shared(&list.ty())?, list.len())
            }
            types::Type::Map(map) => {
                Type::Map(self.shared(&map.key())?, self.shared(&map.value())?)
            }
            types::Type::Record(record) => {
                let mut fields = Vec::new();
                for field in record.fields() {
                    fields.push(Field {
                        name: self.name(field.name)?,
                        ty: self.convert(&field.ty)?,
                    });
                }
                Type::Record(fields.into())
            }
            types::Type::Tuple(tuple) => {
                let types = tuple
                    .types()
                    .map(|ty| self.convert(&ty))
                    .collect::<Result<Vec<_>, _>>()?;
                Type::Tuple(types.into())
            }
            types::Type::Variant(variant) => {
                let mut cases = Vec::new();
                for case in variant.cases() {
                    let ty = case.ty.map(|ty| self.convert(&ty)).transpose()?;
                    let name = self.name(case.name)?;
                    cases.push(Case { name, ty });
                }
                Type::Variant(cases.into())
            }
            types::Type::Enum(cases) => Type::Enum(self.names(cases.names())?),
            types::Type::Option(option) => Type::Option(self.shared(&option.ty())?),
            types::Type::Result(result) => {
                let ok = self.optional(result.ok())?;
                let err = self.optional(result.err())?;
                Type::Result(ResultType { ok, err })
            }
            types::Type::Flags(flags) => Type::Flags(self.names(flags.names())?),
            types::Type::Own(resource) => Type::Own(self.resource(*resource)?),
            types::Type::Borrow(resource) => Type::Borrow(self.resource(*resource)?),
            types::Type::Future(_) => return Err(unsupported("a future")),
            types::Type::Stream(_) => return Err(unsupported("a stream")),
            types::Type::ErrorContext => return Err(unsupported("an error context")),
        })
    }

    fn resource(&mut self, resource: ResourceType) -> Result<Name, SandboxError> {
        // It is gone through for each mention.
        self.spend(self.resources.len() / NAME_BYTES_OF_NODE)?;
        let found = self.resources.iter().find(|(known, _)| *known == resource);
        Ok(found.map_or_else(|| "resource".into(), |(_, one)| one.name.clone()))
    }
}

fn unsupported(what: &str) -> SandboxError {
    SandboxError::InvalidComponent(format!(
        "one of its functions has {what}, which this node does not run"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{SandboxLimits, engine};

    fn functions_of(text: &str) -> Result<Vec<Function>, SandboxError> {
        let limits = SandboxLimits {
            max_live_instances: 1,
            ..SandboxLimits::default()
        };
        let engine = engine::runtime(&limits).unwrap();
        let component = Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
        functions(&engine, &component, &mut Converter::new())
    }

    /// A function that takes `mentions` times an enum of `cases`, the first of them with a long name.
    fn takes_enums(cases: usize, first_bytes: usize, mentions: usize) -> String {
        let mut names = format!("\"{}\"", "a".repeat(first_bytes));
        (1..cases).for_each(|case| names.push_str(&format!(" \"c{case}\"")));
        let mentions = "$e ".repeat(mentions);
        format!(
            r#"(component
                (core module $m
                    (memory (export "m") 1)
                    (func (export "f") (param i32))
                    (func (export "r") (param i32 i32 i32 i32) (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (type $e' (enum {names}))
                (export $e "e" (type $e'))
                (type $t (tuple {mentions}))
                (func (export "f") (param "x" $t)
                    (canon lift (core func $i "f") (memory $i "m") (realloc (func $i "r")))))"#
        )
    }

    #[test]
    fn names_count_each_time_that_a_type_is_mentioned() {
        assert_eq!(functions_of(&takes_enums(900, 1, 100)).unwrap().len(), 1);
        for too_large in [takes_enums(1_100, 1, 100), takes_enums(1, 40_000, 100)] {
            let refused = functions_of(&too_large);
            assert!(matches!(refused, Err(SandboxError::TooComplex { .. })));
        }
    }
}

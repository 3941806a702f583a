//! The engine's types → [`Type`].

use std::sync::Arc;

use rpc_host_protocol::types::{Case, Field, Name, ResultType, Signature, Type};
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, ResourceType};

use super::{Function, SandboxError};

/// Nodes of all types of one component. Types share what they are made of, so a few bytes can describe
/// a type of astronomic size; it is refused instead of written out.
const MAX_TYPE_NODES: u32 = 100_000;

/// The functions that a component exports, at world level and in its interfaces.
pub(super) fn functions(
    engine: &Engine,
    component: &Component,
) -> Result<Vec<Function>, SandboxError> {
    let ty = component.component_type();
    let mut converter = Converter {
        resources: Vec::new(),
        nodes_left: MAX_TYPE_NODES,
    };
    let mut functions = Vec::new();
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(function) => {
                functions.push(Function::new(
                    None,
                    name.into(),
                    converter.signature(&function)?,
                ));
            }
            ComponentItem::ComponentInstance(instance) => {
                let interface: Arc<str> = name.into();
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::Resource(resource) = item.ty {
                        converter.resources.push((resource, name.into()));
                    }
                }
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(function) = item.ty {
                        let signature = converter.signature(&function)?;
                        functions.push(Function::new(
                            Some(Arc::clone(&interface)),
                            name.into(),
                            signature,
                        ));
                    }
                }
            }
            ComponentItem::Resource(resource) => converter.resources.push((resource, name.into())),
            // Types and code without a function give nothing to call.
            ComponentItem::Type(_)
            | ComponentItem::CoreFunc(_)
            | ComponentItem::Module(_)
            | ComponentItem::Component(_) => {}
        }
    }
    Ok(functions)
}

struct Converter {
    /// The names under which resources are exported.
    resources: Vec<(ResourceType, Name)>,
    nodes_left: u32,
}

impl Converter {
    fn signature(&mut self, function: &types::ComponentFunc) -> Result<Signature, SandboxError> {
        if function.async_() {
            return Err(unsupported("an async function"));
        }
        let mut parameters = Vec::new();
        for (name, ty) in function.params() {
            parameters.push(Field {
                name: name.into(),
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

    fn convert(&mut self, ty: &types::Type) -> Result<Type, SandboxError> {
        self.nodes_left = self
            .nodes_left
            .checked_sub(1)
            .ok_or(SandboxError::TooComplex {
                what: "types within the types of its functions",
                found: u64::from(MAX_TYPE_NODES) + 1,
                limit: u64::from(MAX_TYPE_NODES),
            })?;
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
                        name: field.name.into(),
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
                    cases.push(Case {
                        name: case.name.into(),
                        ty,
                    });
                }
                Type::Variant(cases.into())
            }
            types::Type::Enum(cases) => Type::Enum(cases.names().map(Name::from).collect()),
            types::Type::Option(option) => Type::Option(self.shared(&option.ty())?),
            types::Type::Result(result) => {
                let ok = self.optional(result.ok())?;
                let err = self.optional(result.err())?;
                Type::Result(ResultType { ok, err })
            }
            types::Type::Flags(flags) => Type::Flags(flags.names().map(Name::from).collect()),
            types::Type::Own(resource) => Type::Own(self.resource(*resource)),
            types::Type::Borrow(resource) => Type::Borrow(self.resource(*resource)),
            types::Type::Future(_) => return Err(unsupported("a future")),
            types::Type::Stream(_) => return Err(unsupported("a stream")),
            types::Type::ErrorContext => return Err(unsupported("an error context")),
        })
    }

    fn resource(&self, resource: ResourceType) -> Name {
        let found = self.resources.iter().find(|(known, _)| *known == resource);
        found.map_or_else(|| "resource".into(), |(_, name)| name.clone())
    }
}

fn unsupported(what: &str) -> SandboxError {
    SandboxError::InvalidComponent(format!(
        "one of its functions has {what}, which this node does not run"
    ))
}

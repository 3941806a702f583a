//! A component's world as WIT text and as data, read from its bytes without compiling it.
//!
//! For people and for files that are not uploaded. Calls never depend on it: they use the engine's own
//! view of the types (`types`), which also covers components that WIT cannot express.

use std::sync::Arc;

use rpc_host_protocol::operation::Description;
use rpc_host_protocol::types::{Case, Field, Name, ResultType, Signature, Type};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Handle, InterfaceId, Resolve, TypeDefKind, WorldId, WorldItem};

use super::docs::Docs;
use super::{Function, Functions, Resource, SandboxError, count, sniff};

/// Nodes of all types of one world, and names.
const MAX_TYPE_NODES: u32 = 100_000;
/// So many bytes of a name count as one node more: each mention of a type writes its names out again.
const NAME_BYTES_OF_NODE: usize = 32;

/// What a component exports and imports.
#[derive(Clone, Debug)]
pub struct World {
    /// As WIT text.
    pub text: String,
    /// The functions that can be called.
    pub functions: Vec<Function>,
    /// The resources that it exports.
    pub resources: Vec<Resource>,
    /// Imported interfaces and functions; whether there is anything to call behind the name.
    pub imports: Vec<(String, bool)>,
}

/// Reads the world of a component.
pub fn inspect_component(bytes: &[u8]) -> Result<World, SandboxError> {
    sniff::is_component(bytes)?;
    count::check(bytes)?;
    let (resolve, world) = decode(bytes).map_err(SandboxError::InvalidComponent)?;
    let text = print(&resolve, world).map_err(SandboxError::InvalidComponent)?;
    let (mut functions, mut resources) = (Vec::new(), Vec::new());
    let mut imports = Vec::new();
    let mut types = Types::of(&resolve, MAX_TYPE_NODES);
    if let Some(world) = resolve.worlds.get(world) {
        for (key, item) in &world.exports {
            match item {
                WorldItem::Function(function) => functions.extend(types.function(None, function)),
                WorldItem::Interface { id, .. } => {
                    let name: Arc<str> = resolve.name_world_key(key).into();
                    let interface = resolve.interfaces.get(*id);
                    let of_types = interface.into_iter().flat_map(|one| &one.types);
                    for (name_of_type, id) in of_types {
                        let ty = resolve.types.get(*id);
                        if ty.is_some_and(|ty| matches!(ty.kind, TypeDefKind::Resource)) {
                            resources.push(Resource {
                                interface: Some(Arc::clone(&name)),
                                name: name_of_type.as_str().into(),
                            });
                        }
                    }
                    let inner = interface
                        .into_iter()
                        .flat_map(|interface| interface.functions.values());
                    functions
                        .extend(inner.flat_map(|function| types.function(Some(&name), function)));
                }
                WorldItem::Type { .. } => {}
            }
        }
        for (key, item) in &world.imports {
            let callable = match item {
                WorldItem::Function(_) => true,
                WorldItem::Interface { id, .. } => is_callable(&resolve, *id),
                WorldItem::Type { .. } => continue,
            };
            imports.push((resolve.name_world_key(key), callable));
        }
    }
    Ok(World {
        text,
        functions,
        resources,
        imports,
    })
}

/// What can be called of a component, as data.
pub fn describe_component(
    bytes: &[u8],
    function: Option<&str>,
) -> Result<Description, SandboxError> {
    let world = inspect_component(bytes)?;
    let docs = Docs::of_component(bytes);
    let functions = Functions::new(docs.added_to(world.functions));
    let mut description = functions.describe(function, &world.resources)?;
    docs.add_to(&mut description);
    Ok(description)
}

/// The world as WIT text.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    let (resolve, world) = decode(bytes)?;
    print(&resolve, world)
}

fn decode(bytes: &[u8]) -> Result<(Resolve, WorldId), String> {
    match wit_component::decode(bytes).map_err(|error| format!("{error:#}"))? {
        DecodedWasm::Component(resolve, world) => Ok((resolve, world)),
        DecodedWasm::WitPackage(..) => Err(
            "it is a WIT package, which holds no code; upload a component that implements it"
                .to_owned(),
        ),
    }
}

/// The world's own package, then those that it exports from: what it imports is the host's affair and
/// would bury the rest.
fn print(resolve: &Resolve, world: WorldId) -> Result<String, String> {
    let world = resolve.worlds.get(world).ok_or("it has no world")?;
    let main = world.package.ok_or("its world has no package")?;
    let mut nested = Vec::new();
    for item in world.exports.values() {
        if let WorldItem::Interface { id, .. } = item
            && let Some(package) = resolve
                .interfaces
                .get(*id)
                .and_then(|interface| interface.package)
            && package != main
            && !nested.contains(&package)
        {
            nested.push(package);
        }
    }
    let mut printer = WitPrinter::default();
    printer
        .print(resolve, main, &nested)
        .map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string())
}

fn is_callable(resolve: &Resolve, id: InterfaceId) -> bool {
    let interface = resolve.interfaces.get(id);
    interface.is_some_and(|interface| {
        !interface.functions.is_empty()
            || interface.types.values().any(|id| {
                matches!(
                    resolve.types.get(*id).map(|ty| &ty.kind),
                    Some(TypeDefKind::Resource)
                )
            })
    })
}

/// Converts types, as far as all of them together are not too large: they share what they are made of,
/// so a few lines can describe a type of astronomic size.
pub(super) struct Types<'r> {
    resolve: &'r Resolve,
    nodes_left: u32,
}

impl<'r> Types<'r> {
    pub(super) fn of(resolve: &'r Resolve, max_nodes: u32) -> Self {
        Types {
            resolve,
            nodes_left: max_nodes,
        }
    }

    /// `None` for a function that no component of this node can have, or that is too large to tell.
    pub(super) fn function(
        &mut self,
        interface: Option<&Arc<str>>,
        function: &wit_parser::Function,
    ) -> Option<Function> {
        let mut parameters = Vec::new();
        for parameter in &function.params {
            parameters.push(Field {
                name: self.name(&parameter.name)?,
                ty: self.convert(&parameter.ty)?,
            });
        }
        let result = match &function.result {
            Some(ty) => Some(self.convert(ty)?),
            None => None,
        };
        let signature = Signature { parameters, result };
        Some(Function::new(
            interface.cloned(),
            self.name(&function.name)?,
            signature,
        ))
    }

    /// `None` for types that no callable function has.
    fn convert(&mut self, ty: &wit_parser::Type) -> Option<Type> {
        use wit_parser::Type as Wit;
        self.spend(1)?;
        let resolve = self.resolve;
        let id = match ty {
            Wit::Bool => return Some(Type::Bool),
            Wit::S8 => return Some(Type::S8),
            Wit::U8 => return Some(Type::U8),
            Wit::S16 => return Some(Type::S16),
            Wit::U16 => return Some(Type::U16),
            Wit::S32 => return Some(Type::S32),
            Wit::U32 => return Some(Type::U32),
            Wit::S64 => return Some(Type::S64),
            Wit::U64 => return Some(Type::U64),
            Wit::F32 => return Some(Type::F32),
            Wit::F64 => return Some(Type::F64),
            Wit::Char => return Some(Type::Char),
            Wit::String => return Some(Type::String),
            Wit::ErrorContext => return None,
            Wit::Id(id) => *id,
        };
        let definition = resolve.types.get(id)?;
        Some(match &definition.kind {
            TypeDefKind::Type(inner) => return self.convert(inner),
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    Some(Field {
                        name: self.name(&field.name)?,
                        ty: self.convert(&field.ty)?,
                    })
                });
                Type::Record(fields.collect::<Option<_>>()?)
            }
            TypeDefKind::Flags(flags) => {
                Type::Flags(self.named(flags.flags.iter().map(|flag| &flag.name))?)
            }
            TypeDefKind::Tuple(tuple) => Type::Tuple(
                tuple
                    .types
                    .iter()
                    .map(|ty| self.convert(ty))
                    .collect::<Option<_>>()?,
            ),
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| {
                    let ty = match &case.ty {
                        Some(ty) => Some(self.convert(ty)?),
                        None => None,
                    };
                    Some(Case {
                        name: self.name(&case.name)?,
                        ty,
                    })
                });
                Type::Variant(cases.collect::<Option<_>>()?)
            }
            TypeDefKind::Enum(cases) => {
                Type::Enum(self.named(cases.cases.iter().map(|case| &case.name))?)
            }
            TypeDefKind::Option(inner) => Type::Option(self.shared(inner)?),
            TypeDefKind::Result(result) => Type::Result(ResultType {
                ok: self.optional(&result.ok)?,
                err: self.optional(&result.err)?,
            }),
            TypeDefKind::List(inner) => Type::List(self.shared(inner)?),
            TypeDefKind::FixedLengthList(inner, length) => {
                Type::FixedList(self.shared(inner)?, *length)
            }
            TypeDefKind::Map(key, value) => Type::Map(self.shared(key)?, self.shared(value)?),
            TypeDefKind::Handle(handle) => {
                let (Handle::Own(id) | Handle::Borrow(id)) = handle;
                let name = self.resource(*id)?;
                match handle {
                    Handle::Own(_) => Type::Own(name),
                    Handle::Borrow(_) => Type::Borrow(name),
                }
            }
            TypeDefKind::Resource => Type::Own(self.resource(id)?),
            TypeDefKind::Future(_) | TypeDefKind::Stream(_) | TypeDefKind::Unknown => return None,
        })
    }

    fn shared(&mut self, ty: &wit_parser::Type) -> Option<Arc<Type>> {
        self.convert(ty).map(Arc::new)
    }

    fn optional(&mut self, ty: &Option<wit_parser::Type>) -> Option<Option<Arc<Type>>> {
        match ty {
            Some(ty) => self.shared(ty).map(Some),
            None => Some(None),
        }
    }

    fn named(&mut self, names: impl Iterator<Item = &'r String>) -> Option<Arc<[Name]>> {
        names.map(|name| self.name(name)).collect()
    }

    fn resource(&mut self, id: wit_parser::TypeId) -> Option<Name> {
        let definition = self.resolve.types.get(id);
        let name = definition.and_then(|definition| definition.name.as_deref());
        self.name(name.unwrap_or("resource"))
    }

    fn name(&mut self, name: &str) -> Option<Name> {
        self.spend(1 + name.len() / NAME_BYTES_OF_NODE)?;
        Some(name.into())
    }

    fn spend(&mut self, nodes: usize) -> Option<()> {
        let nodes = u32::try_from(nodes).ok()?;
        self.nodes_left = self.nodes_left.checked_sub(nodes)?;
        Some(())
    }
}

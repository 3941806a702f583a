//! A component's world as WIT text and as data, read from its bytes without compiling it.
//!
//! For people and for files that are not uploaded. Calls never depend on it: they use the engine's own
//! view of the types (`types`), which also covers components that WIT cannot express.

use std::sync::Arc;

use rpc_host_protocol::types::{Case, Field, ResultType, Signature, Type};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Handle, InterfaceId, Resolve, TypeDefKind, WorldId, WorldItem};

use super::{Function, SandboxError, count, sniff};

/// What a component exports and imports.
#[derive(Clone, Debug)]
pub struct World {
    /// As WIT text.
    pub text: String,
    /// The functions that can be called.
    pub functions: Vec<Function>,
    /// Imported interfaces and functions; whether there is anything to call behind the name.
    pub imports: Vec<(String, bool)>,
}

/// Reads the world of a component.
pub fn inspect_component(bytes: &[u8]) -> Result<World, SandboxError> {
    sniff::is_component(bytes)?;
    count::check(bytes)?;
    let (resolve, world) = decode(bytes).map_err(SandboxError::InvalidComponent)?;
    let text = print(&resolve, world).map_err(SandboxError::InvalidComponent)?;
    let mut functions = Vec::new();
    let mut imports = Vec::new();
    if let Some(world) = resolve.worlds.get(world) {
        for (key, item) in &world.exports {
            match item {
                WorldItem::Function(function) => {
                    functions.extend(describe(&resolve, None, function))
                }
                WorldItem::Interface { id, .. } => {
                    let name: Arc<str> = resolve.name_world_key(key).into();
                    let interface = resolve.interfaces.get(*id);
                    let inner = interface
                        .into_iter()
                        .flat_map(|interface| interface.functions.values());
                    functions.extend(
                        inner.flat_map(|function| describe(&resolve, Some(&name), function)),
                    );
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
        imports,
    })
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

fn describe(
    resolve: &Resolve,
    interface: Option<&Arc<str>>,
    function: &wit_parser::Function,
) -> Option<Function> {
    let mut parameters = Vec::new();
    for parameter in &function.params {
        let name = parameter.name.as_str().into();
        parameters.push(Field {
            name,
            ty: convert(resolve, &parameter.ty)?,
        });
    }
    let result = match &function.result {
        Some(ty) => Some(convert(resolve, ty)?),
        None => None,
    };
    let signature = Signature { parameters, result };
    Some(Function::new(
        interface.cloned(),
        function.name.as_str().into(),
        signature,
    ))
}

/// `None` for types that no callable function has.
fn convert(resolve: &Resolve, ty: &wit_parser::Type) -> Option<Type> {
    use wit_parser::Type as Wit;
    let shared = |ty: &Wit| convert(resolve, ty).map(Arc::new);
    let optional = |ty: &Option<Wit>| match ty {
        Some(ty) => shared(ty).map(Some),
        None => Some(None),
    };
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
        TypeDefKind::Type(inner) => return convert(resolve, inner),
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|field| {
                Some(Field {
                    name: field.name.as_str().into(),
                    ty: convert(resolve, &field.ty)?,
                })
            });
            Type::Record(fields.collect::<Option<_>>()?)
        }
        TypeDefKind::Flags(flags) => Type::Flags(
            flags
                .flags
                .iter()
                .map(|flag| flag.name.as_str().into())
                .collect(),
        ),
        TypeDefKind::Tuple(tuple) => Type::Tuple(
            tuple
                .types
                .iter()
                .map(|ty| convert(resolve, ty))
                .collect::<Option<_>>()?,
        ),
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| {
                let ty = match &case.ty {
                    Some(ty) => Some(convert(resolve, ty)?),
                    None => None,
                };
                Some(Case {
                    name: case.name.as_str().into(),
                    ty,
                })
            });
            Type::Variant(cases.collect::<Option<_>>()?)
        }
        TypeDefKind::Enum(cases) => Type::Enum(
            cases
                .cases
                .iter()
                .map(|case| case.name.as_str().into())
                .collect(),
        ),
        TypeDefKind::Option(inner) => Type::Option(shared(inner)?),
        TypeDefKind::Result(result) => Type::Result(ResultType {
            ok: optional(&result.ok)?,
            err: optional(&result.err)?,
        }),
        TypeDefKind::List(inner) => Type::List(shared(inner)?),
        TypeDefKind::FixedLengthList(inner, length) => Type::FixedList(shared(inner)?, *length),
        TypeDefKind::Map(key, value) => Type::Map(shared(key)?, shared(value)?),
        TypeDefKind::Handle(handle) => {
            let (Handle::Own(id) | Handle::Borrow(id)) = handle;
            let name = resource_name(resolve, *id);
            match handle {
                Handle::Own(_) => Type::Own(name),
                Handle::Borrow(_) => Type::Borrow(name),
            }
        }
        TypeDefKind::Resource => Type::Own(resource_name(resolve, id)),
        TypeDefKind::Future(_) | TypeDefKind::Stream(_) | TypeDefKind::Unknown => return None,
    })
}

fn resource_name(resolve: &Resolve, id: wit_parser::TypeId) -> Arc<str> {
    let name = resolve
        .types
        .get(id)
        .and_then(|definition| definition.name.as_deref());
    name.unwrap_or("resource").into()
}

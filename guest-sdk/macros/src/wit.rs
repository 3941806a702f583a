//! The interface as WIT text.
//!
//! Everything goes into one interface, named like the `mod`, because a world cannot export types
//! beside functions; a caller need not know, since the host finds `add` by its short name.

use std::fmt::Write as _;

use crate::functions::{Function, Role};
use crate::interface::{Case, Interface, Resource, Shape, Value};
use crate::types::Type;

/// The WIT package of a module, with one interface and one world.
pub(crate) fn package(interface: &Interface) -> String {
    let name = interface.name.in_wit();
    let mut body = String::new();
    for value in &interface.values {
        body.push_str(&value_text(value, interface));
    }
    for resource in &interface.resources {
        body.push_str(&resource_text(resource, interface));
    }
    for function in &interface.functions {
        body.push_str(&function_text(function, "    ", interface));
    }
    format!(
        "package module:{name};\n\n{docs}interface {name} {{\n{body}}}\n\nworld {world} {{\n    \
         export {name};\n}}\n",
        docs = interface.docs.in_wit(""),
        world = world_name(interface),
    )
}

/// The name of the world, which must differ from that of the interface.
pub(crate) fn world_name(interface: &Interface) -> String {
    format!("{}-world", interface.name.as_str())
}

fn value_text(value: &Value, interface: &Interface) -> String {
    let mut text = value.docs.in_wit("    ");
    let name = value.name.in_wit();
    match &value.shape {
        Shape::Record(fields) => {
            let _ = writeln!(text, "    record {name} {{");
            for field in fields {
                text.push_str(&field.docs.in_wit("        "));
                let ty = type_text(&field.ty, interface);
                let _ = writeln!(text, "        {}: {ty},", field.name.in_wit());
            }
        }
        Shape::Enum(cases) => {
            let _ = writeln!(text, "    enum {name} {{");
            text.extend(cases.iter().map(|case| case_text(case, interface)));
        }
        Shape::Variant(cases) => {
            let _ = writeln!(text, "    variant {name} {{");
            text.extend(cases.iter().map(|case| case_text(case, interface)));
        }
    }
    text.push_str("    }\n");
    text
}

fn case_text(case: &Case, interface: &Interface) -> String {
    let docs = case.docs.in_wit("        ");
    let name = case.name.in_wit();
    match case.payload.as_slice() {
        [] => format!("{docs}        {name},\n"),
        [one] => format!("{docs}        {name}({}),\n", type_text(one, interface)),
        many => format!("{docs}        {name}({}),\n", tuple_text(many, interface)),
    }
}

fn resource_text(resource: &Resource, interface: &Interface) -> String {
    let mut text = resource.docs.in_wit("    ");
    let _ = writeln!(text, "    resource {} {{", resource.name.in_wit());
    for function in &resource.functions {
        text.push_str(&function_text(function, "        ", interface));
    }
    text.push_str("    }\n");
    text
}

fn function_text(function: &Function, indent: &str, interface: &Interface) -> String {
    let docs = function.docs.in_wit(indent);
    let parameters: Vec<String> = function
        .parameters
        .iter()
        .map(|it| format!("{}: {}", it.name.in_wit(), type_text(&it.ty, interface)))
        .collect();
    let parameters = parameters.join(", ");
    let result = |ty: &Type| format!(" -> {}", type_text(ty, interface));
    if function.role == Role::Constructor {
        // A constructor that cannot fail does not name what it makes.
        let fallible = function
            .result
            .as_ref()
            .filter(|ty| matches!(ty, Type::Result(..)));
        let result = fallible.map(result).unwrap_or_default();
        return format!("{docs}{indent}constructor({parameters}){result};\n");
    }
    let word = match function.role {
        Role::Static => "static func",
        _ => "func",
    };
    let name = function.name.in_wit();
    let result = function.result.as_ref().map(result).unwrap_or_default();
    format!("{docs}{indent}{name}: {word}({parameters}){result};\n")
}

fn type_text(ty: &Type, interface: &Interface) -> String {
    let inner = |ty: &Type| type_text(ty, interface);
    match ty {
        Type::Plain(name) => (*name).to_owned(),
        Type::Str => "string".to_owned(),
        Type::List(element) | Type::Slice(element) => format!("list<{}>", inner(element)),
        Type::Option(value) => format!("option<{}>", inner(value)),
        Type::Result(None, None) => "result".to_owned(),
        Type::Result(Some(ok), None) => format!("result<{}>", inner(ok)),
        Type::Result(None, Some(err)) => format!("result<_, {}>", inner(err)),
        Type::Result(Some(ok), Some(err)) => format!("result<{}, {}>", inner(ok), inner(err)),
        Type::Tuple(elements) => tuple_text(elements, interface),
        Type::Value(ident) => {
            let value = interface.values.iter().find(|value| value.ident == *ident);
            value.map(|value| value.name.in_wit()).unwrap_or_default()
        }
        Type::Owned(ident) => resource_name(ident, interface),
        Type::Lent { resource, .. } => format!("borrow<{}>", resource_name(resource, interface)),
    }
}

fn tuple_text(elements: &[Type], interface: &Interface) -> String {
    let elements: Vec<String> = elements.iter().map(|it| type_text(it, interface)).collect();
    format!("tuple<{}>", elements.join(", "))
}

fn resource_name(ident: &proc_macro2::Ident, interface: &Interface) -> String {
    let mut resources = interface.resources.iter();
    let resource = resources.find(|resource| resource.ident == *ident);
    resource.map(|it| it.name.in_wit()).unwrap_or_default()
}

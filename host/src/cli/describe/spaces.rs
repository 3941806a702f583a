//! What is described, by where it is: each interface with its functions and resources, and the world.

use std::collections::BTreeMap;

use rpc_host_client::{Description, FunctionDescription};
use rpc_host_protocol::Type;

/// An interface, or the world.
#[derive(Default)]
pub(super) struct Space<'d> {
    /// In the order of the description.
    pub(super) functions: Vec<&'d FunctionDescription>,
    /// By name.
    pub(super) resources: BTreeMap<&'d str, Resource<'d>>,
}

/// A resource with its functions.
#[derive(Default)]
pub(super) struct Resource<'d> {
    pub(super) docs: Option<&'d str>,
    /// Its constructor, if it has one.
    pub(super) constructor: Option<&'d FunctionDescription>,
    /// What is called on one of them, by the short name.
    pub(super) methods: Vec<(&'d str, &'d FunctionDescription)>,
    /// What is called on the resource.
    pub(super) statics: Vec<(&'d str, &'d FunctionDescription)>,
}

/// What WIT calls a function, and its signature as WIT writes it: without the object that a method is called on,
/// and without what a constructor makes.
pub(super) fn in_wit(function: &FunctionDescription) -> (&str, String) {
    let role = function.name.strip_prefix('[');
    let (role, path) = role
        .and_then(|rest| rest.split_once(']'))
        .unwrap_or(("", &function.name));
    let name = match role {
        "" => &function.name,
        "constructor" => "constructor",
        _ => path.split_once('.').map_or(path, |(_, name)| name),
    };
    if let Some(why) = &function.undescribed {
        return (name, why.clone());
    }
    let mut signature = function.signature.clone();
    match role {
        "method" => drop(
            signature
                .parameters
                .drain(..1.min(signature.parameters.len())),
        ),
        "constructor" if matches!(signature.result, Some(Type::Own(_))) => signature.result = None,
        _ => {}
    }
    let signature = signature.to_string();
    let shown = match role {
        "constructor" => signature.trim_start_matches("func").to_owned(),
        "static" => format!("static {signature}"),
        _ => signature,
    };
    (name, shown)
}

/// Interfaces by name; the world, which has none, is the last.
pub(super) fn spaces(description: &Description) -> Vec<(Option<&str>, Space<'_>)> {
    let mut world = Space::default();
    let mut interfaces: BTreeMap<&str, Space<'_>> = BTreeMap::new();
    for resource in &description.resources {
        let space = of(&mut interfaces, &mut world, resource.interface.as_deref());
        space.resource(&resource.name).docs = resource.docs.as_deref();
    }
    for function in &description.functions {
        let space = of(&mut interfaces, &mut world, function.interface.as_deref());
        space.add(function);
    }
    let mut spaces: Vec<_> = interfaces
        .into_iter()
        .map(|(name, space)| (Some(name), space))
        .collect();
    if !world.functions.is_empty() || !world.resources.is_empty() {
        spaces.push((None, world));
    }
    spaces
}

fn of<'s, 'd>(
    interfaces: &'s mut BTreeMap<&'d str, Space<'d>>,
    world: &'s mut Space<'d>,
    name: Option<&'d str>,
) -> &'s mut Space<'d> {
    match name {
        None => world,
        Some(name) => interfaces.entry(name).or_default(),
    }
}

impl<'d> Resource<'d> {
    /// Its constructor, its methods, and what is called on the resource.
    pub(super) fn all(&self) -> impl Iterator<Item = &'d FunctionDescription> {
        let others = self.methods.iter().chain(&self.statics);
        let others = others.map(|(_, function)| *function);
        self.constructor.into_iter().chain(others)
    }
}

impl<'d> Space<'d> {
    /// All functions, those of resources included.
    pub(super) fn all(&self) -> impl Iterator<Item = &'d FunctionDescription> {
        let of_resources = self.resources.values().flat_map(Resource::all);
        self.functions.iter().copied().chain(of_resources)
    }

    fn resource(&mut self, name: &'d str) -> &mut Resource<'d> {
        self.resources.entry(name).or_default()
    }

    fn add(&mut self, function: &'d FunctionDescription) {
        let role = function.name.strip_prefix('[');
        let role = role.and_then(|rest| rest.split_once(']'));
        match role {
            Some(("constructor", resource)) => self.resource(resource).constructor = Some(function),
            Some((role @ ("method" | "static"), path)) => {
                let (resource, name) = path.split_once('.').unwrap_or((path, path));
                let resource = self.resource(resource);
                match role {
                    "method" => resource.methods.push((name, function)),
                    _ => resource.statics.push((name, function)),
                }
            }
            _ => self.functions.push(function),
        }
    }
}

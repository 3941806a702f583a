//! Types of WIT as Python's, as its client library takes and gives them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rpc_host_protocol::Type;
use rpc_host_protocol::types::{Field, ResultType};

use super::names::{identifier, pascal, snake};

/// What is imported by its own name, and so is no name for a record.
const OF_OTHERS: &[&str] = &[
    "Any", "Err", "Iterable", "Literal", "Mapping", "Never", "Ok", "Protocol", "Some", "Variant",
];

/// Whether a value comes from the caller or goes there: more is taken than is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Taken,
    Given,
}

/// The names of a stub, and what it has to define for its types.
#[derive(Default)]
pub(super) struct Types {
    /// What no record can be called.
    taken: HashSet<String>,
    /// Names on their way there.
    seen: RefCell<HashSet<String>>,
    /// What is used of other modules, by module.
    used: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Records by what they are made of. Types have no names of their own, so equal ones are one.
    known: HashMap<String, String>,
    /// Their definitions, each after those that it is made of.
    records: Vec<String>,
    /// What a resource is called, by interface and name.
    classes: HashMap<(Option<String>, String), String>,
}

impl Types {
    /// Reserves a name. Whether it was free.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// Reserves the names of all fields in a type: in the class of a record they hide what is outside.
    pub(super) fn take_fields(&mut self, ty: &Type) {
        // Looks at all that it is made of, and finds nothing.
        ty.any(&|ty| {
            if let Type::Record(fields) = ty {
                let mut seen = self.seen.borrow_mut();
                seen.extend(fields.iter().map(|field| identifier(&field.name)));
            }
            false
        });
        self.taken.extend(self.seen.take());
    }

    /// A name like this one that is free until now.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let mut is_free = |name: &String| !OF_OTHERS.contains(&name.as_str()) && self.take(name);
        names.find(|name| is_free(name)).unwrap_or_default()
    }

    /// Gives a resource its class.
    pub(super) fn name_class(&mut self, interface: Option<&str>, name: &str, class: String) {
        let key = (interface.map(str::to_owned), name.to_owned());
        self.classes.insert(key, class);
    }

    /// The class of a resource.
    pub(super) fn class(&self, interface: Option<&str>, name: &str) -> Option<&str> {
        let key = (interface.map(str::to_owned), name.to_owned());
        self.classes.get(&key).map(String::as_str)
    }

    /// A name of another module, as it is written here. Where it means something else here, it is written with its
    /// module, whose own name nothing in WIT can have.
    pub(super) fn of_module(&mut self, module: &'static str, name: &'static str) -> String {
        self.used.entry(module).or_default().insert(name);
        match self.taken.contains(name) {
            true => format!("{}.{name}", alias(module)),
            false => name.to_owned(),
        }
    }

    /// A name that Python has everywhere.
    pub(super) fn builtin(&mut self, name: &'static str) -> String {
        match self.taken.contains(name) {
            true => self.of_module("builtins", name),
            false => name.to_owned(),
        }
    }

    /// A type of a function in `interface`. `hint` is what a record in it is called.
    pub(super) fn of(
        &mut self,
        ty: &Type,
        way: Way,
        interface: Option<&str>,
        hint: &str,
    ) -> String {
        match ty {
            Type::Bool => self.builtin("bool"),
            Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64 => self.builtin("int"),
            Type::F32 | Type::F64 => self.builtin("float"),
            Type::Char | Type::String => self.builtin("str"),
            Type::List(inner) if **inner == Type::U8 => self.builtin("bytes"),
            Type::List(inner) | Type::FixedList(inner, _) => {
                let list = match way {
                    Way::Taken => self.of_module("collections.abc", "Iterable"),
                    Way::Given => self.builtin("list"),
                };
                format!("{list}[{}]", self.of(inner, way, interface, hint))
            }
            Type::Map(key, value) => {
                let dict = match way {
                    Way::Taken => self.of_module("collections.abc", "Mapping"),
                    Way::Given => self.builtin("dict"),
                };
                let key = self.of(key, way, interface, hint);
                format!("{dict}[{key}, {}]", self.of(value, way, interface, hint))
            }
            Type::Tuple(types) => {
                let tuple = self.builtin("tuple");
                let types = types.iter().enumerate();
                let types: Vec<_> = types
                    .map(|(index, ty)| self.of(ty, way, interface, &format!("{hint}{index}")))
                    .collect();
                match types.is_empty() {
                    true => format!("{tuple}[()]"),
                    false => format!("{tuple}[{}]", types.join(", ")),
                }
            }
            Type::Record(fields) => {
                let record = self.record(ty, fields, interface, hint);
                match way {
                    Way::Given => record,
                    Way::Taken => {
                        let mapping = self.of_module("collections.abc", "Mapping");
                        let (str, any) = (self.builtin("str"), self.of_module("typing", "Any"));
                        format!("{record} | {mapping}[{str}, {any}]")
                    }
                }
            }
            // A case is known when the program runs; which there are is in the signature.
            Type::Variant(_) => self.of_module("rpc_host", "Variant"),
            Type::Enum(names) => self.literal(names),
            Type::Flags(names) => {
                let literal = self.literal(names);
                let set = match way {
                    Way::Taken => self.of_module("collections.abc", "Iterable"),
                    Way::Given => self.builtin("frozenset"),
                };
                format!("{set}[{literal}]")
            }
            Type::Option(inner) if matches!(**inner, Type::Option(_)) => {
                format!("{} | None", self.of_module("rpc_host", "Some"))
            }
            Type::Option(inner) => format!("{} | None", self.of(inner, way, interface, hint)),
            Type::Result(_) => {
                let (ok, err) = (
                    self.of_module("rpc_host", "Ok"),
                    self.of_module("rpc_host", "Err"),
                );
                format!("{ok} | {err}")
            }
            Type::Own(name) | Type::Borrow(name) => self.object(name, interface),
        }
    }

    /// What a function gives: of a `result` the good end, as the other one is raised.
    pub(super) fn result(
        &mut self,
        ty: Option<&Type>,
        interface: Option<&str>,
        hint: &str,
    ) -> String {
        match ty {
            None | Some(Type::Result(ResultType { ok: None, .. })) => "None".to_owned(),
            Some(Type::Result(ResultType { ok: Some(ok), .. })) => {
                self.of(ok, Way::Given, interface, hint)
            }
            Some(ty) => self.of(ty, Way::Given, interface, hint),
        }
    }

    fn object(&mut self, name: &str, interface: Option<&str>) -> String {
        let own = self.class(interface, name);
        let own = own.or_else(|| self.class(None, name)).map(str::to_owned);
        let elsewhere = || {
            let mut named = self.classes.iter().filter(|((_, other), _)| other == name);
            match (named.next(), named.next()) {
                (Some((_, class)), None) => Some(class.clone()),
                _ => None,
            }
        };
        // One of somebody else's: an object of the caller's own, for example.
        match own.or_else(elsewhere) {
            Some(class) => class,
            None => self.of_module("typing", "Any"),
        }
    }

    fn literal(&mut self, names: &[Arc<str>]) -> String {
        if names.is_empty() {
            return self.of_module("typing", "Never");
        }
        let names: Vec<_> = names
            .iter()
            .map(|name| format!("\"{}\"", snake(name)))
            .collect();
        let literal = self.of_module("typing", "Literal");
        format!("{literal}[{}]", names.join(", "))
    }

    /// The class of a record, which is defined at its first mention.
    fn record(
        &mut self,
        ty: &Type,
        fields: &[Field],
        interface: Option<&str>,
        hint: &str,
    ) -> String {
        let key = ty.to_string();
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let name = self.fresh(hint);
        self.known.insert(key.clone(), name.clone());
        let protocol = self.of_module("typing", "Protocol");
        let mut text = format!("class {name}({protocol}):\n    \"\"\"{key}\"\"\"\n");
        for field in fields {
            let hint = format!("{name}{}", pascal(&field.name));
            let ty = self.of(&field.ty, Way::Given, interface, &hint);
            text += &format!("    {}: {ty}\n", identifier(&field.name));
        }
        self.records.push(text);
        name
    }

    /// What goes before the rest: imports, and the classes of records.
    pub(super) fn preamble(self) -> (String, Vec<String>) {
        let mut imports = String::from("from __future__ import annotations\n\n");
        for (module, names) in &self.used {
            let names = names.iter().copied();
            let (taken, free): (Vec<&str>, Vec<&str>) =
                names.partition(|name| self.taken.contains(*name));
            if !taken.is_empty() {
                imports += &format!("import {module} as {}\n", alias(module));
            }
            if !free.is_empty() {
                imports += &format!("from {module} import {}\n", free.join(", "));
            }
        }
        (imports, self.records)
    }
}

fn alias(module: &str) -> String {
    format!("_{}", module.replace('.', "_"))
}

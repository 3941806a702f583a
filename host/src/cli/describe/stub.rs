//! The stub of a Python module: what `conn.modules.NAME` has, for type checkers and editors.

use std::collections::HashMap;

use rpc_host_client::{Description, FunctionDescription};
use rpc_host_protocol::Type;
use rpc_host_protocol::types::{Parameter, ResultType};

use super::names::{identifier, pascal, short};
use super::python::{Types, Way};
use super::spaces::{Resource, Space, in_wit, spaces};

/// The text of a file `.pyi`.
pub(super) fn stub(name: &str, description: &Description) -> String {
    let spaces = spaces(description);
    let mut types = Types::default();
    let shown = Shown::of(&spaces, &mut types);
    let mut parts = Vec::new();
    for (interface, space) in &spaces {
        for (name, resource) in &space.resources {
            let class = types.class(*interface, name).map(str::to_owned);
            let class = class.unwrap_or_else(|| pascal(name));
            parts.push(of_resource(&mut types, *interface, &class, resource));
        }
    }
    for (interface, space) in &spaces {
        for function in &space.functions {
            if shown.at_top.get(&identifier(&function.name)) == Some(interface) {
                let text = Def::free(*interface, function).text(&mut types, "");
                parts.push(text);
            }
        }
    }
    for (interface, class) in &shown.interfaces {
        let space = spaces.iter().find(|(name, _)| *name == Some(*interface));
        if let Some((_, space)) = space {
            parts.push(of_interface(&mut types, interface, class, space));
        }
    }
    let docs = description.docs.as_deref().unwrap_or_default();
    let title = docstring(&format!("module {name}\n\n{docs}"), "");
    let (imports, records) = types.preamble();
    let all = [title + "\n" + &imports].into_iter();
    let all: Vec<_> = all.chain(records).chain(parts).collect();
    all.join("\n")
}

/// What is found by a name of its own.
struct Shown<'d> {
    /// Which interface a function is of that is called without any: the world's before all others, and of those each
    /// name that only one has.
    at_top: HashMap<String, Option<&'d str>>,
    /// The interfaces that are shown apart, and what they are called: where there are several.
    interfaces: Vec<(&'d str, String)>,
}

impl<'d> Shown<'d> {
    fn of(spaces: &[(Option<&'d str>, Space<'d>)], types: &mut Types) -> Self {
        let mut at_top: HashMap<String, Vec<Option<&'d str>>> = HashMap::new();
        for (interface, space) in spaces {
            for function in &space.functions {
                let whose = at_top.entry(identifier(&function.name)).or_default();
                whose.push(*interface);
            }
        }
        let at_top: HashMap<_, _> = at_top
            .into_iter()
            .filter_map(|(name, whose)| match whose.as_slice() {
                [only] => Some((name, *only)),
                several => several.contains(&None).then_some((name, None)),
            })
            .collect();
        // What is called like something that types are written with makes these be written otherwise.
        for (_, space) in spaces {
            for function in space.all() {
                let signature = &function.signature;
                let parameters = signature.parameters.iter().map(|parameter| &parameter.ty);
                for ty in parameters.chain(&signature.result) {
                    types.take_fields(ty);
                }
            }
            for function in &space.functions {
                types.take(&identifier(&function.name));
            }
            for resource in space.resources.values() {
                let (methods, statics) = (resource.methods.iter(), resource.statics.iter());
                for (name, _) in methods.chain(statics) {
                    types.take(&identifier(name));
                }
            }
        }
        for (interface, space) in spaces {
            for name in space.resources.keys() {
                let mut class = pascal(name);
                if !types.take(&class) {
                    let of = interface.map(short).map(pascal).unwrap_or_default();
                    class = types.fresh(&format!("{of}{class}"));
                }
                types.name_class(*interface, name, class);
            }
        }
        let named = spaces.iter().filter_map(|(name, _)| *name);
        let mut interfaces: Vec<_> = named.map(|name| (name, identifier(short(name)))).collect();
        if interfaces.len() < 2 {
            interfaces.clear();
        }
        interfaces.retain(|(_, class)| types.take(class));
        Shown { at_top, interfaces }
    }
}

fn of_interface(types: &mut Types, interface: &str, class: &str, space: &Space<'_>) -> String {
    let mut text = format!("class {class}:\n");
    text += &docstring(&format!("interface {interface}"), "    ");
    for name in space.resources.keys() {
        let known = types.class(Some(interface), name);
        let known = known.unwrap_or_default().to_owned();
        // In the class, a name that is equal would mean itself.
        if known != pascal(name) {
            text += &format!("    {} = {known}\n", pascal(name));
        }
    }
    for function in &space.functions {
        text.push('\n');
        text += "    @staticmethod\n";
        text += &Def::free(Some(interface), function).text(types, "    ");
    }
    text
}

fn of_resource(
    types: &mut Types,
    interface: Option<&str>,
    class: &str,
    resource: &Resource<'_>,
) -> String {
    let mut text = format!("class {class}:\n");
    let mut docs = resource.docs.unwrap_or_default().to_owned();
    if resource.constructor.is_none() {
        docs += "\n\nIt has no constructor: a function gives its objects.";
    }
    text += &docstring(&docs, "    ");
    let mut defs = Vec::new();
    if let Some(constructor) = resource.constructor {
        defs.push(Def {
            name: "__init__".to_owned(),
            self_: Some(0),
            hint: class.to_owned(),
            gives: Some("None".to_owned()),
            interface,
            function: constructor,
        });
    }
    for (name, method) in &resource.methods {
        defs.push(Def {
            name: identifier(name),
            self_: Some(1),
            hint: format!("{class}{}", pascal(name)),
            gives: None,
            interface,
            function: method,
        });
    }
    for def in defs {
        text.push('\n');
        text += &def.text(types, "    ");
    }
    for (name, function) in &resource.statics {
        let def = Def {
            name: identifier(name),
            self_: None,
            hint: format!("{class}{}", pascal(name)),
            gives: None,
            interface,
            function,
        };
        text += "\n    @staticmethod\n";
        text += &def.text(types, "    ");
    }
    if !resource.methods.iter().any(|(name, _)| *name == "close") {
        text += "\n    def close(self) -> None:\n";
        text += &docstring(
            "Lets go of the object, and waits until its destructor has run.",
            "        ",
        );
    }
    let object = types.builtin("object");
    text += &format!(
        "\n    def __enter__(self) -> {class}: ...\n    def __exit__(self, *exception: {object}) -> None: ...\n"
    );
    text
}

/// One `def`.
struct Def<'d> {
    name: String,
    /// Whether it has a `self`, and how many of the function's parameters that is.
    self_: Option<usize>,
    /// What records in its types are named after.
    hint: String,
    /// What it gives, where that is not what the function does.
    gives: Option<String>,
    interface: Option<&'d str>,
    function: &'d FunctionDescription,
}

impl<'d> Def<'d> {
    fn free(interface: Option<&'d str>, function: &'d FunctionDescription) -> Self {
        Def {
            name: identifier(&function.name),
            self_: None,
            hint: pascal(&function.name),
            gives: None,
            interface,
            function,
        }
    }

    fn text(&self, types: &mut Types, indent: &str) -> String {
        let Def {
            name,
            hint,
            interface,
            function,
            ..
        } = self;
        let mut parameters: Vec<String> = Vec::new();
        parameters.extend(self.self_.map(|_| "self".to_owned()));
        let gives = match &function.undescribed {
            Some(_) => {
                let any = types.of_module("typing", "Any");
                parameters.extend([format!("*args: {any}"), format!("**kwargs: {any}")]);
                any
            }
            None => {
                let skipped = self.self_.unwrap_or_default();
                let own = function.signature.parameters.get(skipped..);
                parameters.extend(self.parameters(types, own.unwrap_or_default()));
                let result = function.signature.result.as_ref();
                types.result(result, *interface, &format!("{hint}Result"))
            }
        };
        let gives = self.gives.clone().unwrap_or(gives);
        let parameters = parameters.join(", ");
        let body = docstring(&self.docs(), &format!("{indent}    "));
        format!("{indent}def {name}({parameters}) -> {gives}:\n{body}")
    }

    fn parameters(&self, types: &mut Types, parameters: &[Parameter]) -> Vec<String> {
        // Options at the end may be left out.
        let is_option = |parameter: &&Parameter| matches!(parameter.ty, Type::Option(_));
        let trailing = parameters.iter().rev().take_while(is_option).count();
        let first_optional = parameters.len() - trailing;
        let mut names = vec!["self".to_owned()];
        let written = parameters.iter().enumerate().map(|(index, parameter)| {
            let mut name = identifier(&parameter.name);
            if names.contains(&name) {
                name = format!("arg{index}");
            }
            names.push(name.clone());
            let hint = format!("{}{}", self.hint, pascal(&parameter.name));
            let ty = types.of(&parameter.ty, Way::Taken, self.interface, &hint);
            let default = if index < first_optional {
                ""
            } else {
                " = None"
            };
            format!("{name}: {ty}{default}")
        });
        written.collect()
    }

    /// What is said about it, and its signature as in WIT.
    fn docs(&self) -> String {
        let function = self.function;
        let mut docs = function.docs.clone().unwrap_or_default();
        let (name, shown) = in_wit(function);
        let colon = if shown.starts_with('(') { "" } else { ": " };
        docs += &format!("\n\n{name}{colon}{shown}");
        if let Some(Type::Result(ResultType { err, .. })) = &function.signature.result {
            let value = match err {
                None => "None".to_owned(),
                Some(err) => err.to_string(),
            };
            docs += &format!("\n\nRaises:\n    rpc_host.GuestError: with {value} as its value");
        }
        docs
    }
}

/// A text between quotes, on lines of its own; nothing if there is none.
fn docstring(text: &str, indent: &str) -> String {
    let text = text.trim().replace('\\', "\\\\");
    let text = text.replace("\"\"\"", "\\\"\\\"\\\"");
    let mut lines = text.lines();
    let Some(first) = lines.next() else {
        return String::new();
    };
    let mut shown = format!("{indent}\"\"\"{first}");
    let mut is_long = false;
    for line in lines {
        is_long = true;
        shown += format!("\n{indent}{line}").trim_end_matches(' ');
    }
    if is_long {
        shown += &format!("\n{indent}");
    } else if let Some(quoted) = shown.strip_suffix('"') {
        // It would end the text too early.
        shown = format!("{quoted}\\\"");
    }
    shown + "\"\"\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(json: &str) -> Description {
        serde_json::from_str(json).unwrap()
    }

    const COUNTERS: &str = r#"{
        "docs": "Numbers that \\ \"\"\"count\"\"\".",
        "resources": [{"interface": "a:b/counters@1.0.0", "name": "counter", "docs": "Counts."}],
        "functions": [
            {"interface": "a:b/counters@1.0.0", "name": "[constructor]counter",
             "signature": {"parameters": [{"name": "start", "type": {"option": "u64"}}], "result": {"own": "counter"}}},
            {"interface": "a:b/counters@1.0.0", "name": "[static]counter.list", "docs": "All of them.",
             "signature": {"parameters": [{"name": "self", "type": "string"}], "result": {"list": {"own": "counter"}}}},
            {"interface": "a:b/counters@1.0.0", "name": "[method]counter.add",
             "signature": {"parameters": [{"name": "self", "type": {"borrow": "counter"}}, {"name": "from", "type":
                {"record": [{"name": "by", "type": "s8"}, {"name": "flags", "type": {"flags": ["dark-blue"]}}]}}],
                "result": {"result": {"ok": {"record": [{"name": "value", "type": {"list": "u8"}}]}, "err": "string"}}}},
            {"interface": "a:b/counters@1.0.0", "name": "sum",
             "signature": {"parameters": [{"name": "all", "type": {"list": {"borrow": "counter"}}},
                {"name": "sink", "type": {"own": "stream"}}]}},
            {"interface": "a:b/counters@1.0.0", "name": "odd", "undescribed": "too deep",
             "signature": {"parameters": []}},
            {"interface": "a:b/others", "name": "sum", "signature": {"parameters": []}},
            {"name": "run", "signature": {"parameters": [], "result": {"enum": ["dark-blue"]}}}
        ]}"#;

    const STUB: &str = r#""""module counters

Numbers that \\ \"\"\"count\"\"\".
"""

from __future__ import annotations

import builtins as _builtins
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

class CounterAddFrom(Protocol):
    """record { by: s8, flags: flags { dark-blue } }"""
    by: int
    flags: frozenset[Literal["dark_blue"]]

class CounterAddResult(Protocol):
    """record { value: list<u8> }"""
    value: bytes

class Counter:
    """Counts."""

    def __init__(self, start: int | None = None) -> None:
        """constructor(start: option<u64>)"""

    def add(self, from_: CounterAddFrom | Mapping[str, Any]) -> CounterAddResult:
        """add: func(from: record { by: s8, flags: flags { dark-blue } }) -> result<record { value: list<u8> }, string>

        Raises:
            rpc_host.GuestError: with string as its value
        """

    @staticmethod
    def list(arg0: str) -> _builtins.list[Counter]:
        """All of them.

        list: static func(self: string) -> list<counter>
        """

    def close(self) -> None:
        """Lets go of the object, and waits until its destructor has run."""

    def __enter__(self) -> Counter: ...
    def __exit__(self, *exception: object) -> None: ...

def odd(*args: Any, **kwargs: Any) -> Any:
    """odd: too deep"""

def run() -> Literal["dark_blue"]:
    """run: func() -> enum { dark-blue }"""

class counters:
    """interface a:b/counters@1.0.0"""

    @staticmethod
    def sum(all: Iterable[Counter], sink: Any) -> None:
        """sum: func(all: list<borrow<counter>>, sink: stream)"""

    @staticmethod
    def odd(*args: Any, **kwargs: Any) -> Any:
        """odd: too deep"""

class others:
    """interface a:b/others"""

    @staticmethod
    def sum() -> None:
        """sum: func()"""
"#;

    #[test]
    fn a_stub_has_all_that_can_be_called() {
        let stub = stub("counters", &described(COUNTERS));
        assert_eq!(stub, STUB, "{stub}");
    }

    /// Whether brackets and quotes are closed, as far as a stub has them.
    fn is_balanced(stub: &str) -> bool {
        let mut open = Vec::new();
        let mut rest = stub;
        while let Some(character) = rest.chars().next() {
            if let Some(inner) = rest.strip_prefix("\"\"\"") {
                let end = (0..inner.len()).find(|at| {
                    let before = inner.get(..*at).unwrap_or_default();
                    let escapes = before.len() - before.trim_end_matches('\\').len();
                    escapes % 2 == 0 && inner.get(*at..).is_some_and(|it| it.starts_with("\"\"\""))
                });
                let Some(end) = end else {
                    return false;
                };
                rest = inner.get(end + 3..).unwrap_or_default();
                continue;
            }
            match character {
                '(' | '[' => open.push(character),
                ')' if open.pop() != Some('(') => return false,
                ']' if open.pop() != Some('[') => return false,
                _ => {}
            }
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
        }
        open.is_empty()
    }

    #[test]
    fn whatever_is_said_stays_between_its_quotes() {
        assert!(is_balanced(STUB));
        for docs in [
            "\"",
            "\\",
            "\"\"\"",
            "a\"\"\"\"",
            "\\\"\"\"(",
            "one\ntwo\\",
            "one\n\"two\"",
        ] {
            let mut description = described(COUNTERS);
            description.docs = Some(docs.to_owned());
            description.functions[1].docs = Some(docs.to_owned());
            description.resources[0].docs = Some(docs.to_owned());
            let stub = stub("x", &description);
            assert!(is_balanced(&stub), "{docs:?}: {stub}");
        }
        assert!(!is_balanced("def f(\"\"\"x)\"\"\""));
    }
}

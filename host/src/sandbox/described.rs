//! An interface that is there as WIT text alone: what a client says it serves, where nothing has been
//! uploaded that would tell.
//!
//! The text is read in the compiler's process; its functions come back as data.

use std::sync::Arc;

use rpc_host_protocol::cbor::{decode_envelope, encode_envelope};
use rpc_host_protocol::operation::Description;
use wit_parser::{FunctionKind, Interface, Resolve};

use super::interface::stands_for;
use super::wit::Types;
use super::{Function, Functions, SandboxError, docs};

/// Nodes of all types of one interface, and names. Each offer keeps its own, some hundred bytes for each.
const MAX_TYPE_NODES: u32 = 16_384;
/// How many interfaces a refusal names.
const MAX_NAMED: usize = 8;

/// The functions of an interface: of the one that the name in the first line stands for, or of the only
/// one that the rest holds if the name is not an interface's.
pub(super) fn functions(input: &[u8]) -> Result<Vec<Function>, SandboxError> {
    let text = std::str::from_utf8(input).map_err(|_| refused("it is not UTF-8"))?;
    let (name, wit) = text.split_once('\n').unwrap_or((text, ""));
    let mut resolve = Resolve::default();
    resolve
        .push_str("wit", wit)
        .map_err(|error| refused(in_one_line(&format!("{error:#}"))))?;
    let interfaces = resolve.interfaces.iter().filter_map(|(id, interface)| {
        let name = resolve.id_of(id)?;
        (!interface.functions.is_empty()).then_some((name, interface))
    });
    let (name, interface) = the_one(name, interfaces.collect())?;
    let name = Arc::from(name);
    let mut types = Types::of(&resolve, MAX_TYPE_NODES);
    let mut functions = Vec::new();
    for function in interface.functions.values() {
        let is_async = matches!(
            function.kind,
            FunctionKind::AsyncFreestanding
                | FunctionKind::AsyncMethod(_)
                | FunctionKind::AsyncStatic(_)
        );
        let converted = types.function(Some(&name), function);
        let Some(converted) = converted.filter(|_| !is_async) else {
            return Err(refused(format!(
                "`{name}.{}` is async, has a stream or future, or is too large; this node has no such \
                 functions",
                function.name
            )));
        };
        let docs = function.docs.contents.as_deref();
        let docs = docs.and_then(docs::tidied);
        functions.push(converted.with_docs(docs.as_deref()));
    }
    Ok(functions)
}

fn the_one<'r>(
    name: &str,
    interfaces: Vec<(String, &'r Interface)>,
) -> Result<(String, &'r Interface), SandboxError> {
    let all: Vec<_> = interfaces
        .iter()
        .take(MAX_NAMED)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let all = all.join(", ");
    let is_of_interface = name.contains('/');
    let mut meant = interfaces
        .into_iter()
        .filter(|(interface, _)| !is_of_interface || stands_for(name, interface));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(refused(format!(
            "it holds several interfaces that `{name}` may stand for ({all}); send one"
        ))),
        (None, _) if all.is_empty() => Err(refused("it holds no interface with functions")),
        (None, _) => Err(refused(format!(
            "it does not hold the interface `{name}`, but {all}"
        ))),
    }
}

/// Without the picture of the place, which takes several lines.
fn in_one_line(problem: &str) -> String {
    let lines = problem.lines().map(str::trim);
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with('|')).collect();
    lines.join(" ")
}

fn refused(problem: impl Into<String>) -> SandboxError {
    SandboxError::InvalidWit(problem.into())
}

/// Functions as the worker hands them over: in the form in which clients are told of them.
pub(super) fn encode(functions: &[Function]) -> Vec<u8> {
    let functions = functions.iter().map(Function::describe).collect();
    encode_envelope(&Description {
        functions,
        ..Description::default()
    })
}

/// The functions that a worker handed over.
pub(super) fn decode(output: &[u8]) -> Result<Functions, SandboxError> {
    // What cannot be read back here, no client could read either.
    let description: Description = decode_envelope(output)
        .map_err(|error| refused(format!("its types are too deep to be told: {error}")))?;
    let functions = description.functions.into_iter().map(|one| {
        if let Some(why) = one.undescribed {
            return Err(refused(format!("its types are too deep to be told: {why}")));
        }
        let interface = one.interface.map(Arc::from);
        let function = Function::new(interface, one.name.into(), one.signature);
        Ok(function.with_docs(one.docs.as_deref()))
    });
    functions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGGER: &str = "package acme:log@0.1.0;
        interface logger {
            enum level { info, warning }
            record line { level: level, text: string }
            log: func(line: line) -> result<_, string>;
            flush: func();
        }";

    fn read(name: &str, wit: &str) -> Result<Vec<String>, String> {
        let functions = functions(format!("{name}\n{wit}").as_bytes());
        let functions = functions.map_err(|error| error.to_string())?;
        let there_and_back = decode(&encode(&functions)).map_err(|error| error.to_string())?;
        let texts = there_and_back
            .iter()
            .map(|function| format!("{function}: {}", function.signature));
        Ok(texts.collect())
    }

    #[test]
    fn an_interface_is_found_by_its_name_or_as_the_only_one() {
        for name in [
            "acme:log/logger",
            "acme:log/logger@0.1.0",
            "acme:log/logger@0.1.9",
            "mine",
        ] {
            let functions = read(name, LOGGER).unwrap();
            let log = "acme:log/logger@0.1.0.log: func(line: record { level: enum { info, warning }, \
                       text: string }) -> result<_, string>";
            assert_eq!(
                functions,
                [log, "acme:log/logger@0.1.0.flush: func()"],
                "{name}"
            );
        }
        let several = "package acme:all;
            interface a { use acme:types/t.{p}; f: func(p: p); }
            interface b { g: func(); }
            interface types-only { type x = u8; }
            package acme:types { interface t { record p { x: u8 } } }";
        let functions = read("acme:all/a", several).unwrap();
        assert_eq!(functions, ["acme:all/a.f: func(p: record { x: u8 })"]);
        let error = read("mine", several).unwrap_err();
        assert!(
            error.contains("several interfaces that `mine` may stand for (`acme:all/a`"),
            "{error}"
        );
        for name in ["acme:log/other", "acme:log/logger@0.2.0"] {
            let error = read(name, LOGGER).unwrap_err();
            let text = format!("does not hold the interface `{name}`, but `acme:log/logger@0.1.0`");
            assert!(error.contains(&text), "{error}");
        }
    }

    #[test]
    fn names_count_each_time_that_a_type_is_mentioned() {
        let interface = |types: &str, mentions: usize, ty: &str| {
            let mentions = vec![ty; mentions].join(", ");
            format!("package a:b; interface i {{ {types} f: func(x: tuple<{mentions}>); }}")
        };
        let cases: Vec<_> = (0..120).map(|number| format!("c{number}")).collect();
        let cases = cases.join(", ");
        let long = "a".repeat(4_000);
        for types in [
            format!("variant t {{ {cases} }}"),
            format!("enum t {{ {cases} }}"),
            format!("flags t {{ {cases} }}"),
            format!("enum t {{ {long} }}"),
            format!("record t {{ {long}: u8 }}"),
        ] {
            assert!(read("mine", &interface(&types, 100, "t")).is_ok());
            let error = read("mine", &interface(&types, 200, "t")).unwrap_err();
            assert!(error.contains("too large"), "{error}");
        }
        let resource = format!("resource {long};");
        let error = read("mine", &interface(&resource, 200, &long)).unwrap_err();
        assert!(error.contains("too large"), "{error}");
    }

    #[test]
    fn what_is_of_no_use_is_refused_in_one_line() {
        let huge: String = (1..30)
            .map(|n| format!("type t{n} = tuple<t{}, t{}>;", n - 1, n - 1))
            .collect();
        let deep: String = (1..130)
            .map(|n| format!("type t{n} = option<t{}>;", n - 1))
            .collect();
        for (wit, problem) in [
            (String::new(), "no `package`"),
            (
                "package a:b;".to_owned(),
                "holds no interface with functions",
            ),
            (
                "package a:b; interface i { f: func(x: nothing); }".to_owned(),
                "nothing",
            ),
            (
                "package a:b; interface i { f: func(\n\n | ); }".to_owned(),
                "expected",
            ),
            (
                "package a:b; interface i { f: async func(); }".to_owned(),
                "is async",
            ),
            (
                "package a:b; interface i { f: func(x: stream<u8>); }".to_owned(),
                "stream",
            ),
            (
                format!("package a:b; interface i {{ type t0 = u8; {huge} f: func(x: t29); }}"),
                "too large",
            ),
            (
                format!("package a:b; interface i {{ type t0 = u8; {deep} f: func(x: t129); }}"),
                "too deep",
            ),
        ] {
            let error = read("mine", &wit).unwrap_err();
            assert!(
                error.starts_with("the WIT text cannot be used: "),
                "{error}"
            );
            assert!(error.contains(problem), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(functions(b"mine\n\xff").is_err());
    }
}

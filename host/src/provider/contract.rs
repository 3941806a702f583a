//! Which functions a name stands for.

use crate::sandbox::{Function, Functions, stands_for};

/// An error names so many functions, and counts the others.
const MAX_NAMED: usize = 8;

/// Those functions of a component that a name stands for: of the interface that it names, where it
/// names one of the component's, and all of them else.
pub fn of_interface(name: &str, functions: &Functions) -> Functions {
    let is_meant = |function: &&Function| {
        let interface = function.interface.as_deref();
        interface.is_some_and(|interface| stands_for(name, interface))
    };
    let of_interface: Functions = functions.iter().filter(is_meant).cloned().collect();
    if of_interface.is_empty() {
        functions.clone()
    } else {
        of_interface
    }
}

/// What those who call `wanted` would miss in `offered`: functions that are not there, and functions
/// that take or give something else.
pub fn lacking(wanted: &Functions, offered: &Functions) -> Vec<String> {
    let differences = wanted.iter().filter_map(|function| {
        let Some((_, found)) = offered.answering(function) else {
            return Some(format!("`{function}` is missing"));
        };
        let (theirs, ours) = (&found.signature, &function.signature);
        (theirs != ours).then(|| format!("`{function}` is `{theirs}`, not `{ours}`"))
    });
    some_of(differences.collect())
}

fn some_of(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        all.truncate(MAX_NAMED);
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rpc_host_protocol::Signature;
    use rpc_host_protocol::types::{Field, Type};

    use super::*;

    fn function(interface: &str, name: &str, parameter: Type) -> Function {
        let parameters = vec![Field {
            name: "p".into(),
            ty: parameter,
        }];
        Function {
            interface: (!interface.is_empty()).then(|| Arc::from(interface)),
            name: name.into(),
            signature: Signature {
                parameters,
                result: None,
            },
        }
    }

    fn paths(functions: &Functions) -> Vec<String> {
        functions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_stands_for_the_interface_that_it_names() {
        let all: Functions = [
            function("a:b/log@0.1.2", "log", Type::String),
            function("a:b/admin@0.1.2", "reset", Type::Bool),
            function("", "run", Type::Bool),
        ]
        .into_iter()
        .collect();
        for name in ["a:b/log", "a:b/log@0.1.2", "a:b/log@0.1.0"] {
            assert_eq!(
                paths(&of_interface(name, &all)),
                ["a:b/log@0.1.2.log"],
                "{name}"
            );
        }
        for name in ["calc", "a:b/log@0.2.0", "a:b/lo", "b/log"] {
            assert_eq!(of_interface(name, &all).iter().count(), 3, "{name}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_different_is_named() {
        let one = |name: &str, ty| function("a:b/log@0.1.0", name, ty);
        let wanted: Functions = [one("log", Type::String), one("flush", Type::Bool)]
            .into_iter()
            .collect();
        let offered: Functions = [
            function("a:b/log@0.1.4", "log", Type::String),
            function("a:b/log@0.1.4", "flush", Type::U8),
            function("a:b/log@0.1.4", "more", Type::U8),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            lacking(&wanted, &offered),
            ["`a:b/log@0.1.0.flush` is `func(p: u8)`, not `func(p: bool)`"]
        );
        assert!(lacking(&wanted, &wanted).is_empty());
        let none = Functions::from_iter([]);
        assert_eq!(lacking(&wanted, &none).len(), 2);
        assert!(lacking(&none, &offered).is_empty());
        let many: Functions = (0..20).map(|n| one(&format!("f{n}"), Type::Bool)).collect();
        let lacks = lacking(&many, &none);
        assert_eq!((lacks.len(), lacks[8].as_str()), (9, "and 12 more"));
    }
}

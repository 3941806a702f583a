//! Which method is meant by its name alone.
//!
//! An object that came with an answer says nothing of its resource, so the functions of its module are asked
//! for, once in a connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::operation::{Describe, Description};
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{Message, Operation};

use super::Connection;
use crate::error::Error;

const METHOD: &str = "[method]";
const CONSTRUCTOR: &str = "[constructor]";

/// The methods of a module: by name, the full path; `None` for several of one name.
#[derive(Debug)]
pub(super) struct Methods(HashMap<String, Option<String>>);

impl Methods {
    fn of(description: &Description) -> Self {
        let mut methods = HashMap::new();
        for function in &description.functions {
            let Some((_, name)) = method(&function.name) else {
                continue;
            };
            let path = match &function.interface {
                Some(interface) => format!("{interface}.{}", function.name),
                None => function.name.clone(),
            };
            match methods.entry(name.to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(path));
                }
                Entry::Occupied(mut entry) => {
                    entry.insert(None);
                }
            }
        }
        Methods(methods)
    }
}

/// Resource and method of a name that WIT gives to a method.
fn method(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(METHOD)?.split_once('.')
}

/// The path of a method, or of a constructor, of a resource that may stand behind its interface.
fn path_in(resource: &str, kind: &str) -> String {
    match resource.rsplit_once('.') {
        None => format!("{kind}{resource}"),
        Some((interface, resource)) => format!("{interface}.{kind}{resource}"),
    }
}

/// The path of the constructor of a resource.
pub(crate) fn constructor(resource: &str) -> String {
    path_in(resource, CONSTRUCTOR)
}

impl Connection {
    /// The path of an object's method.
    pub(crate) async fn method(
        self: &Arc<Self>,
        number: u64,
        module: &Arc<str>,
        resource: Option<&str>,
        name: &str,
    ) -> Result<String, Error> {
        // Whoever says it in full is taken at their word.
        if name.contains(['.', '[']) {
            return Ok(name.to_owned());
        }
        if let Some(resource) = resource {
            return Ok(format!("{}.{name}", path_in(resource, METHOD)));
        }
        let wit_name = name.replace('_', "-");
        // What was heard before may be out of date; what is heard now is not.
        let known = self.known_methods(module);
        let methods = match known {
            Some(known) if known.0.contains_key(&wit_name) => known,
            _ => self.ask_for_methods(module).await?,
        };
        match methods.0.get(&wit_name) {
            Some(Some(path)) => Ok(path.clone()),
            Some(None) => Err(Error::object(
                number,
                format!(
                    "may be of several resources of {module} that have a method `{name}`; say which, by \
                     `of_resource`"
                ),
            )),
            None => Err(Error::object(
                number,
                format!(
                    "has no method `{name}` in {module}; if another module made it, name that by `in_module`"
                ),
            )),
        }
    }

    fn known_methods(&self, module: &str) -> Option<Arc<Methods>> {
        let known = self.shared.methods.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.get(module).cloned()
    }

    async fn ask_for_methods(self: &Arc<Self>, module: &Arc<str>) -> Result<Arc<Methods>, Error> {
        let describe = Operation::Describe(Describe {
            name: module.to_string(),
            function: None,
        });
        let exchange = self.clone().begin(Message::Request(describe)).await?;
        let answer = exchange.finished().await?;
        let description = decode_envelope(&answer.value).map_err(|error| {
            Error::Decode(ValueError {
                path: "reply".to_owned(),
                problem: error.to_string(),
            })
        })?;
        let methods = Arc::new(Methods::of(&description));
        let known = self.shared.methods.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.insert(module.clone(), methods.clone());
        Ok(methods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_protocol::operation::FunctionDescription;

    #[test]
    fn resources_are_named_with_and_without_their_interface() {
        assert_eq!(constructor("counter"), "[constructor]counter");
        assert_eq!(
            constructor("demo:counter/counters@0.1.0.counter"),
            "demo:counter/counters@0.1.0.[constructor]counter"
        );
    }

    #[test]
    fn a_method_is_known_by_its_name_where_one_resource_has_it() {
        let function = |interface: Option<&str>, name: &str| FunctionDescription {
            interface: interface.map(str::to_owned),
            name: name.to_owned(),
            ..FunctionDescription::default()
        };
        let methods = Methods::of(&Description {
            functions: vec![
                function(Some("a:b/c@0.1.0"), "[constructor]counter"),
                function(Some("a:b/c@0.1.0"), "[method]counter.increment"),
                function(Some("a:b/c@0.1.0"), "[method]counter.value"),
                function(Some("a:b/c@0.1.0"), "[method]gate.value"),
                function(Some("a:b/c@0.1.0"), "[static]gate.open"),
                function(None, "[method]door.shut"),
                function(None, "increment"),
            ],
            ..Description::default()
        });
        let found = |name: &str| methods.0.get(name).map(Option::as_deref);
        let increment = "a:b/c@0.1.0.[method]counter.increment";
        assert_eq!(found("increment"), Some(Some(increment)));
        assert_eq!(found("value"), Some(None));
        assert_eq!(found("shut"), Some(Some("[method]door.shut")));
        assert_eq!(found("open"), None);
    }
}

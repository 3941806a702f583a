//! A call into this program.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_protocol::ErrorCode;
use rpc_host_protocol::cbor::{Head, Reader, Writer};
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::types::Signature;
use rpc_host_protocol::value::{Handle, ValueLimits};
use serde::de::DeserializeOwned;

use super::{Functions, ProviderError};
use crate::object::scope::{Read, reading};

/// CBOR's null, and an empty map: what there is where there are no arguments.
const NULL: &[u8] = &[0xf6];
const EMPTY_ARRAY: &[u8] = &[0x80];
const EMPTY_MAP: &[u8] = &[0xa0];

/// How the name of a method begins in WIT; its resource follows.
const METHOD: &str = "[method]";

/// Of a call of a method of one of this program's objects: the number of the object, which is the first of the
/// positional arguments, and all arguments without it.
pub(crate) fn without_self(function: &str, arguments: &[u8]) -> Option<(u64, Payload)> {
    if !function.contains(METHOD) {
        return None;
    }
    let mut reader = Reader::new(arguments, u32::MAX);
    let Ok(Head::Array(length)) = reader.head() else {
        return None;
    };
    let others = length.checked_sub(1)?;
    let Ok(Head::Handle(Handle::Client(number))) = reader.head() else {
        return None;
    };
    let mut writer = Writer::new();
    writer.array(others);
    writer.raw(reader.rest());
    Some((number, writer.into_bytes().into()))
}

/// A call that the host makes into this program.
#[derive(Clone)]
pub struct Incoming {
    name: Arc<str>,
    path: String,
    functions: Arc<Functions>,
    arguments: Payload,
    /// Objects that are among the arguments stay as long as this does.
    read: Option<Read>,
    deadline: Option<Instant>,
}

impl Incoming {
    pub(crate) fn new(
        name: Arc<str>,
        path: String,
        functions: Arc<Functions>,
        arguments: Payload,
        read: Option<Read>,
        deadline: Option<Instant>,
    ) -> Self {
        Incoming {
            name,
            path,
            functions,
            arguments,
            read,
            deadline,
        }
    }

    /// The name that this program serves; of an object's method, the interface of the object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The function, in kebab-case as in WIT; of a method or static, its own name, as `call`; of a constructor,
    /// `[constructor]` and its resource.
    pub fn function(&self) -> &str {
        self.split_path().1
    }

    /// Of what belongs to a resource, a method, a static or a constructor: the resource.
    pub fn resource(&self) -> Option<&str> {
        let (_, behind) = self.path.rsplit_once(']')?;
        Some(
            behind
                .split_once('.')
                .map_or(behind, |(resource, _)| resource),
        )
    }

    /// The interface that the function is in, with its package and version.
    pub fn interface(&self) -> Option<&str> {
        match self.functions.find(&self.path) {
            Some(function) => function.interface.as_deref(),
            None => self.split_path().0,
        }
    }

    /// What the function takes and gives, if it is one of those that the host named.
    pub fn signature(&self) -> Option<&Signature> {
        let function = self.functions.find(&self.path)?;
        Some(&function.signature)
    }

    /// Names of functions have no dots, but the versions of interfaces have, and what belongs to a resource has
    /// one behind that.
    fn split_path(&self) -> (Option<&str>, &str) {
        let (interface, name) = match self.path.find('[') {
            Some(0) => (None, &*self.path),
            Some(start) => {
                let (interface, name) = self.path.split_at(start);
                (interface.strip_suffix('.'), name)
            }
            None => match self.path.rsplit_once('.') {
                None => (None, &*self.path),
                Some((interface, name)) => (Some(interface), name),
            },
        };
        // Of a method or static, its own name; of a constructor, there is no other.
        (
            interface,
            name.rsplit_once('.').map_or(name, |(_, own)| own),
        )
    }

    /// Whether the function is the one that Rust writes so: in snake_case, and with `r#` where it has
    /// to.
    pub fn is(&self, rust_name: &str) -> bool {
        let rust_name = rust_name.strip_prefix("r#").unwrap_or(rust_name);
        let function = self.function();
        function.len() == rust_name.len()
            && function.bytes().zip(rust_name.bytes()).all(|(wit, rust)| {
                // Words of WIT may be written in capitals.
                wit.eq_ignore_ascii_case(&rust) || (wit == b'-' && rust == b'_')
            })
    }

    /// The arguments, all of them, as a tuple: `call.args::<(String, u32)>()`.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        let wrong = |problem: String| {
            ProviderError::new(format!(
                "the program does not take these arguments: {problem}"
            ))
            .with_code(ErrorCode::InvalidArgument)
        };
        let mut reader = Reader::new(&self.arguments, u32::MAX);
        let positional = reader
            .item(ValueLimits::default().max_depth + 1)
            .map_err(|error| wrong(error.to_string()))?;
        if reader.rest() != EMPTY_MAP {
            return Err(wrong("they are given by name".to_owned()));
        }
        // Serde's form of `()` is null.
        let is_unit = size_of::<T>() == 0 && positional == EMPTY_ARRAY;
        let positional = if is_unit { NULL } else { positional };
        reading(positional, "args", self.read.as_ref()).map_err(|error| wrong(error.to_string()))
    }

    /// The arguments as they came: an array of positional ones and a map of named ones, which is empty.
    /// [`decode_arguments`](rpc_host_protocol::cbor::decode_arguments) reads them by a signature.
    pub fn raw_args(&self) -> &[u8] {
        &self.arguments
    }

    /// When the host ends the call.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long until then.
    pub fn time_left(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// The answer to a function that this program does not have.
    pub fn unknown(&self) -> ProviderError {
        let problem = format!("the program that serves {} has no {}", self.name, self.path);
        ProviderError::new(problem).with_code(ErrorCode::Unimplemented)
    }
}

impl fmt::Debug for Incoming {
    /// Never shows the arguments, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("name", &self.name)
            .field("function", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(path: &str, arguments: &[u8]) -> Incoming {
        Incoming::new(
            "acme:log/logger".into(),
            path.to_owned(),
            Arc::default(),
            arguments.to_owned().into(),
            None,
            None,
        )
    }

    #[test]
    fn functions_are_known_by_their_rust_names() {
        let call = incoming("acme:log/logger@0.1.0.HTTP-get", &[]);
        assert_eq!(call.function(), "HTTP-get");
        assert_eq!(call.interface(), Some("acme:log/logger@0.1.0"));
        assert!(call.is("http_get"));
        assert!(!call.is("http_ge") && !call.is("http-gets") && !call.is("httpxget"));
        let call = incoming("type", &[]);
        assert_eq!(call.interface(), None);
        assert!(call.is("r#type"));
    }

    #[test]
    fn a_method_is_known_by_its_name_and_its_object_is_no_argument() {
        let call = incoming("acme:events/events@0.1.0.[method]handler.call-back", &[]);
        assert_eq!(call.function(), "call-back");
        assert_eq!(call.resource(), Some("handler"));
        assert_eq!(call.interface(), Some("acme:events/events@0.1.0"));
        assert!(call.is("call_back"));
        let call = incoming("[method]handler.call", &[]);
        assert_eq!((call.interface(), call.resource()), (None, Some("handler")));
        assert_eq!(call.function(), "call");
        assert_eq!(incoming("a:b/c@0.1.0.f", &[]).resource(), None);
        let constructor = incoming("a:b/c@0.1.0.[constructor]counter", &[]);
        assert_eq!(constructor.function(), "[constructor]counter");
        assert_eq!(constructor.resource(), Some("counter"));
        assert_eq!(constructor.interface(), Some("a:b/c@0.1.0"));
        let merge = incoming("a:b/c@0.1.0.[static]counter.merge", &[]);
        assert_eq!(
            (merge.function(), merge.resource()),
            ("merge", Some("counter"))
        );
        assert_eq!(merge.interface(), Some("a:b/c@0.1.0"));

        let called = [0x82, 0xd9, 0x72, 0x71, 7, 0x61, b'a', 0xa0];
        let rest = vec![0x81, 0x61, b'a', 0xa0];
        let method = "a:b/c@0.1.0.[method]handler.call";
        assert_eq!(without_self(method, &called), Some((7, rest.into())));
        assert_eq!(
            without_self("a:b/c@0.1.0.[static]handler.merge", &called),
            None
        );
        for no_method in [
            &[0x80, 0xa0][..],
            &[0x81, 7, 0xa0],
            &[0x81, 0xd9, 0x72, 0x70, 7, 0xa0],
            &[],
        ] {
            assert_eq!(without_self(method, no_method), None);
        }
    }

    #[test]
    fn arguments_are_a_tuple() {
        let call = incoming("f", &[0x82, 1, 0x61, b'a', 0xa0]);
        assert_eq!(call.args::<(u8, String)>().unwrap(), (1, "a".to_owned()));
        let error = call.args::<(u8, u8)>().unwrap_err().to_string();
        assert!(error.contains("args[1]: expected"), "{error}");
        assert!(call.args::<(u8,)>().is_err());
        let call = incoming("f", &[0x80, 0xa0]);
        call.args::<()>().unwrap();
        assert!(call.args::<(u8,)>().is_err());
        assert!(call.args::<Vec<u8>>().unwrap().is_empty());
        assert!(
            incoming("f", &[0x80, 0xa1, 0x61, b'a', 1])
                .args::<()>()
                .is_err()
        );
        assert!(incoming("f", &[]).args::<()>().is_err());
    }
}

//! What a module may do beyond computing: the closed list.
//!
//! Deny is the default value of [`Grants`]. Interfaces that give no power (an empty environment, a
//! closed stdin, coarse clocks, no directories) are served to every module, because the standard
//! libraries of all languages import them; whatever would give power needs a grant, and without one
//! stands there inert: it can be imported, and a call of it ends with [`MissingGrant`].
//!
//! | file | holds |
//! |---|---|
//! | `kind` | the kinds of grants |
//! | `grant`, `subject` | one grant and its parameters, and the parsing of their text |
//! | `grants` | all grants of a registration |
//! | `policy` | what may be granted, as patterns |
//! | `force` | what of a registration's grants is in force |
//! | `wasi_base` | the part of WASI that gives no power |
//! | `files` | `wasi:filesystem`, over the volumes that were granted |
//! | `clock` | clocks too coarse to time a neighbour with, and those that a grant puts in their place |
//! | `random` | numbers that are the same each time |
//! | `log` | `rpc-host:guest/log` |
//! | `kv` | `wasi:keyvalue` |
//! | `http` | `wasi:http`, in nodes that are built with it |

mod clock;
mod files;
mod force;
mod grant;
mod grants;
#[cfg(feature = "http")]
mod http;
mod kind;
mod kv;
mod log;
mod policy;
mod random;
mod subject;
mod wasi_base;

use wasmtime::Engine;
use wasmtime::component::Linker;

pub(crate) use clock::FrozenAt;
pub(crate) use files::{Files, FilesCtx};
pub use force::{Authority, Policies, Withheld};
pub use grant::Grant;
pub use grants::{GrantError, Grants};
#[cfg(feature = "http")]
pub(crate) use http::HttpCtx;
pub use kind::{Kind, Kinds};
pub(crate) use kv::KeyValueView;
pub use kv::{Accessing, Done, KeyValue, KeyValueError, OpenBucket};
pub(crate) use log::{LogCtx, is_heard};
pub use policy::{Pattern, Policy, PolicyError};
pub use subject::{Access, Clock, Destination, EnvKey, EnvValue, SubjectName};
pub(crate) use wasi_base::{MAX_RANDOM_BYTES, wasi_ctx};

use crate::sandbox::State;

/// A guest called what it has no grant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the module called `{called}`, which needs the grant `{grant}`; {}", self.remedy())]
pub struct MissingGrant {
    /// Interface and function.
    pub called: String,
    /// The grant: its kind, or what such a grant would be called.
    pub grant: &'static str,
    /// Whether the module is registered with it, and the node, the tenant or the caller does not allow it.
    pub is_withheld: bool,
}

impl MissingGrant {
    fn remedy(&self) -> String {
        match Kind::called(self.grant) {
            Some(_) if self.is_withheld => {
                "it is registered with it, but the node, the tenant or the caller does not allow it now"
                    .to_owned()
            }
            Some(kind) if kind.is_served() => {
                format!("register it with `--grant {}`", kind.form())
            }
            _ => "this node has no such grant to give".to_owned(),
        }
    }
}

/// What the node has for an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Served to every module.
    Served,
    /// Served by grants of this kind.
    Granted(Kind),
    /// Inert for want of this grant.
    Ungranted(&'static str),
    /// It is not the node's; another registration may answer.
    Bindable,
    /// Nothing; why.
    Unknown(String),
}

/// A linker with what every module is served.
pub(crate) fn base_linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasi_base::add_to_linker(&mut linker)?;
    files::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// What the node has for the interface `name` under grants of these kinds.
pub(crate) fn offer(name: &str, kinds: Kinds) -> Offer {
    let (interface, version) = match name.split_once('@') {
        Some((interface, version)) => (interface, semver::Version::parse(version).ok()),
        None => (name, None),
    };
    let (package, _) = interface.split_once('/').unwrap_or((interface, ""));
    let is_version = |major, minor| {
        version
            .as_ref()
            .is_some_and(|version| version.major == major && version.minor == minor)
    };
    match package {
        #[cfg(feature = "http")]
        "wasi:http"
            if is_version(0, 2)
                && kinds.has(Kind::Http)
                && http::INTERFACES.contains(&interface) =>
        {
            Offer::Granted(Kind::Http)
        }
        "wasi:http" if is_version(0, 2) => Offer::Ungranted(Kind::Http.as_str()),
        "wasi:sockets" if is_version(0, 2) => Offer::Ungranted("sockets"),
        _ if package.starts_with("wasi:") && wasi_base::INTERFACES.contains(&interface) => {
            if is_version(0, 2) {
                Offer::Served
            } else {
                Offer::Unknown("is not WASI 0.2, the version that this node serves; build the component for wasm32-wasip2".to_owned())
            }
        }
        "rpc-host:guest" if interface == log::INTERFACE => {
            match (is_version(0, 1), kinds.has(Kind::Log)) {
                (true, true) => Offer::Granted(Kind::Log),
                (true, false) => Offer::Ungranted(Kind::Log.as_str()),
                (false, _) => {
                    Offer::Unknown("is of a version that this node does not have".to_owned())
                }
            }
        }
        "wasi:keyvalue" if [kv::STORE, kv::ATOMICS, kv::BATCH].contains(&interface) => {
            let is_served = name.ends_with(&format!("@{}", kv::VERSION));
            match (is_served, kinds.has(Kind::Kv)) {
                (true, true) => Offer::Granted(Kind::Kv),
                (true, false) => Offer::Ungranted(Kind::Kv.as_str()),
                (false, _) => Offer::Unknown(
                    "is not version 0.2.0-draft, the one that this node serves".to_owned(),
                ),
            }
        }
        _ if is_reserved(name) => Offer::Unknown("this node does not have".to_owned()),
        _ if is_bindable(name) => Offer::Bindable,
        _ => Offer::Unknown("is not named like an interface or a function".to_owned()),
    }
}

/// Whether a name belongs to the node and to WASI, whatever its spelling: nobody else may answer for it.
pub(crate) fn is_reserved(name: &str) -> bool {
    let namespace = name.split_once(':').map(|(namespace, _)| namespace);
    namespace.is_some_and(|namespace| {
        ["wasi", "rpc-host"]
            .iter()
            .any(|reserved| namespace.eq_ignore_ascii_case(reserved))
    })
}

/// Whether a registration could be named like this, or bound to it.
fn is_bindable(name: &str) -> bool {
    let of_the_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-:/.@+".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(of_the_alphabet)
}

/// Links the interfaces of a kind that is granted. Which grants of it an instance has in force is looked at
/// again at each use.
pub(crate) fn link(linker: &mut Linker<State>, kind: Kind) -> wasmtime::Result<()> {
    match kind {
        Kind::Log => log::add_to_linker(linker),
        Kind::Kv => kv::add_to_linker(linker),
        #[cfg(feature = "http")]
        Kind::Http => http::add_to_linker(linker),
        #[cfg(not(feature = "http"))]
        Kind::Http => Ok(()),
        // Not offered as interfaces of their own.
        Kind::Env | Kind::Clock | Kind::Random | Kind::Fs => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_with_power_is_offered_without_a_grant() {
        let (none, log) = (Kinds::default(), Kinds::from_iter([Kind::Log]));
        assert_eq!(offer("wasi:cli/environment@0.2.12", none), Offer::Served);
        assert_eq!(
            offer("wasi:http/types@0.2.10", none),
            Offer::Ungranted("http")
        );
        assert_eq!(
            offer("wasi:sockets/tcp@0.2.9", none),
            Offer::Ungranted("sockets")
        );
        assert_eq!(
            offer("rpc-host:guest/log@0.1.0", none),
            Offer::Ungranted("log")
        );
        assert_eq!(
            offer("rpc-host:guest/log@0.1.0", log),
            Offer::Granted(Kind::Log)
        );
        for unknown in [
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment",
            "wasi:cli/run@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:keyvalue/watcher@0.2.0-draft",
            "WASI:cli/environment@0.2.0",
            "rpc-host:guest/log@0.2.0",
            "rpc-host:guest/power@0.1.0",
            "Rpc-Host:guest/log@0.1.0",
            "locked-dep=<acme:log>",
            "",
        ] {
            assert!(
                matches!(offer(unknown, log), Offer::Unknown(_)),
                "{unknown}"
            );
        }
        for interface in ["store", "atomics", "batch"] {
            let name = format!("wasi:keyvalue/{interface}@0.2.0-draft");
            assert_eq!(offer(&name, none), Offer::Ungranted("kv"));
            assert_eq!(offer(&name, log), Offer::Ungranted("kv"));
            let kv = Kinds::from_iter([Kind::Kv]);
            assert_eq!(offer(&name, kv), Offer::Granted(Kind::Kv));
        }
        for bindable in [
            "acme:log/logger@0.1.0",
            "hello",
            "wasi",
            "wasi-like:cli/run",
        ] {
            assert_eq!(offer(bindable, log), Offer::Bindable, "{bindable}");
        }
    }
}

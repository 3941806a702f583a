//! Holds the rules of `ARCHITECTURE.md` that no compiler holds: who may name whom, where `unsafe` may
//! stand, and that the documents say what the code says.
//!
//! It reads sources as text. That is enough for rules about names, needs no build of what it reads,
//! and a rule that it cannot check so is better given to a type.

mod documents;
mod rust;

use std::fs;
use std::path::{Path, PathBuf};

use rust::{Source, identifiers, paths_from_crate};

/// Crates and keywords, and the only places under the shipped sources that may name them.
const NAMED_ONLY_IN: &[(&[&str], &[&str])] = &[
    (
        &[
            "wasmtime",
            "wasmtime_wasi",
            "wasmtime_wasi_http",
            "wasmtime_wasi_io",
        ],
        &["host/src/sandbox/", "host/src/capability/"],
    ),
    (
        &["wasmparser", "wit_component"],
        &["host/src/sandbox/", "host/src/cli/"],
    ),
    (
        &["wit_parser"],
        &[
            "host/src/sandbox/",
            "host/src/cli/",
            "guest-sdk/macros/src/",
        ],
    ),
    (
        &["rustls", "tokio_rustls"],
        &["host/src/transport/", "clients/rust/src/tls.rs"],
    ),
    (
        &["rcgen", "webpki_roots", "yasna"],
        &["host/src/transport/"],
    ),
    (&["hyper", "hyper_util"], &["host/src/outgoing/"]),
    (&["ipnet"], &["host/src/outgoing/", "host/src/config/"]),
    (&["ciborium", "ciborium_ll"], &["protocol/src/cbor/"]),
    (&["redb"], &["host/src/storage/"]),
    (&["landlock", "seccompiler"], &["host/src/confinement/"]),
    (
        &["rustix"],
        &[
            "host/src/confinement/",
            "host/src/processor.rs",
            "host/src/volume/",
        ],
    ),
    (&["rpc_host_client"], &["host/src/cli/", "host/src/main.rs"]),
    (&["rpc_guest"], &["guest-sdk/"]),
    // The last one is an attribute, and of what runs inside the sandbox.
    (
        &["unsafe"],
        &[
            "host/src/sandbox/artifact.rs",
            "host/src/sandbox/dynamic.rs",
            "guest-sdk/src/generate.rs",
        ],
    ),
];

/// What ships, as opposed to tests of it and tools for it.
const SHIPPED: &[&str] = &[
    "protocol/src/",
    "host/src/",
    "clients/rust/src/",
    "guest-sdk/src/",
    "guest-sdk/macros/src/",
];

/// Each folder and file of `host/src`, and what of the others it may name. A name with `::` opens
/// that much and no more.
const HOST: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "transport",
            "session",
            "tenant::Shown",
            "tenant::Starter",
            "shutdown",
            "config",
        ],
    ),
    (
        "serve",
        &[
            "volume",
            "audit",
            "server",
            "bootstrap",
            "transport",
            "node",
            "kv",
            "provider",
            "registry",
            "sandbox",
            "outgoing",
            "confinement",
            "tenant::Starter",
            "tenant::TenantError",
            "storage",
            "config",
            "clock",
        ],
    ),
    (
        "bootstrap",
        &["transport", "tenant", "storage", "config", "clock"],
    ),
    (
        "transport",
        // Who a verified certificate is for is a tenant's matter; who tenants are is none of transport's.
        &["tenant::Certificate", "storage", "config", "clock", "hex"],
    ),
    (
        "session",
        // Frames are the lower half of transport: they know streams, but no sockets and no TLS.
        &[
            "transport::frames",
            "transport::TransportError",
            "shutdown",
            "tenant",
            "config",
            "chain",
            "journal",
            "account",
            "processor",
        ],
    ),
    (
        "provider",
        // Leases rest on sessions; a session does not know them.
        &[
            "session",
            "registry::RegistrationName",
            "sandbox",
            "capability::is_reserved",
            "tenant",
            "config",
            "clock",
            "chain",
        ],
    ),
    (
        "node",
        // It implements what a session asks for; a session does not know it.
        &[
            "volume",
            "audit",
            "session",
            "journal",
            "kv",
            "provider",
            "registry",
            "sandbox",
            "capability",
            "inspect",
            "objects",
            "error",
            "tenant",
            "config",
            "clock",
            "chain",
            "budget",
            "account",
        ],
    ),
    ("inspect", &["registry", "sandbox", "capability"]),
    (
        "error",
        &[
            "volume",
            "objects",
            "provider",
            "registry",
            "sandbox",
            "capability",
            "tenant",
            "storage",
            "chain",
        ],
    ),
    (
        "registry",
        &[
            "sandbox",
            "capability",
            "tenant",
            "storage",
            "config",
            "clock",
            "hex",
        ],
    ),
    // Files that are whole or not there, for artifacts; nothing else of storage.
    (
        "sandbox",
        &[
            "processor",
            "volume",
            "capability",
            "outgoing",
            "budget",
            "account",
            "confinement",
            "journal",
            "share",
            "storage::file",
        ],
    ),
    // The engine's linker is typed by what a store holds.
    (
        "capability",
        &[
            "sandbox::State",
            "sandbox::CallLabel",
            "sandbox::CallLimits",
            "account",
            "budget",
            "journal",
            "outgoing",
            "volume",
        ],
    ),
    (
        "kv",
        &[
            "capability",
            "tenant",
            "storage",
            "config",
            "processor",
            "share",
        ],
    ),
    ("processor", &[]),
    // It knows no guest: what a request may be is decided before.
    (
        "outgoing",
        &[
            "transport::OutgoingTls",
            "transport::OutgoingTlsError",
            "config",
            "share",
        ],
    ),
    (
        "tenant",
        &[
            "capability::Policy",
            "capability::PolicyError",
            "storage",
            "config",
            "clock",
            "account",
            "hex",
        ],
    ),
    (
        "config",
        &[
            "capability::Kind",
            "capability::Policy",
            "capability::PolicyError",
            "storage",
            "volume",
        ],
    ),
    ("audit", &["storage", "config", "clock"]),
    ("journal", &["clock"]),
    ("confinement", &[]),
    ("volume", &[]),
    ("storage", &[]),
    // What an object is, and how it ends, is nothing to it.
    ("objects", &[]),
    ("shutdown", &[]),
    ("clock", &[]),
    ("chain", &["budget", "account"]),
    ("budget", &["account"]),
    ("account", &[]),
    ("share", &[]),
    ("hex", &[]),
];

/// The outermost parts of the host, which put the others together.
const HOST_OUTERMOST: &[&str] = &["lib", "main", "cli"];

/// Which members of the workspace a member may depend on, outside of its tests.
const MEMBERS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("clients/rust", &["rpc-host-protocol"]),
    // The client is for the binary alone; see the rule about `rpc_host_client`.
    ("host", &["rpc-host-protocol", "rpc-host-client"]),
    ("guest-sdk", &["rpc-guest-macros"]),
    ("guest-sdk/macros", &[]),
    ("xtask", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// All sources that ship. Test modules in files of their own reach for what they need.
fn shipped() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    for folder in SHIPPED {
        rust::read_below(&root, &root.join(folder), &mut sources);
    }
    sources
        .retain(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/"));
    assert!(
        sources.len() > 100,
        "the sources are not where they should be"
    );
    sources
}

#[test]
fn names_stand_where_they_may() {
    let mut broken = Vec::new();
    for source in shipped() {
        for (name, line) in identifiers(&source.code) {
            let rule = NAMED_ONLY_IN
                .iter()
                .find(|(names, _)| names.contains(&name));
            let Some((_, places)) = rule else {
                continue;
            };
            if !places.iter().any(|place| source.path.starts_with(place)) {
                let places = places.join(" and ");
                broken.push(format!("{}:{line}: `{name}` is for {places}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn layers_of_the_host_name_only_what_is_below_them() {
    let mut broken = Vec::new();
    for source in shipped() {
        let Some(inner) = source.path.strip_prefix("host/src/") else {
            continue;
        };
        let end = inner.find(['/', '.']).unwrap();
        let part = &inner[..end];
        if HOST_OUTERMOST.contains(&part) {
            continue;
        }
        let Some((_, allowed)) = HOST.iter().find(|(name, _)| *name == part) else {
            broken.push(format!(
                "{}: give `{part}` a place in the order of layers",
                source.path
            ));
            continue;
        };
        for (path, line) in paths_from_crate(&source.code) {
            let first = path.split("::").next().unwrap_or_default();
            let may = first == part
                || allowed
                    .iter()
                    .any(|allowed| path == **allowed || path.starts_with(&format!("{allowed}::")));
            if !may {
                broken.push(format!(
                    "{}:{line}: `{part}` may not name `crate::{path}`",
                    source.path
                ));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The table itself: a layer that may name another must not be named back, but for the two seams
/// that it opens a crack of.
#[test]
fn the_order_of_layers_has_no_cycle() {
    let whole = |name: &str| {
        let (_, allowed) = HOST.iter().find(|(part, _)| *part == name).unwrap();
        allowed
            .iter()
            .copied()
            .filter(|allowed| !allowed.contains("::"))
            .collect::<Vec<_>>()
    };
    for (start, _) in HOST {
        let mut reached = whole(start);
        let mut index = 0;
        while let Some(name) = reached.get(index).copied() {
            assert_ne!(name, *start, "`{start}` reaches itself");
            for next in whole(name) {
                if !reached.contains(&next) {
                    reached.push(next);
                }
            }
            index += 1;
        }
    }
}

#[test]
fn members_depend_on_what_they_may() {
    let root = root();
    let all = [
        "rpc-host",
        "rpc-host-protocol",
        "rpc-host-client",
        "rpc-guest",
        "rpc-guest-macros",
    ];
    for (member, allowed) in MEMBERS {
        let manifest = fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
        for dependency in rust::dependencies(&manifest) {
            let may = !all.contains(&dependency) || allowed.contains(&dependency);
            assert!(may, "{member} may not depend on {dependency}");
        }
    }
    for entry in fs::read_dir(root.join("modules")).unwrap() {
        let Ok(manifest) = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")) else {
            continue;
        };
        for dependency in rust::dependencies(&manifest) {
            let is_of_the_host = dependency.starts_with("rpc-host");
            assert!(!is_of_the_host, "a module may not depend on {dependency}");
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let root = root();
    let roots = [
        "protocol/src/lib.rs",
        "host/src/lib.rs",
        "clients/rust/src/lib.rs",
        "guest-sdk/src/lib.rs",
        "guest-sdk/macros/src/lib.rs",
        "xtask/src/main.rs",
    ];
    for path in roots {
        let text = fs::read_to_string(root.join(path)).unwrap();
        // The host denies it, for the sake of the two files that may.
        let level = if path == "host/src/lib.rs" {
            "deny"
        } else {
            "forbid"
        };
        assert!(
            text.contains(&format!("#![{level}(unsafe_code)]")),
            "{path}"
        );
    }
}

/// A limit that no test runs into may not be there. Its name has to stand in a test, outside of the table
/// itself, as it is in a configuration or in code.
#[test]
fn every_limit_is_named_by_a_test() {
    let root = root();
    let table = fs::read_to_string(root.join("host/src/config/limits.rs")).unwrap();
    // `max_tenants, "max-tenants" = 1024, at most 1_000_000;`
    let rows: Vec<_> = table
        .lines()
        .filter_map(|line| {
            let (field, rest) = line.trim().split_once(", \"")?;
            let (name, rest) = rest.split_once("\" = ")?;
            rest.contains(", at most ").then_some((field, name))
        })
        .collect();
    assert!(rows.len() > 50, "found {} limits", rows.len());
    let mut sources = Vec::new();
    for folder in ["tests/tests", "clients/rust/tests", "host/src"] {
        rust::read_below(&root, &root.join(folder), &mut sources);
    }
    sources.retain(|source| !source.path.starts_with("host/src/config/"));
    let tests: Vec<_> = sources
        .iter()
        .filter_map(|source| {
            let text = fs::read_to_string(root.join(&source.path)).unwrap();
            if source.path.contains("/tests/") || source.path.ends_with("/tests.rs") {
                return Some(text);
            }
            let (_, tests) = text.split_once("#[cfg(test)]\nmod tests {")?;
            Some(tests.to_owned())
        })
        .collect();
    let is_named = |field: &str, name: &str| {
        let quoted = format!("\"{name}\"");
        tests.iter().any(|text| {
            text.contains(&quoted) || identifiers(text).any(|(found, _)| found == field)
        })
    };
    let unnamed = rows.iter().filter(|(field, name)| !is_named(field, name));
    let unnamed: Vec<_> = unnamed.map(|(_, name)| *name).collect();
    assert!(unnamed.is_empty(), "no test names {unnamed:?}");
}

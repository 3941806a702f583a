//! The environment of a guest's build.
//!
//! `cargo xtask` runs inside cargo, which hands its child settings that are right for the host and
//! wrong for a guest: flags, wrappers, profiles, target folders. What says how to reach a registry
//! is kept, because the inner build must reach it in the same way.

use std::ffi::OsStr;
use std::process::Command;

/// Variables that steer the compiler directly.
const COMPILER: &[&str] = &[
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// The beginnings of those `CARGO_…` variables that a person sets about their machine.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR", // CARGO_REGISTRY_… and CARGO_REGISTRIES_…
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_BUILD_JOBS",
];

/// Remove from `command` what the outer build left in the environment.
pub(crate) fn strip(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if is_of_outer_build(&name) {
            command.env_remove(name);
        }
    }
}

fn is_of_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let of_cargo = name == "CARGO" || name.starts_with("CARGO_");
    let kept = KEPT.iter().any(|beginning| name.starts_with(beginning));
    COMPILER.contains(&name) || (of_cargo && !kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_settings_go_and_registry_settings_stay() {
        for name in [
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PKG_NAME",
            "CARGO_PROFILE_DEV_DEBUG",
            "CARGO_TARGET_DIR",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(is_of_outer_build(OsStr::new(name)), "{name}");
        }
        for name in [
            "CARGO_BUILD_JOBS",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "HOME",
            "PATH",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!is_of_outer_build(OsStr::new(name)), "{name}");
        }
    }
}

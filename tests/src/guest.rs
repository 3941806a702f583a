//! Components for the tests.

use std::path::PathBuf;

/// A component that `cargo xtask modules` built: an example module or a test program.
///
/// # Panics
/// When it is not there, with the command to run. A test never passes for want of its guest.
pub fn built(name: &str) -> Vec<u8> {
    let path = target_directory()
        .join("modules")
        .join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "cannot read {}: {error}; run: cargo xtask modules",
            path.display()
        )
    })
}

/// A component written by hand, as WebAssembly text.
pub fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("the test's own component: {error}"))
}

/// Where cargo puts what it builds: the tests are in `TARGET/PROFILE/deps`.
pub(crate) fn target_directory() -> PathBuf {
    let mut directory = profile_directory();
    directory.pop();
    directory
}

/// `TARGET/PROFILE`.
pub(crate) fn profile_directory() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

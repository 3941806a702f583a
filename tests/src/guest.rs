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

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    let mut directory = profile_directory();
    directory.pop();
    directory
}

/// `TARGET/PROFILE`. Programs are in it, tests in `deps` below it; examples of the documentation are
/// elsewhere, and know only which package they belong to.
pub(crate) fn profile_directory() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    if path.join("rpc-host").is_file() {
        return path;
    }
    if path.ends_with("deps") {
        path.pop();
        return path;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.or_else(|| {
        let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
        let mut targets = package
            .ancestors()
            .map(|directory| directory.join("target"));
        targets.find(|target| target.join("modules").is_dir())
    });
    target
        .expect("a target directory; run: cargo xtask modules")
        .join("debug")
}

//! The third way: Debian's own Rust.
//!
//! Debian 12 carries a recent compiler for the sake of its browsers, together with the sources of
//! the standard library and a C library for WASI. The linker comes from the rustup toolchain, of
//! which it is part whatever its targets are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{GuestToolchain, Search, Way};

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"];

/// The oldest compiler that the sources allow, as `1.95`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Install what is missing and find the linker.
pub(super) fn prepare(search: &Search) -> anyhow::Result<GuestToolchain> {
    let linkers = linker_folder(search)?;
    if let Err(missing) = check(search) {
        if !search.system_root.join("usr/bin/apt-get").exists() {
            bail!("this machine has no apt-get");
        }
        install(search, &missing)?;
        check(search).map_err(anyhow::Error::msg)?;
    }

    let path = std::env::join_paths(
        [linkers.clone(), linkers.join("gcc-ld")]
            .into_iter()
            .chain(std::env::split_paths(&search.path)),
    )?;
    let c_library = search.system_root.join("usr/lib/wasm32-wasi");
    Ok(GuestToolchain {
        way: Way::Debian,
        cargo: search.system_root.join("usr/bin/cargo"),
        variables: vec![
            ("PATH", path),
            ("RUSTC", search.system_root.join("usr/bin/rustc").into()),
            // Building the standard library is an unstable feature of a stable compiler.
            ("RUSTC_BOOTSTRAP", "1".into()),
            // Set by rustup for its own compiler, whose libraries are not those of Debian's.
            ("LD_LIBRARY_PATH", "".into()),
        ],
        flags: vec![
            "-L".to_owned(),
            format!("native={}", c_library.display()),
            "-Clink-self-contained=no".to_owned(),
        ],
        arguments: &["-Zbuild-std=std,panic_abort"],
    })
}

/// The folder with `wasm-component-ld` in the toolchain on the path.
fn linker_folder(search: &Search) -> anyhow::Result<PathBuf> {
    let sysroot = search.ask_rustc(&["--print", "sysroot"])?;
    let version = search.ask_rustc(&["-vV"])?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    let folder = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(host)
        .join("bin");
    if !folder.join("wasm-component-ld").exists() {
        bail!(
            "no wasm-component-ld in {}: it comes with a Rust toolchain by rustup",
            folder.display()
        );
    }
    Ok(folder)
}

/// Whether all is there; the error names the first thing that is not.
fn check(search: &Search) -> Result<(), String> {
    for file in [
        "usr/bin/rustc",
        "usr/bin/cargo",
        "usr/lib/rustlib/src/rust/library/std/Cargo.toml",
        "usr/lib/wasm32-wasi/libc.a",
    ] {
        let file = search.system_root.join(file);
        if !file.exists() {
            return Err(format!("{} is missing", file.display()));
        }
    }
    let rustc = search.system_root.join("usr/bin/rustc");
    let output = Command::new(&rustc)
        .arg("--version")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .map_err(|error| format!("cannot run {}: {error}", rustc.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if minor_version(text.trim_start_matches("rustc ")) < minor_version(OLDEST) {
        return Err(format!(
            "{} is {}, older than {OLDEST}",
            rustc.display(),
            text.trim()
        ));
    }
    Ok(())
}

/// The 95 of `1.95.0 (…)`; none sorts below any.
fn minor_version(version: &str) -> Option<u32> {
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    (major == "1").then(|| minor.parse().ok())?
}

/// Install the packages if this process may, or say how to.
fn install(search: &Search, missing: &str) -> anyhow::Result<()> {
    let packages = PACKAGES.join(" ");
    let Some(prefix) = root_prefix(search) else {
        bail!("{missing}; run: sudo apt-get install -y --no-install-recommends {packages}");
    };
    eprintln!("guests: installing Debian's Rust ({packages})");
    if apt_install(search, prefix)? {
        return Ok(());
    }
    // Package lists that are missing or out of date are the usual reason.
    apt_get(search, prefix, &["update"])?;
    if apt_install(search, prefix)? {
        return Ok(());
    }
    bail!("`apt-get install {packages}` failed: they are part of Debian 12")
}

fn apt_install(search: &Search, prefix: &[&str]) -> anyhow::Result<bool> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(PACKAGES);
    apt_get(search, prefix, &arguments)
}

fn apt_get(search: &Search, prefix: &[&str], arguments: &[&str]) -> anyhow::Result<bool> {
    let words: Vec<&str> = prefix
        .iter()
        .copied()
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
        .chain(arguments.iter().copied())
        .collect();
    let (program, rest) = words.split_first().context("an empty command")?;
    eprintln!("  {}", words.join(" "));
    let status = search
        .command(program)
        .args(rest)
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    Ok(status.success())
}

/// What to put before a command to run it as root: nothing, or sudo if it asks no password.
fn root_prefix(search: &Search) -> Option<&'static [&'static str]> {
    let id = search.command("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    let sudo = search.command("sudo").args(["-n", "true"]).output().ok()?;
    sudo.status.success().then_some(&["sudo", "-n"])
}

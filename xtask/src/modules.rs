//! Building every guest: the example modules and the programs of the end-to-end tests.
//!
//! Cargo decides what is out of date. This only finds a compiler, and puts what it makes where
//! the demo and the tests look for it: `target/modules/NAME.wasm`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::guest_toolchain::{GuestToolchain, Search, TARGET, Way};
use crate::progress;
use crate::step::StepFailed;
use crate::workspace::Workspace;

/// The folders whose subfolders are guests.
const GUEST_FOLDERS: [&str; 2] = ["modules", "tests/programs"];

/// How much is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// What cargo says, and what came of it.
    Full,
    /// That it goes on; for those who came for something else.
    Brief,
}

/// Build all guests, in the `way` wanted or the first that works.
pub(crate) fn build(workspace: &Workspace, way: Option<Way>, voice: Voice) -> anyhow::Result<()> {
    let guests = guests(workspace.root())?;
    let toolchain = GuestToolchain::find(&Search::here(workspace.guest_target()), way)?;
    let target = workspace.guest_target().join(toolchain.folder());
    let mut build = toolchain.cargo_build(workspace.root());
    build
        .arg("--manifest-path")
        .arg(workspace.guest_manifest())
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace.root());
    match voice {
        Voice::Full => {
            eprintln!(
                "guests: building with {} (way `{}`)",
                toolchain.description(),
                toolchain.way().name()
            );
            let status = build.status().context("cannot run cargo")?;
            if !status.success() {
                return Err(StepFailed::new(&build, status).into());
            }
        }
        Voice::Brief => progress::run("guests", &mut build)?,
    }

    let components = workspace.components();
    std::fs::create_dir_all(&components)?;
    remove_others(&components, &guests)?;
    for name in guests.keys() {
        let component = components.join(format!("{name}.wasm"));
        let bytes = publish(&built(&target, name), &component)?;
        if voice == Voice::Full {
            println!("{} ({} kB)", component.display(), bytes.div_ceil(1000));
        }
    }
    Ok(())
}

/// Build a guest that is none of the workspace's, from its own folder, and tell where it is.
pub(crate) fn build_one(
    workspace: &Workspace,
    folder: &Path,
    name: &str,
) -> anyhow::Result<PathBuf> {
    let toolchain = GuestToolchain::find(&Search::here(workspace.guest_target()), None)?;
    let target = workspace.guest_target().join(toolchain.folder());
    let mut build = toolchain.cargo_build(workspace.root());
    build
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace.root());
    progress::run(name, &mut build)?;
    Ok(built(&target, name))
}

/// Where cargo puts the component of a guest.
fn built(target: &Path, name: &str) -> PathBuf {
    target
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", name.replace('-', "_")))
}

/// The guests by name, with their folders.
fn guests(root: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut guests = BTreeMap::new();
    for folder in GUEST_FOLDERS {
        let folder = root.join(folder);
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if !path.join("Cargo.toml").exists() {
                continue;
            }
            if let Some(other) = guests.insert(name.to_owned(), path.clone()) {
                bail!(
                    "two guests have one name: {} and {}",
                    other.display(),
                    path.display()
                );
            }
        }
    }
    Ok(guests)
}

/// Remove components whose guest is gone, so that nothing passes by using one.
fn remove_others(components: &Path, guests: &BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(components)? {
        let path = entry?.path();
        let of_guest = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| guests.contains_key(stem));
        if path.extension().is_some_and(|end| end == "wasm") && !of_guest {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Copy `built` to `component` unless it is there already, and return its size.
///
/// It appears under its name only when whole: a test may be reading there.
fn publish(built: &Path, component: &Path) -> anyhow::Result<usize> {
    let bytes = std::fs::read(built).with_context(|| {
        format!(
            "cannot read {}: a guest's folder, package and library must have one name",
            built.display()
        )
    })?;
    if std::fs::read(component).is_ok_and(|present| present == bytes) {
        return Ok(bytes.len());
    }
    let staged = component.with_extension(format!("wasm.{}", std::process::id()));
    std::fs::write(&staged, &bytes)?;
    std::fs::rename(&staged, component)?;
    Ok(bytes.len())
}

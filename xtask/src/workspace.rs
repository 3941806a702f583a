//! Where things are: the sources, and where cargo puts what it builds.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The folders that commands work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace that cargo runs this program for. It may have been moved since the build.
    pub(crate) fn locate() -> anyhow::Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = manifest
            .parent()
            .context("xtask has no folder above it")?
            .to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) if !target.is_empty() => {
                std::env::current_dir()?.join(PathBuf::from(target))
            }
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The folder with the root `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A path as a person in the root folder would write it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.display().to_string()
    }

    /// The workspace of the guests, which has a target, a profile and a lock file of its own.
    pub(crate) fn guest_manifest(&self) -> PathBuf {
        self.root.join("modules/Cargo.toml")
    }

    /// Where finished components are put, one `NAME.wasm` each.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("modules")
    }

    /// Cargo's target folders of the guest workspace, and what is remembered about building it.
    pub(crate) fn guest_target(&self) -> PathBuf {
        self.target.join("guests")
    }
}

//! Finding a compiler for guests.
//!
//! A guest is built for `wasm32-wasip2`, whose standard library is not part of a plain Rust
//! installation. There are three ways to it, from the quickest to the most roundabout; the first
//! that works is taken, so that a machine which cannot reach rustup's servers still builds guests.
//! Nothing is changed on the machine except by the tool whose job that is: rustup or apt-get.

mod debian;
mod rustup;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::guest_environment;

/// What guests are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// How rustup may stand still before it is taken to hang: it retries for minutes when its server
/// cannot be reached.
const RUSTUP_STILL_LIMIT: Duration = Duration::from_secs(15);

/// One way to a standard library for guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The present toolchain has it.
    Installed,
    /// rustup fetches it.
    Rustup,
    /// Debian's Rust builds it from source.
    Debian,
}

impl Way {
    const ALL: [Self; 3] = [Self::Installed, Self::Rustup, Self::Debian];

    /// The way called `name` on the command line.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }
}

/// Where to look.
#[derive(Debug)]
pub(crate) struct Search {
    /// The `PATH` for `rustc`, `rustup`, `cargo`, `id` and `sudo`.
    pub(crate) path: OsString,
    /// `/`, or a stand-in for it.
    pub(crate) system_root: PathBuf,
    /// A folder for what is worth remembering between runs.
    pub(crate) memory: PathBuf,
    /// How long rustup may stand still.
    pub(crate) still_limit: Duration,
}

impl Search {
    /// This machine.
    pub(crate) fn here(memory: PathBuf) -> Self {
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            system_root: PathBuf::from("/"),
            memory,
            still_limit: RUSTUP_STILL_LIMIT,
        }
    }

    /// `program` from the path searched, free of what an outer build left behind.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        guest_environment::strip(&mut command);
        command.env("PATH", &self.path);
        command
    }

    /// What `rustc ARGUMENTS` prints.
    fn ask_rustc(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command("rustc")
            .args(arguments)
            .output()
            .context("cannot run rustc")?;
        if !output.status.success() {
            bail!(
                "`rustc {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Whether the toolchain on the path has the standard library for guests.
    fn target_is_installed(&self) -> anyhow::Result<bool> {
        let libraries = self.ask_rustc(&["--print", "target-libdir", "--target", TARGET])?;
        Ok(Path::new(&libraries).is_dir())
    }
}

/// A compiler for guests, ready to use.
#[derive(Debug)]
pub(crate) struct GuestToolchain {
    way: Way,
    cargo: PathBuf,
    variables: Vec<(&'static str, OsString)>,
    flags: Vec<String>,
    arguments: &'static [&'static str],
}

impl GuestToolchain {
    /// The first way that works, or the one `wanted`.
    pub(crate) fn find(search: &Search, wanted: Option<Way>) -> anyhow::Result<Self> {
        let mut refusals = String::new();
        for way in Way::ALL {
            if wanted.is_some_and(|wanted| wanted != way) {
                continue;
            }
            let found = match way {
                Way::Installed => Self::installed(search),
                Way::Rustup => rustup::add_target(search, wanted.is_some())
                    .map(|()| Self::plain(search, Way::Rustup)),
                Way::Debian => debian::prepare(search),
            };
            match found {
                Ok(toolchain) => return Ok(toolchain),
                Err(refusal) => {
                    refusals.push_str(&format!("\n  {}: {refusal:#}", way.name()));
                }
            }
        }
        bail!(
            "no compiler for guests ({TARGET}); any one of these would do:{refusals}\n\
             With a network, `rustup target add {TARGET}` is the shortest"
        )
    }

    /// The way that was found.
    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// For people.
    pub(crate) fn description(&self) -> &'static str {
        match self.way {
            Way::Installed => "the installed wasm32-wasip2 target",
            Way::Rustup => "the wasm32-wasip2 target that rustup has just added",
            Way::Debian => "Debian's Rust, with the standard library built from source",
        }
    }

    /// A name for the folder that it builds in: compilers must not overwrite each other's work,
    /// and one that rustup has just completed is an installed one from then on.
    pub(crate) fn folder(&self) -> &'static str {
        match self.way {
            Way::Installed | Way::Rustup => "installed",
            Way::Debian => "debian",
        }
    }

    /// `cargo build` for guests whose sources are below `root`; the caller adds which ones and
    /// where to.
    pub(crate) fn cargo_build(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        guest_environment::strip(&mut command);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        let mut flags = self.flags.clone();
        flags.extend(shortened_paths(root));
        // Unlike RUSTFLAGS, this form leaves a space in a path alone.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command
            .args(["build", "--release", "--target", TARGET])
            .args(self.arguments);
        command
    }

    fn installed(search: &Search) -> anyhow::Result<Self> {
        if !search.target_is_installed()? {
            bail!("the present Rust toolchain has no {TARGET} target");
        }
        Ok(Self::plain(search, Way::Installed))
    }

    /// Nothing but the toolchain on the path.
    fn plain(search: &Search, way: Way) -> Self {
        Self {
            way,
            cargo: PathBuf::from("cargo"),
            variables: vec![("PATH", search.path.clone())],
            flags: Vec::new(),
            arguments: &[],
        }
    }
}

/// Flags that keep this machine's folders out of a guest, where the message of a panic would show
/// them to callers, and would make one source two digests.
fn shortened_paths(root: &Path) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=", root.display())];
    flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    flags
}

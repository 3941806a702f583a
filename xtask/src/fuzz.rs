//! Runs every fuzz target of `fuzz/` for a while.
//!
//! Fuzzing needs a nightly compiler and cargo-fuzz. Where either is missing the targets are checked
//! with the present compiler all the same, so that they do not rot, and the person is told what to
//! install.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// How long each target runs unless something else is said: a glance, for every day.
pub(crate) const DEFAULT_SECONDS: u64 = 20;

/// Memory of one target. What decodes a message of kilobytes and takes more is a finding.
const MEMORY_MIB: u32 = 1024;
/// Time for one input, likewise.
const INPUT_TIMEOUT_SECONDS: u32 = 5;
/// The longest input. Longer ones find little and take long.
const MAX_INPUT_BYTES: u32 = 8192;

/// What fuzzing needs and this machine does not have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    nightly: bool,
    cargo_fuzz: bool,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the fuzz targets compile, but running them needs tools; install them with:")?;
        if self.nightly {
            f.write_str("\n  rustup toolchain install nightly")?;
        }
        if self.cargo_fuzz {
            f.write_str("\n  cargo install cargo-fuzz --locked")?;
        }
        Ok(())
    }
}

impl std::error::Error for Missing {}

/// Runs every target for so many seconds; the first one that finds something ends it.
pub(crate) fn run(workspace: &Workspace, seconds: u64) -> anyhow::Result<()> {
    let folder = workspace.root().join("fuzz");
    let missing = Missing {
        nightly: !succeeds(cargo().args(["+nightly", "--version"])),
        cargo_fuzz: !succeeds(cargo().args(["fuzz", "--version"])),
    };
    if missing.nightly || missing.cargo_fuzz {
        let mut check = cargo();
        check.arg("check").current_dir(&folder);
        perform(&mut check)?;
        return Err(missing.into());
    }
    for target in targets(&folder)? {
        // The corpus stays for the next run and out of the repository; what is worth keeping of it
        // becomes a test.
        let mut fuzz = cargo();
        fuzz.args(["+nightly", "fuzz", "run", &target, "--"])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            .args(["-verbosity=0", "-print_final_stats=1"])
            .current_dir(workspace.root());
        perform(&mut fuzz).with_context(|| format!("fuzz target `{target}` found something"))?;
    }
    Ok(())
}

/// The names of all targets: one file each.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Cargo as a person would run it: which compiler it takes must not depend on the one that built
/// this program.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn perform(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", line(command));
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

fn line(command: &Command) -> String {
    let program = command.get_program();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_entry_in_the_manifest() {
        let folder = Workspace::locate().unwrap().root().join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = targets(&folder).unwrap();
        assert!(targets.len() >= 5, "{targets:?}");
        for target in &targets {
            let entry = format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"");
            assert!(manifest.contains(&entry), "{target}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let text = Missing {
            nightly: true,
            cargo_fuzz: false,
        }
        .to_string();
        assert!(
            text.ends_with("\n  rustup toolchain install nightly"),
            "{text}"
        );
    }
}

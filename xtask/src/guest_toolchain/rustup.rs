//! The second way: rustup fetches the target.
//!
//! On a machine that cannot reach its server, rustup hangs or fails at every try. So a failure is
//! remembered for as long as the toolchain stays the same.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{Search, TARGET};
use crate::patience::{self, Outcome};

/// Add the target to the present toolchain; `again` even after an earlier failure.
pub(super) fn add_target(search: &Search, again: bool) -> anyhow::Result<()> {
    let toolchain = search.ask_rustc(&["-vV"])?;
    let memory = search.memory.join("rustup-failed");
    if !again && std::fs::read_to_string(&memory).is_ok_and(|failed| failed == toolchain) {
        bail!(
            "`rustup target add {TARGET}` failed before; `cargo xtask modules --way rustup` tries \
             again"
        );
    }

    let mut command = search.command("rustup");
    command.args(["target", "add", TARGET]);
    // A backtrace says nothing to the reader of this output.
    command.env_remove("RUST_BACKTRACE");
    let downloads = rustup_home().map(|home| home.join("downloads"));
    let outcome = patience::run(&mut command, downloads.as_deref(), search.still_limit)
        .context("cannot run rustup")?;
    let refusal = match outcome {
        Outcome::Ended(status) if status.success() => {
            if search.target_is_installed()? {
                return Ok(());
            }
            format!("rustup added {TARGET} to another toolchain than the one in use")
        }
        Outcome::Ended(status) => format!("`rustup target add {TARGET}` failed ({status})"),
        Outcome::Killed => format!(
            "`rustup target add {TARGET}` got nowhere for {} s and was stopped",
            search.still_limit.as_secs()
        ),
    };
    std::fs::create_dir_all(&search.memory)?;
    std::fs::write(&memory, toolchain)?;
    bail!(refusal)
}

fn rustup_home() -> Option<PathBuf> {
    std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".rustup")))
}

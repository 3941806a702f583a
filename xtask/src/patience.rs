//! Waiting for a program that may hang, for as long as it gets anywhere.
//!
//! A fixed time-out cannot tell a slow network from none. So the clock runs only while nothing
//! moves: neither the program's output nor the folder that it downloads to.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a program ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// By itself.
    Ended(ExitStatus),
    /// It stood still for too long and was killed.
    Killed,
}

/// Run `command`, and kill it once nothing has moved for `still_limit`.
///
/// Its standard error is passed on. `downloads` is a folder whose growth counts as progress.
pub(crate) fn run(
    command: &mut Command,
    downloads: Option<&Path>,
    still_limit: Duration,
) -> anyhow::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stderr = child.stderr.take().context("no pipe for standard error")?;
    let said_bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&said_bytes);
    // Not joined: a grandchild that outlives the kill would hold the pipe open.
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut chunk) {
            counter.fetch_add(length as u64, Ordering::Relaxed);
            if let Some(text) = chunk.get(..length) {
                eprint!("{}", String::from_utf8_lossy(text));
            }
        }
    });

    let mut last = (0, 0);
    let mut moved_at = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Outcome::Ended(status));
        }
        let now = (
            said_bytes.load(Ordering::Relaxed),
            downloads.map_or(0, folder_bytes),
        );
        if now != last {
            last = now;
            moved_at = Instant::now();
        }
        if moved_at.elapsed() >= still_limit {
            child.kill()?;
            child.wait()?;
            return Ok(Outcome::Killed);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The bytes in a folder's own files.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(PathBuf::from(folder)) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}

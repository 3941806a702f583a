//! `upload`: a module to the node, and a name for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rpc_host_client::{Client, Module, Options, RevisionEntry, UploadProgress};
use serde::Serialize;

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;

/// No node takes a larger one, whatever its configuration.
const MAX_MODULE_BYTES: u64 = 1 << 30;
const SPINNER_STEP: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Upload {
    /// The component
    file: PathBuf,
    /// Register it under this name, or put it in the place of what has the name now
    #[arg(long)]
    name: Option<String>,
    /// What the module may do, such as log; may be repeated. Without any, it can only compute
    #[arg(long = "grant", value_name = "GRANT", requires = "name")]
    grants: Vec<String>,
    /// A limit below the node's own, such as max-memory-bytes=64MiB; may be repeated
    #[arg(long = "limit", value_name = "K=V", value_parser = limit, requires = "name")]
    limits: Vec<(String, u64)>,
    /// Which registration answers an import; may be repeated
    #[arg(long = "bind", value_name = "IMPORT=NAME", value_parser = binding, requires = "name")]
    bindings: Vec<(String, String)>,
    /// Only if this is the present revision of the name (0: there is none)
    #[arg(long, value_name = "N", requires = "name")]
    if_revision: Option<u64>,
    /// Let nothing that a session serves to itself answer its imports
    #[arg(long, requires = "name")]
    sealed: bool,
    /// Do it even if others that depend on the name then lack something
    #[arg(long, requires = "name")]
    force: bool,
    #[command(flatten)]
    output: Output,
}

/// What is printed for programs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Uploaded<'a> {
    digest: &'a str,
    size_bytes: u64,
    already_known: bool,
    revision: Option<RevisionEntry>,
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
        _ => Err("it has two parts with an equals sign between them".to_owned()),
    }
}

fn binding(text: &str) -> Result<(String, String), String> {
    pair(text).map(|(import, name)| (import.to_owned(), name.to_owned()))
}

fn limit(text: &str) -> Result<(String, u64), String> {
    const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (name, value) = pair(text)?;
    let with_unit = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((value.strip_suffix(unit)?, *bytes)));
    let (digits, factor) = with_unit.unwrap_or((value, 1));
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{value:?} is no whole number (of KiB, MiB or GiB)"))?;
    let number = number.checked_mul(factor);
    Ok((name.to_owned(), number.ok_or("it is too large")?))
}

/// A module from a file.
pub(crate) fn read_module(path: &Path) -> Result<Vec<u8>, Problem> {
    let problem =
        |error: std::io::Error| Problem::new(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let mut file = File::open(path)
        .map_err(problem)?
        .take(MAX_MODULE_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > MAX_MODULE_BYTES {
        return Err(Problem::new(format!(
            "{} is over 1 GiB; no node takes that",
            path.display()
        )));
    }
    Ok(bytes)
}

impl Upload {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let wasm = read_module(&self.file)?;
        let client = connect.client().await?;
        let module = upload_shown(&client, &wasm).await?;

        let revision = match &self.name {
            None => None,
            Some(name) => {
                let options = Options {
                    grants: self.grants,
                    limits: once_each("limit", self.limits)?,
                    bindings: once_each("bind", self.bindings)?,
                    sealed: self.sealed,
                    if_revision: self.if_revision,
                    force: self.force,
                };
                Some(client.register(name, &module, options).await?)
            }
        };
        if !self.output.is_json()
            && let Some(revision) = &revision
        {
            note_revision(revision);
        }
        let uploaded = Uploaded {
            digest: module.digest(),
            size_bytes: module.size_bytes(),
            already_known: module.was_known(),
            revision,
        };
        self.output
            .print(&uploaded, |uploaded| format!("{}\n", uploaded.digest))
    }
}

/// Uploads, and shows on a terminal how far it has come.
pub(crate) async fn upload_shown(client: &Client, wasm: &[u8]) -> Result<Module, Problem> {
    let progress = Progress::new(wasm.len() as u64);
    let module = client.upload_module_with_progress(wasm, |step| progress.show(step));
    let module = module.await;
    progress.clear();
    Ok(module?)
}

/// Says what a change came to.
pub(crate) fn note_revision(revision: &RevisionEntry) {
    let RevisionEntry { name, revision, .. } = revision;
    print::note(&format!("{name} is now revision {revision}"));
}

fn once_each<V>(flag: &str, pairs: Vec<(String, V)>) -> Result<BTreeMap<String, V>, Problem> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(Problem::usage(format!("--{flag} {key} is given twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// A bar while bytes are sent, a spinner while the node compiles; on a terminal only.
struct Progress(ProgressBar);

impl Progress {
    fn new(size_bytes: u64) -> Self {
        let bar = ProgressBar::new(size_bytes);
        let template = "uploading {bar:30} {bytes}/{total_bytes} {bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    fn show(&self, step: UploadProgress) {
        match step {
            UploadProgress::Sending { received_bytes, .. } => self.0.set_position(received_bytes),
            UploadProgress::Compiling => {
                if let Ok(style) = ProgressStyle::with_template("{spinner} compiling {elapsed}") {
                    self.0.set_style(style);
                }
                self.0.enable_steady_tick(SPINNER_STEP);
            }
            _ => {}
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_bindings_are_pairs() {
        let named = |name: &str, value| Ok((name.to_owned(), value));
        assert_eq!(
            limit("max-memory-bytes=64MiB"),
            named("max-memory-bytes", 64 << 20)
        );
        assert_eq!(
            limit("max-call-timeout-ms=250"),
            named("max-call-timeout-ms", 250)
        );
        for bad in [
            "x",
            "=1",
            "x=",
            "x=1.5",
            "x=-1",
            "x=1MB",
            "x=99999999999GiB",
        ] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        assert_eq!(
            binding("acme:log/logger@1.0.0=my-logger"),
            Ok(("acme:log/logger@1.0.0".to_owned(), "my-logger".to_owned()))
        );
        let twice = vec![("a".to_owned(), 1), ("a".to_owned(), 2)];
        assert!(once_each("limit", twice).is_err());
    }
}

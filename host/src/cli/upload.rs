//! `upload`: a module to the node, and a name for it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rpc_host_client::{Client, Module, RevisionEntry, UploadProgress};
use serde::Serialize;

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::registration::Registration;

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
    #[command(flatten)]
    registration: Registration,
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
        let options = self.registration.options()?;
        let wasm = read_module(&self.file)?;
        let client = connect.client().await?;
        let module = upload_shown(&client, &wasm).await?;

        let revision = match &self.name {
            None => None,
            Some(name) => Some(client.register(name, &module, options).await?),
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

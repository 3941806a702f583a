//! `swap` and `rollback`: another target for a name.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use rpc_host_client::{ChangeOptions, Error, RevisionEntry, SwapTo};

use super::connect::Connect;
use super::print::Output;
use super::problem::Problem;
use super::upload::{note_revision, read_module, upload_shown};

/// What helps whoever has named no file.
const TO: &str = "--to takes a component's file, a module's digest, or revision:N as `rpc-host history NAME` shows them";

#[derive(Debug, Args)]
pub(crate) struct Swap {
    /// The registration
    name: String,
    /// A component, which is uploaded; a module by its digest; or an earlier revision, as revision:N
    #[arg(long, value_name = "FILE|DIGEST|revision:N")]
    to: To,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The registration
    name: String,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Conditions {
    /// Only if this is the present revision of the name
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// Do it even if others that depend on the name then lack something
    #[arg(long)]
    force: bool,
}

/// At what a name is pointed. No file is taken for a digest or a revision: `./sha256:…` is one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    File(PathBuf),
    Known(SwapTo),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_prefix("revision:") {
            let number = number.parse();
            let number = number.map_err(|_| "a revision is a whole number, as in revision:3")?;
            return Ok(To::Known(SwapTo::Revision(number)));
        }
        if text.starts_with("sha256:") {
            return Ok(To::Known(SwapTo::Digest(text.to_owned())));
        }
        Ok(To::File(text.into()))
    }
}

impl From<Conditions> for ChangeOptions {
    fn from(conditions: Conditions) -> Self {
        let Conditions { if_revision, force } = conditions;
        ChangeOptions { if_revision, force }
    }
}

impl Swap {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let (client, to) = match self.to {
            To::Known(to) => (connect.client().await?, to),
            To::File(file) => {
                let wasm = read_module(&file).map_err(|problem| problem.or_hint(TO))?;
                let client = connect.client().await?;
                let module = upload_shown(&client, &wasm).await?;
                (client, SwapTo::Digest(module.digest().to_owned()))
            }
        };
        let swapped = client.swap(&self.name, to, self.conditions.into()).await;
        print(self.output, swapped)
    }
}

impl Rollback {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        let back = client.rollback(&self.name, self.conditions.into()).await;
        print(self.output, back)
    }
}

fn print(output: Output, changed: Result<RevisionEntry, Error>) -> Result<(), Problem> {
    let revision = changed?;
    if !output.is_json() {
        note_revision(&revision);
    }
    output.print(&revision, |revision| format!("{}\n", revision.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_file_a_digest_or_a_revision() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            digest.parse(),
            Ok(To::Known(SwapTo::Digest(digest.clone())))
        );
        assert_eq!("revision:7".parse(), Ok(To::Known(SwapTo::Revision(7))));
        for file in ["calc.wasm", "./revision:7", "dir/sha256:0"] {
            assert_eq!(file.parse(), Ok(To::File(file.into())));
        }
        for bad in ["revision:", "revision:-1", "revision:1.0"] {
            assert!(bad.parse::<To>().is_err(), "{bad}");
        }
    }
}

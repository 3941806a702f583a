//! `promote`: a module in the place of a client.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use rpc_host_client::{Client, Error, Module};

use super::connect::Connect;
use super::print::Output;
use super::problem::Problem;
use super::registration::Registration;
use super::upload::{note_revision, read_module, upload_shown};

/// What helps whoever has named no file.
const TO: &str =
    "--to takes a component's file, or the digest of a module as `rpc-host show NAME` shows it";

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The name that a client serves
    name: String,
    /// A component, which is uploaded, or a module by its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    to: To,
    #[command(flatten)]
    registration: Registration,
    #[command(flatten)]
    output: Output,
}

/// What is put in the place. No file is taken for a digest: `./sha256:…` is one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    File(PathBuf),
    Digest(String),
}

impl FromStr for To {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.starts_with("sha256:") {
            true => To::Digest(text.to_owned()),
            false => To::File(text.into()),
        })
    }
}

impl Promote {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let options = self.registration.options()?;
        let (client, module) = match &self.to {
            To::Digest(digest) => {
                let client = connect.client().await?;
                let module = known_module(&client, digest).await?;
                (client, module)
            }
            To::File(file) => {
                let wasm = read_module(file).map_err(|problem| problem.or_hint(TO))?;
                let client = connect.client().await?;
                let module = upload_shown(&client, &wasm).await?;
                (client, module)
            }
        };
        let promoted = client.promote(&self.name, &module, options).await;
        let revision = promoted.map_err(|error| about(&self.name, error))?;
        if !self.output.is_json() {
            note_revision(&revision);
        }
        self.output
            .print(&revision, |revision| format!("{}\n", revision.digest))
    }
}

fn about(name: &str, error: Error) -> Problem {
    let hint = format!(
        "`rpc-host list` shows what clients serve; `rpc-host swap {name} --to FILE` puts a module in the \
         place of another"
    );
    Problem::or_missing(error, hint)
}

async fn known_module(client: &Client, digest: &str) -> Result<Module, Problem> {
    let modules = client.modules().await?;
    let known = modules.into_iter().find(|module| module.digest == digest);
    known.map(Module::from).ok_or_else(|| {
        Problem::new(format!("not-found: there is no module {digest}"))
            .or_hint("name its file instead, which is then uploaded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_a_file_or_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(digest.parse(), Ok(To::Digest(digest.clone())));
        for file in ["logger.wasm", "./sha256:0"] {
            assert_eq!(file.parse(), Ok(To::File(file.into())));
        }
    }
}

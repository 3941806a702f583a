//! `list`, `show`, `history` and `remove`: what is registered.

use clap::Args;
use rpc_host_client::{Error, ErrorCode, RegistrationEntry, RevisionEntry};

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::table::{Table, joined, short_digest, size, time};

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The registration
    name: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The registration
    name: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The registration
    name: String,
}

/// An error about a registration that was named.
pub(crate) fn about_name(error: Error) -> Problem {
    let is_missing = error.code() == ErrorCode::NotFound;
    let problem = Problem::from(error);
    if is_missing {
        problem.or_hint("`rpc-host list` shows what there is")
    } else {
        problem
    }
}

impl List {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let entries = connect.client().await?.list().await?;
        let empty = "nothing is registered; `rpc-host upload FILE --name NAME` does that";
        self.output.list(&entries, empty, list_table)
    }
}

fn list_table(entries: &[RegistrationEntry]) -> Table {
    Table::new(
        ["name", "revision", "module", "size", "since"],
        entries.iter().map(|entry| {
            [
                entry.current.name.clone(),
                entry.current.revision.to_string(),
                short_digest(&entry.current.digest),
                size(entry.size_bytes),
                time(entry.current.created_at_ms),
            ]
        }),
    )
}

impl Show {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let entry = connect.client().await?.show(&self.name).await;
        self.output.print(&entry.map_err(about_name)?, show_text)
    }
}

fn show_text(entry: &RegistrationEntry) -> String {
    let RevisionEntry {
        name,
        revision,
        digest,
        grants,
        limits,
        bindings,
        sealed,
        restores,
        created_at_ms,
        created_by,
    } = &entry.current;
    let limits = limits.iter().map(|(name, limit)| format!("{name}={limit}"));
    let bindings = bindings
        .iter()
        .map(|(import, name)| format!("{import}={name}"));
    Table::of_pairs([
        ("name", name.clone()),
        ("revision", revision.to_string()),
        ("module", digest.clone()),
        ("size", size(entry.size_bytes)),
        ("grants", joined(grants)),
        ("limits", joined(limits)),
        ("bindings", joined(bindings)),
        ("sealed", if *sealed { "yes" } else { "no" }.to_owned()),
        ("restores", brought_back(*restores)),
        ("since", time(*created_at_ms)),
        ("by", created_by.clone()),
    ])
    .to_string()
}

/// Which earlier revision one brought back.
fn brought_back(restores: Option<u64>) -> String {
    restores.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

impl History {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let revisions = connect.client().await?.history(&self.name).await;
        let revisions = revisions.map_err(about_name)?;
        self.output
            .list(&revisions, "there are no revisions", history_table)
    }
}

fn history_table(revisions: &[RevisionEntry]) -> Table {
    Table::new(
        ["revision", "module", "grants", "restores", "since", "by"],
        revisions.iter().map(|revision| {
            [
                revision.revision.to_string(),
                short_digest(&revision.digest),
                joined(&revision.grants),
                brought_back(revision.restores),
                time(revision.created_at_ms),
                revision.created_by.clone(),
            ]
        }),
    )
}

impl Remove {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let removed = connect.client().await?.remove(&self.name).await;
        removed.map_err(about_name)?;
        print::note(&format!("removed {}", self.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entry() -> RegistrationEntry {
        RegistrationEntry {
            current: RevisionEntry {
                name: "calc".to_owned(),
                revision: 12,
                digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
                grants: vec!["log".to_owned()],
                limits: BTreeMap::from([("max-reply-bytes".to_owned(), 1024)]),
                bindings: BTreeMap::new(),
                sealed: true,
                restores: Some(7),
                created_at_ms: 1_795_225_268_123,
                created_by: "t7".to_owned(),
            },
            size_bytes: 63_000,
        }
    }

    #[test]
    fn a_listing_is_a_table() {
        assert_eq!(
            list_table(&[entry()]).to_string(),
            "NAME  REVISION  MODULE                SIZE      SINCE\n\
             calc  12        sha256:0123456789ab…  61.5 KiB  2026-11-21 01:41:08 UTC\n"
        );
        assert_eq!(
            history_table(&[entry().current]).to_string(),
            "REVISION  MODULE                GRANTS  RESTORES  SINCE                    BY\n\
             12        sha256:0123456789ab…  log     7         2026-11-21 01:41:08 UTC  t7\n"
        );
    }

    #[test]
    fn one_registration_is_shown_whole() {
        assert_eq!(
            show_text(&entry()),
            "name:      calc\n\
             revision:  12\n\
             module:    sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
             size:      61.5 KiB\n\
             grants:    log\n\
             limits:    max-reply-bytes=1024\n\
             bindings:  none\n\
             sealed:    yes\n\
             restores:  7\n\
             since:     2026-11-21 01:41:08 UTC\n\
             by:        t7\n"
        );
    }
}

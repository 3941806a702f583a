//! `list`, `show`, `history` and `remove`: what is registered, and what clients serve in its place.

use std::collections::BTreeMap;

use clap::Args;
use rpc_host_client::{
    Error, ErrorCode, ProviderEntry, ReadyEntry, RegistrationEntry, RevisionEntry,
};
use rpc_host_protocol::error::printable;
use serde::Serialize;

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::providers::providers_table;
use super::table::{Table, joined, short_digest, size, time};

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The name
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
    Problem::or_missing(error, "`rpc-host list` shows what there is")
}

impl List {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        let listed = Listed::all(client.list().await?, client.providers().await?);
        if listed.is_empty() && !self.output.is_json() {
            print::note("nothing is registered; `rpc-host upload FILE --name NAME` does that");
            return Ok(());
        }
        self.output.print(listed.as_slice(), list_text)
    }
}

/// A name, and what answers for it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    name: String,
    /// What is registered under it.
    #[serde(flatten)]
    registration: Option<RegistrationEntry>,
    /// The client that serves it, or is lost. As long as one serves it, what is registered does not
    /// answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<ProviderEntry>,
}

impl Listed {
    /// By name. A command has a session of its own, so it sees one client for each name at most.
    fn all(registrations: Vec<RegistrationEntry>, providers: Vec<ProviderEntry>) -> Vec<Self> {
        let mut by_name = BTreeMap::new();
        for registration in registrations {
            let name = registration.current.name.clone();
            let listed = Listed {
                name: name.clone(),
                registration: Some(registration),
                provider: None,
            };
            by_name.insert(name, listed);
        }
        for provider in providers {
            let name = provider.name.clone();
            let listed = by_name.entry(name.clone()).or_insert(Listed {
                name,
                registration: None,
                provider: None,
            });
            listed.provider = Some(provider);
        }
        by_name.into_values().collect()
    }
}

fn list_text(listed: &[Listed]) -> String {
    let registrations = listed.iter().filter_map(|one| one.registration.as_ref());
    let registrations: Vec<_> = registrations.collect();
    let providers = listed.iter().filter_map(|one| one.provider.as_ref());
    let providers: Vec<_> = providers.collect();
    let mut tables = Vec::new();
    if !registrations.is_empty() {
        tables.push(list_table(registrations).to_string());
    }
    if !providers.is_empty() {
        tables.push(providers_table(providers).to_string());
    }
    tables.join("\n")
}

fn list_table<'a>(entries: impl IntoIterator<Item = &'a RegistrationEntry>) -> Table {
    Table::new(
        ["name", "revision", "module", "size", "since"],
        entries.into_iter().map(|entry| {
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
        let client = connect.client().await?;
        let registration = client.show(&self.name).await;
        let mut providers = client.providers().await?;
        providers.retain(|provider| provider.name == self.name);
        let registrations = match registration {
            Ok(registration) => vec![registration],
            Err(error) if error.code() == ErrorCode::NotFound && !providers.is_empty() => {
                Vec::new()
            }
            Err(error) => return Err(about_name(error)),
        };
        let listed = Listed::all(registrations, providers);
        listed
            .iter()
            .try_for_each(|listed| self.output.print(listed, show_text))
    }
}

fn show_text(listed: &Listed) -> String {
    let registration = listed.registration.as_ref().map(registration_text);
    let provider = listed.provider.as_ref();
    let provider = provider.map(|provider| providers_table([provider]).to_string());
    let both: Vec<_> = registration.into_iter().chain(provider).collect();
    both.join("\n")
}

fn registration_text(entry: &RegistrationEntry) -> String {
    let RevisionEntry {
        name,
        revision,
        digest,
        grants,
        limits,
        bindings: _,
        sealed,
        instancing,
        restores,
        created_at_ms,
        created_by,
    } = &entry.current;
    let limits = limits.iter().map(|(name, limit)| format!("{name}={limit}"));
    let withheld = entry.withheld.iter().map(|one| {
        let left = one.left.as_ref().map(|left| format!(", leaving {left}"));
        format!(
            "{} by the {}{}",
            one.grant,
            one.by,
            left.unwrap_or_default()
        )
    });
    let grants = grants.iter().map(|grant| printable(grant, usize::MAX));
    Table::of_pairs([
        ("name", name.clone()),
        ("revision", revision.to_string()),
        ("module", digest.clone()),
        ("size", size(entry.size_bytes)),
        ("grants", joined(grants)),
        ("withheld", joined(withheld)),
        ("limits", joined(limits)),
        ("bindings", bindings(&entry.current)),
        ("sealed", if *sealed { "yes" } else { "no" }.to_owned()),
        ("instancing", instancing.name().to_owned()),
        ("restores", brought_back(*restores)),
        ("since", time(*created_at_ms)),
        ("by", created_by.clone()),
        ("ready", ready(entry.ready.as_ref())),
    ])
    .to_string()
}

/// Instances that wait for calls, and how often a call found one.
fn ready(entry: Option<&ReadyEntry>) -> String {
    let Some(ReadyEntry {
        instances,
        hits,
        misses,
    }) = entry
    else {
        return "no calls lately".to_owned();
    };
    let calls = hits.saturating_add(*misses);
    format!("{instances} now; {hits} of the last {calls} calls found one")
}

fn bindings(revision: &RevisionEntry) -> String {
    let bindings = revision.bindings.iter();
    joined(bindings.map(|(import, name)| format!("{import}={name}")))
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
        [
            "revision", "module", "grants", "restores", "since", "by", "bindings",
        ],
        revisions.iter().map(|revision| {
            [
                revision.revision.to_string(),
                short_digest(&revision.digest),
                joined(revision.grants.iter().map(|grant| printable(grant, 128))),
                brought_back(revision.restores),
                time(revision.created_at_ms),
                revision.created_by.clone(),
                bindings(revision),
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
    use rpc_host_client::{Fallback, Instancing, Scope, WithheldGrant};

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
                instancing: Instancing::Call,
                restores: Some(7),
                created_at_ms: 1_795_225_268_123,
                created_by: "t7".to_owned(),
            },
            size_bytes: 63_000,
            ready: Some(ReadyEntry {
                instances: 2,
                hits: 40,
                misses: 2,
            }),
            withheld: vec![WithheldGrant {
                grant: "kv:a=rw".to_owned(),
                left: Some("kv:a=ro".to_owned()),
                by: "tenant".to_owned(),
            }],
        }
    }

    #[test]
    fn a_listing_is_a_table() {
        assert_eq!(
            list_table([&entry()]).to_string(),
            "NAME  REVISION  MODULE                SIZE      SINCE\n\
             calc  12        sha256:0123456789ab…  61.5 KiB  2026-11-21 01:41:08 UTC\n"
        );
        assert_eq!(
            history_table(&[entry().current]).to_string(),
            "REVISION  MODULE                GRANTS  RESTORES  SINCE                    BY  BINDINGS\n\
             12        sha256:0123456789ab…  log     7         2026-11-21 01:41:08 UTC  t7  none\n"
        );
    }

    #[test]
    fn a_name_is_listed_once_with_all_that_may_answer_for_it() {
        let provider = |name: &str| ProviderEntry {
            name: name.to_owned(),
            scope: Scope::Tenant,
            serving: true,
            session: "s".to_owned(),
            served_by: "t".to_owned(),
            lease: 1,
            since_ms: 0,
            until_ms: 0,
            window: 1,
            in_flight: 0,
            late_answers: 0,
            fallback: Fallback::Previous,
        };
        let listed = Listed::all(vec![entry()], vec![provider("calc"), provider("a:b/c")]);
        let json = serde_json::to_value(&listed).unwrap();
        assert_eq!(json[0]["name"], "a:b/c");
        assert_eq!(json[0]["provider"]["serving"], true);
        assert!(json[0].get("current").is_none(), "{json}");
        assert_eq!(json[1]["name"], "calc");
        assert_eq!(json[1]["current"]["revision"], 12);
        assert_eq!(json[1]["size-bytes"], 63_000);
        assert_eq!(json[1]["provider"]["lease"], 1);
        let text = list_text(&listed);
        assert!(text.starts_with("NAME  REVISION"), "{text}");
        assert!(text.contains("\n\nSERVED BY CLIENT  SESSION"), "{text}");
        let shown = show_text(&listed[1]);
        assert!(shown.starts_with("name:        calc\n"), "{shown}");
        assert!(shown.contains("\n\nSERVED BY CLIENT  SESSION"), "{shown}");
        let shown = show_text(&listed[0]);
        assert!(shown.starts_with("SERVED BY CLIENT"), "{shown}");
        let served_only = list_text(&listed[..1]);
        assert!(served_only.starts_with("SERVED BY CLIENT"), "{served_only}");
        let registered_only = list_text(&Listed::all(vec![entry()], Vec::new()));
        assert_eq!(registered_only, list_table([&entry()]).to_string());
    }

    #[test]
    fn one_registration_is_shown_whole() {
        assert_eq!(
            registration_text(&entry()),
            "name:        calc\n\
             revision:    12\n\
             module:      sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
             size:        61.5 KiB\n\
             grants:      log\n\
             withheld:    kv:a=rw by the tenant, leaving kv:a=ro\n\
             limits:      max-reply-bytes=1024\n\
             bindings:    none\n\
             sealed:      yes\n\
             instancing:  call\n\
             restores:    7\n\
             since:       2026-11-21 01:41:08 UTC\n\
             by:          t7\n\
             ready:       2 now; 40 of the last 42 calls found one\n"
        );
    }
}

//! `tenant …`: for the node's administrator.

use clap::{Args, Subcommand};
use rpc_host_client::{Error, ErrorCode, TenantEntry, TenantOptions};

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::registration::{limit, once_each};
use super::table::{Table, joined, size, time};

#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Make a tenant
    Create(Set),
    /// Set something for a tenant; it holds for what begins from then on
    Set(Set),
    /// List all tenants
    List(List),
    /// Show one tenant
    Show(Named),
    /// Remove a tenant with all it has: registrations, modules and tokens
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The tenant
    name: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The tenant
    name: String,
    /// What its registrations may be granted, of all that the node allows: a pattern such as log, kv or
    /// fs:shared=ro, or any or none alone; may be repeated, and replaces what was allowed
    #[arg(long = "allow", value_name = "PATTERN")]
    allow: Vec<String>,
    /// A limit below the node's own, such as max-memory-bytes=64MiB; may be repeated, and replaces all limits
    #[arg(long = "limit", value_name = "K=V", value_parser = limit)]
    limits: Vec<(String, u64)>,
    /// Set no limits: those of the node hold
    #[arg(long, conflicts_with = "limits")]
    no_limits: bool,
    /// Its share where tenants compete, from 1 to 1000
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    #[command(flatten)]
    output: Output,
}

impl Set {
    fn options(&self) -> Result<TenantOptions, Problem> {
        let limits = once_each("limit", self.limits.clone())?;
        Ok(TenantOptions {
            allow: (!self.allow.is_empty()).then(|| self.allow.clone()),
            limits: (self.no_limits || !limits.is_empty()).then_some(limits),
            weight: self.weight,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The tenant
    name: String,
}

impl Tenant {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        match self {
            Tenant::Create(set) => {
                let name = &set.name;
                let entry = client.tenant_create_with(name, set.options()?).await?;
                set.output.print(&entry, show_text)?;
                print::note(&format!(
                    "`rpc-host token create --tenant {name}` makes a token for it"
                ));
                Ok(())
            }
            Tenant::Set(set) => {
                let entry = client.tenant_set(&set.name, set.options()?).await;
                set.output.print(&entry.map_err(about_tenant)?, show_text)
            }
            Tenant::List(List { output }) => {
                let entries = client.tenant_list().await?;
                output.list(&entries, "there are no tenants", list_table)
            }
            Tenant::Show(Named { name, output }) => {
                let entry = client.tenant_show(&name).await.map_err(about_tenant)?;
                output.print(&entry, show_text)
            }
            Tenant::Remove(Remove { name }) => {
                client.tenant_remove(&name).await.map_err(about_tenant)?;
                print::note(&format!("removed {name}"));
                Ok(())
            }
        }
    }
}

fn about_tenant(error: Error) -> Problem {
    let is_missing = error.code() == ErrorCode::NotFound;
    let problem = Problem::from(error);
    if is_missing {
        problem.or_hint("`rpc-host tenant list` shows what there is")
    } else {
        problem
    }
}

fn list_table(entries: &[TenantEntry]) -> Table {
    Table::new(
        [
            "name",
            "registrations",
            "modules",
            "stored",
            "tokens",
            "since",
        ],
        entries.iter().map(|entry| {
            [
                entry.name.clone(),
                entry.registrations.to_string(),
                entry.modules.to_string(),
                size(entry.stored_bytes),
                entry.tokens.to_string(),
                time(entry.created_at_ms),
            ]
        }),
    )
}

fn show_text(entry: &TenantEntry) -> String {
    let limits = entry.limits.iter();
    let limits = limits.map(|(name, limit)| format!("{name}={limit}"));
    Table::of_pairs([
        ("name", entry.name.clone()),
        ("registrations", entry.registrations.to_string()),
        ("modules", entry.modules.to_string()),
        ("stored", size(entry.stored_bytes)),
        ("tokens", entry.tokens.to_string()),
        ("allowed", joined(&entry.allow)),
        ("limits", joined(limits)),
        ("weight", entry.weight.to_string()),
        ("since", time(entry.created_at_ms)),
    ])
    .to_string()
}

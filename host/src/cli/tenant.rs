//! `tenant …`: for the node's administrator.

use clap::{Args, Subcommand};
use rpc_host_client::{Error, ErrorCode, TenantEntry};

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::table::{Table, size, time};

#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Make a tenant
    Create(Named),
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
pub(crate) struct Remove {
    /// The tenant
    name: String,
}

impl Tenant {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        match self {
            Tenant::Create(Named { name, output }) => {
                let entry = client.tenant_create(&name).await?;
                output.print(&entry, show_text)?;
                print::note(&format!(
                    "`rpc-host token create --tenant {name}` makes a token for it"
                ));
                Ok(())
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
    Table::of_pairs([
        ("name", entry.name.clone()),
        ("registrations", entry.registrations.to_string()),
        ("modules", entry.modules.to_string()),
        ("stored", size(entry.stored_bytes)),
        ("tokens", entry.tokens.to_string()),
        ("since", time(entry.created_at_ms)),
    ])
    .to_string()
}

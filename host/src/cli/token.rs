//! `token …`: who may do what.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use rpc_host_client::{Error, ErrorCode, NewToken, TokenEntry, TokenRequest};

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::table::{Table, time};

/// From the least to the most powerful.
pub(super) const ROLES: [&str; 4] = ["reader", "caller", "deployer", "admin"];

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it: this once, for the node keeps only its hash
    Create(Create),
    /// List tokens, without their secrets
    List(List),
    /// Make a token worthless at once
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The tenant [default: that of the token in use]
    #[arg(long)]
    tenant: Option<String>,
    /// What it may do; each role may do all that the ones before it may
    #[arg(long, default_value = "caller", value_parser = PossibleValuesParser::new(ROLES))]
    role: String,
    /// How long it is good for, such as 30d or 12h [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The tenant [default: that of the token in use]
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The token's public id, as `token list` shows it
    id: String,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime < Duration::from_secs(1) {
        return Err("a token is good for a second at least".to_owned());
    }
    Ok(lifetime)
}

impl Token {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        match self {
            Token::Create(create) => {
                let request = TokenRequest {
                    tenant: create.tenant,
                    role: create.role,
                    expires_in: create.expires,
                };
                let token = client.token_create(request).await?;
                if !create.output.is_json() {
                    print::note(&description(&token));
                }
                create
                    .output
                    .print(&token, |token| format!("{}\n", token.token))
            }
            Token::List(List { tenant, output }) => {
                let entries = client.token_list(tenant.as_deref()).await?;
                output.list(&entries, "there are no tokens", list_table)
            }
            Token::Revoke(Revoke { id }) => {
                client.token_revoke(&id).await.map_err(about_token)?;
                print::note(&format!("revoked {id}"));
                Ok(())
            }
        }
    }
}

fn about_token(error: Error) -> Problem {
    let is_missing = error.code() == ErrorCode::NotFound;
    let problem = Problem::from(error);
    if is_missing {
        problem.or_hint("`rpc-host token list` shows the ids; the token itself is none")
    } else {
        problem
    }
}

fn expiry(entry: &TokenEntry) -> String {
    entry.expires_at_ms.map_or_else(|| "never".to_owned(), time)
}

fn description(token: &NewToken) -> String {
    let entry = &token.entry;
    format!(
        "token {} of tenant {}, role {}, expires: {}; it is shown this once",
        entry.id,
        entry.tenant,
        entry.role,
        expiry(entry)
    )
}

fn list_table(entries: &[TokenEntry]) -> Table {
    Table::new(
        ["id", "tenant", "role", "since", "expires"],
        entries.iter().map(|entry| {
            [
                entry.id.clone(),
                entry.tenant.clone(),
                entry.role.clone(),
                time(entry.created_at_ms),
                expiry(entry),
            ]
        }),
    )
}

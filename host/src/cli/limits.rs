//! `limits`: what is allowed, and how much of it is in use.

use std::path::PathBuf;

use clap::Args;
use rpc_host::config::{Config, Flags};
use rpc_host_client::LimitEntry;

use super::connect::Connect;
use super::print::Output;
use super::problem::Problem;
use super::table::{Table, size};

#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// A registration, for the limits of its calls
    #[arg(conflicts_with = "config")]
    name: Option<String>,
    /// A configuration file: what it would allow, without asking a node
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Limits {
    /// Whether no node has to be asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.config.is_some()
    }

    pub(crate) fn run_offline(self) -> Result<(), Problem> {
        let flags = Flags {
            config: self.config,
            ..Flags::default()
        };
        let config = Config::load(flags).map_err(|error| Problem::usage(error.to_string()))?;
        self.output
            .list(&rpc_host::node_limits(&config.limits), "", table)
    }

    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let entries = connect.client().await?.limits(self.name.as_deref()).await;
        let entries = entries.map_err(|error| {
            Problem::or_missing(error, "`rpc-host list` shows what is registered")
        })?;
        self.output.list(&entries, "", table)
    }
}

fn table(entries: &[LimitEntry]) -> Table {
    let rows = entries.iter().map(|entry| {
        let amount = |value| amount(value, &entry.unit);
        let used = match entry.used {
            Some(used) => format!("{} ({} %)", amount(used), percent(used, entry.value)),
            None => String::new(),
        };
        let ceiling = match entry.default == entry.ceiling && entry.value == entry.ceiling {
            true => "fixed".to_owned(),
            false => amount(entry.ceiling),
        };
        [
            entry.name.clone(),
            amount(entry.value),
            used,
            amount(entry.default),
            ceiling,
            entry.limits.clone(),
        ]
    });
    let heading = [
        "limit",
        "in force",
        "in use",
        "default",
        "ceiling",
        "what it limits",
    ];
    Table::new(heading, rows)
}

fn amount(value: u64, unit: &str) -> String {
    match unit {
        "bytes" => size(value),
        "bytes per second" => format!("{}/s", size(value)),
        "per second" => format!("{value}/s"),
        "ms" => format!("{value} ms"),
        _ => value.to_string(),
    }
}

fn percent(used: u64, of: u64) -> u64 {
    let hundredfold = u128::from(used).saturating_mul(100);
    let percent = hundredfold.checked_div(u128::from(of)).unwrap_or_default();
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_and_in_use_is_a_table() {
        let entry = LimitEntry {
            name: "max-memory-bytes-per-tenant".to_owned(),
            limits: "Bytes.".to_owned(),
            unit: "bytes".to_owned(),
            value: 2 << 30,
            node: 2 << 30,
            default: 2 << 30,
            ceiling: 1 << 40,
            used: Some(1 << 29),
        };
        let fixed = LimitEntry {
            name: "memories".to_owned(),
            limits: "Memories.".to_owned(),
            unit: String::new(),
            value: 16,
            node: 16,
            default: 16,
            ceiling: 16,
            used: None,
        };
        assert_eq!(
            table(&[entry, fixed]).to_string(),
            "LIMIT                        IN FORCE  IN USE            DEFAULT  CEILING  WHAT IT LIMITS\n\
             max-memory-bytes-per-tenant  2.0 GiB   512.0 MiB (25 %)  2.0 GiB  1.0 TiB  Bytes.\n\
             memories                     16                          16       fixed    Memories.\n"
        );
        assert_eq!(percent(1, 0), 0);
        assert_eq!(amount(5, "per second"), "5/s");
    }
}

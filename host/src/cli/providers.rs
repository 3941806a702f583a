//! `withdraw`, and the part of `list` that is about clients: what they serve.

use clap::Args;
use rpc_host_client::{Fallback, ProviderEntry};

use super::connect::Connect;
use super::print;
use super::problem::Problem;
use super::table::{Table, time};

#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// The name
    name: String,
    /// End it though it is another client's, which is all that a command can do: it serves nothing itself
    #[arg(long, required = true)]
    steal: bool,
}

impl Withdraw {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let Withdraw { name, steal } = self;
        let withdrawn = connect.client().await?.withdraw(&name, steal).await;
        withdrawn.map_err(|error| {
            Problem::or_missing(error, "`rpc-host list` shows what clients serve")
        })?;
        print::note(&format!("no client serves {name} any more"));
        Ok(())
    }
}

/// Who serves what, and how busy they are.
pub(crate) fn providers_table<'a>(entries: impl IntoIterator<Item = &'a ProviderEntry>) -> Table {
    let rows = entries.into_iter().map(|entry| {
        let until = match (entry.serving, entry.fallback) {
            (true, _) => time(entry.until_ms),
            (false, Fallback::Error) => "lost; calls end with an error".to_owned(),
            (false, Fallback::Previous) => "lost".to_owned(),
        };
        [
            entry.name.clone(),
            short_session(&entry.session).to_owned(),
            entry.served_by.clone(),
            format!("{}/{}", entry.in_flight, entry.window),
            time(entry.since_ms),
            until,
        ]
    });
    let heading = [
        "served by client",
        "session",
        "token",
        "calls",
        "since",
        "until",
    ];
    Table::new(heading, rows)
}

/// Enough of a session to find it in the node's log.
fn short_session(session: &str) -> &str {
    const SHOWN: usize = 8;
    session.get(..SHOWN).unwrap_or(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_client::Scope;

    #[test]
    fn who_serves_what_is_a_table() {
        let entry = ProviderEntry {
            name: "acme:log/logger".to_owned(),
            scope: Scope::Tenant,
            serving: true,
            session: "0123456789abcdef".to_owned(),
            served_by: "t7".to_owned(),
            lease: 3,
            since_ms: 1_795_225_268_123,
            until_ms: 1_795_225_278_123,
            window: 16,
            in_flight: 2,
            late_answers: 0,
            fallback: Fallback::Previous,
        };
        let lost = ProviderEntry {
            name: "a:b/c".to_owned(),
            serving: false,
            in_flight: 0,
            late_answers: 0,
            fallback: Fallback::Error,
            ..entry.clone()
        };
        assert_eq!(
            providers_table([&entry, &lost]).to_string(),
            "SERVED BY CLIENT  SESSION   TOKEN  CALLS  SINCE                    UNTIL\n\
             acme:log/logger   01234567  t7     2/16   2026-11-21 01:41:08 UTC  2026-11-21 01:41:18 UTC\n\
             a:b/c             01234567  t7     0/16   2026-11-21 01:41:08 UTC  lost; calls end with an error\n"
        );
    }
}

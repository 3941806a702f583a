//! `audit`: what the audit log of a node on this machine says. It reads the files, and asks no node.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use rpc_host::audit::{Entry, Record, Tail};
use rpc_host::config::audit_file;

use super::print::{self, Output};
use super::problem::Problem;

/// How often `--follow` looks for more.
const INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The data directory of the node
    #[arg(long, value_name = "DIR", default_value = "rpc-host-data")]
    data: PathBuf,
    /// The newest file of the log, where the node's configuration names another
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// Only what this tenant did, or what was done to it
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only what was decided since so long ago: 1h, 30m, 7days
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    output: Output,
}

impl Audit {
    pub(crate) fn run(self) -> Result<(), Problem> {
        let path = match &self.file {
            Some(file) => file.clone(),
            None => audit_file(&self.data),
        };
        let since = self.since.map(|since| {
            let begin = SystemTime::now().checked_sub(since);
            begin.unwrap_or(SystemTime::UNIX_EPOCH)
        });
        let mut tail = Tail::new(path.clone());
        let mut told_broken = 0;
        loop {
            let mut outcome = Ok(());
            let read = tail.read(|record| {
                if outcome.is_ok() && self.is_wanted(&record, since) {
                    outcome = self.print(&record);
                }
            });
            outcome?;
            read.map_err(|error| match error.kind() {
                ErrorKind::NotFound => Problem::new(format!(
                    "there is no audit log {}; say which node's with --data or --file",
                    path.display()
                )),
                _ => Problem::new(format!("cannot read {}: {error}", path.display())),
            })?;
            let broken = tail.broken();
            if broken > told_broken {
                print::note(&format!("{} lines cannot be read", broken - told_broken));
                told_broken = broken;
            }
            if !self.follow {
                return Ok(());
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn is_wanted(&self, record: &Record, since: Option<SystemTime>) -> bool {
        let Entry {
            tenant, of_tenant, ..
        } = &record.entry;
        let is_of = |wanted: &String| {
            [tenant, of_tenant]
                .into_iter()
                .flatten()
                .any(|one| one == wanted)
        };
        let is_since = |begin: SystemTime| {
            // A time that cannot be read is no reason to keep a line back.
            humantime::parse_rfc3339(&record.time).map_or(true, |time| time >= begin)
        };
        self.tenant.as_ref().is_none_or(is_of) && since.is_none_or(is_since)
    }

    fn print(&self, record: &Record) -> Result<(), Problem> {
        if !self.output.is_json() {
            return print::stdout(&text(record));
        }
        let line = serde_json::to_string(record);
        let line = line.map_err(|error| Problem::new(format!("cannot write json: {error}")))?;
        print::stdout(&(line + "\n"))
    }
}

/// A line for people.
fn text(record: &Record) -> String {
    let Record {
        seq: _,
        time,
        lost,
        entry,
    } = record;
    let mut line = String::new();
    if let Some(lost) = lost {
        line += &format!("({lost} lines before this one are lost)\n");
    }
    line += &format!("{time}  {:8} {}", entry.outcome.as_str(), entry.event);
    let grants = (!entry.grants.is_empty()).then(|| entry.grants.join(" "));
    let parts = [
        ("", entry.object.as_ref()),
        ("tenant ", entry.of_tenant.as_ref()),
        ("module ", entry.digest.as_ref()),
        ("grants ", grants.as_ref()),
        ("", entry.detail.as_ref()),
    ];
    for (what, part) in parts {
        if let Some(part) = part {
            line += &format!("  {what}{part}");
        }
    }
    let by = [
        ("tenant", entry.tenant.as_ref()),
        ("credential", entry.credential.as_ref()),
        ("role", entry.role.as_ref()),
        ("session", entry.session.as_ref()),
        ("from", entry.address.as_ref()),
    ];
    let by: Vec<_> = by
        .into_iter()
        .filter_map(|(what, part)| Some(format!("{what} {}", part?)))
        .collect();
    if !by.is_empty() {
        line += &format!("  by {}", by.join(", "));
    }
    if let Some(code) = &entry.code {
        line += &format!("  {code}");
    }
    if let Some(why) = &entry.why {
        line += &format!(": {why}");
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use rpc_host_protocol::ErrorCode;

    use super::*;
    use rpc_host::audit::Outcome;

    #[test]
    fn a_line_for_people_says_what_who_and_why() {
        let entry = Entry::new("swap", Outcome::Refused)
            .tenant(Some("team".to_owned()))
            .credential("0011223344556677")
            .role("reader")
            .object("calc")
            .grants(["log", "env:A=b"])
            .code(ErrorCode::PermissionDenied)
            .why(Some("this needs more"));
        let record = Record {
            seq: 7,
            time: "2026-11-21T01:41:08.123Z".to_owned(),
            lost: Some(3),
            entry,
        };
        assert_eq!(
            text(&record),
            "(3 lines before this one are lost)\n\
             2026-11-21T01:41:08.123Z  refused  swap  calc  grants log env:A=…  by tenant team, credential \
             0011223344556677, role reader  permission-denied: this needs more\n"
        );
    }
}

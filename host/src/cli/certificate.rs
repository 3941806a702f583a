//! `certificate …`: certificates for clients, from the node's own authority. Not over the wire: this is
//! for the user that the node runs as, beside its data directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use rpc_host::clock::{SystemClock, WallClock};
use rpc_host::config::DataDir;
use rpc_host::storage::file::{self, Access};
use rpc_host::tenant::Subject;
use rpc_host::transport::{ClientAuthority, IssuedCertificate};

use super::print::{self, Output};
use super::problem::Problem;
use super::table::{Table, time};
use super::token::ROLES;

const DEFAULT_DATA: &str = "rpc-host-data";
const DEFAULT_LIFE: &str = "30d";

#[derive(Debug, Subcommand)]
pub(crate) enum Certificate {
    /// Make a certificate and its key, in two files
    Create(Create),
    /// List the certificates that were made
    List(List),
    /// Make a certificate worthless, as soon as the node has read the list anew
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The tenant, by name
    #[arg(long)]
    tenant: String,
    /// What its holder may do at most
    #[arg(long, default_value = "caller", value_parser = PossibleValuesParser::new(ROLES))]
    role: String,
    /// What its holder is called, for the record: a-z, 0-9, `-` and `.`
    #[arg(long)]
    name: String,
    /// How long it is good for, such as 30d or 12h
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_LIFE, value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Where to put it: PREFIX.pem and PREFIX.key
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Its serial number, as `certificate list` shows it
    serial: String,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
struct Data {
    /// The node's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
}

impl Data {
    fn open(&self) -> Result<ClientAuthority, Problem> {
        if !DataDir::is_one(&self.data) {
            let data = self.data.display();
            let problem = Problem::new(format!("{data} is no node's data directory"));
            return Err(problem.or_hint("`rpc-host serve` makes one; `--data DIR` names another"));
        }
        ClientAuthority::open(&DataDir::clients_of(&self.data), SystemClock.now()).map_err(problem)
    }
}

impl Certificate {
    pub(crate) fn run(self) -> Result<(), Problem> {
        match self {
            Certificate::Create(create) => create.run(),
            Certificate::List(List { data, output }) => {
                let authority = data.open()?;
                output.list(authority.issued(), "there are no certificates", table)
            }
            Certificate::Revoke(Revoke { serial, data }) => {
                let mut authority = data.open()?;
                let known = authority
                    .revoke(&serial, SystemClock.now())
                    .map_err(problem)?;
                if !known {
                    let unknown = Problem::new(format!("there is no certificate `{serial}`"));
                    return Err(unknown.or_hint("`rpc-host certificate list` shows the numbers"));
                }
                print::note(&format!(
                    "revoked {serial}; a running node takes it over on SIGHUP: {}",
                    command(&data.data)
                ));
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Problem> {
        let subject = format!("rpc-host://{}/{}/{}", self.tenant, self.role, self.name);
        let subject: Subject = subject
            .parse()
            .map_err(|error: rpc_host::tenant::TenantError| Problem::usage(error.to_string()))?;
        let is_first = !DataDir::clients_of(&self.data.data).exists();
        let mut authority = self.data.open()?;
        let made = authority
            .issue(&subject.to_string(), self.expires, SystemClock.now())
            .map_err(problem)?;
        let (certificate, key) = (with(&self.out, "pem"), with(&self.out, "key"));
        for (path, text, access) in [
            (&key, made.key_pem.as_str(), Access::Private),
            (&certificate, &made.certificate_pem, Access::Public),
        ] {
            file::replace(path, text.as_bytes(), access)
                .map_err(|error| Problem::new(error.to_string()))?;
        }
        print::note(&format!(
            "certificate {} for {subject} until {}: {} and {}",
            made.issued.serial,
            time(made.issued.expires_at_ms),
            certificate.display(),
            key.display()
        ));
        if is_first {
            print::note(&format!(
                "it is the first one; a running node believes it after a SIGHUP: {}",
                command(&self.data.data)
            ));
        }
        print::stdout(&format!("{}\n", made.issued.serial))
    }
}

fn with(prefix: &Path, extension: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// How the node of a data directory is told.
fn command(data: &Path) -> String {
    format!("kill -HUP $(cat {}/lock)", data.display())
}

fn problem(error: rpc_host::transport::IdentityError) -> Problem {
    Problem::new(error.to_string())
}

fn table(entries: &[IssuedCertificate]) -> Table {
    Table::new(
        ["serial", "subject", "since", "expires", "revoked"],
        entries.iter().map(|entry| {
            [
                entry.serial.clone(),
                entry.subject.clone(),
                time(entry.issued_at_ms),
                time(entry.expires_at_ms),
                entry.revoked_at_ms.map_or_else(String::new, time),
            ]
        }),
    )
}

//! `provide`: a name served by a program on this machine.

mod lines;
mod program;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rpc_host_client::{Client, Error, ErrorCode, Fallback, Lease, Lost, Scope};
use tokio::signal::unix::{SignalKind, signal};

use super::connect::Connect;
use super::print;
use super::problem::Problem;
pub(crate) use program::Program;

/// After the name is lost, it is so long until it is provided again; twice as long each time that fails.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// But not longer than this.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);
/// Who interrupts does not wait longer than this for the node to let go.
const MAX_FAREWELL: Duration = Duration::from_secs(2);
/// No WIT file is longer.
const MAX_WIT_BYTES: u64 = 1 << 20;

/// What `--help` tells beside the flags. Lines break at the terminal's width, so paragraphs have one each.
const HELP: &str = concat!(
    "The name is served to the whole tenant, as long as this command runs. (`rpc-host call --provide` serves ",
    "a name to one call.) The program is started once and ends with the command; the end of the program is ",
    "the end of the command. Ctrl-C gives the name back.\n\n",
    "Each call of the name, also by what imports it, is a line of JSON on the program's stdin:\n\n",
    "  {\"id\":1,\"function\":\"log\",\"args\":[\"info\",\"hello\"]}\n\n",
    "and each answer a line on its stdout, flushed, in any order, with the same id:\n\n",
    "  {\"id\": 1, \"ok\": VALUE}    what the function returns, if anything\n",
    "  {\"id\": 1, \"err\": VALUE}   its err, or in a text why the program failed\n\n",
    "Values have the form that --output json prints. stderr is free for whatever the program has to tell. ",
    "SERVING.md in the sources has all of it, and examples.",
);

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Provide {
    /// The name, such as acme:log/logger
    name: String,
    /// How long the name stays with this command when nothing is heard of it any more
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    lease: Duration,
    /// How many calls the program gets at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// What answers when this command is lost: what did before, or an error
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    fallback: FallbackChoice,
    /// The interface, for a name that nothing imports and nothing has answered yet
    #[arg(long, value_name = "FILE")]
    wit: Option<PathBuf>,
    /// The program, and arguments of its own that do not begin with a dash
    #[arg(long, value_name = "PROGRAM", required = true, num_args = 1..)]
    exec: Vec<OsString>,
    /// To whom it is served
    #[arg(long, value_enum, value_name = "WHOM", default_value_t)]
    scope: ScopeChoice,
    /// More arguments of the program, whatever they begin with
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ScopeChoice {
    /// This command's session, which has no other calls: for trying whether it would be accepted
    Session,
    /// The whole tenant
    #[default]
    Tenant,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FallbackChoice {
    /// What answered before
    #[default]
    Previous,
    /// An error, until somebody decides otherwise
    Error,
}

impl From<ScopeChoice> for Scope {
    fn from(choice: ScopeChoice) -> Self {
        match choice {
            ScopeChoice::Session => Scope::Session,
            ScopeChoice::Tenant => Scope::Tenant,
        }
    }
}

/// Why this command stops though nothing went wrong.
enum Stop {
    Interrupted,
    Terminated,
}

impl Provide {
    /// The program and its arguments.
    pub(crate) fn command(&self) -> Vec<OsString> {
        [&self.exec[..], &self.arguments[..]].concat()
    }

    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let command = self.command();
        let wit = self.wit.as_deref().map(read_wit).transpose()?;
        let mut stop = std::pin::pin!(stop()?);
        let started = async {
            let client = connect.client().await?;
            Ok::<_, Problem>((client, Program::start(&command)?))
        };
        let (client, program) = tokio::select! {
            started = started => started?,
            stop = &mut stop => return Err(stop.problem()),
        };
        let mut serving = Serving {
            options: &self,
            client,
            wit,
            program: program.clone(),
            lease: None,
        };
        let problem = tokio::select! {
            problem = serving.run() => problem,
            problem = program.ended() => problem,
            stop = stop => stop.problem(),
        };
        serving.let_go().await;
        Err(problem)
    }
}

fn read_wit(path: &Path) -> Result<String, Problem> {
    let problem =
        |error: io::Error| Problem::new(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(problem)?;
    let mut limited = file.take(MAX_WIT_BYTES + 1);
    limited.read_to_string(&mut text).map_err(problem)?;
    if text.len() as u64 > MAX_WIT_BYTES {
        let path = path.display();
        return Err(Problem::new(format!(
            "{path} is over 1 MiB, which is no WIT"
        )));
    }
    Ok(text)
}

impl Stop {
    fn problem(&self) -> Problem {
        match self {
            Stop::Interrupted => Problem::interrupted(),
            Stop::Terminated => Problem::terminated(),
        }
    }
}

/// Ends when this command is asked to stop.
fn stop() -> Result<impl Future<Output = Stop>, Problem> {
    let on = |kind| {
        signal(kind).map_err(|error| Problem::new(format!("cannot listen for signals: {error}")))
    };
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Stop::Interrupted,
            _ = terminate.recv() => Stop::Terminated,
        }
    })
}

/// A name that is served, again and again if need be.
struct Serving<'a> {
    options: &'a Provide,
    client: Client,
    wit: Option<String>,
    program: Program,
    /// The present one.
    lease: Option<Lease>,
}

impl Serving<'_> {
    /// Serves until that makes no sense any more.
    async fn run(&mut self) -> Problem {
        let name = &self.options.name;
        let mut back_off = FIRST_BACK_OFF;
        let mut lost_at = None;
        loop {
            match self.provide().await {
                Ok(lease) => {
                    if let Err(problem) = print::stdout(&ready(&lease)) {
                        return problem;
                    }
                    let lost = self.lease.insert(lease).lost().await;
                    self.lease = None;
                    if let Lost::Lapsed(failure) = &lost
                        && !is_of_silence(failure.code)
                    {
                        // Somebody wanted it so.
                        return Problem::new(format!("{name} is not served any more: {lost}"));
                    }
                    print::note(&format!("lost {name}: {lost}; trying to serve it again"));
                    lost_at = Some(Instant::now());
                    back_off = FIRST_BACK_OFF;
                }
                Err(error) if self.is_final(&error, lost_at) => return error.into(),
                Err(error) => {
                    let wait = humantime::format_duration(back_off);
                    print::note(&format!("cannot serve {name}: {error}; again in {wait}"));
                }
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(MAX_BACK_OFF);
        }
    }

    async fn provide(&self) -> Result<Lease, Error> {
        let program = self.program.clone();
        let Provide {
            name,
            lease,
            window,
            fallback,
            ..
        } = self.options;
        let mut provision = self
            .client
            .provision(name, move |call| program.clone().serve(call))
            .scope(self.options.scope.into())
            .lease(*lease)
            .window(*window)
            .fallback(match fallback {
                FallbackChoice::Previous => Fallback::Previous,
                FallbackChoice::Error => Fallback::Error,
            });
        if let Some(wit) = &self.wit {
            provision = provision.wit(wit);
        }
        provision.start().await
    }

    /// Whether there is no use in trying again. What the node refuses at first, it refuses; later, it may
    /// be that the lease that was lost still stands there, until its time is over.
    fn is_final(&self, error: &Error, lost_at: Option<Instant>) -> bool {
        match error.failure() {
            Some(failure) if failure.code == ErrorCode::Unauthenticated => true,
            Some(failure) if failure.code == ErrorCode::Unavailable => false,
            Some(_) => {
                let patience = self.options.lease.saturating_add(MAX_BACK_OFF);
                lost_at.is_none_or(|lost_at| lost_at.elapsed() > patience)
            }
            None => lost_at.is_none(),
        }
    }

    /// Gives the name back, if it is held.
    async fn let_go(&mut self) {
        if let Some(lease) = self.lease.take() {
            let withdrawn = tokio::time::timeout(MAX_FAREWELL, lease.withdraw()).await;
            if !matches!(withdrawn, Ok(Ok(()))) {
                tracing::debug!("the node did not say that it has let go");
            }
        }
    }
}

/// Whether a lease ended because nothing was heard of this command for too long.
fn is_of_silence(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DeadlineExceeded | ErrorCode::ProviderLost)
}

/// The line on stdout each time that it begins: whoever started this command waits for it.
fn ready(lease: &Lease) -> String {
    let functions = lease.functions().iter();
    let functions: Vec<_> = functions.map(|function| function.name.as_str()).collect();
    format!(
        "serving {} (lease {}, {} calls at once): {}\n",
        lease.name(),
        humantime::format_duration(lease.duration()),
        lease.window(),
        functions.join(", ")
    )
}

//! The command line: one file for each group of verbs.
//!
//! Everything but `serve` and `certificate` is a client of a node, local or not, and uses the client library like any
//! other program. The library's layers know nothing of this folder.
//!
//! Exit codes: 0 it worked, 1 it did not, 2 the command line makes no sense, 130 interrupted, 143 terminated.

mod audit;
mod call;
mod call_text;
mod certificate;
mod compile_worker;
mod completions;
mod connect;
mod describe;
mod inspect;
mod limits;
mod logs;
mod print;
mod problem;
mod promote;
mod provide;
mod providers;
mod registration;
mod registrations;
mod serve;
mod swap;
mod table;
mod tenant;
mod token;
mod upload;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use connect::Connect;
use problem::Problem;

/// A node that runs uploaded WebAssembly components for many tenants, and the tools to use one.
#[derive(Debug, Parser)]
#[command(name = "rpc-host", version)]
struct Cli {
    #[command(flatten)]
    connect: Connect,

    /// Tell more; twice: everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::Serve),
    /// Upload a module, and register it under a name
    Upload(upload::Upload),
    /// Point a registration at another module, or at an earlier revision
    Swap(swap::Swap),
    /// Point a registration at what it was before
    Rollback(swap::Rollback),
    /// Call a function of a registered module
    Call(call::Call),
    /// Serve a name by a program on this machine
    Provide(provide::Provide),
    /// Put a module in the place of a client that serves a name
    Promote(promote::Promote),
    /// End what a client serves under a name
    Withdraw(providers::Withdraw),
    /// List all registrations, and what clients serve
    List(registrations::List),
    /// Show one registration, and the client that serves its name
    Show(registrations::Show),
    /// Show what a registered module, or a file, exports and imports
    Inspect(inspect::Inspect),
    /// Show what can be called under a name, with its docs, or as a stub for Python
    Describe(describe::Describe),
    /// Show what the guests of a registration wrote, and write
    Logs(logs::Logs),
    /// Show what is allowed, and how much of it is in use
    Limits(limits::Limits),
    /// List the revisions of a registration
    History(registrations::History),
    /// Take a registration away
    Remove(registrations::Remove),
    /// Make, list and remove tenants
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// Make, list and revoke tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Show the audit log of a node on this machine
    Audit(audit::Audit),
    /// Make, list and revoke certificates for clients, beside the node
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Compile the component on stdin to stdout, for the node
    #[command(hide = true)]
    CompileWorker(compile_worker::CompileWorker),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, and whether anybody reads it is not our business.
            let _unread = error.print();
            return problem::exit_code(error.exit_code());
        }
    };
    if let Command::CompileWorker(worker) = cli.command {
        return compile_worker::run(worker);
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(),
    }
}

fn run(cli: Cli) -> Result<(), Problem> {
    let Cli {
        connect,
        verbose,
        command,
    } = cli;
    match command {
        Command::Serve(serve) => return serve.run(verbose),
        Command::Audit(audit) => return audit.run(),
        Command::Completions(completions) => return completions.run(),
        Command::Certificate(certificate) => return certificate.run(),
        Command::Limits(limits) if limits.is_offline() => return limits.run_offline(),
        Command::Inspect(inspect) if inspect.is_offline() => return inspect.run_offline(),
        Command::Describe(describe) if describe.is_offline() => return describe.run_offline(),
        _ => {}
    }
    connect::log_to_stderr(verbose);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let done = match command {
            // It listens for signals itself, as it has something to give back.
            Command::Provide(provide) => provide.run(&connect).await,
            command => tokio::select! {
                outcome = run_client(&connect, command) => outcome,
                // Dropping the other branch cancels on the node what is under way there.
                _ = tokio::signal::ctrl_c() => Err(Problem::interrupted()),
            },
        };
        connect.end().await;
        done
    })
}

async fn run_client(connect: &Connect, command: Command) -> Result<(), Problem> {
    match command {
        Command::Upload(upload) => upload.run(connect).await,
        Command::Swap(swap) => swap.run(connect).await,
        Command::Rollback(rollback) => rollback.run(connect).await,
        Command::Call(call) => call.run(connect).await,
        Command::Provide(provide) => provide.run(connect).await,
        Command::Promote(promote) => promote.run(connect).await,
        Command::Withdraw(withdraw) => withdraw.run(connect).await,
        Command::List(list) => list.run(connect).await,
        Command::Show(show) => show.run(connect).await,
        Command::Inspect(inspect) => inspect.run(connect).await,
        Command::Describe(describe) => describe.run(connect).await,
        Command::Logs(logs) => logs.run(connect).await,
        Command::Limits(limits) => limits.run(connect).await,
        Command::History(history) => history.run(connect).await,
        Command::Remove(remove) => remove.run(connect).await,
        Command::Tenant(tenant) => tenant.run(connect).await,
        Command::Token(token) => token.run(connect).await,
        Command::Serve(serve) => serve.run(0),
        Command::Audit(audit) => audit.run(),
        Command::Completions(completions) => completions.run(),
        Command::Certificate(certificate) => certificate.run(),
        Command::CompileWorker(_) => Err(Problem::new("the compiler is not a client")),
    }
}

#[cfg(test)]
mod tests;

//! `cargo xtask`: what cargo alone cannot do.
//!
//! This is the first crate that a newcomer compiles, so it depends on almost nothing and parses
//! its arguments by hand. It deliberately knows nothing of the host's code: it runs the same
//! binaries, with the same arguments, that a person would.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool, which speaks through the terminal"
)]

mod bench;
mod demo;
mod fuzz;
mod gauntlet;
mod guest_environment;
mod guest_toolchain;
mod instructions;
mod modules;
mod patience;
mod progress;
mod python;
mod rpyc;
mod step;
mod test;
#[cfg(test)]
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::guest_toolchain::Way;
use crate::modules::Voice;
use crate::step::StepFailed;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

commands:
  demo                  build everything, start a node, upload modules, call them, show each command
  test [-- ARGUMENTS]   run every test; with arguments, what `cargo test ARGUMENTS` would run
  python [-- ARGUMENTS] run the tests of the Python package, in an environment under target/python;
                        ARGUMENTS are for pytest
  bench [--quick] [--json FILE] [--without PEER]
                        measure calls beside a raw TLS echo, tonic, tarpc, `wasmtime serve` and Python's ways to
                        call, all in the release profile; figures go to bench/results. --quick is the core rows
                        in some minutes, beside the echo and tonic; PEER is wasmtime-serve or python
  rpyc                  measure calls beside RPyC's, from Python and from Rust, in an environment under
                        target/python
  scale [--short]       measure what many registrations and connections cost: memory, a start, a call
  instructions [--update]
                        count what a call takes, and hold it to what is recorded; or record it
  neighbour [--short]   measure what hostile tenants do to another, and how fast an endless guest is gone
  modules [--way WAY]   build every guest to target/modules/NAME.wasm
  fuzz [--seconds N]    run each fuzz target for so long (20)
  gauntlet [--runs N] [--seed S] [--again PROGRAM:SEED]
                        run hostile programs in random order (20000), many at once, and watch the node
  storm [--handles N] [--tasks N] [--seed S]
                        make, copy, pass and drop objects (1000000), eight tasks at once, and watch the node

  WAY is how the standard library for wasm32-wasip2 is found; without it, the first that works:
    installed   the target is part of the present Rust toolchain
    rustup      `rustup target add wasm32-wasip2`
    debian      Debian's own Rust packages, building the standard library from source";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match Command::parse(&arguments) {
        Ok(command) => command,
        Err(misuse) => {
            eprintln!("error: {misuse}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<fuzz::Missing>() {
                return ExitCode::from(2);
            }
            let code = error.downcast_ref().and_then(StepFailed::code);
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Demo,
    Test { arguments: Vec<String> },
    Python { arguments: Vec<String> },
    Bench(bench::Wish),
    Rpyc,
    Neighbour { short: bool },
    Scale { short: bool },
    Instructions { update: bool },
    Modules { way: Option<Way> },
    Fuzz { seconds: u64 },
    Gauntlet { arguments: Vec<String> },
    Storm { arguments: Vec<String> },
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut arguments = arguments.iter().map(String::as_str);
        match arguments.next() {
            None | Some("help" | "--help" | "-h") => Ok(Self::Help),
            Some("demo") => Self::Demo.alone(arguments),
            Some("test") => Ok(Self::Test {
                arguments: passed_on("test", "cargo test", arguments)?,
            }),
            Some("python") => Ok(Self::Python {
                arguments: passed_on("python", "pytest", arguments)?,
            }),
            Some("bench") => Ok(Self::Bench(bench::Wish::parse(arguments)?)),
            Some("rpyc") => Self::Rpyc.alone(arguments),
            Some("neighbour") => match arguments.next() {
                Some("--short") => Self::Neighbour { short: true }.alone(arguments),
                None => Ok(Self::Neighbour { short: false }),
                Some(argument) => Err(format!("`neighbour` takes no `{argument}`")),
            },
            Some("scale") => match arguments.next() {
                Some("--short") => Self::Scale { short: true }.alone(arguments),
                None => Ok(Self::Scale { short: false }),
                Some(argument) => Err(format!("`scale` takes no `{argument}`")),
            },
            Some("instructions") => match arguments.next() {
                Some("--update") => Self::Instructions { update: true }.alone(arguments),
                None => Ok(Self::Instructions { update: false }),
                Some(argument) => Err(format!("`instructions` takes no `{argument}`")),
            },
            Some("modules") => Self::parse_modules(arguments),
            Some("fuzz") => Self::parse_fuzz(arguments),
            Some("gauntlet") => Ok(Self::Gauntlet {
                arguments: arguments.map(str::to_owned).collect(),
            }),
            Some("storm") => Ok(Self::Storm {
                arguments: arguments.map(str::to_owned).collect(),
            }),
            Some(other) => Err(format!("there is no command `{other}`")),
        }
    }

    /// A command that takes no arguments.
    fn alone<'a>(self, mut arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        match arguments.next() {
            None => Ok(self),
            Some(argument) => Err(format!("that command takes no `{argument}`")),
        }
    }

    fn parse_modules<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut way = None;
        while let Some(argument) = arguments.next() {
            let value = match argument.split_once('=') {
                Some(("--way", value)) => value,
                None if argument == "--way" => arguments.next().ok_or("--way needs a value")?,
                _ => return Err(format!("`modules` takes no `{argument}`")),
            };
            way = Some(Way::from_name(value).ok_or_else(|| format!("there is no way `{value}`"))?);
        }
        Ok(Self::Modules { way })
    }

    fn parse_fuzz<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut seconds = fuzz::DEFAULT_SECONDS;
        while let Some(argument) = arguments.next() {
            let value = match argument.split_once('=') {
                Some(("--seconds", value)) => value,
                None if argument == "--seconds" => {
                    arguments.next().ok_or("--seconds needs a value")?
                }
                _ => return Err(format!("`fuzz` takes no `{argument}`")),
            };
            // Nought would mean without end.
            seconds = value
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| format!("`{value}` is not a number of seconds"))?;
        }
        Ok(Self::Fuzz { seconds })
    }
}

/// What stands behind `--`, for the program that `command` runs.
fn passed_on<'a>(
    command: &str,
    program: &str,
    mut arguments: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, String> {
    match arguments.next() {
        None | Some("--") => Ok(arguments.map(str::to_owned).collect()),
        Some(argument) => Err(format!(
            "what is for `{program}` comes after `--`: cargo xtask {command} -- {argument}"
        )),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Help => println!("{USAGE}"),
        Command::Demo => demo::run(&Workspace::locate()?)?,
        Command::Test { arguments } => test::run(&Workspace::locate()?, &arguments)?,
        Command::Python { arguments } => python::run(&Workspace::locate()?, &arguments)?,
        Command::Bench(wish) => bench::run(&Workspace::locate()?, &wish)?,
        Command::Rpyc => rpyc::run(&Workspace::locate()?)?,
        Command::Neighbour { short } => bench::neighbour(&Workspace::locate()?, short)?,
        Command::Scale { short } => bench::scale(&Workspace::locate()?, short)?,
        Command::Instructions { update } => instructions::run(&Workspace::locate()?, update)?,
        Command::Modules { way } => modules::build(&Workspace::locate()?, way, Voice::Full)?,
        Command::Fuzz { seconds } => fuzz::run(&Workspace::locate()?, seconds)?,
        Command::Gauntlet { arguments } => gauntlet::run(&Workspace::locate()?, &arguments)?,
        Command::Storm { arguments } => gauntlet::storm(&Workspace::locate()?, &arguments)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&arguments)
    }

    #[test]
    fn arguments_are_read_or_refused() {
        assert_eq!(parse(""), Ok(Command::Help));
        assert_eq!(parse("demo"), Ok(Command::Demo));
        let all = bench::Wish::default();
        assert_eq!(parse("bench"), Ok(Command::Bench(all)));
        assert!(parse("bench fast").is_err());
        assert_eq!(parse("rpyc"), Ok(Command::Rpyc));
        assert!(parse("rpyc 6").is_err());
        assert_eq!(parse("neighbour"), Ok(Command::Neighbour { short: false }));
        let short = Ok(Command::Neighbour { short: true });
        assert_eq!(parse("neighbour --short"), short);
        assert!(parse("neighbour --short 1").is_err());
        assert!(parse("neighbour quick").is_err());
        assert_eq!(parse("scale"), Ok(Command::Scale { short: false }));
        assert_eq!(parse("scale --short"), Ok(Command::Scale { short: true }));
        assert!(parse("scale large").is_err());
        let counted = |update| Ok(Command::Instructions { update });
        assert_eq!(parse("instructions"), counted(false));
        assert_eq!(parse("instructions --update"), counted(true));
        assert!(parse("instructions --short").is_err());
        assert!(parse("demo calc").is_err());
        let test = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|&it| it.to_owned()).collect();
            Ok(Command::Test { arguments })
        };
        assert_eq!(parse("test"), test(&[]));
        assert_eq!(parse("test --"), test(&[]));
        assert_eq!(
            parse("test -- --test all -- a"),
            test(&["--test", "all", "--", "a"])
        );
        assert!(parse("test calls").is_err());
        let arguments = vec!["-k".to_owned(), "calls".to_owned()];
        assert_eq!(
            parse("python -- -k calls"),
            Ok(Command::Python { arguments })
        );
        assert!(parse("python calls").is_err());
        assert_eq!(parse("modules"), Ok(Command::Modules { way: None }));
        let debian = Ok(Command::Modules {
            way: Some(Way::Debian),
        });
        assert_eq!(parse("modules --way debian"), debian);
        assert_eq!(parse("modules --way=debian"), debian);
        assert!(parse("modules --way").is_err());
        assert!(parse("modules --way nix").is_err());
        assert!(parse("modules calc").is_err());
        assert!(parse("module").is_err());
        assert_eq!(parse("fuzz"), Ok(Command::Fuzz { seconds: 20 }));
        assert_eq!(parse("fuzz --seconds 5"), Ok(Command::Fuzz { seconds: 5 }));
        assert_eq!(parse("fuzz --seconds=5"), Ok(Command::Fuzz { seconds: 5 }));
        assert!(parse("fuzz --seconds 0").is_err());
        assert!(parse("fuzz frame").is_err());
        let gauntlet = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|&it| it.to_owned()).collect();
            Ok(Command::Gauntlet { arguments })
        };
        assert_eq!(parse("gauntlet"), gauntlet(&[]));
        assert_eq!(parse("gauntlet --runs 5"), gauntlet(&["--runs", "5"]));
        let arguments = vec!["--tasks".to_owned(), "5".to_owned()];
        assert_eq!(parse("storm --tasks 5"), Ok(Command::Storm { arguments }));
    }
}

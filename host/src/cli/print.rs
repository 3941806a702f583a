//! What goes to stdout.

use std::io::{self, ErrorKind, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::problem::Problem;
use super::table::Table;

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// The choice of a format.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Output {
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        self.output == Format::Json
    }

    /// Prints `value` for programs, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Problem> {
        match self.output {
            Format::Text => stdout(&text(value)),
            Format::Json => json(value),
        }
    }

    /// The same for a listing; an empty one says so to people, on stderr.
    pub(crate) fn list<T: Serialize>(
        self,
        entries: &[T],
        empty: &str,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<(), Problem> {
        if entries.is_empty() && !self.is_json() {
            note(empty);
            return Ok(());
        }
        self.print(entries, |entries| table(entries).to_string())
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Problem::new(format!("cannot write json: {error}")))?;
    stdout(&(text + "\n"))
}

/// Writes to stdout. A reader that has gone (`| head`) has what it wanted.
pub(crate) fn stdout(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Problem::new(format!("cannot write to stdout: {error}"))),
    }
}

/// Says something to people that is not the output.
pub(crate) fn note(text: &str) {
    // Nobody has to listen.
    let _unread = writeln!(io::stderr(), "{text}");
}

//! What goes to stdout.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

use clap::{Args, ValueEnum};
use rpc_host_protocol::error::printable;
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

/// Prints `value` for programs.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Problem::new(format!("cannot write json: {error}")))?;
    stdout(&(text + "\n"))
}

/// Prints `value` for programs, on one line: one of many.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> Result<(), Problem> {
    let text = serde_json::to_string(value)
        .map_err(|error| Problem::new(format!("cannot write json: {error}")))?;
    stdout(&(text + "\n"))
}

/// A text of somebody else's, on one line.
pub(crate) fn one_line(text: &str) -> String {
    printable(text, usize::MAX)
}

/// `text` with the control characters escaped that are not part of its layout: names, comments and
/// values come from modules and nodes, and must not move the cursor.
fn shown(text: &str) -> Cow<'_, str> {
    let is_odd = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for character in text.chars() {
        if is_odd(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Writes to stdout. A reader that has gone (`| head`) has what it wanted.
pub(crate) fn stdout(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out
        .write_all(shown(text).as_bytes())
        .and_then(|()| out.flush())
    {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_does_not_move_the_cursor() {
        assert_eq!(shown("NAME\tä\nb\n"), "NAME\tä\nb\n");
        assert_eq!(
            shown("/// \u{1b}[2J\r\u{9b}x\n"),
            "/// \\u{1b}[2J\\r\\u{9b}x\n"
        );
    }
}

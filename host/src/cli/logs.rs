//! `logs`: what the guests of a registration wrote, and write.

use clap::Args;
use rpc_host_client::{Line, LogOptions, OutputStream};

use super::connect::Connect;
use super::print::{self, Output};
use super::problem::Problem;
use super::registrations::about_name;

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The registration
    name: String,
    /// Only so many of the lines that the node keeps, the newest [default: all]
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    output: Output,
}

impl Logs {
    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        let options = LogOptions {
            tail: self.tail,
            follow: self.follow,
        };
        let mut unwritten = None;
        let shown = client.logs(&self.name, options, |line| {
            let written = match self.output.is_json() {
                true => print::json_line(&line),
                false => print::stdout(&(text(&line) + "\n")),
            };
            if let Err(problem) = written {
                unwritten.get_or_insert(problem);
            }
        });
        shown.await.map_err(about_name)?;
        unwritten.map_or(Ok(()), Err)
    }
}

/// A line for people: when, in which call, where, and what.
pub(crate) fn text(line: &Line) -> String {
    let mut words = Vec::new();
    words.extend(line.at_ms.map(time));
    words.extend(line.call.clone());
    let stream = match line.stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
        OutputStream::Log => "log",
    };
    words.push(line.level.clone().unwrap_or_else(|| stream.to_owned()));
    print::one_line(&format!("{}: {}", words.join(" "), line.text))
}

fn time(unix_ms: u64) -> String {
    let time = std::time::Duration::from_millis(unix_ms);
    match std::time::UNIX_EPOCH.checked_add(time) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => unix_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_where_and_what() {
        let mut line = Line {
            stream: OutputStream::Log,
            text: "greeted\u{1b}[2J\nAda".to_owned(),
            level: Some("info".to_owned()),
            at_ms: Some(1_790_000_000_007),
            call: Some("00ff#1".to_owned()),
            lost: None,
        };
        assert_eq!(
            text(&line),
            "2026-09-21T14:13:20.007Z 00ff#1 info: greeted\\u{1b}[2J\\nAda"
        );
        (line.at_ms, line.call, line.level) = (None, None, None);
        line.stream = OutputStream::Stderr;
        assert_eq!(text(&line), "stderr: greeted\\u{1b}[2J\\nAda");
    }
}

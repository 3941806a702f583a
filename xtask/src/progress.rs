//! A long build told in one line, for who wants what it makes and not how.
//!
//! What the build has said is kept, and shown if it fails.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::step::{self, StepFailed};

/// How often a line is written where lines cannot be overwritten.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Run a `cargo build`, called `name`, and want it to succeed.
pub(crate) fn run(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let mut child = command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", step::line(command)))?;
    let mut stderr = child.stderr.take().context("no pipe for standard error")?;

    let mut display = Display::new(name);
    let mut said = Said::default();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut chunk) {
        for piece in said.hear(chunk.get(..length).unwrap_or_default()) {
            display.show(&piece);
        }
    }
    let status = child.wait()?;
    display.clear();
    if status.success() {
        eprintln!(
            "  {name}: ready after {}",
            minutes(display.started.elapsed())
        );
        Ok(())
    } else {
        eprint!("{}", said.log);
        Err(StepFailed::new(command, status).into())
    }
}

/// What there is to show.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// So many parts of so many are done.
    Done { done: u32, of: u32 },
    /// It waits, and says for what.
    Waiting(String),
}

/// What the build has said so far.
#[derive(Default)]
struct Said {
    /// Bytes that have not come to an end of line.
    open: Vec<u8>,
    /// Whole lines, without the progress.
    log: String,
}

impl Said {
    /// Take more of it; what comes back is news.
    fn hear(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut news = Vec::new();
        for byte in bytes {
            // Cargo goes back to the beginning of the line to write its progress anew.
            if !matches!(byte, b'\r' | b'\n') {
                self.open.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.open).trim_end().to_owned();
            self.open.clear();
            if let Some(piece) = done(&line) {
                news.push(piece);
            } else if !line.is_empty() {
                if line.trim_start().starts_with("Blocking") {
                    news.push(Piece::Waiting(line.trim_start().to_owned()));
                }
                self.log.push_str(&line);
                self.log.push('\n');
            }
        }
        news
    }
}

/// `Building [===>   ] 12/345: serde, …`, if it is that.
fn done(line: &str) -> Option<Piece> {
    let bar = line.trim_start().strip_prefix("Building [")?;
    let (_, counts) = bar.split_once("] ")?;
    let (done, rest) = counts.split_once('/')?;
    let of = rest.split(':').next()?;
    Some(Piece::Done {
        done: done.trim().parse().ok()?,
        of: of.trim().parse().ok()?,
    })
}

/// Where it is shown.
struct Display {
    name: String,
    started: Instant,
    last_line: Instant,
    overwrites: bool,
}

impl Display {
    fn new(name: &str) -> Self {
        let now = Instant::now();
        Self {
            name: name.to_owned(),
            started: now,
            last_line: now,
            overwrites: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, piece: &Piece) {
        let (name, spent) = (&self.name, minutes(self.started.elapsed()));
        let line = match piece {
            Piece::Done { done, of } => format!("  {name}: {done} of {of} parts, {spent}"),
            Piece::Waiting(for_what) => format!("  {name}: {for_what}"),
        };
        if self.overwrites {
            eprint!("\r\x1b[K{line}");
            // If it is not seen now it is seen with the next one.
            let _unseen = std::io::stderr().flush();
        } else if matches!(piece, Piece::Waiting(_)) || self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!("{line}");
        }
    }

    fn clear(&self) {
        if self.overwrites {
            eprint!("\r\x1b[K");
        }
    }
}

fn minutes(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_and_everything_else_is_kept() {
        let mut said = Said::default();
        assert_eq!(said.hear(b"   Compiling serde v1\n    Buil"), []);
        let news = said.hear(b"ding [=====>      ]  12/345: serde_json, syn(build)...\r");
        assert_eq!(news, [Piece::Done { done: 12, of: 345 }]);
        let news = said.hear(b"    Blocking waiting for file lock on build directory\n\r\n");
        let waiting = "Blocking waiting for file lock on build directory";
        assert_eq!(news, [Piece::Waiting(waiting.to_owned())]);
        assert_eq!(said.hear(b"error: no\n"), []);
        assert_eq!(
            said.log,
            format!("   Compiling serde v1\n    {waiting}\nerror: no\n")
        );
    }

    #[test]
    fn a_failed_build_is_a_failed_step() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 101"]);
        let failure = run("nothing", &mut command).unwrap_err();
        assert_eq!(failure.downcast::<StepFailed>().unwrap().code(), Some(101));
    }

    #[test]
    fn time_is_told_in_minutes() {
        assert_eq!(minutes(Duration::from_millis(59_900)), "59 s");
        assert_eq!(minutes(Duration::from_secs(601)), "10 min 1 s");
    }
}

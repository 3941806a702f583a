//! The log of a node.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use crate::in_time;

/// Lines that a process writes, as they come.
#[derive(Clone, Default)]
pub struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    lines: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    is_over: bool,
}

/// One line of a log in JSON.
#[derive(Clone)]
pub struct LogLine(pub Value);

impl Log {
    /// Reads `stream` to its end, on a thread: a test may be waiting for something else, and the
    /// process must never wait for its reader.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let lines = Arc::clone(&log.0);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                lines.change(|state| state.lines.push(text));
            }
            lines.change(|state| state.is_over = true);
        });
        log
    }

    /// All that was written until now.
    pub fn text(&self) -> String {
        self.0.read(|state| state.lines.join("\n"))
    }

    /// The lines that are JSON, until now.
    pub fn lines(&self) -> Vec<LogLine> {
        self.0.read(|state| {
            let parsed = state.lines.iter().map(|line| serde_json::from_str(line));
            parsed.flatten().map(LogLine).collect()
        })
    }

    /// How many lines there are until now.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.lines.len())
    }

    /// Whether nothing was written until now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first line of which `is_it` holds, when it is there.
    pub async fn line(&self, what: &str, is_it: impl Fn(&LogLine) -> bool) -> LogLine {
        let find = || self.lines().into_iter().find(|line| is_it(line));
        in_time(what, self.wait(find))
            .await
            .unwrap_or_else(|| panic!("no line {what} in\n{}", self.text()))
    }

    /// The first line of the text, when it is there; `None` if the text ended without.
    pub(crate) async fn first(&self) -> Option<String> {
        let find = || self.0.read(|state| state.lines.first().cloned());
        in_time("the first line", self.wait(find)).await
    }

    /// The end of the text.
    pub(crate) async fn over(&self) {
        in_time("the end of the output", self.wait(|| None::<()>)).await;
    }

    async fn wait<T>(&self, find: impl Fn() -> Option<T>) -> Option<T> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_over = self.0.read(|state| state.is_over);
            if let Some(found) = find() {
                return Some(found);
            }
            if is_over {
                return None;
            }
            changed.await;
        }
    }
}

impl Lines {
    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

impl LogLine {
    /// The message.
    pub fn message(&self) -> &str {
        self.field("message")
    }

    /// A field of the event as text; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.0["fields"][name].as_str().unwrap_or_default()
    }

    /// Where it comes from.
    pub fn target(&self) -> &str {
        self.0["target"].as_str().unwrap_or_default()
    }

    /// How much it matters.
    pub fn level(&self) -> &str {
        self.0["level"].as_str().unwrap_or_default()
    }
}

impl fmt::Debug for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

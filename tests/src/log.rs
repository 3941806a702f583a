//! The log of a node.

use std::collections::VecDeque;
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
    lines: VecDeque<String>,
    /// Lines before those that are kept.
    forgotten: usize,
    bytes: u64,
    alarms: Vec<String>,
    is_over: bool,
}

/// Alarms that are kept: the first ones say the most.
const MAX_ALARMS: usize = 100;

/// One line of a log in JSON.
#[derive(Clone)]
pub struct LogLine(pub Value);

impl Log {
    /// Reads `stream` to its end, on a thread: a test may be waiting for something else, and the
    /// process must never wait for its reader.
    ///
    /// `kept`: how many of the newest lines; all if it is none.
    pub(crate) fn of(stream: impl Read + Send + 'static, kept: Option<usize>) -> Log {
        let log = Log::default();
        let lines = Arc::clone(&log.0);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let bytes = line.len() as u64;
                line.clear();
                lines.change(|state| state.add(text, bytes, kept));
            }
            lines.change(|state| state.is_over = true);
        });
        log
    }

    /// All that was written until now.
    pub fn text(&self) -> String {
        self.0.read(|state| {
            let lines: Vec<&str> = state.lines.iter().map(String::as_str).collect();
            lines.join("\n")
        })
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
        self.0.read(|state| state.forgotten + state.lines.len())
    }

    /// The place behind the last line.
    pub fn mark(&self) -> usize {
        self.len()
    }

    /// How many bytes were written until now.
    pub fn bytes(&self) -> u64 {
        self.0.read(|state| state.bytes)
    }

    /// Lines in which a node that logs JSON speaks of a fault of its own, a panic above all.
    pub fn alarms(&self) -> Vec<String> {
        self.0.read(|state| state.alarms.clone())
    }

    /// Waits until `is_it` holds of so many of the lines behind a mark.
    pub async fn seen_since(
        &self,
        mark: usize,
        what: &str,
        count: usize,
        is_it: impl Fn(&str) -> bool,
    ) {
        let find = || {
            self.0.read(|state| {
                let behind = state
                    .lines
                    .iter()
                    .skip(mark.saturating_sub(state.forgotten));
                let found = behind.filter(|line| is_it(line)).count();
                (found >= count).then_some(())
            })
        };
        in_time(what, self.wait(find))
            .await
            .unwrap_or_else(|| panic!("not {what} in\n{}", self.text()));
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
        let find = || self.0.read(|state| state.lines.front().cloned());
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

impl State {
    fn add(&mut self, line: String, bytes: u64, kept: Option<usize>) {
        self.bytes += bytes;
        if self.alarms.len() < MAX_ALARMS && is_alarm(&line) {
            self.alarms.push(line.clone());
        }
        self.lines.push_back(line);
        while kept.is_some_and(|kept| self.lines.len() > kept) {
            self.lines.pop_front();
            self.forgotten += 1;
        }
    }
}

/// Whether a line of a node that logs JSON is about a fault of the node's own. What is no JSON at all is
/// what a panic prints. What a guest says is nothing to be alarmed by.
fn is_alarm(line: &str) -> bool {
    match serde_json::from_str(line).map(LogLine) {
        Ok(line) => line.level() == "ERROR" && line.target() != "guest",
        Err(_) => true,
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

//! The program that serves for this command: a child that is told of calls on its stdin and answers on
//! its stdout.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_client::provider::Answer;
use rpc_host_client::{Incoming, ProviderError};
use rpc_host_protocol::Signature;
use rpc_host_protocol::error::printable;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::lines::{self, BadLine, Outcome};
use crate::cli::print;
use crate::cli::problem::Problem;

/// The longest line that is read of a program's answers. No node takes a longer message by default.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// So much of a bad line is shown.
const MAX_SHOWN_BYTES: usize = 200;
/// A program that has closed its stdout has so long to end by itself.
const MAX_FAREWELL: Duration = Duration::from_secs(2);

/// A running program. When this and its clones are dropped, it is killed.
#[derive(Clone)]
pub(crate) struct Program {
    shared: Arc<Shared>,
}

struct Shared {
    /// As it was named.
    name: String,
    awaited: Mutex<Awaited>,
    /// Lines on their way to its stdin. One that does not read them holds up its calls and nothing else.
    lines: mpsc::Sender<Vec<u8>>,
    ended: watch::Receiver<Option<String>>,
    tasks: [tokio::task::AbortHandle; 2],
}

/// Calls that the program has not answered.
#[derive(Default)]
struct Awaited {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Outcome, String>>>,
}

impl Program {
    /// Starts a program with its arguments.
    pub(crate) fn start(command: &[OsString]) -> Result<Self, Problem> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(Problem::usage("no program is named"));
        };
        let name = program.to_string_lossy().into_owned();
        let broken = |error: io::Error| {
            let problem = Problem::new(format!("cannot start {name}: {error}"));
            if name.contains(' ') {
                problem.or_hint(
                    "arguments are written apart, as in --exec PROGRAM ARGUMENT; `call --provide` passes none",
                )
            } else {
                problem
            }
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for this command, which lets go of the name first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| broken(io::ErrorKind::BrokenPipe.into()))?;
        let (lines, to_write) = mpsc::channel(1);
        let (end, ended) = watch::channel(None);
        let (reader, read) = oneshot::channel();
        let tasks = [
            tokio::spawn(write(stdin, to_write)).abort_handle(),
            tokio::spawn(run(child, stdout, read, end)).abort_handle(),
        ];
        let shared = Arc::new(Shared {
            name,
            awaited: Mutex::default(),
            lines,
            ended,
            tasks,
        });
        // The reader must not keep alive what ends it.
        drop(reader.send(Arc::downgrade(&shared)));
        Ok(Program { shared })
    }

    /// Waits until it has ended, and tells how.
    pub(crate) async fn ended(&self) -> Problem {
        let mut ended = self.shared.ended.clone();
        let how = ended.wait_for(Option::is_some).await;
        let how = how.ok().and_then(|how| how.clone());
        let how = how.unwrap_or_else(|| "ended".to_owned());
        Problem::new(format!("{} {how}", self.shared.name))
    }

    /// Whether any call has come to it.
    pub(crate) fn was_asked(&self) -> bool {
        self.shared.awaited().last_id > 0
    }

    /// Has a call served by it.
    pub(crate) async fn serve(self, call: Incoming) -> Result<Answer, ProviderError> {
        let signature = call.signature().ok_or_else(|| call.unknown())?;
        self.ask(call.function(), call.raw_args(), signature).await
    }

    async fn ask(
        &self,
        function: &str,
        arguments: &[u8],
        signature: &Signature,
    ) -> Result<Answer, ProviderError> {
        let (asked, answer) = self.shared.question();
        let line = lines::question(asked.id, function, arguments, signature)?;
        let gone = || ProviderError::new(format!("{} has ended", self.shared.name));
        self.shared.lines.send(line).await.map_err(|_| gone())?;
        let mut ended = self.shared.ended.clone();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| gone())?,
            _ = ended.wait_for(Option::is_some) => return Err(gone()),
        };
        let outcome = answer
            .map_err(|problem| ProviderError::new(format!("{} {problem}", self.shared.name)))?;
        let value = outcome.value(signature);
        if let Err(error) = &value {
            tracing::debug!(call = asked.id, %error, "the program answered with a failure");
        }
        Ok(Answer::raw(value?))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?})", self.shared.name)
    }
}

/// A call that is awaited as long as this lives.
struct Asked<'p> {
    program: &'p Shared,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.program.awaited().answers.remove(&self.id);
    }
}

impl Shared {
    fn question(&self) -> (Asked<'_>, oneshot::Receiver<Result<Outcome, String>>) {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut awaited = self.awaited();
            awaited.last_id += 1;
            let id = awaited.last_id;
            awaited.answers.insert(id, sender);
            id
        };
        (Asked { program: self, id }, answer)
    }

    /// Hands an answer to its call.
    fn take_line(&self, line: &[u8]) {
        let (id, answer) = match lines::answer(line) {
            Ok((id, outcome)) => (Some(id), Ok(outcome)),
            Err(BadLine { id, problem }) => {
                let shown = String::from_utf8_lossy(line.trim_ascii_end());
                let shown = printable(&shown, MAX_SHOWN_BYTES);
                self.warn(&format!(
                    "wrote a line that is no answer: {problem}: {shown}"
                ));
                let problem = format!("wrote a line that is no answer: {problem}");
                (id, Err(problem))
            }
        };
        self.finish(id, answer);
    }

    /// Ends the call of this number; where nobody knows the number, the one that is awaited, if it is
    /// only one.
    fn finish(&self, id: Option<u64>, answer: Result<Outcome, String>) {
        let mut awaited = self.awaited();
        let only = || match awaited.answers.len() {
            1 => awaited.answers.keys().next().copied(),
            _ => None,
        };
        let Some(id) = id.or_else(only) else {
            return;
        };
        let sender = awaited.answers.remove(&id);
        let is_known = (1..=awaited.last_id).contains(&id);
        drop(awaited);
        match sender {
            // The call may have been cancelled this very moment.
            Some(sender) => drop(sender.send(answer)),
            None if is_known => tracing::debug!(call = id, "an answer came to a call that is over"),
            None => self.warn(&format!("answered call {id}, which was not made")),
        }
    }

    fn warn(&self, what: &str) {
        print::note(&format!("warning: {} {what}", self.name));
    }

    /// Never locked for longer than it takes to look at; nothing panics meanwhile.
    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // With the second one goes the child.
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Writes lines as they come, until the program does not take any more.
async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        // It has closed its stdin, or has ended; whoever waits for an answer hears that when it has.
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

type Reader = std::sync::Weak<Shared>;

/// Reads answers until there are no more, and then waits for the program's end.
async fn run(
    mut child: Child,
    stdout: ChildStdout,
    reader: oneshot::Receiver<Reader>,
    end: watch::Sender<Option<String>>,
) {
    let Ok(reader) = reader.await else {
        return;
    };
    let broken = read(stdout, &reader).await.err();
    let status = match tokio::time::timeout(MAX_FAREWELL, child.wait()).await {
        Ok(status) => status.map(Some),
        Err(_) => child.kill().await.map(|()| None),
    };
    let how = match (broken, status) {
        (Some(error), _) | (None, Err(error)) => format!("cannot be heard any more: {error}"),
        (None, Ok(status)) => told(status),
    };
    if let Some(shared) = reader.upgrade() {
        // Nobody will answer these.
        shared.awaited().answers.clear();
    }
    end.send_replace(Some(how));
}

fn told(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("ended: {status}"),
        None => "closed its stdout, did not end, and was killed".to_owned(),
    }
}

async fn read(stdout: ChildStdout, reader: &Reader) -> io::Result<()> {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while let Some(length) = read_line(&mut stdout, &mut line).await? {
        let Some(shared) = reader.upgrade() else {
            return Ok(());
        };
        match length {
            Length::Whole if line.trim_ascii().is_empty() => {}
            Length::Whole => shared.take_line(&line),
            Length::Cut => {
                let problem = format!("wrote a line of more than {MAX_LINE_BYTES} bytes");
                shared.warn(&problem);
                shared.finish(None, Err(problem));
            }
        }
    }
    Ok(())
}

enum Length {
    Whole,
    /// Over the limit: the rest was skipped.
    Cut,
}

/// The next line; `None` at the end.
async fn read_line(
    stdout: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Option<Length>> {
    line.clear();
    let mut limited = (&mut *stdout).take(MAX_LINE_BYTES);
    limited.read_until(b'\n', line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE_BYTES {
        return Ok(Some(Length::Whole));
    }
    loop {
        let buffered = stdout.fill_buf().await?;
        let (skipped, is_over) = match buffered.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffered.len(), buffered.is_empty()),
        };
        stdout.consume(skipped);
        if is_over {
            return Ok(Some(Length::Cut));
        }
    }
}

#[cfg(test)]
mod tests;

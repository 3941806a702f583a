//! One of those that are compared: its client, which is told what to do, and its server, both processes of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rpc_host_bench_measure::Work;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that said where it listens.
pub(crate) struct Server {
    _child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a program that writes its address on its standard output.
    pub(crate) async fn start(program: &Path, arguments: &[OsString]) -> Result<Server> {
        let mut child = command(program, arguments);
        let mut child = child
            .spawn()
            .with_context(|| program.display().to_string())?;
        let stdout = child.stdout.take().context("a server has no stdout")?;
        let address = said(stdout, program, Some).await?;
        Ok(Server {
            _child: child,
            address,
        })
    }

    /// Starts a program that says among other things, on its standard error, that it serves at `http://ADDRESS/`.
    pub(crate) async fn start_http(program: &Path, arguments: &[OsString]) -> Result<Server> {
        let mut child = command(program, arguments);
        child.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child
            .spawn()
            .with_context(|| program.display().to_string())?;
        let stderr = child.stderr.take().context("a server has no stderr")?;
        let address = said(stderr, program, |line| {
            let (_, url) = line.split_once("http://")?;
            Some(url.trim_end_matches('/').to_owned())
        });
        let address = address.await?;
        Ok(Server {
            _child: child,
            address,
        })
    }
}

fn command(program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a program says of its address. What it says later is read too, so that it never has to wait.
async fn said(
    stream: impl AsyncRead + Unpin + Send + 'static,
    program: &Path,
    address: impl Fn(String) -> Option<String>,
) -> Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let found = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = address(line) {
                return Ok(address);
            }
        }
        bail!("{} did not start", program.display())
    };
    let address = tokio::time::timeout(PATIENCE, found).await??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(address)
}

/// A client, and the server that it was started for.
pub(crate) struct Side {
    name: &'static str,
    program: PathBuf,
    _client: Child,
    _server: Option<Server>,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// What it could not do, and why.
    pub(crate) problems: Vec<String>,
}

impl Side {
    /// Starts a client, which says that it is ready when it is connected.
    pub(crate) async fn start(
        name: &'static str,
        server: Option<Server>,
        program: &Path,
        arguments: &[OsString],
    ) -> Result<Side> {
        let mut client = command(program, arguments);
        let mut client = client
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let orders = client.stdin.take().context("a client has no stdin")?;
        let stdout = client.stdout.take().context("a client has no stdout")?;
        let mut side = Side {
            name,
            program: program.to_owned(),
            _client: client,
            _server: server,
            orders,
            answers: BufReader::new(stdout).lines(),
            problems: Vec::new(),
        };
        let ready = side.answer().await?;
        if ready != "ready" {
            bail!("{name} is not ready: {ready}");
        }
        Ok(side)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How many nanoseconds each of so many calls takes; `None` if this is nothing that it does, or it failed.
    pub(crate) async fn times(&mut self, work: Work, count: usize) -> Result<Option<Vec<f64>>> {
        let answer = self.ask(&format!("time {work} {count}")).await?;
        times(answer.as_deref())
    }

    /// The same of small calls beside replies of so many bytes, on one connection.
    pub(crate) async fn beside(&mut self, length: usize, count: usize) -> Result<Option<Vec<f64>>> {
        let answer = self.ask(&format!("beside {length} {count}")).await?;
        times(answer.as_deref())
    }

    /// How many calls a second there are, with so many under way on so many connections.
    pub(crate) async fn rate(
        &mut self,
        connections: usize,
        in_flight: usize,
        time: Duration,
    ) -> Result<Option<f64>> {
        let order = format!("rate {connections} {in_flight} {}", time.as_millis());
        let answer = self.ask(&order).await?;
        rate(answer.as_deref())
    }

    async fn ask(&mut self, order: &str) -> Result<Option<String>> {
        self.orders
            .write_all(format!("{order}\n").as_bytes())
            .await?;
        self.orders.flush().await?;
        let answer = self.answer().await.context(order.to_owned())?;
        match answer.split_once(' ') {
            // The others go on, and it is said again at the end.
            Some(("error", problem)) => {
                let problem = format!("{}: `{order}`: {problem}", self.name);
                if !self.problems.contains(&problem) {
                    println!("! {problem}");
                    self.problems.push(problem);
                }
                Ok(None)
            }
            None if answer == "none" => Ok(None),
            _ => Ok(Some(answer)),
        }
    }

    async fn answer(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line());
        let line = line
            .await
            .with_context(|| format!("{} says nothing", self.name))??;
        line.with_context(|| format!("{} ({}) has ended", self.name, self.program.display()))
    }
}

fn times(answer: Option<&str>) -> Result<Option<Vec<f64>>> {
    let Some(answer) = answer else {
        return Ok(None);
    };
    let list = answer.strip_prefix("times").context("no list of times")?;
    let times: Result<Vec<f64>, _> = list.split_whitespace().map(str::parse).collect();
    Ok(Some(times?))
}

fn rate(answer: Option<&str>) -> Result<Option<f64>> {
    let Some(answer) = answer else {
        return Ok(None);
    };
    let rate = answer.strip_prefix("rate ").context("no rate")?;
    let (calls, ns) = rate.split_once(' ').context("no time of the rate")?;
    let (calls, ns): (f64, f64) = (calls.parse()?, ns.parse()?);
    Ok(Some(calls * 1e9 / ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_clients_are_read() {
        assert_eq!(times(Some("times 5 7")).unwrap(), Some(vec![5.0, 7.0]));
        assert_eq!(times(None).unwrap(), None);
        assert!(times(Some("times five")).is_err());
        assert!(times(Some("rate 5 7")).is_err());
        assert_eq!(rate(Some("rate 50 500000000")).unwrap(), Some(100.0));
        assert!(rate(Some("rate 50")).is_err());
    }
}

//! A client that does what it is told on its standard input.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::caller::{Caller, Unsupported};
use crate::timing;
use crate::work::Work;

/// Whoever connects.
pub trait Clients: Send + Sync + 'static {
    /// A connection.
    type Caller: Caller;

    /// Makes another connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Caller>> + Send;
}

/// Does what it is told, until there is nothing more.
pub async fn obey(clients: impl Clients) -> Result<()> {
    // On a worker of the runtime, where a program's own calls are made too.
    tokio::spawn(listen(clients)).await?
}

async fn listen<K: Clients>(clients: K) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut stdout = tokio::io::stdout();
    let mut callers = vec![clients.connect().await?];
    stdout.write_all(b"ready\n").await?;
    stdout.flush().await?;
    while let Some(line) = lines.next_line().await? {
        let mut answer = match answer(&clients, &mut callers, &line).await {
            Ok(answer) => answer,
            Err(error) if error.is::<Unsupported>() => "none".to_owned(),
            Err(error) => format!("error {error:#}").replace('\n', " "),
        };
        answer.push('\n');
        stdout.write_all(answer.as_bytes()).await?;
        stdout.flush().await?;
    }
    Ok(())
}

async fn answer<K: Clients>(
    clients: &K,
    callers: &mut Vec<K::Caller>,
    line: &str,
) -> Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let first = callers.first().context("no connection")?;
    match *words.as_slice() {
        ["time", work, count] => {
            let request = work.parse::<Work>()?.request();
            let times = timing::each(first, &request, count.parse()?).await?;
            Ok(times_line(&times))
        }
        ["beside", length, count] => {
            let times = timing::beside(first, length.parse()?, count.parse()?).await?;
            Ok(times_line(&times))
        }
        ["rate", connections, in_flight, ms] => {
            let connections = connections.parse()?;
            while callers.len() < connections {
                callers.push(clients.connect().await?);
            }
            let used = callers.iter().take(connections).cloned().collect();
            let time = Duration::from_millis(ms.parse()?);
            let (calls, took) = timing::together(used, in_flight.parse()?, time).await?;
            Ok(format!("rate {calls} {}", took.as_nanos()))
        }
        _ => bail!("what is `{line}`?"),
    }
}

fn times_line(times: &[Duration]) -> String {
    let mut line = "times".to_owned();
    for time in times {
        // Writing to a string does not fail.
        let _ = write!(line, " {}", time.as_nanos());
    }
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[derive(Clone)]
    struct Adds;

    impl Caller for Adds {
        async fn add(&self, a: i64, b: i64) -> Result<i64> {
            tokio::task::yield_now().await;
            Ok(a + b)
        }

        async fn text(&self, _: String) -> Result<String> {
            Ok("another".to_owned())
        }

        async fn make(&self, length: u32) -> Result<Bytes> {
            tokio::task::yield_now().await;
            Ok(vec![7; length.min(8) as usize].into())
        }
    }

    impl Clients for Adds {
        type Caller = Adds;

        async fn connect(&self) -> Result<Adds> {
            Ok(Adds)
        }
    }

    async fn told(line: &str) -> Result<String> {
        answer(&Adds, &mut vec![Adds], line).await
    }

    #[tokio::test]
    async fn a_client_answers_with_a_time_for_each_call() {
        let times = told("time add 3").await.unwrap();
        assert_eq!(times.split(' ').next(), Some("times"));
        assert_eq!(times.split(' ').count(), 4);
        let rate = told("rate 16 3 5").await.unwrap();
        let [rate, calls, ns] = *rate.split(' ').collect::<Vec<_>>() else {
            panic!("{rate}");
        };
        assert_eq!(rate, "rate");
        assert!(calls.parse::<u64>().unwrap() > 0);
        assert!(ns.parse::<u64>().unwrap() >= 5_000_000);
        let alone = told("beside 0 2").await.unwrap();
        assert_eq!(alone.split(' ').count(), 3);
        let beside = told("beside 8 2").await.unwrap();
        assert!(beside.split(' ').count() >= 3);
        let short = told("beside 9 2").await.unwrap_err();
        assert_eq!(short.to_string(), "a reply of another length");
    }

    #[tokio::test]
    async fn what_a_client_does_not_do_is_told_from_what_failed() {
        assert!(
            told("time bytes:4 1")
                .await
                .unwrap_err()
                .is::<Unsupported>()
        );
        let wrong = told("time text:9 1").await.unwrap_err();
        assert_eq!(wrong.to_string(), "a wrong answer came back");
        assert!(told("sing").await.is_err());
    }
}

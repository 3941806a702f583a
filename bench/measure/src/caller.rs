//! One connection to a server.

use std::fmt;

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::work::{Record, Request};

/// A client does not do this.
#[derive(Clone, Copy, Debug)]
pub struct Unsupported;

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this client does not do that")
    }
}

impl std::error::Error for Unsupported {}

fn unsupported<T: Send>() -> impl Future<Output = Result<T>> + Send {
    std::future::ready(Err(Unsupported.into()))
}

/// One connection to a server. Clones share it.
pub trait Caller: Clone + Send + Sync + 'static {
    /// The sum of two numbers.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = Result<i64>> + Send;

    /// The same bytes.
    fn bytes(&self, _bytes: Bytes) -> impl Future<Output = Result<Bytes>> + Send {
        unsupported()
    }

    /// The same records.
    fn records(&self, _records: Vec<Record>) -> impl Future<Output = Result<Vec<Record>>> + Send {
        unsupported()
    }

    /// The same text.
    fn text(&self, _text: String) -> impl Future<Output = Result<String>> + Send {
        unsupported()
    }

    /// So many bytes that the server makes.
    fn make(&self, _length: u32) -> impl Future<Output = Result<Bytes>> + Send {
        unsupported()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    Sum(i64),
    Bytes(Bytes),
    Records(Vec<Record>),
    Text(String),
}

/// Sends a request and waits for what comes back.
pub(crate) async fn send(caller: &impl Caller, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::Add(a, b) => Answer::Sum(caller.add(a, b).await?),
        Request::Bytes(bytes) => Answer::Bytes(caller.bytes(bytes).await?),
        Request::Records(records) => Answer::Records(caller.records(records).await?),
        Request::Text(text) => Answer::Text(caller.text(text).await?),
    })
}

/// Whether that is the answer to this request.
pub(crate) fn check(request: &Request, answer: &Answer) -> Result<()> {
    let right = match (request, answer) {
        (Request::Add(a, b), Answer::Sum(sum)) => a.checked_add(*b) == Some(*sum),
        (Request::Bytes(sent), Answer::Bytes(back)) => sent == back,
        (Request::Records(sent), Answer::Records(back)) => sent == back,
        (Request::Text(sent), Answer::Text(back)) => sent == back,
        _ => false,
    };
    ensure!(right, "a wrong answer came back");
    Ok(())
}

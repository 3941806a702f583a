//! A node of a graph that a client serves. It follows its plans like `hop`, and makes its calls through the
//! host, as part of the chain that it serves.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_client::{Client, Error, ErrorCode, Incoming, ProviderError};

use super::graph::{Edge, Graph, IMPORTS};

/// What a visit of it counts for: it has no instances to tell apart.
pub(super) const BY_CLIENT: u32 = 100;
/// What it says of an import that leads nowhere, and when it fails.
pub(super) const NOWHERE: &str = "nothing there";
pub(super) const FAILED: &str = "failed as planned";

/// One node, as it is served.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) client: Client,
    pub(super) graph: Arc<Graph>,
    pub(super) node: usize,
}

impl Node {
    pub(super) async fn serve(self, call: Incoming) -> Result<Result<u32, String>, ProviderError> {
        let (plan,): (String,) = call.args()?;
        let mut sum = BY_CLIENT;
        let mut left = plan.as_str();
        while let Some(step) = left.chars().next() {
            left = &left[step.len_utf8()..];
            match step {
                '1'..='4' => {
                    let import = step as usize - '1' as usize;
                    let (inner, rest) = parenthesised(left);
                    match self.visit(import, inner).await {
                        Ok(visited) => sum += visited,
                        Err(text) => return Ok(Err(text)),
                    }
                    left = rest;
                }
                't' => return Err(ProviderError::new(FAILED)),
                's' => std::future::pending().await,
                'z' => tokio::time::sleep(Duration::from_millis(10)).await,
                other => return Ok(Err(format!("no such step: {other:?}"))),
            }
        }
        Ok(Ok(sum))
    }

    async fn visit(&self, import: usize, plan: &str) -> Result<u32, String> {
        let Edge::To(other) = self.graph.edges[self.node][import] else {
            return Err(NOWHERE.to_owned());
        };
        let other = self.client.module(self.graph.name(other));
        let visit = other.function(format!("{}.visit", IMPORTS[import]));
        match visit.arg(plan).call_result::<u32, String>().await {
            Ok(visited) => visited,
            // The time of all of the chain is over, and nobody waits for an answer.
            Err(error) if error.code() == ErrorCode::DeadlineExceeded => {
                std::future::pending().await
            }
            Err(Error::Remote(failure)) => Err(failure.code.to_string()),
            Err(other) => Err(other.to_string()),
        }
    }
}

/// What stands in the parentheses that `text` begins with, and what stands behind them.
fn parenthesised(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return match at {
                0 => ("", text),
                _ => (&text[1..at], &text[at + 1..]),
            };
        }
    }
    ("", text)
}

//! A client over streams that it is given.

use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rpc_host_client::{Client, Error};
use rpc_host_protocol::message::Goaway;
use rpc_host_protocol::{ExchangeId, Message};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, BufReader};
use tokio::task::JoinSet;

use crate::fake_host::{Peer, welcome};
use crate::{cbor, positional, unavailable};

#[tokio::test]
async fn a_client_calls_over_streams_as_it_does_over_tls_and_ends_with_them() {
    let (ours, theirs) = tokio::io::duplex(100);
    let node = tokio::spawn(async move {
        let mut peer = Peer::over(theirs);
        peer.greet(welcome()).await;
        for _ in 0..2 {
            let (id, _, arguments) = peer.call().await.unwrap();
            let (text,): (String,) = positional(&arguments);
            peer.reply(id, cbor(text), false).await;
        }
        peer.call().await.unwrap();
    });
    let (input, output) = tokio::io::split(ours);
    let client = Client::from_streams(input, output).await.unwrap();
    let module = client.module("it");
    for length in [10, 100_000] {
        let text = "x".repeat(length);
        let back: String = module.call("echo", (&text,)).await.unwrap();
        assert_eq!(back, text);
    }
    let lost = module.call::<()>("echo", ("",)).await.unwrap_err();
    assert!(matches!(lost, Error::Lost { .. }), "{lost}");
    node.await.unwrap();
    let again = module.call::<()>("echo", ("",)).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        lost.to_string(),
        "there is no way to connect anew"
    );
}

#[tokio::test]
async fn who_is_not_welcome_over_streams_hears_why() {
    let (ours, theirs) = tokio::io::duplex(10_000);
    let mut peer = Peer::over(theirs);
    let goaway = Message::Goaway(Goaway {
        failure: unavailable(),
    });
    peer.send(ExchangeId::CONNECTION, goaway).await;
    let (input, output) = tokio::io::split(ours);
    let refused = Client::from_streams(input, output).await.unwrap_err();
    assert_eq!(refused.failure(), Some(&unavailable()));
}

/// Counts how often something is written.
struct Counted<W> {
    inner: W,
    writes: Arc<AtomicUsize>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn calls_that_begin_together_are_written_together_and_a_lone_one_at_once() {
    const CALLS: usize = 100;
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let node = tokio::spawn(async move {
        let mut peer = Peer::over(theirs);
        peer.greet(welcome()).await;
        while let Some((id, _, _)) = peer.call().await {
            peer.reply(id, cbor(()), false).await;
        }
    });
    let (input, output) = tokio::io::split(ours);
    let writes = Arc::new(AtomicUsize::new(0));
    let output = Counted {
        inner: output,
        writes: Arc::clone(&writes),
    };
    let client = Client::from_streams(input, output).await.unwrap();
    let module = client.module("it");
    let written = || writes.swap(0, Ordering::Relaxed);
    written();
    for _ in 0..3 {
        let mut call = pin!(module.call::<()>("echo", ()));
        assert!(poll_once(call.as_mut()).await.is_none());
        assert_eq!(written(), 1, "nobody else had to have a turn first");
        call.await.unwrap();
    }
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let module = module.clone();
        calls.spawn(async move { module.call::<()>("echo", ()).await });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap().unwrap();
    }
    let written = written();
    assert!(written < CALLS / 4, "{written} writes");
    drop((client, module));
    node.await.unwrap();
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

const IS_CHILD: &str = "RPC_HOST_TEST_CHILD";
const LAST_WORDS: &str = "the process still prints";

/// Runs itself as a process whose stdin and stdout are the connection.
#[tokio::test]
async fn the_streams_of_the_process_are_not_closed_with_the_connection() {
    const NAME: &str = "streams::the_streams_of_the_process_are_not_closed_with_the_connection";
    if std::env::var_os(IS_CHILD).is_some() {
        let client = Client::from_streams(tokio::io::stdin(), tokio::io::stdout());
        let client = client.await.unwrap();
        let sum: i64 = client.module("calc").call("add", (2, 3)).await.unwrap();
        drop(client);
        let mut stdout = io::stdout();
        writeln!(stdout, "{LAST_WORDS}, and has {sum}").unwrap();
        #[allow(
            clippy::exit,
            reason = "a thread of tokio's waits for a line of the stdin"
        )]
        std::process::exit(0);
    }
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=2"])
        .env(IS_CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let input = child.stdin.take().unwrap();
    // What the harness says first.
    let mut line = String::new();
    while !line.starts_with("running") {
        line.clear();
        assert_ne!(output.read_line(&mut line).await.unwrap(), 0);
    }
    let mut peer = Peer::over(tokio::io::join(output, input));
    peer.greet(welcome()).await;
    let (id, _, arguments) = peer.call().await.unwrap();
    let (a, b): (i64, i64) = positional(&arguments);
    peer.reply(id, cbor(a + b), false).await;
    // The client is gone; its process is not.
    let mut channel = peer.into_channel();
    let mut rest = String::new();
    channel.read_to_string(&mut rest).await.unwrap();
    assert_eq!(
        rest.lines().next(),
        Some(&*format!("{LAST_WORDS}, and has 5"))
    );
    assert!(child.wait().await.unwrap().success());
}

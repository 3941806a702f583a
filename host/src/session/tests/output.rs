//! What comes of an exchange before its answer.

use rpc_host_protocol::message::{CallHeader, Message, Output, OutputStream};
use rpc_host_protocol::operation::Logs;
use rpc_host_protocol::{ErrorCode, Operation};

use super::peer::{FLOOD, Peer};
use crate::config::Limits;

/// A call whose output is wanted.
fn heard(function: &str) -> Message {
    let header = CallHeader {
        module: "m".to_owned(),
        function: function.to_owned(),
        output: true,
        ..CallHeader::default()
    };
    Message::Call {
        header,
        arguments: b"arguments".to_vec().into(),
    }
}

impl Peer {
    /// The next message, which has to be output of this exchange.
    async fn output(&mut self, id: u32) -> Output {
        match self.receive().await {
            Some((found, Message::Output(output))) if found == id => output,
            other => panic!("{other:?} where output of {id} was expected"),
        }
    }
}

#[tokio::test]
async fn lines_come_while_the_call_runs_and_none_after_its_answer() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(1, heard("say")).await;
    let one = peer.output(1).await;
    assert_eq!((one.stream, &*one.text), (OutputStream::Stdout, "one"));
    assert_eq!((one.at_ms, one.call, one.lost), (None, None, None));
    assert_eq!(peer.output(1).await.text, "two");
    peer.node.gate.notify_one();
    assert_eq!(peer.output(1).await.text, "three");
    assert_eq!(peer.reply(1).await, b"arguments");
    // Whoever still says something is not heard.
    let ear = peer.node.ear.lock().unwrap().clone();
    peer.node.say(ear.as_ref(), "late");
    peer.call(3, "echo").await;
    assert_eq!(peer.reply(3).await, b"arguments");

    // Nor is anybody where nobody asked.
    peer.call(5, "say").await;
    peer.running(1).await;
    peer.node.gate.notify_one();
    assert_eq!(peer.reply(5).await, b"arguments");
    // A cancel ends it.
    peer.send(7, heard("say")).await;
    assert_eq!(peer.output(7).await.text, "one");
    assert_eq!(peer.output(7).await.text, "two");
    peer.send(7, Message::Cancel).await;
    assert_eq!(peer.failure(7).await.code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn whoever_does_not_read_loses_lines_and_is_told_how_many() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(1, heard("flood")).await;
    // A client that does not read holds up neither the guest nor its own other calls.
    peer.running(0).await;
    peer.call(3, "echo").await;
    let (mut came, mut lost, mut next) = (0, 0, 0);
    let mut answered = Vec::new();
    while answered.len() < 2 {
        match peer.receive().await.unwrap() {
            (
                1,
                Message::Output(Output {
                    lost: Some(lines),
                    text,
                    ..
                }),
            ) => {
                assert!(
                    text.starts_with(&format!("{lines} lines were lost")),
                    "{text}"
                );
                assert!(!answered.contains(&1));
                lost += lines;
                next += lines;
            }
            (1, Message::Output(output)) => {
                assert_eq!(output.text.trim(), next.to_string());
                assert!(!answered.contains(&1));
                came += 1;
                next += 1;
            }
            (id, Message::Reply { .. }) => answered.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(came + lost, FLOOD);
    assert!(came > 100 && lost > 0, "{came} came, {lost} were lost");
}

#[tokio::test]
async fn kept_lines_come_before_the_answer_and_who_follows_is_no_hindrance_to_a_stop() {
    let logs = |follow| {
        let (name, tail) = ("m".to_owned(), None);
        Message::Request(Operation::Logs(Logs { name, tail, follow }))
    };
    let mut peer = Peer::welcome(Limits::default()).await;
    for (id, follow) in [(1, false), (3, true)] {
        peer.send(id, logs(follow)).await;
        assert_eq!(peer.output(id).await.lost, Some(7));
        let kept = peer.output(id).await;
        assert_eq!(
            (&*kept.text, kept.at_ms, kept.lost),
            ("kept", Some(5), None)
        );
        assert_eq!(kept.call.as_deref(), Some("0000000000000001"));
        if !follow {
            assert_eq!(peer.reply(id).await, b"logs");
        }
    }
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    peer.stop.begin(deadline);
    let (mut goaway, mut failed) = (0, 0);
    while let Some((id, message)) = peer.receive().await {
        match message {
            Message::Goaway(_) => goaway += 1,
            Message::Failure(failure) => {
                assert_eq!((id, failure.code), (3, ErrorCode::Unavailable));
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((goaway, failed), (1, 1));
}

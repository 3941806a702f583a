//! Calls of the host's into a client.

use std::time::Duration;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::{Beat, CallHeader, Lapse, Message, Withdraw};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

use super::peer::{Peer, call, provide};
use crate::budget::Budget;
use crate::chain::Chain;
use crate::config::Limits;
use crate::session::{Reach, ReachError, SessionEnd};

const SECOND: Duration = Duration::from_secs(1);

fn header(function: &str) -> CallHeader {
    CallHeader {
        module: "n".to_owned(),
        function: function.to_owned(),
        timeout_ms: Some(1000),
        lease: Some(1),
        ..CallHeader::default()
    }
}

fn chain(name: &str) -> Chain {
    let budget = Budget::new(60 * SECOND, crate::account::Account::for_tests(0));
    Chain::begin(name.into(), Instant::now() + 60 * SECOND, 8, budget)
}

/// A call in a task of its own.
fn reach_out(reach: &Reach, arguments: &[u8]) -> JoinHandle<Result<Vec<u8>, ReachError>> {
    let (reach, arguments) = (reach.clone(), arguments.to_vec());
    tokio::spawn(async move {
        let reply = reach
            .call(header("f"), arguments.into(), chain("app"))
            .await;
        reply.map(|reply| reply.value)
    })
}

fn reply(value: &[u8]) -> Result<Vec<u8>, ReachError> {
    Ok(value.to_vec())
}

#[tokio::test]
async fn a_client_is_called_and_answers_in_any_order() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let calls = [b"one", b"two"].map(|arguments| reach_out(&reach, arguments));
    let mut came = Vec::new();
    for _ in &calls {
        let (id, header, arguments) = peer.called().await;
        assert_eq!((&*header.module, header.lease), ("n", Some(1)));
        came.push((id, arguments));
    }
    assert_eq!([came[0].0, came[1].0], [2, 4]);
    for (id, arguments) in came.iter().rev() {
        peer.answer(*id, &arguments.to_ascii_uppercase()).await;
    }
    let [one, two] = calls;
    assert_eq!(one.await.unwrap(), reply(b"ONE"));
    assert_eq!(two.await.unwrap(), reply(b"TWO"));
}

#[tokio::test]
async fn a_client_may_fail_and_what_is_no_failure_is_one() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let failure = Failure::new(ErrorCode::Internal, Fault::Application, "disk full");
    let failed = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    peer.send(id, Message::Failure(failure.clone())).await;
    assert_eq!(failed.await.unwrap(), Err(ReachError::Failed(failure)));

    let malformed = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    peer.send_raw(&RawMessage {
        kind: Kind::Failure,
        flags: 0,
        id: ExchangeId(id),
        payload: vec![0xff].into(),
    })
    .await;
    let error = malformed.await.unwrap().unwrap_err();
    assert!(matches!(error, ReachError::Malformed(_)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("the client's answer is malformed failure"),
        "{error}"
    );
}

#[tokio::test]
async fn who_stops_waiting_sends_a_cancel_and_the_answer_is_late() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let given_up = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    given_up.abort();
    assert_eq!(peer.receive().await, Some((id, Message::Cancel)));
    assert!(reach.chain_of(ExchangeId(id)).is_none());
    // The next call is not answered by it, and nobody else is.
    let next = reach_out(&reach, b"");
    let (next_id, ..) = peer.called().await;
    peer.answer(id, b"late").await;
    peer.answer(id, b"later still").await;
    peer.answer(next_id, b"right").await;
    assert_eq!(next.await.unwrap(), reply(b"right"));
    assert_eq!(reach.late_answers(), 2);
}

#[tokio::test]
async fn over_the_limit_a_call_is_refused_until_one_ends() {
    let limits = Limits {
        max_calls_into_client_per_session: 2,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    let reach = peer.provide(1).await;
    let calls = [b"one", b"two"].map(|arguments| reach_out(&reach, arguments));
    let (first, ..) = peer.called().await;
    peer.called().await;
    let refused = reach_out(&reach, b"").await.unwrap();
    assert_eq!(refused, Err(ReachError::Full(2)));
    peer.answer(first, b"").await;
    let [one, two] = calls;
    one.await.unwrap().unwrap();
    let again = reach_out(&reach, b"");
    peer.called().await;
    for call in [two, again] {
        call.abort();
        assert!(matches!(peer.receive().await, Some((_, Message::Cancel))));
    }
    reach.all_answered().await;
}

#[tokio::test]
async fn answers_that_nobody_has_dropped_carry_so_many_bytes_and_no_more() {
    let limits = Limits {
        max_message_bytes: 100_000,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    let reach = peer.provide(1).await;
    let mut held = Vec::new();
    for number in 0..6 {
        let reach = reach.clone();
        let call = tokio::spawn(async move {
            reach
                .call(header("f"), Vec::new().into(), chain("app"))
                .await
        });
        let (id, ..) = peer.called().await;
        peer.answer(id, &[7; 90_000]).await;
        let reply = call.await.unwrap();
        if number == 4 {
            assert!(matches!(reply, Err(ReachError::TooMuch)), "{reply:?}");
            held.pop();
        } else {
            held.push(reply.unwrap());
        }
    }
    let small = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    peer.answer(id, b"small").await;
    assert_eq!(small.await.unwrap(), reply(b"small"));
}

#[tokio::test]
async fn a_client_is_sent_no_longer_call_than_a_message_may_be() {
    let limits = Limits {
        max_message_bytes: 40_000,
        max_calls_into_client_per_session: 1,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    let reach = peer.provide(1).await;
    let refused = reach_out(&reach, &[0; 40_000]).await.unwrap();
    assert!(
        matches!(
            refused,
            Err(ReachError::TooLong {
                bytes: 40_001..,
                limit_bytes: 40_000
            })
        ),
        "{refused:?}"
    );
    // It has no place any more, and nothing of it was sent.
    let call = reach_out(&reach, &[0; 39_000]);
    let (id, _, arguments) = peer.called().await;
    assert_eq!(arguments.len(), 39_000);
    peer.answer(id, b"").await;
    call.await.unwrap().unwrap();
}

/// A client that reads nothing must not be able to pile up cancels of calls that were given up.
#[tokio::test]
async fn what_was_given_up_keeps_its_place_until_the_client_is_told() {
    let limits = Limits {
        max_calls_into_client_per_session: 4,
        ..Limits::default()
    };
    let mut peer = Peer::connect_over(1024, limits).entered().await;
    let reach = peer.provide(1).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push((reach_out(&reach, b""), peer.called().await.0));
    }
    // From here on it reads nothing, and there is soon no room for anything as long as a ping. A cancel
    // is shorter, so one of them may find some.
    for _ in 0..100 {
        for _ in 0..1000 {
            reach.ping();
        }
        tokio::task::yield_now().await;
    }
    let mut given_up = Vec::new();
    for (call, id) in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        given_up.push(id);
    }
    let waits = reach_out(&reach, b"");
    let refused = reach_out(&reach, b"").await.unwrap();
    assert_eq!(refused, Err(ReachError::Full(4)));
    waits.abort();
    while !given_up.is_empty() {
        match peer.receive().await.unwrap() {
            (0, Message::Ping(_)) => {}
            (id, Message::Cancel) => given_up.retain(|other| *other != id),
            other => panic!("{other:?}"),
        }
    }
    reach.all_answered().await;
    let after = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    peer.answer(id, b"answer").await;
    assert_eq!(after.await.unwrap(), reply(b"answer"));
}

#[tokio::test]
async fn the_end_of_a_session_is_the_end_of_its_calls() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let calls: Vec<_> = (0..10).map(|_| reach_out(&reach, b"")).collect();
    for _ in &calls {
        peer.called().await;
    }
    let node = peer.node.clone();
    assert!(matches!(peer.leave().await, SessionEnd::PeerLeft));
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(ReachError::Lost));
    }
    assert!(node.served_by.lock().unwrap().is_empty());
    assert_eq!(reach_out(&reach, b"").await.unwrap(), Err(ReachError::Lost));
}

#[tokio::test]
async fn ids_that_are_used_up_end_the_way() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    reach.skip_to(u32::MAX - 1);
    let last = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    assert_eq!(id, u32::MAX - 1);
    assert_eq!(reach_out(&reach, b"").await.unwrap(), Err(ReachError::Lost));
    peer.answer(id, b"last").await;
    assert_eq!(last.await.unwrap(), reply(b"last"));
}

#[tokio::test]
async fn a_call_within_another_is_part_of_its_chain() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let outer = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    let within = |outer: u32| {
        let Message::Call {
            mut header,
            arguments,
        } = call("echo", b"inner")
        else {
            unreachable!()
        };
        header.within = Some(outer);
        Message::Call { header, arguments }
    };
    peer.send(3, within(id)).await;
    assert_eq!(peer.reply(3).await, b"inner");
    assert_eq!(peer.node.chain.lock().unwrap().as_deref(), Some("app"));
    for (exchange, unknown) in [(5, id + 2), (7, 1), (9, 0)] {
        peer.send(exchange, within(unknown)).await;
        assert_eq!(
            peer.failure(exchange).await.code,
            ErrorCode::FailedPrecondition
        );
    }
    peer.answer(id, b"").await;
    outer.await.unwrap().unwrap();
    peer.send(11, within(id)).await;
    assert_eq!(peer.failure(11).await.code, ErrorCode::FailedPrecondition);
}

#[tokio::test]
async fn what_is_served_is_withdrawn_and_refused_like_any_exchange() {
    let limits = Limits {
        max_calls_in_flight_per_session: 1,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    peer.call(1, "wait").await;
    peer.running(1).await;
    let withdraw = || {
        Message::Withdraw(Withdraw {
            name: "n".to_owned(),
            lease: None,
            steal: false,
        })
    };
    for (id, message) in [(3, provide()), (5, withdraw())] {
        peer.send(id, message).await;
        assert_eq!(peer.failure(id).await.code, ErrorCode::ResourceExhausted);
    }
    peer.node.gate.notify_one();
    peer.reply(1).await;
    peer.provide(7).await;
    peer.send(9, withdraw()).await;
    assert_eq!(peer.reply(9).await, [0xf6]);
    assert!(peer.node.served_by.lock().unwrap().is_empty());
}

#[tokio::test]
async fn whoever_lost_its_standing_is_not_believed() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let waiting = reach_out(&reach, b"");
    let (id, ..) = peer.called().await;
    peer.node
        .is_revoked
        .store(true, std::sync::atomic::Ordering::SeqCst);
    peer.answer(id, b"not any more").await;
    assert_eq!(waiting.await.unwrap(), Err(ReachError::Lost));
    assert_eq!(peer.goaway().await.code, ErrorCode::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn any_frame_is_a_sign_of_life_and_a_ping_asks_for_one() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    advance(5 * SECOND).await;
    assert_eq!(reach.last_heard().elapsed(), 5 * SECOND);
    reach.ping();
    let Some((0, Message::Ping(Beat { nonce }))) = peer.receive().await else {
        panic!("expected a ping");
    };
    peer.send(0, Message::Pong(Beat { nonce })).await;
    peer.call(3, "echo").await;
    peer.reply(3).await;
    assert_eq!(reach.last_heard(), Instant::now());
}

#[tokio::test]
async fn a_client_is_told_of_a_lapse() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let lapse = Lapse {
        name: "n".to_owned(),
        lease: 1,
        failure: Failure::new(ErrorCode::Aborted, Fault::Tenant, "stolen"),
    };
    reach.tell_lapse(lapse.clone());
    assert_eq!(peer.receive().await, Some((0, Message::Lapse(lapse))));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_calls_into_a_client_and_keeps_it_for_others() {
    let mut serves = Peer::welcome(Limits::default()).await;
    let mut calls = serves.fellow().await;
    calls.call(1, "wait").await;
    calls.running(1).await;
    let reach = serves.provide(1).await;
    serves.stop.begin(Instant::now() + 10 * SECOND);
    for peer in [&mut serves, &mut calls] {
        assert!(matches!(
            peer.receive().await,
            Some((0, Message::Goaway(_)))
        ));
    }
    advance(SECOND).await;
    // Nothing is served anew, but what is served is, and may call back.
    serves.send(3, provide()).await;
    assert_eq!(serves.failure(3).await.code, ErrorCode::Unavailable);
    let waiting = reach_out(&reach, b"");
    let (id, ..) = serves.called().await;
    let Message::Call {
        mut header,
        arguments,
    } = call("echo", b"within")
    else {
        unreachable!()
    };
    header.within = Some(id);
    serves.send(5, Message::Call { header, arguments }).await;
    assert_eq!(serves.reply(5).await, b"within");
    // The one that calls is done first; the other still has its answer to give.
    calls.node.gate.notify_one();
    assert_eq!(calls.reply(1).await, b"arguments");
    assert!(matches!(calls.leave().await, SessionEnd::Drained));
    advance(SECOND).await;
    assert!(!serves.session.is_finished());
    serves.answer(id, b"in time").await;
    assert_eq!(waiting.await.unwrap(), reply(b"in time"));
    assert_eq!(serves.receive().await, None);
    assert!(matches!(serves.leave().await, SessionEnd::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_no_longer_than_its_time_for_a_client() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let reach = peer.provide(1).await;
    let waiting = reach_out(&reach, b"");
    peer.called().await;
    let began = Instant::now();
    peer.stop.begin(began + 10 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(ReachError::Lost));
    assert_eq!(began.elapsed(), 10 * SECOND);
    let end = peer.session.await.unwrap();
    assert!(matches!(end, SessionEnd::DrainTimeout), "{end}");
}

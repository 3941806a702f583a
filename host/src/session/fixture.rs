//! A client that is reached without a session around it, for tests of those who reach it.

use std::time::Duration;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits};
use rpc_host_protocol::frame::MAX_FRAME_PAYLOAD_BYTES;
use rpc_host_protocol::message::{CallHeader, Message};
use rpc_host_protocol::{ExchangeId, Failure};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use super::{Reach, ReachError, SessionId};
use crate::chain::Chain;
use crate::config::Limits;
use crate::transport::frames::{FrameReader, outbox};

/// The client's end, and the way to it.
pub(crate) struct FarEnd {
    pub(crate) reach: Reach,
    frames: FrameReader<DuplexStream>,
    assembler: Assembler,
}

impl FarEnd {
    pub(crate) fn new() -> FarEnd {
        let (near, far) = duplex(64 * 1024);
        let (outbox, writer) = outbox(near, &Limits::default());
        tokio::spawn(writer.run());
        FarEnd {
            reach: Reach::new(
                SessionId::random().unwrap(),
                outbox,
                &Limits::default(),
                1 << 20,
            ),
            frames: FrameReader::new(far, Duration::from_secs(60), MAX_FRAME_PAYLOAD_BYTES),
            assembler: Assembler::new(AssemblerLimits {
                max_message_bytes: 1 << 20,
                max_buffered_bytes: 1 << 20,
                max_incomplete_messages: 1,
            }),
        }
    }

    /// The next message of the host's.
    pub(crate) async fn receive(&mut self) -> (u32, Message) {
        loop {
            let (header, payload) = self.frames.next().await.unwrap().unwrap();
            if let Some(raw) = self.assembler.accept(header, &payload).unwrap() {
                return (raw.id.0, Message::decode(raw).unwrap());
            }
        }
    }

    /// The next message that is no ping, which has to be a call.
    pub(crate) async fn called(&mut self) -> (u32, CallHeader, Vec<u8>) {
        loop {
            match self.receive().await {
                (_, Message::Ping(_)) => {}
                (id, Message::Call { header, arguments }) => {
                    return (id, header, arguments.into_vec());
                }
                other => panic!("expected a call, got {other:?}"),
            }
        }
    }

    pub(crate) fn answer(&self, id: u32, value: &[u8]) {
        self.reach.answer(ExchangeId(id), Ok(value.to_vec()));
    }

    pub(crate) fn fail(&self, id: u32, failure: Failure) {
        self.reach
            .answer(ExchangeId(id), Err(ReachError::Failed(failure)));
    }

    /// The chain of a call that is under way.
    pub(crate) fn chain_of(&self, id: u32) -> Chain {
        self.reach.chain_of(ExchangeId(id)).unwrap()
    }

    /// Gives a sign of life.
    pub(crate) fn breathe(&self) {
        self.reach.hear(Instant::now());
    }

    pub(crate) fn late_answers(&self) -> u64 {
        self.reach.late_answers()
    }

    /// The connection is gone; whoever keeps what it serves has yet to hear of it.
    pub(crate) fn leave(&self) {
        self.reach.end();
    }
}

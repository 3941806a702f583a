//! Frames of a client → messages, each of them in its order.

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage};
use rpc_host_protocol::frame::Header;

use super::SessionEnd;
use super::order::Order;
use crate::transport::frames::Frame;

/// What has come of messages that are not complete yet.
#[derive(Debug)]
pub(super) struct Incoming {
    order: Order,
    assembler: Assembler,
}

impl Incoming {
    /// Nothing yet.
    pub(super) fn new(limits: AssemblerLimits) -> Self {
        Incoming {
            order: Order::default(),
            assembler: Assembler::new(limits),
        }
    }

    /// A frame begins: what its payload is to be put behind.
    pub(super) fn begin(&mut self, header: &Header) -> Result<Vec<u8>, SessionEnd> {
        self.order.check(header)?;
        Ok(self.assembler.begin(header)?)
    }

    /// It is there; gives the message that it completes, if it does.
    pub(super) fn end(&mut self, (header, bytes): Frame) -> Option<RawMessage> {
        self.assembler.end(header, bytes)
    }
}

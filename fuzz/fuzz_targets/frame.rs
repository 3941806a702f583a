//! Any bytes as one direction of a connection: headers, then messages put together of fragments.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, fragments};
use rpc_host_protocol::frame::{HEADER_BYTES, Header, MAX_FRAME_PAYLOAD_BYTES};

const LIMITS: AssemblerLimits = AssemblerLimits {
    max_message_bytes: 600,
    max_buffered_bytes: 900,
    max_incomplete_messages: 4,
};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut assembler = Assembler::new(LIMITS);
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Ok(header) = Header::decode(*head) else {
            return;
        };
        assert_eq!(header.encode(), *head, "a header has one spelling");
        let length = header.length_bytes as usize;
        assert!(length <= MAX_FRAME_PAYLOAD_BYTES);
        let Some((payload, after)) = after.split_at_checked(length) else {
            return;
        };
        rest = after;
        let Ok(complete) = assembler.accept(header, payload) else {
            return;
        };
        let Some(message) = complete else {
            continue;
        };
        assert!(message.payload.len() <= LIMITS.max_message_bytes);
        let mut again = Assembler::new(LIMITS);
        let mut back = None;
        for (header, part) in fragments(&message) {
            assert!(back.is_none(), "a frame came after the last one");
            back = again.accept(header, part).expect("what we write, we take");
        }
        assert_eq!(back.as_ref(), Some(&message));
    }
});

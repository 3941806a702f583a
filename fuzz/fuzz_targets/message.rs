//! Any bytes as a message of any kind, and as an answer to any operation.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::cbor::{decode_envelope, encode_envelope};
use rpc_host_protocol::operation::{
    Description, Inspection, ModuleEntry, NewToken, RegistrationEntry, RevisionEntry, TenantEntry,
    TokenEntry,
};
use rpc_host_protocol::{ExchangeId, Kind, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (choice, is_result, payload) = input;
    let kind = Kind::ALL[usize::from(choice) % Kind::ALL.len()];
    let flags = if kind == Kind::Reply && is_result {
        2
    } else {
        0
    };
    let id = ExchangeId(1);
    let raw = RawMessage {
        kind,
        flags,
        id,
        payload: payload.to_vec().into(),
    };
    if let Ok(message) = Message::decode(raw) {
        assert_eq!(message.kind(), kind);
        let again = message.clone().encode(id);
        assert_eq!(again.flags, flags);
        assert_eq!(
            Message::decode(again).as_ref(),
            Ok(&message),
            "what we write, we read"
        );
    }
    if kind == Kind::Reply {
        answer::<RevisionEntry>(payload);
        answer::<Vec<RegistrationEntry>>(payload);
        answer::<Vec<ModuleEntry>>(payload);
        answer::<Inspection>(payload);
        answer::<Description>(payload);
        answer::<Vec<TenantEntry>>(payload);
        answer::<Vec<TokenEntry>>(payload);
        answer::<NewToken>(payload);
    }
});

fn answer<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) {
    if let Ok(answer) = decode_envelope::<T>(payload) {
        let again = decode_envelope::<T>(&encode_envelope(&answer));
        assert_eq!(again.as_ref(), Ok(&answer), "what we write, we read");
    }
}

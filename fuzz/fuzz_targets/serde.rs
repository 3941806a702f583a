//! Any bytes as a value of a Rust type, in the way of a client that has no WIT at hand.

#![no_main]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use rpc_host_protocol::cbor::{Reader, handles};
use rpc_host_protocol::serde::{describe, from_cbor, from_cbor_owned, split_result, to_cbor};
use rpc_host_protocol::value::Handle;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Every shape that the mapping knows, within itself.
#[derive(Debug, Deserialize, Serialize)]
enum Shape {
    Nothing,
    Flag(bool),
    Small(u8),
    Large(i64),
    Single(f32),
    Double(f64),
    Letter(char),
    Text(String),
    Bytes(Vec<u8>),
    Several(Vec<Shape>),
    Table(BTreeMap<u16, Shape>),
    Words(BTreeMap<String, bool>),
    Pair(i8, Box<Shape>),
    Point { x_axis: u32, label: Option<String> },
    Nested(Option<Option<Box<Shape>>>),
    Outcome(Result<(), Box<Shape>>),
    Unit(()),
    Object(Handle),
}

const MAX_DESCRIPTION_BYTES: usize = 100;
const MAX_LEVELS: u32 = 64;

/// Bytes that are given away come to the same as those that are not.
fn same<T: DeserializeOwned + Debug>(bytes: &[u8]) {
    let given_away = from_cbor_owned::<T>(bytes.to_vec(), "value");
    let borrowed = from_cbor::<T>(bytes, "value");
    assert_eq!(format!("{given_away:?}"), format!("{borrowed:?}"));
}

fuzz_target!(|bytes: &[u8]| {
    // The first asks for a buffer.
    same::<CString>(bytes);
    same::<Shape>(bytes);
    // A handle takes four bytes or more.
    assert!(handles(bytes).count() <= bytes.len() / 4);
    if let Ok(item) = Reader::new(bytes, u32::MAX).item(MAX_LEVELS) {
        let all = handles(item).count();
        assert!(
            handles(bytes).count() >= all,
            "those of an item are found in whatever follows"
        );
    }
    if let Ok(shape) = from_cbor::<Shape>(bytes, "value") {
        let written = to_cbor(&shape, "value").expect("what we read, we write");
        let back: Shape = from_cbor(&written, "value").expect("what we write, we read");
        // Printed, NaN equals NaN.
        assert_eq!(format!("{back:?}"), format!("{shape:?}"));
    }
    if let Ok(Ok(payload) | Err(payload)) = split_result(bytes) {
        assert!(payload.len() < bytes.len());
    }
    assert!(describe(bytes, MAX_DESCRIPTION_BYTES).len() <= MAX_DESCRIPTION_BYTES);
});

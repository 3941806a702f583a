//! Any text as JSON of any type.

#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use rpc_host_fuzz::{any_type, split};
use rpc_host_protocol::json::{from_json, to_json};

fuzz_target!(|input: &[u8]| {
    let Some((shape, text)) = split(input) else {
        return;
    };
    let Ok(ty) = any_type(&mut Unstructured::new(shape)) else {
        return;
    };
    let Ok(json) = serde_json::from_slice(text) else {
        return;
    };
    if let Ok(value) = from_json(&json, &ty, "value") {
        let written = to_json(&value).to_string();
        let json = serde_json::from_str(&written).expect("we write json");
        let back = from_json(&json, &ty, "value").expect("what we write, we read");
        // Printed, NaN equals NaN.
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    }
});

//! Any bytes as a value of any type, and as the arguments of any function.

#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use rpc_host_fuzz::{any_type, split};
use rpc_host_protocol::Signature;
use rpc_host_protocol::cbor::{
    Reader, check_arguments, decode_arguments, decode_value, encode_arguments, encode_value,
};
use rpc_host_protocol::types::Field;
use rpc_host_protocol::value::ValueLimits;

const LIMITS: ValueLimits = ValueLimits {
    max_depth: 32,
    max_items: 4096,
};

fuzz_target!(|input: &[u8]| {
    let Some((shape, bytes)) = split(input) else {
        return;
    };
    let mut shape = Unstructured::new(shape);
    let Ok(ty) = any_type(&mut shape) else {
        return;
    };
    if let Ok(value) = decode_value(bytes, &ty, "value", LIMITS) {
        let canonical = encode_value(&value);
        let mut reader = Reader::new(&canonical, u32::MAX);
        assert_eq!(
            reader.item(1000),
            Ok(&canonical[..]),
            "we write the strict subset"
        );
        let back = decode_value(&canonical, &ty, "value", ValueLimits::default());
        let back = back.expect("what we write, we read");
        // Printed, NaN equals NaN.
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
        assert_eq!(
            encode_value(&back),
            canonical,
            "a value has one spelling of ours"
        );
    }

    let parameters = (0..shape.int_in_range(0..=3).unwrap_or(0)).map(|index| {
        let ty = any_type(&mut shape).ok()?;
        Some(Field {
            name: format!("p{index}").into(),
            ty,
        })
    });
    let Some(parameters) = parameters.collect() else {
        return;
    };
    let signature = Signature {
        parameters,
        result: None,
    };
    let decoded = decode_arguments(bytes, &signature, LIMITS);
    assert_eq!(
        check_arguments(bytes, &signature, LIMITS),
        decoded.as_ref().map(|_values| ()).map_err(Clone::clone),
        "what is only checked is refused in the same words"
    );
    if let Ok(arguments) = decoded {
        assert_eq!(arguments.len(), signature.parameters.len());
        let canonical = encode_arguments(&arguments, &[]);
        let back = decode_arguments(&canonical, &signature, ValueLimits::default());
        let back = back.expect("what we write, we read");
        assert_eq!(format!("{back:?}"), format!("{arguments:?}"));
    }
});

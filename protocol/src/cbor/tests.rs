//! Values through CBOR, JSON and back; and everything that must be refused.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::json::{from_json, to_json};
use crate::types::{Case, Field, Name, ResultType, Signature, Type};
use crate::value::{Handle, Value, ValueLimits};

fn names(names: &[&str]) -> Arc<[Name]> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn field(name: &str, ty: Type) -> Field {
    Field {
        name: name.into(),
        ty,
    }
}

fn list(inner: Type) -> Type {
    Type::List(Arc::new(inner))
}

fn option(inner: Type) -> Type {
    Type::Option(Arc::new(inner))
}

fn point() -> Type {
    Type::Record(Arc::from([
        field("x", Type::S32),
        field("label", option(Type::String)),
    ]))
}

fn decode(bytes: &[u8], ty: &Type) -> Result<Value, String> {
    decode_value(bytes, ty, "value", ValueLimits::default()).map_err(|error| error.to_string())
}

/// CBOR of hex digits; blanks are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

/// Types, and a value of each.
fn typed_value() -> impl Strategy<Value = (Type, Value)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|v| (Type::Bool, Value::Bool(v))),
        any::<i8>().prop_map(|v| (Type::S8, Value::S8(v))),
        any::<u8>().prop_map(|v| (Type::U8, Value::U8(v))),
        any::<i16>().prop_map(|v| (Type::S16, Value::S16(v))),
        any::<u16>().prop_map(|v| (Type::U16, Value::U16(v))),
        any::<i32>().prop_map(|v| (Type::S32, Value::S32(v))),
        any::<u32>().prop_map(|v| (Type::U32, Value::U32(v))),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
            .prop_map(|v| (Type::S64, Value::S64(v))),
        prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(|v| (Type::U64, Value::U64(v))),
        any::<f32>().prop_map(|v| (Type::F32, Value::F32(v))),
        any::<f64>().prop_map(|v| (Type::F64, Value::F64(v))),
        any::<char>().prop_map(|v| (Type::Char, Value::Char(v))),
        ".{0,12}".prop_map(|v| (Type::String, Value::String(v))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|v| (list(Type::U8), Value::Bytes(v))),
        Just((
            Type::Enum(names(&["red", "dark-blue"])),
            Value::Enum("dark-blue".into())
        )),
        prop::sample::subsequence((0..40).collect::<Vec<_>>(), 0..40).prop_map(|set| {
            let flag = |n: &i32| Name::from(format!("flag-{n}"));
            let all: Vec<_> = (0..40).collect();
            (
                Type::Flags(all.iter().map(flag).collect()),
                Value::Flags(set.iter().map(flag).collect()),
            )
        }),
        any::<u64>().prop_map(|v| (Type::Own("counter".into()), Value::Handle(Handle::Host(v)))),
        any::<u64>().prop_map(|v| (
            Type::Borrow("handler".into()),
            Value::Handle(Handle::Client(v))
        )),
        Just((Type::Record(Arc::from([])), Value::Record(vec![]))),
        Just((Type::Tuple(Arc::from([])), Value::Tuple(vec![]))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0..4usize).prop_map(|((ty, value), count)| match ty {
                Type::U8 => (list(Type::U8), Value::Bytes(vec![7; count])),
                ty => (list(ty), Value::List(vec![value; count])),
            }),
            inner
                .clone()
                .prop_map(|(ty, value)| (option(ty), Value::Option(Some(Box::new(value))))),
            inner
                .clone()
                .prop_map(|(ty, _)| (option(ty), Value::Option(None))),
            inner.clone().prop_map(|(ty, value)| {
                let result = ResultType {
                    ok: Some(Arc::new(ty)),
                    err: None,
                };
                (
                    Type::Result(result),
                    Value::Result(Ok(Some(Box::new(value)))),
                )
            }),
            inner.clone().prop_map(|(ty, _)| {
                let result = ResultType {
                    ok: Some(Arc::new(ty)),
                    err: None,
                };
                (Type::Result(result), Value::Result(Err(None)))
            }),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
                let (types, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                (Type::Tuple(types.into()), Value::Tuple(values))
            }),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|items| {
                let named = |index: usize| Name::from(format!("field-{index}"));
                let items = items.into_iter().enumerate();
                let (fields, values): (Vec<_>, Vec<_>) = items
                    .map(|(index, (ty, value))| {
                        (
                            Field {
                                name: named(index),
                                ty,
                            },
                            (named(index), value),
                        )
                    })
                    .unzip();
                (Type::Record(fields.into()), Value::Record(values))
            }),
            inner.clone().prop_map(|(ty, value)| {
                let cases = [
                    Case {
                        name: "none".into(),
                        ty: None,
                    },
                    Case {
                        name: "some-thing".into(),
                        ty: Some(ty),
                    },
                ];
                (
                    Type::Variant(Arc::from(cases)),
                    Value::Variant("some-thing".into(), Some(Box::new(value))),
                )
            }),
            (inner, prop::option::of(any::<u16>())).prop_map(|((ty, value), key)| {
                let map = Type::Map(Arc::new(Type::U16), Arc::new(ty));
                (
                    map,
                    Value::Map(
                        key.map(|key| (Value::U16(key), value))
                            .into_iter()
                            .collect(),
                    ),
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_survives_cbor_and_json((ty, value) in typed_value()) {
        let bytes = encode_value(&value);
        // Compared in their printed form, in which NaN equals NaN.
        let back = decode(&bytes, &ty).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{value:?}"));
        prop_assert_eq!(encode_value(&back), bytes.clone());
        let json = to_json(&value).to_string();
        let back = from_json(&serde_json::from_str(&json).unwrap(), &ty, "value").unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{value:?}"));
        // What we write keeps to the subset that we read.
        let mut reader = Reader::new(&bytes, u32::MAX);
        prop_assert_eq!(reader.item(64).unwrap().len(), bytes.len());
        reader.finish().unwrap();
    }

    #[test]
    fn a_cut_value_is_refused((ty, value) in typed_value(), cut in any::<prop::sample::Index>()) {
        let bytes = encode_value(&value);
        let cut = cut.index(bytes.len());
        prop_assert!(decode(&bytes[..cut], &ty).is_err());
    }

    #[test]
    fn what_is_only_checked_is_refused_in_the_same_words(
        (ty, value) in typed_value(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        max_items in 0_u32..40,
    ) {
        let signature = Signature {
            parameters: vec![field("a", Type::Bool), field("b", ty)],
            result: None,
        };
        let named = [("b".to_owned(), value)];
        let mut bytes = encode_arguments(&[Value::Bool(true)], &named);
        let limits = ValueLimits { max_items, ..ValueLimits::default() };
        for limits in [limits, ValueLimits::default()] {
            for _ in 0..2 {
                let decoded = decode_arguments(&bytes, &signature, limits);
                let checked = check_arguments(&bytes, &signature, limits);
                prop_assert_eq!(checked, decoded.map(|_values| ()));
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
    }

    #[test]
    fn common_heads_are_read_as_any_head_is(bytes in prop::collection::vec(any::<u8>(), 0..12), max_items in 1_u32..9) {
        let mut integers = Reader::new(&bytes, max_items);
        let mut heads = Reader::new(&bytes, max_items);
        match integers.integer() {
            Some((number, is_negative)) => {
                let head = if is_negative { Head::Negative(number) } else { Head::Unsigned(number) };
                prop_assert_eq!(heads.head(), Ok(head));
                prop_assert_eq!(heads.position(), integers.position());
            }
            None => {
                prop_assert_eq!(integers.position(), 0);
                let is_integer = matches!(heads.head(), Ok(Head::Unsigned(_) | Head::Negative(_)));
                prop_assert!(!is_integer);
            }
        }
        let mut common = Reader::new(&bytes, max_items);
        let mut any = Reader::new(&bytes, max_items);
        // What both have counted already when they are asked.
        common.spend(1).unwrap();
        any.spend(1).unwrap();
        if let Some(head) = common.common_head() {
            prop_assert_eq!(format!("{:?}", any.any_head()), format!("{:?}", Ok::<_, SyntaxError>(head)));
            prop_assert_eq!(any.position(), common.position());
        } else {
            prop_assert_eq!(common.position(), 0);
        }
    }

    #[test]
    fn any_bytes_end_in_a_value_or_an_error((ty, _) in typed_value(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _either = decode(&bytes, &ty);
        let _either = Reader::new(&bytes, 100).item(8);
    }
}

#[cfg(feature = "wave")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// WAVE has no form for handles, nor for an empty tuple (which the component model does not have either).
    #[test]
    fn every_value_but_handles_survives_wave((ty, value) in typed_value().prop_filter("no form", |(ty, _)| {
        !ty.holds_handles() && !ty.to_string().contains("tuple<>")
    })) {
        let text = crate::wave::to_wave(&value);
        match crate::wave::from_wave(&text, &ty, "value") {
            Ok(back) => prop_assert_eq!(format!("{back:?}"), format!("{value:?}")),
            Err(error) => prop_assert!(false, "{}: {}", text, error),
        }
    }
}

#[test]
fn long_bytes_get_room_once_and_little_more() {
    let long = vec![7; 1 << 20];
    let mut writer = Writer::new();
    writer.array(1);
    writer.reserve(long.len() + 9);
    writer.byte_string(&long);
    writer.map(0);
    let bytes = writer.into_bytes();
    assert!(bytes.capacity() < bytes.len() + 1024);
}

#[test]
fn options_nest() {
    let twice = option(option(Type::S8));
    let some = |value| Value::Option(Some(Box::new(value)));
    for (value, bytes) in [
        (Value::Option(None), "f6"),
        (some(Value::Option(None)), "a1 64 736f6d65 f6"),
        (some(some(Value::S8(1))), "a1 64 736f6d65 01"),
    ] {
        assert_eq!(encode_value(&value), hex(bytes));
        assert_eq!(decode(&hex(bytes), &twice), Ok(value));
    }
    assert!(
        decode(&hex("01"), &twice)
            .unwrap_err()
            .contains("{some: …}")
    );
}

#[test]
fn an_ill_typed_value_is_refused_with_its_path() {
    let signature = Signature {
        parameters: vec![field("n", Type::U8), field("points", list(point()))],
        result: None,
    };
    let refused = |bytes: &str| {
        decode_arguments(&hex(bytes), &signature, ValueLimits::default())
            .unwrap_err()
            .to_string()
    };
    let call = "func(n: u8, points: list<record { x: s32, label: option<string> }>)";
    for (bytes, expected) in [
        // [1, [{x: "a"}]] {}
        (
            "82 01 81 a1 6178 6161 a0",
            "args[1][0].x: expected s32, got text".to_owned(),
        ),
        // [256, []] {}
        (
            "82 190100 80 a0",
            "args[0]: 256 is out of range of u8".to_owned(),
        ),
        // [-1, []] {}
        (
            "82 20 80 a0",
            "args[0]: -1 is out of range of u8".to_owned(),
        ),
        // [1, [{}]] {}
        (
            "82 01 81 a0 a0",
            "args[1][0].x: missing: expected s32".to_owned(),
        ),
        // [1, [{y: 1}]] {}
        (
            "82 01 81 a1 6179 01 a0",
            "args[1][0].y: no such field in record { x: s32, label: option<string> }".to_owned(),
        ),
        // [1, [{x: 1, x: 2}]] {}
        (
            "82 01 81 a2 6178 01 6178 02 a0",
            "args[1][0].x: given twice".to_owned(),
        ),
        // [1] {}
        (
            "81 01 a0",
            format!(
                "args[1]: missing argument `points`: expected list<record {{ x: s32, label: option<string> }}>; the function is {call}"
            ),
        ),
        // [1, [], 2] {}
        (
            "83 01 80 02 a0",
            format!("args: expected 2 arguments, got 3: {call}"),
        ),
        // [1] {n: 2, points: []}
        (
            "81 01 a2 616e 02 66706f696e7473 80",
            "args.n: given twice".to_owned(),
        ),
        // [1, []] {z: 1}
        (
            "82 01 80 a1 617a 01",
            format!("args.z: no such parameter; the function is {call}"),
        ),
        (
            "82 01 80 a0 00",
            "args: 1 bytes follow the last item".to_owned(),
        ),
        (
            "82 01 80",
            "args: the data ends in the middle of an item".to_owned(),
        ),
    ] {
        assert_eq!(refused(bytes), expected, "{bytes}");
    }
    // [] {points: [{x: 1}], n: 2}, in any order
    let arguments = decode_arguments(
        &hex("80 a2 66706f696e7473 81 a1 6178 01 616e 02"),
        &signature,
        ValueLimits::default(),
    );
    assert_eq!(arguments.unwrap()[0], Value::U8(2));
}

/// Each kind of CBOR item against each type: whatever does not fit is the same kind of error.
#[test]
fn each_item_fits_only_its_types() {
    let items = [
        ("01", "integer"),
        ("20", "integer"),
        ("f93c00", "float"),
        ("f4", "bool"),
        ("f6", "null"),
        ("4161", "bytes"),
        ("6161", "text"),
        ("80", "array"),
        ("a0", "map"),
        ("d97270 01", "handle"),
        ("d97271 01", "object"),
    ];
    let types: [(Type, &[&str]); 13] = [
        (Type::Bool, &["bool"]),
        (Type::S64, &["integer"]),
        (Type::F64, &["integer", "float"]),
        (Type::Char, &["text"]),
        (Type::String, &["text"]),
        (list(Type::U8), &["bytes", "array"]),
        (list(Type::S8), &["array"]),
        (Type::Tuple(Arc::from([])), &["array"]),
        (Type::Record(Arc::from([])), &["map"]),
        (Type::Enum(names(&["a"])), &["text"]),
        (Type::Flags(names(&["a"])), &["array"]),
        (Type::Own("r".into()), &["handle", "object"]),
        (Type::Borrow("r".into()), &["handle", "object"]),
    ];
    for (ty, fitting) in &types {
        for (bytes, kind) in items {
            let result = decode(&hex(bytes), ty);
            assert_eq!(
                result.is_ok(),
                fitting.contains(&kind),
                "{ty} from {kind}: {result:?}"
            );
            if let Err(error) = result {
                assert!(error.starts_with("value: expected "), "{error}");
            }
        }
    }
}

#[test]
fn what_is_outside_of_the_subset_is_refused() {
    for (bytes, reason) in [
        ("1800", "an integer that is not in its shortest form"),
        ("190001", "likewise"),
        ("1b0000000000000001", "likewise"),
        ("5801 61", "a length that is not in its shortest form"),
        ("5f 4161 ff", "an indefinite length"),
        ("7f 6161 ff", "likewise"),
        ("9f ff", "likewise"),
        ("bf ff", "likewise"),
        ("ff", "a break"),
        ("c0 01", "a tag"),
        ("c2 4101", "a bignum"),
        ("d97270 20", "a handle that is no number"),
        ("d97271 6131", "an object that is no number"),
        ("d97270 1801", "a handle that is not in its shortest form"),
        ("da00007270 01", "a tag that is not in its shortest form"),
        ("d97272 01", "another tag"),
        ("d97270 d97270 01", "a tag on a tag"),
        ("d97271", "an object that is cut off"),
        ("f7", "undefined"),
        ("f8ff", "a simple value"),
        ("1c", "a reserved head"),
        ("62 c328", "text that is not utf-8"),
        ("63 eda080", "a surrogate"),
        ("a2 01 01 01 01", "a key twice"),
        ("82 01", "an array that is cut off"),
        ("9b 1000000000000000", "an array of 2^60 items"),
        ("bb ffffffffffffffff", "a map of 2^64 - 1 pairs"),
        ("5b 1000000000000000", "2^60 bytes"),
        ("", "nothing"),
    ] {
        assert!(Reader::new(&hex(bytes), 1000).item(8).is_err(), "{reason}");
    }
}

#[test]
fn whose_object_a_handle_names_is_in_its_tag() {
    let ty = Type::Own("counter".into());
    for (bytes, handle, json) in [
        ("d97270 07", Handle::Host(7), r#"{"handle":7}"#),
        ("d97271 07", Handle::Client(7), r#"{"object":7}"#),
        (
            "d97271 1bffffffffffffffff",
            Handle::Client(u64::MAX),
            r#"{"object":18446744073709551615}"#,
        ),
    ] {
        let value = Value::Handle(handle);
        assert_eq!(encode_value(&value), hex(bytes));
        assert_eq!(decode(&hex(bytes), &ty), Ok(value.clone()));
        assert_eq!(to_json(&value).to_string(), json);
        let back = from_json(&serde_json::from_str(json).unwrap(), &ty, "value");
        assert_eq!(back, Ok(value));
    }
    for json in [
        "7",
        r#"{"handle":-7}"#,
        r#"{"handle":7,"object":7}"#,
        r#"{"proxy":7}"#,
        r#"{"object":null}"#,
    ] {
        let refused = from_json(&serde_json::from_str(json).unwrap(), &ty, "value");
        assert!(refused.is_err(), "{json}");
    }
}

#[test]
fn handles_are_found_without_a_type() {
    let (host, client) = (
        |number| Value::Handle(Handle::Host(number)),
        |number| Value::Handle(Handle::Client(number)),
    );
    let value = Value::Tuple(vec![
        Value::Record(vec![("a".into(), host(1)), ("b".into(), Value::U64(2))]),
        Value::List(vec![client(3), host(1)]),
        Value::Bytes(vec![0xd9, 0x72, 0x70, 0x04]),
        Value::Option(Some(Box::new(host(u64::MAX)))),
    ]);
    let expected = [
        Handle::Host(1),
        Handle::Client(3),
        Handle::Host(1),
        Handle::Host(u64::MAX),
    ];
    let bytes = encode_value(&value);
    assert!(handles(&bytes).eq(expected));
    assert!(handles(&bytes[..bytes.len() - 1]).eq(expected[..3].iter().copied()));
    assert_eq!(handles(&[]).count(), 0);
}

/// A megabyte of tags is refused at the second one.
#[test]
fn tags_on_tags_are_refused_without_being_followed() {
    let bytes = [0xd9, 0x72, 0x70].repeat(1 << 18);
    assert!(Reader::new(&bytes, u32::MAX).item(8).is_err());
    assert!(decode(&bytes, &Type::Own("counter".into())).is_err());
    assert!(crate::serde::describe(&bytes, 100).ends_with('…'));
}

#[test]
fn nesting_and_items_have_budgets() {
    let nested = |depth: usize| {
        let mut bytes = vec![0x81; depth];
        bytes.push(0x00);
        bytes
    };
    assert!(Reader::new(&nested(32), 1000).item(32).is_ok());
    assert_eq!(
        Reader::new(&nested(33), 1000).item(32),
        Err(SyntaxError::TooDeep(32))
    );
    assert_eq!(
        Reader::new(&nested(10_000), 100_000).item(32),
        Err(SyntaxError::TooDeep(32))
    );

    let deep_type = |depth: u32| (0..depth).fold(Type::Bool, |ty, _| list(ty));
    let mut bytes = vec![0x81; 32];
    bytes.push(0xf4);
    assert!(decode(&bytes, &deep_type(32)).is_ok());
    bytes.insert(0, 0x81);
    assert!(
        decode(&bytes, &deep_type(33))
            .unwrap_err()
            .contains("nested deeper than 32 levels")
    );

    let limits = ValueLimits {
        max_items: 10,
        ..ValueLimits::default()
    };
    let many = |count: u8| {
        let mut bytes = vec![0x80 + count];
        bytes.extend(vec![0xf4; count.into()]);
        decode_value(&bytes, &list(Type::Bool), "value", limits)
    };
    assert!(many(9).is_ok());
    assert!(
        many(10)
            .unwrap_err()
            .to_string()
            .contains("more than the limit of items")
    );
}

/// A record of a thousand options is one byte where all are missing: a million of those were a thousand million
/// values.
#[test]
fn fields_that_are_missing_count_as_items() {
    let fields = (0..7).map(|place| field(&format!("f{place}"), option(Type::U8)));
    let ty = list(Type::Record(fields.collect()));
    let limits = |max_items| ValueLimits {
        max_items,
        ..ValueLimits::default()
    };
    let bytes = [0x82, 0xa0, 0xa1, 0x62, b'f', b'3', 0x01];
    // The list, two records, a name and its value, and thirteen more.
    assert!(decode_value(&bytes, &ty, "value", limits(18)).is_ok());
    let refused = decode_value(&bytes, &ty, "value", limits(17)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "value[1]: more than the limit of items"
    );
}

/// Names of fields are compared as they came, but for long ones; what is refused has the same words then.
#[test]
fn names_of_fields_may_have_any_length() {
    for length in [1, 22, 23, 24, 255, 256] {
        let name = "n".repeat(length);
        let ty = Type::Record(Arc::from([field(&name, Type::U8), field("z", Type::U8)]));
        let value = Value::Record(vec![
            (name.as_str().into(), Value::U8(1)),
            ("z".into(), Value::U8(2)),
        ]);
        let bytes = encode_value(&value);
        assert_eq!(decode(&bytes, &ty), Ok(value), "{length}");
        let mut reader = Reader::new(&bytes[1..], 1);
        assert_eq!(reader.text_is(&name), length <= 23);
        assert!(!reader.text_is(&name), "none is left, or it is long");
        assert!(!Reader::new(&bytes[1..length], 9).text_is(&name), "cut");
    }
}

#[test]
fn floats_keep_their_value() {
    assert_eq!(
        decode(&hex("fa7f7fffff"), &Type::F32),
        Ok(Value::F32(f32::MAX))
    );
    assert!(
        decode(&hex("fb47f0000000000000"), &Type::F32)
            .unwrap_err()
            .contains("out of range of f32")
    );
    assert_eq!(
        decode(&hex("f97c00"), &Type::F32),
        Ok(Value::F32(f32::INFINITY))
    );
    assert!(matches!(decode(&hex("f97e00"), &Type::F32), Ok(Value::F32(nan)) if nan.is_nan()));
    assert_eq!(
        decode(&hex("1b0020000000000000"), &Type::F64),
        Ok(Value::F64(9_007_199_254_740_992.0))
    );
    assert!(
        decode(&hex("1b0020000000000001"), &Type::F64).is_err(),
        "2^53 + 1 is no f64"
    );
    let minus_zero = decode(&hex("f98000"), &Type::F64).unwrap();
    assert!(matches!(minus_zero, Value::F64(zero) if zero.is_sign_negative()));
}

#[test]
fn chars_are_single_scalar_values() {
    assert_eq!(
        decode(&hex("64f09f9880"), &Type::Char),
        Ok(Value::Char('😀'))
    );
    assert!(decode(&hex("60"), &Type::Char).is_err());
    assert!(decode(&hex("626161"), &Type::Char).is_err());
}

#[test]
fn json_errors_name_the_place_too() {
    let refused = |text: &str, ty: &Type| {
        from_json(&serde_json::from_str(text).unwrap(), ty, "args[0]")
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(r#"{"x": "a"}"#, &point()),
        "args[0].x: expected s32, got a string"
    );
    assert_eq!(
        refused(r#"{"x": 1, "y": 2}"#, &point()),
        "args[0].y: no such field in record { x: s32, label: option<string> }"
    );
    assert_eq!(
        refused("300", &Type::U8),
        "args[0]: 300 is out of range of u8"
    );
    assert_eq!(
        refused("[1, 2]", &Type::FixedList(Arc::new(Type::U8), 3)),
        "args[0]: expected list<u8, 3>, got 2 elements"
    );
}

#[cfg(feature = "wave")]
#[test]
fn wave_errors_name_the_place_too() {
    let refused = |text: &str, ty: &Type| {
        crate::wave::from_wave(text, ty, "args[0]")
            .unwrap_err()
            .to_string()
    };
    let points = list(point());
    assert_eq!(
        refused(r#"[{x: "a"}]"#, &points),
        r#"args[0][0].x: expected s32, got "a""#
    );
    assert_eq!(
        refused("[{x: 1}, {y: 2}]", &points),
        "args[0][1].y: no such field in record { x: s32, label: option<string> }"
    );
    assert_eq!(
        refused("[{label: none}]", &points),
        "args[0][0].x: missing: expected s32"
    );
    assert_eq!(refused("300", &Type::U8), "args[0]: expected u8, got 300");
    assert_eq!(
        refused("(1, true)", &Type::Tuple(Arc::from([Type::S8, Type::S8]))),
        "args[0][1]: expected s8, got true"
    );
    assert_eq!(
        refused("some(x)", &option(Type::S8)),
        "args[0]: expected s8, got x"
    );
    let result = Type::Result(ResultType {
        ok: Some(Arc::new(Type::S8)),
        err: None,
    });
    assert_eq!(
        refused("ok(true)", &result),
        "args[0].ok: expected s8, got true"
    );
    assert!(
        refused("[1", &points).starts_with("args[0]: expected list<record"),
        "a syntax error"
    );
}

#[test]
fn a_key_that_comes_twice_is_found_among_few_and_among_many() {
    for length in [1_u8, 7, 8, 9, 20] {
        let map = |last: u8| {
            let keys = (0..length - 1).chain([last]);
            let pairs = keys.flat_map(|key| [key, 0xf6]);
            [0xa0 | length].into_iter().chain(pairs).collect::<Vec<_>>()
        };
        let whole = map(length - 1);
        assert_eq!(Reader::new(&whole, 100).item(4), Ok(&*whole));
        for again in 0..length - 1 {
            let twice = map(again);
            let refused = Reader::new(&twice, 100).item(4);
            assert_eq!(
                refused,
                Err(SyntaxError::DuplicateKey),
                "{again} of {length}"
            );
        }
    }
}

#[test]
fn keys_are_not_nested_in_keys() {
    let item = |text: &str| Reader::new(&hex(text), 1000).item(32).map(<[u8]>::len);
    // {[1]: 0}, {{1: 0}: 0}, {[{1: [{[1]: 0}]}]: 0} but for its innermost key, which is refused.
    assert_eq!(item("a1 81 01 00"), Ok(4));
    assert_eq!(item("a1 a1 01 00 00"), Ok(5));
    assert_eq!(item("a1 81 a1 01 81 a1 02 00 00"), Ok(9));
    let within = Err(SyntaxError::KeyWithinKey);
    assert_eq!(item("a1 81 a1 01 81 a1 81 02 00 00"), within);
    assert_eq!(item("a1 a1 a1 01 00 00 00"), within);
    // What is no key is not within one.
    assert_eq!(item("a1 00 a1 81 01 00"), Ok(6));
}

//! Rust types through CBOR and back, and against the typed decoder that the host uses.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ArgumentList, Arguments, describe, from_cbor, from_cbor_owned, split_result, to_cbor};
use crate::cbor::{decode_arguments, decode_value, encode_value};
use crate::types::{Case, Field, Name, ResultType, Signature, Type};
use crate::value::{Handle, Value, ValueLimits};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    start_point: Point,
    end_point: Point,
    label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    RoundThing(f64),
    Pair(i32, String),
    FreeForm { corner_count: u8, tags: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Permission {
    ReadOnly,
    Write,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(u8);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

/// Bytes that serde is told are bytes.
struct RawBytes<'a>(&'a [u8]);

impl Serialize for RawBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn names<const N: usize>(names: [&str; N]) -> Arc<[Name]> {
    names.map(Name::from).into()
}

fn record<const N: usize>(fields: [(&str, Type); N]) -> Type {
    Type::Record(
        fields
            .map(|(name, ty)| Field {
                name: name.into(),
                ty,
            })
            .into(),
    )
}

fn point_type() -> Type {
    record([("x", Type::S32), ("y", Type::F32)])
}

fn shape_type() -> Type {
    let case = |name: &str, ty| Case {
        name: name.into(),
        ty,
    };
    let free_form = record([("corner-count", Type::U8), ("tags", list(Type::String))]);
    Type::Variant(Arc::from([
        case("nothing", None),
        case("round-thing", Some(Type::F64)),
        case("pair", Some(tuple([Type::S32, Type::String]))),
        case("free-form", Some(free_form)),
    ]))
}

fn list(ty: Type) -> Type {
    Type::List(Arc::new(ty))
}

fn tuple<const N: usize>(types: [Type; N]) -> Type {
    Type::Tuple(Arc::from(types))
}

fn option(ty: Type) -> Type {
    Type::Option(Arc::new(ty))
}

fn result(ok: Option<Type>, err: Option<Type>) -> Type {
    Type::Result(ResultType {
        ok: ok.map(Arc::new),
        err: err.map(Arc::new),
    })
}

/// The host takes `value` as `ty`, and what the host then sends is `value` again.
#[track_caller]
fn agrees<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, ty: &Type) -> Value {
    let sent = to_cbor(&value, "value").unwrap();
    let seen = decode_value(&sent, ty, "value", ValueLimits::default())
        .unwrap_or_else(|error| panic!("{value:?} as {ty}: {error}"));
    let answered = encode_value(&seen);
    assert_eq!(from_cbor::<T>(&answered, "value").unwrap(), value);
    assert_eq!(from_cbor::<T>(&sent, "value").unwrap(), value);
    seen
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(value: impl Serialize, problem: &str) {
    let bytes = to_cbor(&value, "value").unwrap();
    let error = from_cbor::<T>(&bytes, "result").unwrap_err();
    assert_eq!(error.to_string(), problem);
}

#[test]
fn primitives_agree_with_the_host() {
    agrees(true, &Type::Bool);
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        agrees(number, &Type::S64);
    }
    for number in [0, 23, 24, 255, 256, u64::MAX] {
        agrees(number, &Type::U64);
    }
    agrees(i8::MIN, &Type::S8);
    agrees(u32::MAX, &Type::U32);
    for number in [
        0.0,
        -0.0,
        0.1,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::NEG_INFINITY,
    ] {
        agrees(number, &Type::F32);
        agrees(f64::from(number), &Type::F64);
    }
    for character in ['a', 'ß', '\u{10ffff}', '\0'] {
        agrees(character, &Type::Char);
    }
    agrees("日本語".to_owned(), &Type::String);
    let nan = to_cbor(&f32::NAN, "value").unwrap();
    assert!(from_cbor::<f32>(&nan, "value").unwrap().is_nan());
    let seen = decode_value(&nan, &Type::F32, "value", ValueLimits::default()).unwrap();
    assert!(matches!(seen, Value::F32(number) if number.is_nan()));
    assert_eq!(
        from_cbor::<f64>(&to_cbor(&3, "").unwrap(), "").unwrap(),
        3.0
    );
}

#[test]
fn records_variants_and_flags_agree_with_the_host() {
    let line = |label: Option<&str>| Line {
        start_point: Point { x: -1, y: 0.5 },
        end_point: Point {
            x: i32::MAX,
            y: 1e30,
        },
        label: label.map(str::to_owned),
    };
    let ty = record([
        ("start-point", point_type()),
        ("end-point", point_type()),
        ("label", option(Type::String)),
    ]);
    agrees(line(None), &ty);
    agrees(line(Some("x")), &ty);
    agrees(Empty {}, &record([]));
    agrees(Unit, &record([]));
    for shape in [
        Shape::Nothing,
        Shape::RoundThing(2.0),
        Shape::Pair(-7, "x".into()),
        Shape::FreeForm {
            corner_count: 3,
            tags: vec!["a".into()],
        },
    ] {
        agrees(shape, &shape_type());
    }
    let permissions = names(["read-only", "write"]);
    agrees(Permission::ReadOnly, &Type::Enum(permissions.clone()));
    agrees(
        BTreeSet::from([Permission::ReadOnly, Permission::Write]),
        &Type::Flags(permissions.clone()),
    );
    agrees(vec!["write".to_owned()], &Type::Flags(permissions));
    let many: Vec<String> = (0..70).map(|n| format!("f{n}")).collect();
    let flags = Type::Flags(many.iter().map(|name| Name::from(name.as_str())).collect());
    agrees(many, &flags);
}

#[test]
fn containers_agree_with_the_host() {
    agrees(vec![1u32, 2], &list(Type::U32));
    agrees(Vec::<u32>::new(), &list(Type::U32));
    agrees((1u8, 2u8), &tuple([Type::U8, Type::U8]));
    agrees([1u8, 2], &Type::FixedList(Arc::new(Type::U8), 2));
    assert_eq!(from_cbor::<()>(&[0x80], ""), Ok(()), "an empty tuple");
    assert_eq!(from_cbor::<()>(&[0xf6], ""), Ok(()), "no result");
    agrees(HashSet::from([1u16, 2]), &list(Type::U16));
    let map = Type::Map(Arc::new(Type::String), Arc::new(Type::S32));
    let seen = agrees(HashMap::from([("not_kebab Case".to_owned(), 1)]), &map);
    let key = Value::String("not_kebab Case".into());
    assert_eq!(seen, Value::Map(vec![(key, Value::S32(1))]));
    let map = Type::Map(Arc::new(Type::U32), Arc::new(list(Type::U8)));
    agrees(BTreeMap::from([(1u32, vec![1u8]), (2, vec![])]), &map);
}

#[test]
fn bytes_travel_as_bytes_and_other_lists_as_lists() {
    let bytes = vec![0u8, 23, 24, 255];
    assert_eq!(to_cbor(&bytes, "").unwrap(), [0x44, 0, 23, 24, 255]);
    assert_eq!(
        to_cbor(&RawBytes(&bytes), "").unwrap(),
        [0x44, 0, 23, 24, 255]
    );
    agrees(bytes.clone(), &list(Type::U8));
    agrees(Vec::<u8>::new(), &list(Type::U8));
    agrees(vec![Wrapped(1), Wrapped(2)], &list(Type::U8));
    agrees(vec![bytes, vec![], vec![1]], &list(list(Type::U8)));
    agrees(vec![(1u8, 2u8)], &list(tuple([Type::U8, Type::U8])));
    agrees(vec![Some(1u8), None], &list(option(Type::U8)));
    agrees(vec![Some(1u8)], &list(option(Type::U8)));
    let array = [0x83, 1, 0x18, 200, 3];
    assert_eq!(from_cbor::<Vec<u8>>(&array, "").unwrap(), [1, 200, 3]);
}

#[test]
fn options_nest_as_on_the_host() {
    let one = option(Type::S32);
    let two = option(one.clone());
    let three = option(two.clone());
    agrees(None::<i32>, &one);
    agrees(Some(1), &one);
    for value in [None, Some(None), Some(Some(1))] {
        agrees(value, &two);
    }
    for value in [None, Some(None), Some(Some(None)), Some(Some(Some(1)))] {
        agrees(value, &three);
        agrees(vec![value, value], &list(three.clone()));
    }
    // What is between two options hides the one from the other.
    agrees(Some((None::<i32>,)), &option(tuple([one.clone()])));
    agrees(Some(vec![None, Some(1)]), &option(list(one.clone())));
    agrees(
        Some(Ok::<_, ()>(None::<i32>)),
        &option(result(Some(one), None)),
    );
    let text = |value: &Option<Option<Option<i32>>>| describe(&to_cbor(value, "").unwrap(), 100);
    assert_eq!(text(&None), "none");
    assert_eq!(text(&Some(None)), "{some: none}");
    assert_eq!(text(&Some(Some(None))), "{some: {some: none}}");
    assert_eq!(text(&Some(Some(Some(1)))), "{some: {some: 1}}");
    let error = to_cbor(&Some(()), "args").unwrap_err();
    assert!(
        error.problem.contains("cannot be told from none"),
        "{error}"
    );
}

#[test]
fn results_agree_with_the_host_in_all_four_forms() {
    for value in [Ok(1), Err("x".to_owned())] {
        agrees(value, &result(Some(Type::S32), Some(Type::String)));
    }
    for value in [Ok(()), Err(2)] {
        agrees(value, &result(None, Some(Type::S32)));
    }
    for value in [Ok(1), Err(())] {
        agrees(value, &result(Some(Type::S32), None));
    }
    for value in [Ok(()), Err(())] {
        agrees(value, &result(None, None));
    }
    let bytes = to_cbor(&Err::<(), _>(Shape::Nothing), "").unwrap();
    let payload = split_result(&bytes).unwrap().unwrap_err();
    assert_eq!(from_cbor::<Shape>(payload, "").unwrap(), Shape::Nothing);
    assert!(split_result(&to_cbor(&1, "").unwrap()).is_err());
}

#[test]
fn arguments_are_positional_and_named() {
    let parameter = |name: &str, ty| Field {
        name: name.into(),
        ty,
    };
    let signature = Signature {
        parameters: vec![
            parameter("a", Type::S64),
            parameter("data", list(Type::U8)),
            parameter("line-width", option(Type::F64)),
        ],
        result: None,
    };
    let mut arguments = ArgumentList::new();
    (2, vec![1u8]).push_to(&mut arguments).unwrap();
    arguments.insert("line_width", &1.5).unwrap();
    let seen = decode_arguments(
        &arguments.into_payload(),
        &signature,
        ValueLimits::default(),
    );
    let width = Value::Option(Some(Box::new(Value::F64(1.5))));
    assert_eq!(seen.unwrap(), [Value::S64(2), Value::Bytes(vec![1]), width]);
    let error = ((1, [0i128]),)
        .push_to(&mut ArgumentList::new())
        .unwrap_err();
    assert!(
        error.to_string().starts_with("args[0][1][0]: i128"),
        "{error}"
    );
    let error = ArgumentList::new()
        .insert("line_width", &Some(()))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("args.line-width: "),
        "{error}"
    );
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    #[derive(Serialize)]
    struct Sloppy {
        x: &'static str,
        y: f32,
    }
    let sloppy = || Sloppy { x: "1", y: 0.0 };
    refused::<Vec<Point>>(vec![sloppy()], "result[0].x: expected i32, got text");
    refused::<Point>(BTreeMap::from([("x", 1)]), "result: missing field `y`");
    refused::<Empty>(sloppy(), "result: no field \"x\"; expected ");
    refused::<Shape>(
        "square",
        "result: expected one of nothing, round-thing, pair, free-form, got \"square\"",
    );
    refused::<Shape>("pair", "result.pair: missing payload");
    refused::<Shape>(
        BTreeMap::from([("nothing", 1)]),
        "result.nothing: a payload that this case does not have",
    );
    refused::<u8>(300, "result: expected u8, got integer `300`");
    refused::<i32>(
        u64::MAX,
        "result: expected i32, got integer `18446744073709551615`",
    );
    refused::<(i32, i32)>(
        (1, 2, 3),
        "result: expected a tuple of size 2, got 3 elements",
    );
    refused::<f32>(1e300, &format!("result: {} is out of range of f32", 1e300));
    refused::<Option<Option<i32>>>(1, "result: expected null or {some: …}, got integer `1`");
    refused::<BTreeMap<String, BTreeMap<String, i32>>>(
        BTreeMap::from([("a", BTreeMap::from([("b", true)]))]),
        "result[0][0]: expected i32, got boolean `true`",
    );
    let twice = [0xa2, 0x61, b'a', 1, 0x61, b'a', 2];
    let error = from_cbor::<HashMap<String, i32>>(&twice, "result").unwrap_err();
    assert_eq!(error.to_string(), "result[1]: the same key twice");
    let below = [0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let error = from_cbor::<i64>(&below, "result").unwrap_err();
    assert!(error.problem.contains("below the range"), "{error}");
    assert!(
        from_cbor::<i64>(&[1, 1], "result").is_err(),
        "trailing bytes"
    );
    assert!(to_cbor(&1i128, "args").is_err());
}

#[test]
fn depth_is_limited() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Nest(Vec<Nest>);
    let nested = |depth: usize| {
        let mut bytes = vec![0x81; depth];
        bytes.push(0x80);
        from_cbor::<Nest>(&bytes, "result")
    };
    assert!(nested(31).is_ok());
    let error = nested(100_000).unwrap_err();
    assert!(
        error.problem.contains("nested deeper than 32 levels"),
        "{error}"
    );
    assert_eq!(
        describe(&[0x81; 100_000], 20),
        format!("{}…", "[".repeat(17))
    );
}

#[test]
fn what_serde_buffers_still_works() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        a: i32,
        #[serde(flatten)]
        rest: BTreeMap<String, Either>,
    }
    let value = Outer {
        a: 1,
        rest: BTreeMap::from([
            ("b".into(), Either::Number(-2)),
            ("c".into(), Either::Text("x".into())),
        ]),
    };
    let bytes = to_cbor(&value, "").unwrap();
    assert_eq!(from_cbor::<Outer>(&bytes, "").unwrap(), value);
    let address: std::net::IpAddr = "::1".parse().unwrap();
    agrees(address, &Type::String);
}

#[test]
fn a_value_can_be_described_without_its_type() {
    let line = Line {
        start_point: Point { x: 1, y: 0.5 },
        end_point: Point { x: -2, y: f32::NAN },
        label: Some("a\u{1b}b".into()),
    };
    let bytes = to_cbor(&line, "").unwrap();
    assert_eq!(
        describe(&bytes, 1000),
        "{start-point: {x: 1, y: 0.5}, end-point: {x: -2, y: NaN}, label: \"a\\u{1b}b\"}"
    );
    assert!(describe(&bytes, 20).len() <= 20);
    assert_eq!(describe(&[0x45, 1], 20), "…");
}

fn points() -> impl Strategy<Value = Point> {
    (any::<i32>(), proptest::num::f32::NORMAL).prop_map(|(x, y)| Point { x, y })
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Nothing),
        proptest::num::f64::NORMAL.prop_map(Shape::RoundThing),
        (any::<i32>(), any::<String>()).prop_map(|(n, text)| Shape::Pair(n, text)),
        (any::<u8>(), any::<Vec<String>>())
            .prop_map(|(corner_count, tags)| Shape::FreeForm { corner_count, tags }),
    ]
}

proptest! {
    #[test]
    fn any_value_agrees(
        shapes in proptest::collection::vec(shapes(), 0..5),
        nested in any::<Vec<Option<Option<Option<u64>>>>>(),
        line in (points(), points(), any::<Option<String>>()),
        bytes in any::<Vec<Vec<u8>>>(),
        outcome in any::<Result<Vec<i64>, Option<char>>>(),
        map in any::<HashMap<String, Vec<u8>>>(),
    ) {
        agrees(shapes, &list(shape_type()));
        agrees(nested, &list(option(option(option(Type::U64)))));
        agrees(line, &tuple([point_type(), point_type(), option(Type::String)]));
        agrees(bytes, &list(list(Type::U8)));
        agrees(outcome, &result(Some(list(Type::S64)), Some(option(Type::Char))));
        agrees(map, &Type::Map(Arc::new(Type::String), Arc::new(list(Type::U8))));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = from_cbor::<Line>(&bytes, "");
        let _ = from_cbor::<Vec<Shape>>(&bytes, "");
        let _ = from_cbor::<Option<Option<HashMap<String, Vec<u8>>>>>(&bytes, "");
        let _ = split_result(&bytes);
        prop_assert!(describe(&bytes, 64).len() <= 64);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Crowd {
    leader: Handle,
    members: Vec<Handle>,
    guest: Option<Handle>,
    last: Result<Handle, String>,
}

#[test]
fn handles_pass_anywhere_within_a_value() {
    let crowd = Crowd {
        leader: Handle::Host(1),
        members: vec![Handle::Host(2), Handle::Client(u64::MAX)],
        guest: Some(Handle::Client(4)),
        last: Ok(Handle::Host(5)),
    };
    let own = || Type::Own("person".into());
    let field = |name: &str, ty| Field {
        name: name.into(),
        ty,
    };
    let ty = Type::Record(Arc::from([
        field("leader", own()),
        field("members", Type::List(Arc::new(own()))),
        field("guest", Type::Option(Arc::new(own()))),
        field(
            "last",
            Type::Result(ResultType {
                ok: Some(Arc::new(own())),
                err: Some(Arc::new(Type::String)),
            }),
        ),
    ]));
    let bytes = to_cbor(&crowd, "value").unwrap();
    let value = decode_value(&bytes, &ty, "value", ValueLimits::default()).unwrap();
    assert_eq!(encode_value(&value), bytes);
    assert_eq!(from_cbor::<Crowd>(&bytes, "result").unwrap(), crowd);
    let seven = to_cbor(&Handle::Client(7), "value").unwrap();
    assert_eq!(describe(&seven, 100), "object 7");
}

#[test]
fn a_handle_is_nothing_else() {
    let number = to_cbor(&7_u64, "value").unwrap();
    let handle = to_cbor(&Handle::Host(7), "value").unwrap();
    let refused = |error: crate::value::ValueError| error.to_string();
    assert_eq!(
        from_cbor::<Handle>(&number, "result").map_err(refused),
        Err("result: expected a handle, got integer `7`".to_owned())
    );
    assert!(from_cbor::<u64>(&handle, "result").is_err());
    assert!(from_cbor::<String>(&handle, "result").is_err());
    let object = to_cbor(&BTreeMap::from([("handle", 7)]), "value").unwrap();
    assert!(from_cbor::<Handle>(&object, "result").is_err());
}

/// A type that asks for a buffer of bytes.
#[derive(Debug)]
struct Buffer(Vec<u8>);

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;

        impl<'de> Visitor<'de> for OfBytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }

        deserializer.deserialize_byte_buf(OfBytes).map(Buffer)
    }
}

/// What a type makes of bytes, and of the same that are given away.
fn both<T: DeserializeOwned + Debug>(bytes: &[u8]) -> [String; 2] {
    let borrowed = from_cbor::<T>(bytes, "result");
    let owned = from_cbor_owned::<T>(bytes.to_vec(), "result");
    [format!("{borrowed:?}"), format!("{owned:?}")]
}

#[test]
fn what_is_given_away_is_read_as_what_is_not() {
    #[derive(Debug, Deserialize)]
    struct Record {
        _field: u8,
    }
    #[derive(Debug, Deserialize)]
    struct Wrapper(#[allow(dead_code, reason = "shown")] Buffer);
    let long = to_cbor(&RawBytes(&[7; 300]), "value").unwrap();
    let inputs: [&[u8]; 9] = [
        &long,
        &[0x43, 1, 2, 3],
        &[0x40],
        // One byte too many, one too few, and none at all.
        &[0x42, 1, 2, 3],
        &[0x43, 1, 2],
        &[],
        &[0x83, 1, 2, 3],
        &[0x63, b'a', b'b', b'c'],
        &[0xf6],
    ];
    for bytes in inputs {
        let outcomes = [
            both::<Buffer>(bytes),
            both::<Wrapper>(bytes),
            both::<Vec<u8>>(bytes),
            both::<[u8; 3]>(bytes),
            both::<(u8, u8, u8)>(bytes),
            both::<Option<Buffer>>(bytes),
            both::<Vec<Buffer>>(bytes),
            both::<String>(bytes),
            both::<u8>(bytes),
            both::<i128>(bytes),
            both::<f64>(bytes),
            both::<()>(bytes),
            both::<Record>(bytes),
            both::<HashMap<String, u8>>(bytes),
            both::<Result<u8, u8>>(bytes),
            both::<serde::de::IgnoredAny>(bytes),
        ];
        for [borrowed, owned] in outcomes {
            assert_eq!(borrowed, owned, "{bytes:?}");
        }
    }
}

#[test]
fn bytes_that_are_given_away_stay_where_they_are() {
    let bytes = to_cbor(&RawBytes(&[7; 300]), "value").unwrap();
    let place = bytes.as_ptr();
    let Buffer(buffer) = from_cbor_owned(bytes, "result").unwrap();
    assert_eq!(buffer, [7; 300]);
    assert_eq!(buffer.as_ptr(), place);
}

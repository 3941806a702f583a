//! What it costs to read and write what is on the wire, without a connection: `cargo bench -p rpc-host-bench --bench wire`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes functions, and what is decoded here was encoded here"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rpc_host_protocol::cbor::{decode_value, encode_arguments, encode_value};
use rpc_host_protocol::message::{CallHeader, Message};
use rpc_host_protocol::types::{Field, Name, Type};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{ExchangeId, Value};

fn call() -> Message {
    let header = CallHeader {
        module: "calc".to_owned(),
        function: "add".to_owned(),
        timeout_ms: None,
        within: None,
        allow: None,
        lease: None,
        on: None,
        output: false,
    };
    let arguments = encode_arguments(&[Value::S64(2), Value::S64(3)], &[]);
    Message::call(header, arguments)
}

fn reply() -> Message {
    Message::Reply {
        value: encode_value(&Value::S64(5)),
        is_result: false,
    }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for (name, message) in [("call", call as fn() -> Message), ("reply", reply)] {
        let raw = message().encode(ExchangeId(1));
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter_batched(
                message,
                |message| message.encode(ExchangeId(1)),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter_batched(
                || raw.clone(),
                |raw| Message::decode(raw).unwrap(),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn name(text: &str) -> Name {
    Name::from(text)
}

/// Values of the sorts that calls have, each with its type.
fn samples() -> Vec<(&'static str, Type, Value)> {
    let list = |ty: Type| Type::List(Arc::new(ty));
    let field = |text: &str, ty: Type| Field {
        name: name(text),
        ty,
    };
    let point = Type::Record(Arc::new([
        field("x", Type::F64),
        field("y", Type::F64),
        field("label", Type::String),
    ]));
    let a_point = Value::Record(vec![
        (name("x"), Value::F64(0.5)),
        (name("y"), Value::F64(1e9)),
        (name("label"), Value::String("here".to_owned())),
    ]);
    vec![
        ("number", Type::S64, Value::S64(-70_000)),
        (
            "1 KiB of text",
            Type::String,
            Value::String("a".repeat(1024)),
        ),
        (
            "1 MiB of bytes",
            list(Type::U8),
            Value::Bytes(vec![7; 1 << 20]),
        ),
        (
            "1000 numbers",
            list(Type::U32),
            Value::List(vec![Value::U32(70_000); 1000]),
        ),
        (
            "1000 records",
            list(point),
            Value::List(vec![a_point; 1000]),
        ),
    ]
}

fn values(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("value");
    for (name, ty, value) in samples() {
        let bytes = encode_value(&value);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| encode_value(black_box(&value)));
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                decode_value(black_box(&bytes), &ty, "value", ValueLimits::default()).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, messages, values);
criterion_main!(benches);

//! What a call costs within a node: values into a guest (`lower`) and out of it (`lift`), and the way from a frame to
//! the guest and back (`dispatch`): `cargo bench -p rpc-host --features bench --bench calls`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes functions, and what is measured was made here"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rpc_host::bench::{Client, Workbench};
use rpc_host_protocol::Value;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::types::Name;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A guest of one type: `take` drops what it gets, `keep` keeps it, and `give` gives what was kept.
///
/// Its memory is used from the beginning again in each call, behind what is kept.
fn guest(ty: &str) -> String {
    format!(
        r#"(component
            (core module $m
                (memory (export "memory") 64)
                (global $kept (mut i32) (i32.const 1024))
                (global $top (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                    (global.set $top (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func (export "take") (param i32 i32)
                    (global.set $top (global.get $kept)))
                (func (export "keep") (param i32 i32)
                    (global.set $kept (global.get $top))
                    (i32.store (i32.const 0) (local.get 0))
                    (i32.store (i32.const 4) (local.get 1)))
                (func (export "give") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (type $record (record (field "x" f64) (field "y" f64) (field "label" string)))
            (export $point "point" (type $record))
            (type $it {ty})
            (func (export "take") (param "it" $it)
                (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc"))))
            (func (export "keep") (param "it" $it)
                (canon lift (core func $i "keep") (memory $i "memory") (realloc (func $i "realloc"))))
            (func (export "give") (result $it)
                (canon lift (core func $i "give") (memory $i "memory"))))"#
    )
}

fn samples() -> Vec<(&'static str, &'static str, Value)> {
    let point = Value::Record(vec![
        (Name::from("x"), Value::F64(0.5)),
        (Name::from("y"), Value::F64(1e9)),
        (Name::from("label"), Value::String("here".to_owned())),
    ]);
    let numbers = vec![Value::U32(70_000); 1000];
    vec![
        ("1 KiB of text", "string", Value::String("a".repeat(1024))),
        (
            "1 MiB of bytes",
            "(list u8)",
            Value::Bytes(vec![7; 1 << 20]),
        ),
        ("1000 numbers", "(list u32)", Value::List(numbers)),
        (
            "1000 records",
            "(list $point)",
            Value::List(vec![point; 1000]),
        ),
    ]
}

fn values(criterion: &mut Criterion) {
    let runtime = runtime();
    let workbench = runtime.block_on(async { Workbench::new() });
    for (name, ty, value) in samples() {
        let mut guest = runtime.block_on(workbench.guest(&guest(ty)));
        let arguments = encode_arguments(&[value], &[]);
        let none = encode_arguments(&[], &[]);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(arguments.len() as u64));
        group.bench_function("lower", |bencher| {
            bencher.iter_batched(
                || arguments.clone(),
                |arguments| runtime.block_on(guest.call("take", arguments)),
                BatchSize::LargeInput,
            );
        });
        runtime.block_on(guest.call("keep", arguments));
        group.bench_function("lift", |bencher| {
            bencher.iter(|| runtime.block_on(guest.call("give", none.clone())));
        });
        group.finish();
    }
}

fn dispatch(criterion: &mut Criterion) {
    let place = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let mut client = runtime.block_on(Client::of_a_node(place.path()));
    criterion.bench_function("dispatch", |bencher| {
        bencher.iter(|| runtime.block_on(client.call(1)));
    });
}

criterion_group!(benches, values, dispatch);
criterion_main!(benches);

//! Data crosses as values do: the same bytes come back, the guest's memory is the same, and errors have the same
//! words, whatever the types are and whatever a guest answers.

use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use proptest::prelude::*;
use rpc_host_protocol::cbor::{Reader, Writer, decode_arguments, encode_arguments, encode_value};
use rpc_host_protocol::types::{Case, Field, Name, ResultType};
use rpc_host_protocol::value::{Handle, ValueLimits};

use super::*;
use crate::sandbox::link::IS_COMPARED;
use crate::sandbox::values::NoObjects;
use crate::sandbox::{Answer, Imported, Outside};

/// Decides what is made; when nothing is left of it, the simplest.
struct Chance<'a>(std::slice::Iter<'a, u8>);

impl Chance<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn number(&mut self) -> u64 {
        let bytes: [u8; 8] = std::array::from_fn(|_| self.byte());
        let number = u64::from_be_bytes(bytes) >> self.one(&[56, 48, 32, 8, 0]);
        if self.coin() { !number } else { number }
    }
}

fn names(count: usize) -> Arc<[Name]> {
    (0..count).map(|place| format!("n{place}").into()).collect()
}

fn any_type(chance: &mut Chance<'_>, levels: usize) -> Type {
    const FLAT: [Type; 13] = [
        Type::Bool,
        Type::S8,
        Type::U8,
        Type::S16,
        Type::U16,
        Type::S32,
        Type::U32,
        Type::S64,
        Type::U64,
        Type::F32,
        Type::F64,
        Type::Char,
        Type::String,
    ];
    let inner = |chance: &mut Chance<'_>| any_type(chance, levels - 1);
    match chance.below(if levels == 0 { 15 } else { 26 }) {
        at @ 0..13 => FLAT[at].clone(),
        13 => Type::Enum(names(
            1 + usize::from(chance.byte()) * chance.one(&[1, 1, 2]),
        )),
        14 => Type::Flags(names(chance.one(&[1, 8, 9, 16, 17, 31, 32]))),
        15..18 => Type::List(inner(chance).into()),
        18 => Type::FixedList(inner(chance).into(), chance.one(&[1, 2, 5])),
        19 => Type::Map(
            chance
                .one(&[Type::Bool, Type::U8, Type::S64, Type::Char, Type::String])
                .into(),
            inner(chance).into(),
        ),
        20 | 21 => {
            let fields = names(chance.one(&[1, 2, 3, 3, 20]));
            let fields = fields.iter().map(|name| Field {
                name: name.clone(),
                ty: inner(chance),
            });
            Type::Record(fields.collect())
        }
        22 => Type::Tuple((0..=chance.below(3)).map(|_| inner(chance)).collect()),
        23 => {
            let cases = names(chance.one(&[1, 2, 3, 300]));
            let cases = cases.iter().map(|name| Case {
                name: name.clone(),
                ty: chance.coin().then(|| inner(chance)),
            });
            Type::Variant(cases.collect())
        }
        24 => Type::Option(inner(chance).into()),
        _ => {
            let mut payload = || chance.coin().then(|| inner(chance).into());
            Type::Result(ResultType {
                ok: payload(),
                err: payload(),
            })
        }
    }
}

fn any_value(chance: &mut Chance<'_>, ty: &Type) -> Value {
    let number = chance.number();
    let bytes = number.to_le_bytes();
    let many = |chance: &mut Chance<'_>| chance.one(&[0, 1, 2, 3, 30]);
    match ty {
        Type::Bool => Value::Bool(number & 1 == 1),
        Type::S8 => Value::S8(i8::from_le_bytes([bytes[0]])),
        Type::U8 => Value::U8(bytes[0]),
        Type::S16 => Value::S16(i16::from_le_bytes([bytes[0], bytes[1]])),
        Type::U16 => Value::U16(u16::from_le_bytes([bytes[0], bytes[1]])),
        Type::S32 => Value::S32(i32::from_le_bytes(*bytes.first_chunk().unwrap())),
        Type::U32 => Value::U32(u32::from_le_bytes(*bytes.first_chunk().unwrap())),
        Type::S64 => Value::S64(number.cast_signed()),
        Type::U64 => Value::U64(number),
        Type::F32 => Value::F32(chance.one(&[0.0, -0.0, 1.5, 0.1, f32::MAX, f32::NAN])),
        Type::F64 => Value::F64(chance.one(&[0.0, -0.0, 1.5, 0.1, f64::MIN, f64::INFINITY])),
        Type::Char => Value::Char(chance.one(&['a', 'ß', '\u{d7ff}', '😀'])),
        Type::String => Value::String(
            chance
                .one(&["", "a", "zwölf", "日本", "\0"])
                .repeat(many(chance)),
        ),
        Type::List(inner) | Type::FixedList(inner, _) => {
            let length = match ty {
                Type::FixedList(_, length) => *length as usize,
                _ => many(chance),
            };
            match **inner {
                Type::U8 => Value::Bytes((0..length).map(|_| chance.byte()).collect()),
                _ => Value::List((0..length).map(|_| any_value(chance, inner)).collect()),
            }
        }
        Type::Map(key, value) => {
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for _ in 0..many(chance) {
                let key = any_value(chance, key);
                if entries.iter().all(|(known, _)| *known != key) {
                    entries.push((key, any_value(chance, value)));
                }
            }
            Value::Map(entries)
        }
        Type::Record(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|field| (field.name.clone(), any_value(chance, &field.ty)));
            Value::Record(fields.collect())
        }
        Type::Tuple(types) => Value::Tuple(types.iter().map(|ty| any_value(chance, ty)).collect()),
        Type::Variant(cases) => {
            let case = chance.one(cases);
            let payload = case.ty.map(|ty| any_value(chance, &ty).into());
            Value::Variant(case.name, payload)
        }
        Type::Enum(names) => Value::Enum(chance.one(names)),
        Type::Option(inner) => {
            let some = chance.coin();
            Value::Option(some.then(|| any_value(chance, inner).into()))
        }
        Type::Result(ResultType { ok, err }) => {
            let mut payload =
                |ty: &Option<Arc<Type>>| ty.as_ref().map(|ty| any_value(chance, ty).into());
            Value::Result(match number % 2 {
                0 => Ok(payload(ok)),
                _ => Err(payload(err)),
            })
        }
        Type::Flags(names) => {
            let set = names.iter().filter(|_| chance.coin());
            Value::Flags(set.cloned().collect())
        }
        Type::Own(_) | Type::Borrow(_) => unreachable!("data alone"),
    }
}

/// What a type is in a core function.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Core {
    I32,
    I64,
    F32,
    F64,
}

impl Core {
    fn name(self) -> &'static str {
        match self {
            Core::I32 => "i32",
            Core::I64 => "i64",
            Core::F32 => "f32",
            Core::F64 => "f64",
        }
    }

    fn joined(self, other: Core) -> Core {
        match (self, other) {
            (one, other) if one == other => one,
            (Core::I32, Core::F32) | (Core::F32, Core::I32) => Core::I32,
            _ => Core::I64,
        }
    }
}

fn flattened(ty: &Type) -> Vec<Core> {
    let cases = |payloads: Vec<Option<&Type>>| {
        let mut all: Vec<Core> = Vec::new();
        for core in payloads.into_iter().flatten().map(flattened) {
            for (place, core) in core.into_iter().enumerate() {
                match all.get_mut(place) {
                    Some(known) => *known = known.joined(core),
                    None => all.push(core),
                }
            }
        }
        all.insert(0, Core::I32);
        all
    };
    match ty {
        Type::S64 | Type::U64 => vec![Core::I64],
        Type::F32 => vec![Core::F32],
        Type::F64 => vec![Core::F64],
        Type::String | Type::List(_) | Type::Map(..) => vec![Core::I32; 2],
        Type::FixedList(inner, length) => flattened(inner).repeat(*length as usize),
        Type::Record(fields) => fields.iter().flat_map(|one| flattened(&one.ty)).collect(),
        Type::Tuple(types) => types.iter().flat_map(flattened).collect(),
        Type::Variant(all) => cases(all.iter().map(|case| case.ty.as_ref()).collect()),
        Type::Option(inner) => cases(vec![Some(inner)]),
        Type::Result(ResultType { ok, err }) => cases(vec![ok.as_deref(), err.as_deref()]),
        _ => vec![Core::I32],
    }
}

/// Types as a component defines them, those with names under names that it exports.
#[derive(Default)]
struct Defined {
    text: String,
    count: usize,
    /// Whether those with names are imported under them.
    imports: bool,
}

impl Defined {
    fn define(&mut self, ty: &Type) -> String {
        let quoted = |names: &[Name]| -> String {
            names.iter().map(|name| format!(" \"{name}\"")).collect()
        };
        let (text, has_name) = match ty {
            Type::List(inner) => (format!("(list {})", self.define(inner)), false),
            Type::FixedList(inner, length) => {
                (format!("(list {} {length})", self.define(inner)), false)
            }
            Type::Map(key, value) => {
                let (key, value) = (self.define(key), self.define(value));
                (format!("(map {key} {value})"), false)
            }
            Type::Record(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|field| format!("(field \"{}\" {})", field.name, self.define(&field.ty)))
                    .collect();
                (format!("(record {})", fields.join(" ")), true)
            }
            Type::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| self.define(ty)).collect();
                (format!("(tuple {})", types.join(" ")), false)
            }
            Type::Variant(cases) => {
                let cases: Vec<_> = cases
                    .iter()
                    .map(|case| {
                        let ty = case.ty.as_ref().map(|ty| self.define(ty));
                        format!("(case \"{}\" {})", case.name, ty.unwrap_or_default())
                    })
                    .collect();
                (format!("(variant {})", cases.join(" ")), true)
            }
            Type::Enum(names) => (format!("(enum {})", quoted(names)), true),
            Type::Flags(names) => (format!("(flags {})", quoted(names)), true),
            Type::Option(inner) => (format!("(option {})", self.define(inner)), false),
            Type::Result(ResultType { ok, err }) => {
                let ok = ok.as_ref().map(|ty| self.define(ty)).unwrap_or_default();
                let err = err
                    .as_ref()
                    .map(|ty| format!("(error {})", self.define(ty)));
                (format!("(result {ok} {})", err.unwrap_or_default()), false)
            }
            simple => return simple.to_string(),
        };
        let number = self.count;
        self.count += 1;
        if has_name {
            let _ = writeln!(self.text, "(type $n{number} {text})");
            let _ = match self.imports {
                true => writeln!(
                    self.text,
                    "(import \"t{number}\" (type $t{number} (eq $n{number})))"
                ),
                false => writeln!(
                    self.text,
                    "(export $t{number} \"t{number}\" (type $n{number}))"
                ),
            };
        } else {
            let _ = writeln!(self.text, "(type $t{number} {text})");
        }
        format!("$t{number}")
    }
}

/// So many more parameters that all of them go by way of memory.
const PADDING: usize = 17;
/// Where a guest keeps what it was called with.
const KEPT: usize = 64;

/// Parameters behind another one, as a component declares them.
fn padding() -> String {
    (1..=PADDING)
        .map(|place| format!("(param \"p{place}\" u8)"))
        .collect()
}

/// A component that gives back what it gets, in all ways in which that can cross:
///
/// - `echo` takes and gives by way of memory, in which both look the same;
/// - `seen` takes what fits into a core call, and gives all that it then sees: these values, and its memory;
/// - `made` makes a value of any bytes of memory, or of any one core value.
fn echoing(ty: &Type, realloc: &str, encoding: &str) -> String {
    let mut defined = Defined::default();
    let name = defined.define(ty);
    let core = flattened(ty);
    let padding = padding();
    let padded = format!("(tuple {name} {})", "u8 ".repeat(PADDING));
    let lift = |function: &str| {
        format!(
            "(canon lift (core func $i \"{function}\") (memory $i \"m\") {encoding} \
             (realloc (func $i \"realloc\")))"
        )
    };
    let mut functions = String::new();
    let mut exports = format!(
        "(type $padded {padded})
         (func (export \"echo\") (param \"x\" {name}) {padding} (result $padded) {})",
        lift("echo")
    );
    if core.len() <= 16 {
        let parameters: Vec<_> = core.iter().map(|core| core.name()).collect();
        let stores: String = core
            .iter()
            .enumerate()
            .map(|(place, core)| {
                let at = KEPT + 8 * place;
                format!(
                    "({}.store (i32.const {at}) (local.get {place}))\n",
                    core.name()
                )
            })
            .collect();
        let _ = write!(
            functions,
            "(func (export \"seen\") (param {}) (result i32)
                {stores}
                (i32.store (i32.const 0) (i32.const {KEPT}))
                (i32.store (i32.const 4) (i32.sub (global.get $top) (i32.const {KEPT})))
                (i32.const 0))",
            parameters.join(" ")
        );
        let _ = write!(
            exports,
            "(type $bytes (list u8))
             (func (export \"seen\") (param \"x\" {name}) (result $bytes) {})",
            lift("seen")
        );
    }
    if let [only] = core[..] {
        let made = match only {
            Core::I32 => "(i32.wrap_i64 (local.get 0))",
            Core::I64 => "(local.get 0)",
            Core::F32 => "(f32.reinterpret_i32 (i32.wrap_i64 (local.get 0)))",
            Core::F64 => "(f64.reinterpret_i64 (local.get 0))",
        };
        let _ = write!(
            functions,
            "(func (export \"made\") (param i64) (result {}) {made})",
            only.name()
        );
        let _ = write!(
            exports,
            "(func (export \"made\") (param \"x\" u64) (result {name}) {})",
            lift("made")
        );
    } else {
        functions.push_str("(func (export \"made\") (param i32 i32) (result i32) (local.get 0))");
        let _ = write!(
            exports,
            "(type $made (list u8))
             (func (export \"made\") (param \"x\" $made) (result {name}) {})",
            lift("made")
        );
    }
    format!(
        "(component
            (core module $m
                (memory (export \"m\") 4)
                (global $top (mut i32) (i32.const 1024))
                (func (export \"realloc\") (param $old i32) (param $size i32) (param $align i32)
                        (param $new i32) (result i32)
                    (local $at i32)
                    {realloc})
                (func (export \"echo\") (param i32) (result i32) (local.get 0))
                {functions})
            (core instance $i (instantiate $m))
            {}
            {exports})",
        defined.text
    )
}

/// A component that gives what it gets to an import, and what that gives back. `few` and `many` pass on what they were
/// called with, which crosses as it is and by way of memory; `wild` gives `few` any core values.
fn passing_on(ty: &Type, encoding: &str) -> String {
    let mut defined = Defined {
        imports: true,
        ..Defined::default()
    };
    let name = defined.define(ty);
    let core = flattened(ty);
    let padding = padding();
    let options = format!("(memory $libc \"m\") {encoding} (realloc (func $libc \"realloc\"))");
    // A result of several values is written to a place that the caller names.
    let (place, result, ends) = match core[..] {
        [only] => ("", format!("(result {})", only.name()), ""),
        _ => ("i32", String::new(), "(i32.const 262144)"),
    };
    let given = match core[..] {
        [only] => only.name(),
        _ => "i32",
    };
    let is_flat = core.len() <= 16;
    let mut imports =
        format!("(import \"many\" (func $many (param \"x\" {name}) {padding} (result {name})))");
    let mut lowered = format!("(core func $many (canon lower (func $many) {options}))");
    let mut needs = format!("(import \"far\" \"many\" (func $many (param i32 {place}) {result}))");
    let mut instance = "(export \"many\" (func $many))".to_owned();
    let mut functions = format!(
        "(func (export \"many\") (param i32) (result {given})
            (call $many (local.get 0) {ends}) {ends})"
    );
    let lift = |function: &str| format!("(canon lift (core func $i \"{function}\") {options})");
    let mut exports = format!(
        "(func (export \"through-many\") (param \"x\" {name}) {padding} (result {name}) {})",
        lift("many")
    );
    if is_flat {
        let parameters: Vec<_> = core.iter().map(|core| core.name()).collect();
        let parameters = parameters.join(" ");
        let passed: String = (0..core.len())
            .map(|place| format!("(local.get {place})"))
            .collect();
        let wild: String = core
            .iter()
            .enumerate()
            .map(|(place, core)| {
                format!("({}.load offset={} (local.get 0))", core.name(), 8 * place)
            })
            .collect();
        let _ = write!(
            imports,
            "(import \"few\" (func $few (param \"x\" {name}) (result {name})))"
        );
        let _ = write!(
            lowered,
            "(core func $few (canon lower (func $few) {options}))"
        );
        let _ = write!(
            needs,
            "(import \"far\" \"few\" (func $few (param {parameters} {place}) {result}))"
        );
        instance.push_str("(export \"few\" (func $few))");
        let _ = write!(
            functions,
            "(func (export \"few\") (param {parameters}) (result {given})
                (call $few {passed} {ends}) {ends})
             (func (export \"wild\") (param i32 i32) (result {given})
                (call $few {wild} {ends}) {ends})"
        );
        let _ = write!(
            exports,
            "(func (export \"through-few\") (param \"x\" {name}) (result {name}) {})
             (type $cores (list u64))
             (func (export \"wild\") (param \"x\" $cores) (result {name}) {})",
            lift("few"),
            lift("wild")
        );
    }
    format!(
        "(component
            {}
            {imports}
            (core module $libc
                (memory (export \"m\") 8)
                (global $top (mut i32) (i32.const 1024))
                (func (export \"realloc\") (param $old i32) (param $size i32) (param $align i32)
                        (param $new i32) (result i32)
                    (local $at i32)
                    {BUMP}))
            (core instance $libc (instantiate $libc))
            {lowered}
            (core module $m
                {needs}
                (import \"libc\" \"m\" (memory 8))
                {functions})
            (core instance $i (instantiate $m
                (with \"libc\" (instance $libc))
                (with \"far\" (instance {instance}))))
            {exports})",
        defined.text
    )
}

/// Answers with what it is called with first, and remembers with what it was called.
#[derive(Default)]
struct Echo(Mutex<Vec<Vec<u8>>>);

impl Outside for Echo {
    fn call<'a>(&'a self, _: &'a Imported, arguments: Brought) -> Answer<'a, Given> {
        let (seen, given) = match arguments {
            Brought::Encoded(data) => {
                let bytes = data.into_bytes().into_vec();
                let mut reader = Reader::new(&bytes, u32::MAX);
                reader.head().unwrap();
                let first = reader.item(u32::MAX).unwrap().to_vec();
                (bytes, Given::Encoded(first))
            }
            Brought::Values(mut values) => {
                let bytes = encode_arguments(&values, &[]);
                (bytes, Given::Value(Some(values.swap_remove(0))))
            }
        };
        self.0.lock().unwrap().push(seen);
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(given)
        })
    }

    fn release(&self, _: Handle) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Gives room after room, and ends the guest when there is none.
const BUMP: &str = "
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $new)))
    (if (i32.gt_u (global.get $top) (i32.const 262144)) (then unreachable))
    (memory.copy (local.get $at) (local.get $old)
        (select (local.get $size) (local.get $new)
            (i32.lt_u (local.get $size) (local.get $new))))
    (local.get $at)";

/// All that such a guest can hand over, as values count.
const ENOUGH_BYTES: usize = 64 << 20;

struct Pair {
    bench: Bench,
    runtime: tokio::runtime::Runtime,
}

/// How a call ended, in all that is told of it.
type Ended = Result<Vec<u8>, String>;

impl Pair {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let bench = runtime.block_on(async { Bench::new() });
        Pair { bench, runtime }
    }

    fn prepared(&self, text: &str) -> Arc<Prepared> {
        prepared(
            &self.bench.sandbox,
            Linker::new(&self.bench.sandbox.engine),
            text,
        )
    }

    /// An echo that a guest can make who may hand over so much, and none who may hand over one less.
    fn takes_just(&self, counted: usize, prepared: &Arc<Prepared>, arguments: &[u8]) {
        let (index, _) = prepared.functions().find("echo").unwrap();
        for (fuel, is_enough) in [(counted, true), (counted - 1, false)] {
            self.runtime.block_on(async {
                let mut instance = self.bench.instance_of(prepared).await;
                instance.store.set_hostcall_fuel(fuel);
                let ended = as_data(&mut instance, index, arguments).await;
                assert_eq!(ended.is_ok(), is_enough, "{ended:?}");
            });
        }
    }

    /// The same call in two fresh instances, one way and the other, which has to end the same way.
    fn same(&self, prepared: &Arc<Prepared>, function: &str, arguments: &[u8]) -> Ended {
        self.same_within(ENOUGH_BYTES, prepared, function, arguments)
    }

    /// The same component linked by data and by values, a call of each in a fresh instance: they have to end the same
    /// way, and what they import to be called with the same.
    fn same_through(&self, both: &[Arc<Prepared>; 2], function: &str, arguments: &[u8]) -> Ended {
        let [by_data, by_values] = both.each_ref().map(|prepared| {
            let (index, _) = prepared.functions().find(function).unwrap();
            self.runtime.block_on(async {
                let echo = Arc::new(Echo::default());
                let mut instance = self.bench.instance_of(prepared).await;
                instance.store.data_mut().outside = Some(Arc::clone(&echo) as Arc<dyn Outside>);
                instance.store.data_mut().limits.max_hostcall_bytes = ENOUGH_BYTES as u64;
                instance.store.set_hostcall_fuel(ENOUGH_BYTES);
                let ended = as_data(&mut instance, index, arguments).await;
                (ended, echo.0.lock().unwrap().clone())
            })
        });
        assert!(
            by_data == by_values,
            "{function}: {} bytes",
            arguments.len()
        );
        by_data.0
    }

    fn linked_both_ways(&self, text: &str) -> [Arc<Prepared>; 2] {
        [false, true].map(|by_values| {
            IS_COMPARED.set(by_values);
            let prepared = self.prepared(text);
            IS_COMPARED.set(false);
            prepared
        })
    }

    /// The same where the guest may hand over so much.
    fn same_within(
        &self,
        max_hostcall_bytes: usize,
        prepared: &Arc<Prepared>,
        function: &str,
        arguments: &[u8],
    ) -> Ended {
        let (index, _) = prepared.functions().find(function).unwrap();
        self.runtime.block_on(async {
            let [mut one, mut other] = [
                self.bench.instance_of(prepared).await,
                self.bench.instance_of(prepared).await,
            ];
            for instance in [&mut one, &mut other] {
                let limits = &mut instance.store.data_mut().limits;
                limits.max_hostcall_bytes = max_hostcall_bytes as u64;
                instance.store.set_hostcall_fuel(max_hostcall_bytes);
            }
            let by_values = by_values(&mut one, index, arguments).await;
            let as_data = as_data(&mut other, index, arguments).await;
            assert_eq!(by_values, as_data, "{function}");
            as_data
        })
    }
}

/// The model: by the engine's dynamic values, which objects still take.
async fn by_values(instance: &mut Instance, index: usize, bytes: &[u8]) -> Ended {
    let prepared = Arc::clone(&instance.prepared);
    let function = prepared.functions().get(index).unwrap();
    let arguments = decode_arguments(bytes, &function.signature, ValueLimits::default());
    let arguments = arguments.map_err(|error| SandboxError::from(error).to_string())?;
    let vals = lower_all(function, arguments, 0, &mut NoObjects);
    let vals = vals.map_err(|error| error.to_string())?;
    let mut results = [Val::Bool(false)];
    let func = instance
        .instance
        .get_func(&mut instance.store, prepared.exports[index])
        .unwrap();
    let called = func.call_async(&mut instance.store, &vals, &mut results);
    let called = called.await;
    called.map_err(|error| format!("{:?}", instance.failed(&error)))?;
    let ty = function.signature.result.as_ref().unwrap();
    let value = values::lift(&results[0], ty, &mut NoObjects);
    Ok(encode_value(&value.unwrap()))
}

async fn as_data(instance: &mut Instance, index: usize, bytes: &[u8]) -> Ended {
    let prepared = Arc::clone(&instance.prepared);
    let function = prepared.functions().get(index).unwrap();
    let data = Encoded::check(bytes.to_vec().into(), &function.signature, 16 << 20);
    let data = data.map_err(|error| SandboxError::from(error).to_string())?;
    let deadline = Instant::now() + Duration::from_secs(60);
    match instance.call(index, Brought::Encoded(data), deadline).await {
        Ok(Given::Encoded(bytes)) => Ok(bytes),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn padded(value: Value) -> Vec<u8> {
    let padding = (0..PADDING).map(|_| Value::U8(7));
    let all: Vec<_> = std::iter::once(value).chain(padding).collect();
    encode_arguments(&all, &[])
}

/// The same as [`padded`], as nobody writes it who keeps to an order: arguments by name, records from their end and
/// without what is none, bytes as an array.
fn otherwise(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(0);
    writer.map(PADDING + 1);
    for place in (1..=PADDING).rev() {
        writer.text(&format!("p{place}"));
        writer.unsigned(7);
    }
    writer.text("x");
    write_otherwise(&mut writer, value);
    writer.into_bytes()
}

fn write_otherwise(writer: &mut Writer, value: &Value) {
    match value {
        Value::Bytes(bytes) => {
            writer.array(bytes.len());
            bytes
                .iter()
                .for_each(|byte| writer.unsigned(u64::from(*byte)));
        }
        Value::List(values) | Value::Tuple(values) => {
            writer.array(values.len());
            values
                .iter()
                .for_each(|value| write_otherwise(writer, value));
        }
        Value::Map(entries) => {
            writer.map(entries.len());
            for (key, value) in entries {
                write_otherwise(writer, key);
                write_otherwise(writer, value);
            }
        }
        Value::Record(fields) => {
            let fields = fields.iter().rev();
            let there = fields.filter(|(_, value)| !matches!(value, Value::Option(None)));
            writer.map(there.clone().count());
            for (name, value) in there {
                writer.text(name);
                write_otherwise(writer, value);
            }
        }
        Value::Variant(name, Some(payload)) => {
            writer.map(1);
            writer.text(name);
            write_otherwise(writer, payload);
        }
        Value::Option(Some(inner)) if !matches!(**inner, Value::Option(_)) => {
            write_otherwise(writer, inner);
        }
        other => writer.raw(&encode_value(other)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn data_crosses_as_values_do(
        shape in prop::collection::vec(any::<u8>(), 0..400),
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..4),
        memory in prop::collection::vec(prop::collection::vec(0_u8..40, 600), 1..8),
        change in any::<prop::sample::Index>(),
        changed in any::<u8>(),
    ) {
        let pair = pair();
        let ty = any_type(&mut Chance(shape.iter()), 3);
        let prepared = pair.prepared(&echoing(&ty, BUMP, ""));
        let is_flat = flattened(&ty).len() <= 16;
        for content in &contents {
            let value = any_value(&mut Chance(content.iter()), &ty);
            let arguments = padded(value.clone());
            let echoed = pair.same(&prepared, "echo", &arguments);
            if let Ok(echoed) = &echoed {
                // What is in the array, which has as many elements as there are arguments.
                prop_assert_eq!(&echoed[..], &arguments[..arguments.len() - 1]);
            }
            let otherwise = pair.same(&prepared, "echo", &otherwise(&value));
            prop_assert_eq!(otherwise, echoed);
            let arguments = encode_arguments(&[value], &[]);
            if is_flat {
                pair.same(&prepared, "seen", &arguments).ok();
                // Anything else than it was.
                let mut arguments = arguments;
                let at = change.index(arguments.len());
                arguments[at] = changed;
                pair.same(&prepared, "seen", &arguments).ok();
                arguments.truncate(at);
                pair.same(&prepared, "seen", &arguments).unwrap_err();
            }
        }
        for memory in memory {
            let given = match &prepared.functions().find("made").unwrap().1.signature.parameters[0].ty {
                Type::U64 => Value::U64(u64::from_le_bytes(*memory.first_chunk().unwrap()) & 0xffff_0fff),
                _ => Value::Bytes(memory),
            };
            pair.same(&prepared, "made", &encode_arguments(&[given], &[])).ok();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn data_passes_through_imports_as_values_do(
        shape in prop::collection::vec(any::<u8>(), 0..400),
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..4),
        wild in prop::collection::vec(prop::collection::vec(
            prop_oneof![0_u64..4, 0_u64..0x2_0000, any::<u64>()], 16), 1..8),
    ) {
        let pair = pair();
        let ty = any_type(&mut Chance(shape.iter()), 3);
        let both = pair.linked_both_ways(&passing_on(&ty, ""));
        let is_flat = flattened(&ty).len() <= 16;
        for content in &contents {
            let value = any_value(&mut Chance(content.iter()), &ty);
            let alone = encode_value(&value);
            let through = pair.same_through(&both, "through-many", &padded(value.clone()));
            if let Ok(through) = through {
                prop_assert_eq!(&through, &alone);
            }
            if is_flat {
                let arguments = encode_arguments(&[value], &[]);
                let through = pair.same_through(&both, "through-few", &arguments);
                if let Ok(through) = through {
                    prop_assert_eq!(&through, &alone);
                }
            }
        }
        if is_flat {
            for cores in wild {
                let cores = Value::List(cores.into_iter().map(Value::U64).collect());
                pair.same_through(&both, "wild", &encode_arguments(&[cores], &[])).ok();
            }
        }
    }
}

#[test]
fn text_passes_through_imports_in_each_encoding_of_a_guest() {
    let pair = pair();
    let (ty, value) = of_everything();
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        for (ty, value) in [
            (&ty, &value),
            (&Type::String, &Value::String("zwölf😀".to_owned())),
        ] {
            let text = passing_on(ty, &format!("string-encoding={encoding}"));
            let both = pair.linked_both_ways(&text);
            let arguments = encode_arguments(std::slice::from_ref(value), &[]);
            let through = pair.same_through(&both, "through-few", &arguments).unwrap();
            assert_eq!(through, encode_value(value), "{encoding}");
            let through = pair
                .same_through(&both, "through-many", &padded(value.clone()))
                .unwrap();
            assert_eq!(through, encode_value(value), "{encoding}");
        }
    }
}

/// One test at a time: each holds several of the few instances that there may be.
fn pair() -> MutexGuard<'static, Pair> {
    static PAIR: LazyLock<Mutex<Pair>> = LazyLock::new(|| Mutex::new(Pair::new()));
    PAIR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(name, ty)| Field {
        name: (*name).into(),
        ty: ty.clone(),
    });
    Type::Record(fields.collect())
}

/// A type with something of everything in a list, and a value of it.
fn of_everything() -> (Type, Value) {
    let point = record(&[
        ("x", Type::S32),
        ("label", Type::Option(Type::String.into())),
    ]);
    let ty = Type::List(
        record(&[
            ("id", Type::U64),
            ("point", point.clone()),
            ("name", Type::String),
            ("tags", Type::List(Type::String.into())),
            ("raw", Type::List(Type::U8.into())),
            ("color", Type::Enum(names(300))),
            ("flags", Type::Flags(names(20))),
            (
                "either",
                Type::Result(ResultType {
                    ok: Some(point.into()),
                    err: None,
                }),
            ),
        ])
        .into(),
    );
    let entropy: Vec<u8> = (0..200_u8).cycle().take(4000).collect();
    let mut chance = Chance(entropy.iter());
    let Type::List(inner) = &ty else {
        unreachable!()
    };
    let values = (0..30).map(|_| any_value(&mut chance, inner)).collect();
    (ty, Value::List(values))
}

#[test]
fn text_crosses_in_each_encoding_of_a_guest() {
    let pair = pair();
    let (ty, value) = of_everything();
    for encoding in ["utf8", "utf16", "latin1+utf16"] {
        let text = echoing(&ty, BUMP, &format!("string-encoding={encoding}"));
        let prepared = pair.prepared(&text);
        let arguments = padded(value.clone());
        let echoed = pair.same(&prepared, "echo", &arguments).unwrap();
        assert_eq!(echoed, arguments[..arguments.len() - 1], "{encoding}");
        let arguments = encode_arguments(std::slice::from_ref(&value), &[]);
        pair.same(&prepared, "seen", &arguments).unwrap();
        for memory in [
            [8, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [9, 0, 0, 0, 1, 0, 0, 0, 0, 0xd8, 0, 0],
            [8, 0, 0, 0, 1, 0, 0, 0x80, 0, 0xd8, 0, 0],
        ] {
            let prepared = pair.prepared(&echoing(
                &Type::String,
                BUMP,
                &format!("string-encoding={encoding}"),
            ));
            let made = encode_arguments(&[Value::Bytes(memory.to_vec())], &[]);
            pair.same(&prepared, "made", &made).ok();
        }
    }
}

#[test]
fn a_guest_that_gives_no_room_or_wrong_room_fails_alone() {
    let pair = pair();
    let (everything, value) = of_everything();
    let small = (
        Type::List(Type::S64.into()),
        Value::List(vec![Value::S64(1); 9]),
    );
    let text = (Type::String, Value::String("abc".to_owned()));
    for (realloc, ends) in [
        ("unreachable", "panicked or aborted"),
        ("(i32.const -8)", "beyond end of memory"),
        ("(i32.const 262144)", "beyond end of memory"),
        ("(i32.const 262143)", "realloc return"),
        (
            "(memory.grow (i32.const 1)) drop (i32.const -1)",
            "realloc return",
        ),
    ] {
        for (ty, value) in [
            (&everything, &value),
            (&small.0, &small.1),
            (&text.0, &text.1),
        ] {
            let prepared = pair.prepared(&echoing(ty, realloc, ""));
            for (function, arguments) in [
                ("echo", padded(value.clone())),
                ("seen", encode_arguments(std::slice::from_ref(value), &[])),
            ] {
                let error = pair.same(&prepared, function, &arguments).unwrap_err();
                assert!(error.contains(ends), "{realloc} of {ty}: {error}");
            }
        }
    }
    // Always the same room: one value over the other, and the guest's own doing.
    let prepared = pair.prepared(&echoing(&everything, "(i32.const 64)", ""));
    let arguments = encode_arguments(std::slice::from_ref(&value), &[]);
    pair.same(&prepared, "seen", &arguments).unwrap();
    pair.same(&prepared, "echo", &padded(value)).ok();
}

#[test]
fn a_guest_hands_over_as_much_as_it_may_one_way_and_the_other() {
    let pair = pair();
    let ty = Type::List(record(&[("a", Type::S64), ("b", Type::String)]).into());
    let prepared = pair.prepared(&echoing(&ty, BUMP, ""));
    let one = Value::Record(vec![
        ("a".into(), Value::S64(-1)),
        ("b".into(), Value::String("four".to_owned())),
    ]);
    let arguments = padded(Value::List(vec![one; 10]));
    // A tuple, its list, and of each record the fields, their names and the text.
    let counted = (1 + PADDING) * 40 + 10 * (40 + 2 * 40 + 2 + 4);
    pair.same_within(counted, &prepared, "echo", &arguments)
        .unwrap();
    let error = pair.same_within(counted - 1, &prepared, "echo", &arguments);
    assert!(error.unwrap_err().starts_with("TooMuchData"));
}

#[test]
fn bytes_count_one_each_wherever_they_stand() {
    let pair = pair();
    let ty = Type::List(Type::List(Type::U8.into()).into());
    let prepared = pair.prepared(&echoing(&ty, BUMP, ""));
    let arguments = padded(Value::List(vec![Value::Bytes(vec![5; 1000]); 3]));
    let counted = (1 + PADDING) * 40 + 3 * (40 + 1000);
    pair.takes_just(counted, &prepared, &arguments);
}

#[test]
fn what_is_moved_from_map_to_map_counts_for_each_of_them() {
    let pair = pair();
    let map = |value: Type| Type::Map(Type::U8.into(), value.into());
    let ty = map(map(map(Type::List(Type::U8.into()))));
    let prepared = pair.prepared(&echoing(&ty, BUMP, ""));
    let with = |value: Value| Value::Map(vec![(Value::U8(1), value)]);
    let arguments = padded(with(with(with(Value::Bytes(vec![5; 1000])))));
    // Three maps of an entry each, the bytes, and what is in two of them: keys, heads and the bytes again.
    let moved = [1 + 3 + 1000, 1 + 1 + 1 + 3 + 1000];
    let counted = (1 + PADDING) * 40 + 3 * 80 + 1000 + moved.iter().sum::<usize>();
    pair.takes_just(counted, &prepared, &arguments);
}

#[test]
fn a_reply_that_would_be_too_long_is_not_made_and_the_instance_lives_on() {
    let pair = pair();
    let ty = Type::List(record(&[("number", Type::U64)]).into());
    let prepared = pair.prepared(&echoing(&ty, BUMP, ""));
    let (index, function) = prepared.functions().find("echo").unwrap();
    let of = |length: usize| {
        let one = Value::Record(vec![("number".into(), Value::U64(1 << 40))]);
        padded(Value::List(vec![one; length]))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    pair.runtime.block_on(async {
        let mut instance = pair.bench.instance_of(&prepared).await;
        instance.store.set_hostcall_fuel(64 << 20);
        let mut call = async |length: usize| {
            let data = Encoded::check(of(length).into(), &function.signature, 100).unwrap();
            let given = instance.call(index, Brought::Encoded(data), deadline);
            given.await.unwrap()
        };
        // As its memory has room for, seventeen bytes of data each. A little too much is left to whoever knows the
        // limit.
        assert!(matches!(call(1).await, Given::Encoded(_)));
        assert!(matches!(call(10).await, Given::Encoded(data) if data.len() > 100));
        assert!(matches!(call(1).await, Given::Encoded(_)));
    });
}

#[test]
fn whoever_hands_flags_to_others_has_less_to_hand_over() {
    let pair = pair();
    let plain = pair.prepared(&echoing(&Type::U32, BUMP, ""));
    let instance = pair.bench.instance_of(&plain);
    let limits = pair.runtime.block_on(instance).store.data().limits;
    let of = |parameter: &str, others: &str| {
        let text = format!(
            "(component
                (import \"a:b/c\" (instance
                    (export \"r\" (type $r (sub resource)))
                    (type $defined (flags \"a\" \"b\"))
                    (export \"flags\" (type $flags (eq $defined)))
                    (export \"f\" (func (param \"x\" {parameter}) {others}))))
                (core module $m (func (export \"g\")))
                (core instance $i (instantiate $m))
                (func (export \"g\") (canon lift (core func $i \"g\"))))"
        );
        let narrowed = pair.prepared(&text).narrowed(limits);
        limits.max_hostcall_bytes / narrowed.max_hostcall_bytes
    };
    let object = "(param \"r\" (borrow $r))";
    assert_eq!(of("u32", object), 1);
    assert_eq!(of("$flags", object), 24);
    assert_eq!(of("(list $flags)", object), 24);
    assert_eq!(of("$flags", ""), 1, "data crosses as it is");
}

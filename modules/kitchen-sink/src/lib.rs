//! Every type that a call can carry, there and back: what clients and hosts are tried on.
//!
//! Described in WIT, because plain Rust has no flags; see `wit/world.wit`.

#![forbid(unsafe_code)]

use std::cell::Cell;

use demo::kitchen::types::{Color, Point};
use exports::demo::kitchen::sink::{
    Counter, CounterBorrow, Guest as Sink, GuestCounter, GuestGate, Keywords, Nested, OneFlag,
    Permissions, Problem, Shape, Switches, Wide, Wrapper,
};

rpc_guest::generate!({ world: "kitchen-sink" });

struct KitchenSink;

impl Guest for KitchenSink {
    fn ping(text: String) -> String {
        text
    }
}

/// Functions that answer with what they were given.
macro_rules! echoes {
    ($($name:ident: $type:ty,)*) => {
        $(
            fn $name(value: $type) -> $type {
                value
            }
        )*
    };
}

impl Sink for KitchenSink {
    type Counter = CounterCell;
    type Gate = GateCell;

    echoes! {
        echo_bool: bool,
        echo_u8: u8,
        echo_u16: u16,
        echo_u32: u32,
        echo_u64: u64,
        echo_s8: i8,
        echo_s16: i16,
        echo_s32: i32,
        echo_s64: i64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_bytes: Vec<u8>,
        echo_numbers: Vec<i64>,
        echo_floats: Vec<f64>,
        echo_texts: Vec<String>,
        echo_points: Vec<Point>,
        echo_lists: Vec<Vec<u16>>,
        echo_option: Option<u32>,
        echo_option_text: Option<String>,
        echo_nested_option: Option<Option<u32>>,
        echo_deep_option: Option<Option<Option<bool>>>,
        echo_options: Vec<Option<Point>>,
        echo_results: Vec<Result<u8, String>>,
        echo_result_forms: (Result<u32, String>, Result<u32, ()>, Result<(), String>, Result<(), ()>),
        echo_pair: (u8, String),
        echo_single: (i32,),
        echo_pairs: Vec<(String, f32)>,
        echo_color: Color,
        echo_shape: Shape,
        echo_shapes: Vec<Shape>,
        echo_permissions: Permissions,
        echo_switches: Switches,
        echo_one_flag: OneFlag,
        echo_point: Point,
        echo_wrapper: Wrapper,
        echo_nested: Nested,
        echo_wide: Wide,
        echo_keywords: Keywords,
    }

    fn nothing() {}

    fn both(fail: bool) -> Result<u32, String> {
        if fail { Err("as asked".into()) } else { Ok(1) }
    }

    fn ok_only(fail: bool) -> Result<u32, ()> {
        if fail { Err(()) } else { Ok(1) }
    }

    fn err_only(fail: bool) -> Result<(), String> {
        if fail { Err("as asked".into()) } else { Ok(()) }
    }

    fn neither(fail: bool) -> Result<(), ()> {
        if fail { Err(()) } else { Ok(()) }
    }

    fn fail_with_record(code: u32) -> Result<u32, Problem> {
        if code == 0 {
            return Ok(0);
        }
        Err(Problem {
            code,
            reason: format!("code {code}"),
        })
    }

    fn fail_with_variant() -> Result<(), Shape> {
        Err(Shape::Circle(1.5))
    }

    #[rustfmt::skip]
    fn many(
        a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: f32, j: f64, k: bool,
        l: char, m: String, n: Vec<u8>, o: Option<u8>, p: Point, q: Color, r: Permissions,
        s: (u8, u8),
    ) -> String {
        format!(
            "{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l} {m} {n:?} {o:?} {},{} {q:?} {} {s:?}",
            p.x, p.y, r.bits(),
        )
    }

    fn make_counters(starts: Vec<i64>) -> Vec<Counter> {
        let counters = starts.into_iter().map(CounterCell::new);
        counters.map(Counter::new).collect()
    }

    fn maybe_counter(start: Option<i64>) -> Option<Counter> {
        start.map(CounterCell::new).map(Counter::new)
    }

    fn sum(counters: Vec<CounterBorrow<'_>>) -> i64 {
        let values = counters.iter().map(|it| it.get::<CounterCell>().value());
        values.fold(0, i64::wrapping_add)
    }

    fn consume(counter: Counter) -> i64 {
        counter.into_inner::<CounterCell>().value()
    }

    fn live() -> u32 {
        LIVE.get()
    }
}

thread_local! {
    /// How many counters there are.
    static LIVE: Cell<u32> = const { Cell::new(0) };
}

struct CounterCell(Cell<i64>);

impl Drop for CounterCell {
    fn drop(&mut self) {
        LIVE.set(LIVE.get().saturating_sub(1));
    }
}

impl GuestCounter for CounterCell {
    fn new(start: i64) -> Self {
        LIVE.set(LIVE.get().saturating_add(1));
        Self(Cell::new(start))
    }

    fn increment(&self) -> i64 {
        self.add(1);
        self.value()
    }

    fn add(&self, by: i64) {
        self.0.set(self.0.get().wrapping_add(by));
    }

    fn value(&self) -> i64 {
        self.0.get()
    }

    fn larger(a: CounterBorrow<'_>, b: CounterBorrow<'_>) -> i64 {
        let (a, b) = (a.get::<Self>(), b.get::<Self>());
        a.value().max(b.value())
    }

    fn merge(a: Counter, b: Counter) -> Counter {
        let (a, b) = (a.into_inner::<Self>(), b.into_inner::<Self>());
        Counter::new(Self::new(a.value().wrapping_add(b.value())))
    }
}

struct GateCell {
    width: u32,
}

impl GuestGate for GateCell {
    fn new(width: u32) -> Result<Self, String> {
        if width == 0 {
            return Err("a gate has a width".into());
        }
        Ok(Self { width })
    }

    fn width(&self) -> u32 {
        self.width
    }
}

export!(KitchenSink);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_counted() {
        let first = CounterCell::new(1);
        let second = CounterCell::new(2);
        assert_eq!((first.increment(), second.value()), (2, 2));
        assert_eq!(KitchenSink::live(), 2);
        drop(first);
        assert_eq!(KitchenSink::live(), 1);
    }

    #[test]
    fn many_parameters_are_told_apart() {
        let text = KitchenSink::many(
            1,
            2,
            3,
            4,
            -1,
            -2,
            -3,
            -4,
            0.5,
            0.25,
            true,
            'x',
            "text".into(),
            vec![7],
            None,
            Point { x: 8, y: 9 },
            Color::DarkBlue,
            Permissions::READ | Permissions::EXECUTE,
            (10, 11),
        );
        assert_eq!(
            text,
            "1 2 3 4 -1 -2 -3 -4 0.5 0.25 true x text [7] None 8,9 Color::DarkBlue 5 (10, 11)"
        );
    }
}

//! All that the macro accepts, in a crate that forbids unsafe code.

#![forbid(unsafe_code)]
#![deny(warnings)]

/// The whole of it.
#[rpc_guest::module]
mod everything {
    use std::collections::HashMap;
    use std::string::String as Text;

    /// Ignored: no function mentions it.
    pub struct Unused<'a> {
        pub by_name: HashMap<&'a str, usize>,
    }

    pub type Pair = (i32, i32);

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Point {
        pub x: i32,
        pub r#type: u8,
    }

    /// Names that the bindings keep for themselves.
    pub enum Guest {
        Guest,
        HTTPError,
        Some,
    }

    /// Cases with none, one and two values.
    pub enum Shape {
        Nothing,
        Circle(f64),
        Line(Point, Point),
        Group(Vec<Option<Point>>),
        Guest(u8),
    }

    pub struct Nested {
        pub shapes: Vec<Shape>,
        pub outcome: Result<Point, ()>,
        pub pair: Pair,
        pub bytes: Vec<u8>,
    }

    pub const LIMIT: usize = 7;

    pub static NAME: &str = "everything";

    pub trait Ignored {
        fn ignored(&self);
    }

    impl Ignored for Point {
        fn ignored(&self) {}
    }

    impl Point {
        /// Not `pub`, so a point stays a record.
        pub(crate) fn mirrored(self) -> Self {
            Self { x: -self.x, ..self }
        }
    }

    pub fn nothing() {}

    pub fn unit() -> () {}

    pub fn plain(
        a: bool, b: u8, c: u16, d: u32, e: u64, f: i8, g: i16, h: i32, i: i64, j: f32, k: f64,
        l: char, m: String,
    ) -> (bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, char, String) {
        (a, b, c, d, e, f, g, h, i, j, k, l, m)
    }

    pub fn borrowed<'a>(text: &'a str, list: &[u8], points: &[Point]) -> u64 {
        (text.len() + list.len() + points.len()) as u64
    }

    pub fn results(
        a: Result<(), ()>,
        b: Result<u8, ()>,
        c: Result<(), String>,
        d: std::result::Result<Point, Shape>,
    ) -> Option<Option<Result<u8, String>>> {
        let _ = (a, b, c, d);
        None
    }

    pub fn shapes(mut shapes: Vec<Shape>, _spare: Option<Guest>) -> Vec<Shape> {
        shapes.push(Shape::Nothing);
        shapes
    }

    pub fn deep(nested: Nested) -> Nested {
        nested
    }

    pub fn tuples(pair: Pair, one: (Point,), many: ((Point, u8), String)) -> (Point, Pair) {
        let _ = many;
        (one.0.mirrored(), pair)
    }

    pub fn r#match(r#loop: u8, list: u8) -> u8 {
        r#loop + list
    }

    /// A resource, by its public methods.
    #[derive(Debug)]
    pub struct Counter {
        value: u64,
    }

    impl Counter {
        pub fn new(value: u64) -> Self {
            Self { value }
        }

        pub fn increment(&mut self) -> u64 {
            self.value += 1;
            self.value
        }

        pub fn value(&self) -> u64 {
            self.value
        }

        pub fn near(&self, point: Point, other: &Counter, more: &mut Self) -> Point {
            more.value += other.value;
            point
        }

        pub fn zero() -> Counter {
            Self::new(0)
        }

        pub fn split(&mut self) -> Option<(Self, Vec<Self>)> {
            None
        }

        fn private(&self) -> usize {
            LIMIT
        }
    }

    impl Drop for Counter {
        fn drop(&mut self) {
            let _ = self.private();
        }
    }

    pub struct Gate;

    impl Gate {
        pub fn new(open: bool) -> Result<Self, Shape> {
            open.then_some(Self).ok_or(Shape::Nothing)
        }
    }

    pub fn merge(first: Counter, second: Vec<Counter>) -> Counter {
        Counter::new(second.iter().fold(first.value, |sum, next| sum + next.value))
    }

    pub fn peek(counter: &Counter, gate: Option<Gate>) -> u64 {
        drop(gate);
        counter.value()
    }

    mod inner {
        pub fn helper() -> super::Text {
            "inner".into()
        }
    }

    pub fn helped() -> String {
        inner::helper()
    }

    #[cfg(test)]
    pub fn only_in_tests(_: usize) {}
}

fn main() {
    use everything::{Counter, Point};
    let mut counter = Counter::new(1);
    assert_eq!(counter.increment(), 2);
    let point = Point { x: 1, r#type: 2 };
    assert_eq!(everything::tuples((1, 2), (point,), ((point, 1), String::new())).0.x, -1);
    assert_eq!(everything::helped(), "inner");
    let _ = everything::NAME;
}

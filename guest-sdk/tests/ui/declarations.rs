//! Structs and enums that have no counterpart in WIT.

#![allow(unused)]

#[rpc_guest::module]
mod refused {
    pub struct Meters(pub f64);

    pub struct Nothing;

    pub struct Generic<T> {
        pub value: T,
    }

    pub struct Text<'a> {
        pub text: &'a str,
    }

    pub enum Never {}

    pub enum Shape {
        Circle { radius: f64 },
        Empty(),
        Native(usize),
    }

    pub struct Node {
        pub children: Vec<Node>,
    }

    pub struct Ping {
        pub pong: Vec<Pong>,
    }

    pub enum Pong {
        Ping(Vec<Ping>),
        Last,
    }

    pub struct Partial {
        pub kept: u8,
        #[cfg(unix)]
        pub conditional: u8,
    }

    pub struct Twins {
        pub part_1: u8,
        pub part1: u8,
    }

    pub struct Measure {
        pub size: u8,
    }

    pub enum Option {
        Self_,
        Other,
    }

    pub struct Result {
        pub value: u8,
    }

    pub fn reserved(value: Option, other: Result) {}

    pub fn meters(value: Meters) {}

    pub fn nothing(value: Nothing) {}

    pub fn generic(value: Generic<u8>) {}

    pub fn text(value: Text) {}

    pub fn impossible(value: Never) {}

    pub fn shape(value: Shape) {}

    pub fn node(value: Node) {}

    pub fn ping_pong(value: Ping) {}

    pub fn partial(value: Partial) {}

    pub fn twins(value: Twins) {}

    pub fn measure() -> Measure {
        Measure { size: 1 }
    }
}

fn main() {}

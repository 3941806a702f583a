//! The attribute on something else than a `mod`, or with arguments.

#![allow(unused)]

#[rpc_guest::module]
pub fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[rpc_guest::module(calc)]
mod calc {
    pub fn add(a: i64, b: i64) -> i64 {
        a + b
    }
}

fn main() {}

//! A module whose functions are all private.

#![allow(unused)]

#[rpc_guest::module]
mod silent {
    fn add(a: i64, b: i64) -> i64 {
        a + b
    }

    pub(crate) fn sub(a: i64, b: i64) -> i64 {
        a - b
    }
}

fn main() {}

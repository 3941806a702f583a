//! What is wrong inside a function is the compiler's business, and it points there.

#![allow(unused)]

#[rpc_guest::module]
mod calc {
    pub fn add(a: i64, b: i64) -> i64 {
        a + b + c
    }
}

fn main() {}

//! Functions that cannot be exported.

#![allow(unused)]

#[rpc_guest::module]
mod refused {
    pub fn generic<T>(value: Vec<T>) {}

    pub fn sized<const N: usize>() {}

    pub async fn later() {}

    pub unsafe fn risky() {}

    pub extern "C" fn foreign() {}

    pub fn pattern((a, b): (u8, u8)) {}

    pub fn nameless(_: u8) {}

    #[cfg(unix)]
    pub fn conditional() {}

    pub fn twins(a_b: u8, aB: u8) {}

    pub fn größe() {}

    pub fn _1() {}

    pub mod inner {
        pub fn hidden() {}
    }

    pub use std::mem::swap;
}

fn main() {}

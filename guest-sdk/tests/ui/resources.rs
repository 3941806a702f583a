//! Methods that a caller could not use.

#![allow(unused)]

#[rpc_guest::module]
mod refused {
    pub struct Counter {
        value: u64,
    }

    impl Counter {
        pub fn new() -> Option<Self> {
            None
        }

        pub fn finish(self) -> u64 {
            self.value
        }

        pub fn boxed(self: Box<Self>) {}

        pub fn inside(counters: Vec<&Counter>) {}

        pub fn lent(&self) -> &Counter {
            self
        }
    }

    pub enum Color {
        Red,
    }

    impl Color {
        pub fn name(&self) -> String {
            "red".into()
        }
    }

    pub struct Generic<T> {
        value: T,
    }

    impl<T> Generic<T> {
        pub fn get(&self) -> u8 {
            0
        }
    }
}

fn main() {}

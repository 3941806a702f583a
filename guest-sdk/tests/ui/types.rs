//! Types that cannot cross, each with what to use instead.

#![allow(unused)]

#[rpc_guest::module]
mod refused {
    use std::collections::HashMap;
    use std::time::Duration;

    pub struct Point {
        pub x: i32,
    }

    pub fn native_size(count: usize) -> isize {
        count as isize
    }

    pub fn wide(value: u128) {}

    pub fn map(ages: HashMap<String, u32>) {}

    pub fn set() -> std::collections::BTreeSet<u8> {
        Default::default()
    }

    pub fn boxed(value: Box<u8>) {}

    pub fn shared(value: Vec<std::rc::Rc<str>>) {}

    pub fn by_reference(point: &Point) {}

    pub fn by_mutable_reference(point: &mut Point) {}

    pub fn string_reference(text: &String) {}

    pub fn vec_reference(list: &Vec<u8>) {}

    pub fn nested_reference(texts: Vec<&str>) {}

    pub fn nested_slice(lists: Option<&[u8]>) {}

    pub fn returned_reference(text: &str) -> &str {
        text
    }

    pub fn callback(call: fn(u8) -> u8) {}

    pub fn nested_callback(calls: Vec<fn(u8) -> u8>) {}

    pub fn trait_argument(text: impl Into<String>) {}

    pub fn trait_object(text: Box<dyn Fn()>) {}

    pub fn array(bytes: [u8; 4]) {}

    pub fn unit_argument(nothing: ()) {}

    pub fn unit_in_list() -> Vec<()> {
        Vec::new()
    }

    pub fn never() -> ! {
        loop {}
    }

    pub fn alias() -> std::io::Result<u8> {
        Ok(1)
    }

    pub fn time(wait: Duration) {}

    pub fn unknown(value: Mystery) {}

    pub fn elsewhere(value: crate::Elsewhere) {}
}

pub struct Elsewhere;

fn main() {}

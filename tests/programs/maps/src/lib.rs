//! Maps, which are not yet part of what every toolchain speaks and so have a component to
//! themselves.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

rpc_guest::generate!({ world: "maps" });

struct Maps;

impl Guest for Maps {
    fn echo_map(value: BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        value
    }

    fn echo_by_number(value: BTreeMap<u64, Vec<String>>) -> BTreeMap<u64, Vec<String>> {
        value
    }

    fn echo_by_char(value: BTreeMap<char, Option<bool>>) -> BTreeMap<char, Option<bool>> {
        value
    }
}

export!(Maps);

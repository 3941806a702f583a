//! Passes on things that another module made.

#![forbid(unsafe_code)]

use std::cell::RefCell;

use exports::test::things::broker::Guest;
use test::things::maker::Thing;

rpc_guest::generate!({ world: "broking", path: "../maker/wit" });

thread_local! {
    static KEPT: RefCell<Vec<Thing>> = const { RefCell::new(Vec::new()) };
}

struct Broker;

impl Guest for Broker {
    fn look(thing: &Thing) -> i64 {
        thing.value()
    }

    fn pass(thing: Thing, by: i64) -> Thing {
        thing.add(by);
        thing
    }

    fn order(value: i64) -> Thing {
        Thing::new(value)
    }

    fn keep(thing: Thing) {
        KEPT.with_borrow_mut(|kept| kept.push(thing));
    }

    fn give_back() -> Option<Thing> {
        KEPT.with_borrow_mut(Vec::pop)
    }
}

export!(Broker);

//! Makes things that others hold.

#![forbid(unsafe_code)]

use std::cell::Cell;

use exports::test::things::maker::{Guest, GuestThing, Pair, Thing, ThingBorrow};

rpc_guest::generate!({ world: "making" });

thread_local! {
    static LIVE: Cell<u32> = const { Cell::new(0) };
    static MADE: Cell<u32> = const { Cell::new(0) };
}

struct Maker;

struct Kept(Cell<i64>);

impl Kept {
    fn of(value: i64) -> Self {
        LIVE.set(LIVE.get() + 1);
        MADE.set(MADE.get() + 1);
        Self(Cell::new(value))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
    }
}

impl GuestThing for Kept {
    fn new(value: i64) -> Self {
        Self::of(value)
    }

    fn checked(value: i64) -> Result<Thing, String> {
        if value < 0 {
            return Err(format!("{value} is negative"));
        }
        Ok(Thing::new(Self::of(value)))
    }

    fn value(&self) -> i64 {
        self.0.get()
    }

    fn add(&self, by: i64) -> i64 {
        self.0.set(self.0.get().wrapping_add(by));
        self.0.get()
    }

    fn larger(a: ThingBorrow<'_>, b: ThingBorrow<'_>) -> i64 {
        a.get::<Self>().value().max(b.get::<Self>().value())
    }

    fn merge(a: Thing, b: Thing) -> Thing {
        let sum = value_of(a).wrapping_add(value_of(b));
        Thing::new(Self::of(sum))
    }
}

impl Guest for Maker {
    type Thing = Kept;

    fn make(values: Vec<i64>) -> Vec<Thing> {
        values.into_iter().map(Kept::of).map(Thing::new).collect()
    }

    fn maybe(value: Option<i64>) -> Option<Thing> {
        value.map(Kept::of).map(Thing::new)
    }

    fn couple(left: i64, right: Option<i64>) -> Pair {
        Pair {
            left: Thing::new(Kept::of(left)),
            right: Self::maybe(right),
        }
    }

    fn sum(things: Vec<ThingBorrow<'_>>) -> i64 {
        let values = things.iter().map(|thing| thing.get::<Kept>().value());
        values.fold(0, i64::wrapping_add)
    }

    fn sum_pair(pair: Pair) -> i64 {
        value_of(pair.left).wrapping_add(pair.right.map_or(0, value_of))
    }

    fn consume(thing: Thing) -> i64 {
        value_of(thing)
    }

    fn live() -> u32 {
        LIVE.get()
    }

    fn made() -> u32 {
        MADE.get()
    }
}

fn value_of(thing: Thing) -> i64 {
    thing.into_inner::<Kept>().value()
}

export!(Maker);

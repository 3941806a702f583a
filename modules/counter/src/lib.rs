//! Counters that are kept between calls, and handlers that hear of events: objects of the module that clients
//! hold, and objects of clients that the module holds.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use acme::events::events::Handler;
use exports::demo::counter::counters::{
    Counter, CounterBorrow, Guest as Counters, GuestCounter, Pair,
};

rpc_guest::generate!({
    world: "demo:counter/counter",
    path: ["../wit/acme-events", "wit"],
    generate_all,
});

thread_local! {
    /// How many counters there are.
    static LIVE: Cell<u32> = const { Cell::new(0) };
    /// How often they were moved.
    static TOTAL: Cell<u64> = const { Cell::new(0) };
    /// Counters that were put by.
    static KEPT: RefCell<Vec<Counter>> = const { RefCell::new(Vec::new()) };
    /// Who hears of events.
    static SUBSCRIBED: RefCell<Subscribed> = RefCell::default();
}

#[derive(Default)]
struct Subscribed {
    last: u32,
    handlers: BTreeMap<u32, Handler>,
}

struct CounterCell(Cell<u64>);

impl CounterCell {
    fn at(start: u64) -> Self {
        LIVE.set(LIVE.get().saturating_add(1));
        Self(Cell::new(start))
    }

    fn moved_to(&self, value: u64) -> u64 {
        TOTAL.set(TOTAL.get().wrapping_add(1));
        self.0.set(value);
        value
    }
}

impl Drop for CounterCell {
    fn drop(&mut self) {
        LIVE.set(LIVE.get().saturating_sub(1));
    }
}

impl GuestCounter for CounterCell {
    fn new(start: u64) -> Self {
        Self::at(start)
    }

    fn increment(&self) -> u64 {
        self.moved_to(self.value().wrapping_add(1))
    }

    fn add(&self, by: u64) -> Result<u64, String> {
        let sum = self.value().checked_add(by);
        let sum = sum.ok_or_else(|| format!("{} and {by} is too much", self.value()))?;
        Ok(self.moved_to(sum))
    }

    fn value(&self) -> u64 {
        self.0.get()
    }

    fn copy(&self) -> Counter {
        Counter::new(Self::at(self.value()))
    }

    fn absorb(&self, other: Counter) -> u64 {
        self.moved_to(self.value().wrapping_add(value_of(other)))
    }

    fn fail(&self) {
        panic!("failed at {}", self.value());
    }

    fn larger(a: CounterBorrow<'_>, b: CounterBorrow<'_>) -> u64 {
        a.get::<Self>().value().max(b.get::<Self>().value())
    }

    fn merge(a: Counter, b: Counter) -> Counter {
        Counter::new(Self::at(value_of(a).wrapping_add(value_of(b))))
    }
}

fn value_of(counter: Counter) -> u64 {
    counter.into_inner::<CounterCell>().value()
}

struct Module;

impl Counters for Module {
    type Counter = CounterCell;

    fn make(starts: Vec<u64>) -> Vec<Counter> {
        let cells = starts.into_iter().map(CounterCell::at);
        cells.map(Counter::new).collect()
    }

    fn maybe(start: Option<u64>) -> Option<Counter> {
        start.map(CounterCell::at).map(Counter::new)
    }

    fn checked(start: i64) -> Result<Counter, String> {
        let start = u64::try_from(start).map_err(|_| format!("{start} is below nought"))?;
        Ok(Counter::new(CounterCell::at(start)))
    }

    fn couple(name: String, left: u64, right: Option<u64>) -> Pair {
        Pair {
            name,
            left: Counter::new(CounterCell::at(left)),
            right: Self::maybe(right),
        }
    }

    fn peek(counter: CounterBorrow<'_>) -> u64 {
        counter.get::<CounterCell>().value()
    }

    fn sum(counters: Vec<CounterBorrow<'_>>) -> u64 {
        let values = counters.iter().map(|one| one.get::<CounterCell>().value());
        values.fold(0, u64::wrapping_add)
    }

    fn sum_pair(pair: Pair) -> u64 {
        value_of(pair.left).wrapping_add(pair.right.map_or(0, value_of))
    }

    fn consume(counter: Counter) -> u64 {
        value_of(counter)
    }

    fn same(counter: Counter) -> Counter {
        counter
    }

    fn keep(counter: Counter) -> u32 {
        KEPT.with_borrow_mut(|kept| {
            kept.push(counter);
            u32::try_from(kept.len()).unwrap_or(u32::MAX)
        })
    }

    fn take() -> Option<Counter> {
        KEPT.with_borrow_mut(Vec::pop)
    }

    fn live() -> u32 {
        LIVE.get()
    }

    fn total() -> u64 {
        TOTAL.get()
    }

    fn emit(handler: &Handler, event: String, times: u32) -> Vec<Result<String, String>> {
        (0..times).map(|_| handler.call(&event)).collect()
    }

    fn subscribe(handler: Handler) -> u32 {
        SUBSCRIBED.with_borrow_mut(|subscribed| {
            subscribed.last = subscribed.last.wrapping_add(1);
            subscribed.handlers.insert(subscribed.last, handler);
            subscribed.last
        })
    }

    fn publish(event: String) -> Vec<Result<String, String>> {
        SUBSCRIBED.with_borrow(|subscribed| {
            let handlers = subscribed.handlers.values();
            handlers.map(|handler| handler.call(&event)).collect()
        })
    }

    fn unsubscribe(number: u32) -> Option<Handler> {
        SUBSCRIBED.with_borrow_mut(|subscribed| subscribed.handlers.remove(&number))
    }

    fn forget(number: u32) -> bool {
        Self::unsubscribe(number).is_some()
    }
}

impl Guest for Module {
    fn say(lines: Vec<String>) {
        for (index, line) in lines.iter().enumerate() {
            if index % 2 == 0 {
                println!("{line}");
            } else {
                eprintln!("{line}");
            }
        }
    }

    fn export_state() -> Vec<u8> {
        TOTAL.get().to_le_bytes().to_vec()
    }

    fn import_state(state: Vec<u8>) -> Result<(), String> {
        let total = state.as_slice().try_into();
        let total = total.map_err(|_| format!("a state has 8 bytes, not {}", state.len()))?;
        TOTAL.set(u64::from_le_bytes(total));
        Ok(())
    }
}

export!(Module);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_counted_and_so_are_their_moves() {
        let first = CounterCell::at(1);
        let second = CounterCell::at(2);
        assert_eq!((first.increment(), second.add(3)), (2, Ok(5)));
        assert_eq!(
            second.add(u64::MAX),
            Err(format!("5 and {} is too much", u64::MAX))
        );
        assert_eq!((Module::live(), Module::total()), (2, 2));
        drop(first);
        assert_eq!(Module::live(), 1);
    }

    #[test]
    fn another_instance_goes_on_where_this_one_was() {
        CounterCell::at(0).increment();
        let state = Module::export_state();
        TOTAL.set(0);
        assert_eq!(Module::import_state(state), Ok(()));
        assert_eq!(Module::total(), 1);
        assert!(Module::import_state(vec![1]).is_err());
    }
}

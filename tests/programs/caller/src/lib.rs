//! Calls another module many times within one call.

#![forbid(unsafe_code)]

use module::ticker::ticker;
use rpc_guest::log;

rpc_guest::generate!({ world: "caller", generate_all });

struct Caller;

impl Guest for Caller {
    fn ticks(count: u32) -> Vec<u32> {
        (0..count).map(|_| ticker::next()).collect()
    }

    fn ticks_until_reset() -> (u32, u32) {
        let mut last = ticker::next();
        log::info("ticking");
        loop {
            let next = ticker::next();
            if next != last.wrapping_add(1) {
                return (last, next);
            }
            last = next;
        }
    }

    fn pings(count: u64) -> u64 {
        let back = (0..count).filter(|number| ticker::ping(*number) == *number);
        back.count() as u64
    }
}

export!(Caller);

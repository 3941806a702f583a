//! Many times of the same thing.

use std::time::Duration;

pub(crate) struct Spread {
    pub(crate) p50: Duration,
    p90: Duration,
    p99: Duration,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |percent: usize| {
            times
                .get(times.len() * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        Spread {
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }

    pub(crate) fn print(&self, name: &str) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{name:<44} {:>10.1} {:>10.1} {:>10.1}",
            micros(self.p50),
            micros(self.p90),
            micros(self.p99)
        );
    }
}

/// The line above those that [`Spread::print`] writes.
pub(crate) fn heading(what: &str) {
    println!(
        "{what:<44} {:>10} {:>10} {:>10}",
        "p50 µs", "p90 µs", "p99 µs"
    );
}

//! Where and when it was measured.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What is told of the machine, so that a reader can judge.
pub(crate) fn description() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    json!({
        "date": date(seconds()),
        "processor": processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        "cores": cores,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        // What else the machine did when it began.
        "load": load.split(' ').next().unwrap_or_default(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// `2026-11-21`, in UTC. By Howard Hinnant's days from civil, turned around.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_795_219_200), "2026-11-21");
        assert_eq!(date(1_798_761_599), "2026-12-31");
    }

    #[test]
    fn a_machine_has_cores() {
        let machine = description();
        assert!(machine["cores"].as_u64() > Some(0));
        assert_eq!(machine["date"].as_str().map(str::len), Some(10));
    }
}

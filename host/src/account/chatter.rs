//! What the guests of a tenant say, over time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Pace, Rate};

/// How often it is told that something was dropped.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Lines of guests on their way to the log: so many bytes a second, and the rest is counted.
#[derive(Debug)]
pub struct Chatter {
    pace: Pace,
    telling: Pace,
    dropped_lines: AtomicU64,
    dropped_bytes: AtomicU64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a line is written or it is not"]
pub enum Hearing {
    /// It is written.
    Write,
    /// It is dropped. Where it is time to tell, that is what was dropped since it was told last.
    Drop(Option<Dropped>),
}

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Lines, or parts of an output.
    pub lines: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Chatter {
    pub(super) fn new(bytes: Rate) -> Self {
        let once = Rate {
            per_second: 1,
            burst: Duration::ZERO,
        };
        Chatter {
            pace: Pace::new(bytes),
            telling: Pace::new(once),
            dropped_lines: AtomicU64::new(0),
            dropped_bytes: AtomicU64::new(0),
        }
    }

    /// The pace of its bytes.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// A guest has a line of so many bytes.
    pub fn hear(&self, bytes: usize, now: Instant) -> Hearing {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // A line without text is a line, too.
        if self.pace.take(bytes.max(1), now).is_ok() {
            return Hearing::Write;
        }
        self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        self.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One telling costs as many seconds as lie between two.
        let is_time = self.telling.take(TOLD_EVERY.as_secs(), now).is_ok();
        Hearing::Drop(is_time.then(|| Dropped {
            lines: self.dropped_lines.swap(0, Ordering::Relaxed),
            bytes: self.dropped_bytes.swap(0, Ordering::Relaxed),
        }))
    }

    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.pace.is_rested(now) && self.telling.is_rested(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_dropped_counted_and_told_once_in_a_while() {
        let chatter = Chatter::new(Rate {
            per_second: 100,
            burst: Duration::from_secs(1),
        });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(chatter.hear(100, start), Hearing::Write);
        let dropped = |lines, bytes| Hearing::Drop(Some(Dropped { lines, bytes }));
        assert_eq!(chatter.hear(7, start), dropped(1, 7));
        assert_eq!(chatter.hear(8, start), Hearing::Drop(None));
        assert_eq!(chatter.hear(100, at(1)), Hearing::Write);
        assert_eq!(chatter.hear(9, at(1)), Hearing::Drop(None));
        assert_eq!(chatter.hear(100, at(10)), Hearing::Write);
        assert_eq!(chatter.hear(1, at(10)), dropped(3, 18));
    }
}

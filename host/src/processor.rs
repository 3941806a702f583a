//! What the kernel knows of the calling thread's time on a processor.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::nice;
use rustix::time::{ClockId, clock_gettime};

/// How far the threads of the mill stand back. With this a thread that has only now something to do comes
/// first, as those that serve connections have, and guests still get most of what other programs of the
/// machine would get.
const NICENESS: i32 = 5;

/// The calling thread comes after the others of this process from now on.
pub(crate) fn stand_back() -> Result<(), Errno> {
    nice(NICENESS).map(|_| ())
}

/// How long the calling thread has had a processor. The times of two calls may be compared on one thread
/// only.
pub(crate) fn time_of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Counts the processor time of some work, on whatever threads it is done. All clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Does the work, and counts it.
    pub(crate) async fn measure<T>(self, mut work: Pin<Box<impl Future<Output = T>>>) -> T {
        poll_fn(|context| {
            let before = time_of_this_thread();
            let polled = work.as_mut().poll(context);
            let took = time_of_this_thread().saturating_sub(before);
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.0.fetch_add(took_ns, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// What was counted so far.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn only_time_at_work_counts() {
        let before = time_of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(time_of_this_thread() - before < Duration::from_millis(25));
        while time_of_this_thread() - before < Duration::from_millis(25) {
            black_box(());
        }
    }

    #[tokio::test]
    async fn a_meter_counts_turns_and_not_what_is_between() {
        let meter = Meter::default();
        let work = async {
            for _ in 0..2 {
                let before = time_of_this_thread();
                while time_of_this_thread() - before < Duration::from_millis(5) {
                    black_box(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            7
        };
        assert_eq!(meter.clone().measure(Box::pin(work)).await, 7);
        let total = meter.total();
        assert!(total >= Duration::from_millis(10), "{total:?}");
        assert!(total < Duration::from_millis(50), "{total:?}");
    }
}

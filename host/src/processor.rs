//! What the kernel knows of the calling thread's time on a processor.

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
}

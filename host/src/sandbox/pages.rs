//! Large pages behind the memory of a guest that much is handed to, or taken from.
//!
//! The memory of a fresh instance has no pages yet: the system hands out one after the other as they are first written.
//! For sixteen megabytes that took several times as long as to copy them. Where the machine leaves it to
//! programs to ask for large pages, this asks for them. The place in the pool keeps that wish, so whoever has it next need
//! not hand over anything: a guest that gives much away is filled faster from its second call on.
//!
//! This is advice alone: how much memory the guest has, and is charged for, stays as it is, and a page is never larger than
//! what the guest may write to. A machine that has none of them goes on as ever.
#![allow(
    unsafe_code,
    reason = "advice on memory is unsafe in general, as some of it throws away what is there; this one does not"
)]

use rustix::mm::{Advice, madvise};

/// What is handed over in one piece is worth it from so many bytes on.
pub(super) const LARGE_PIECE_BYTES: usize = 4 << 20;
/// Where large pages begin in a memory: what short calls need lies before, and to clear a large page takes as long as
/// such a call. That this is the same for all of them also bounds the parts into which the system divides the pool.
const FIRST_LARGE_BYTES: usize = 2 << 20;
/// Advice is on whole pages, of the size that all systems have on which this runs. Where pages are larger, it is refused.
const PAGE_BYTES: usize = 4 << 10;

/// Asks for large pages behind all of a guest's memory but its beginning.
pub(super) fn prefer_large(memory: &[u8]) {
    if let Some(pages) = pages_of(memory) {
        let start = pages.as_ptr().cast_mut().cast();
        // SAFETY: the pages are within a slice, and this advice changes neither what is in them nor who may read and
        // write them. It may be refused, and then nothing has happened.
        let _refused = unsafe { madvise(start, pages.len(), Advice::LinuxHugepage) };
    }
}

/// The whole pages of a memory, without those of its beginning.
fn pages_of(memory: &[u8]) -> Option<&[u8]> {
    let rest = memory.get(FIRST_LARGE_BYTES..)?;
    let rest = rest.get(rest.as_ptr().align_offset(PAGE_BYTES)..)?;
    let length = rest.len() - rest.len() % PAGE_BYTES;
    rest.get(..length).filter(|pages| !pages.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Whether the system has the wish written down of the page at this address.
    fn is_marked(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_within = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let bound = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (bound(from), bound(to))) {
                is_within = (from..to).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:")
                && is_within
            {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        panic!("no such address is mapped")
    }

    #[test]
    fn all_but_the_beginning_is_to_be_large_and_what_is_in_it_stays() {
        let memory = vec![7; 3 * LARGE_PIECE_BYTES];
        prefer_large(&memory);
        assert!(memory.iter().all(|byte| *byte == 7));
        let has_large = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let begins = memory.as_ptr().addr();
        assert!(!is_marked(begins));
        assert_eq!(is_marked(begins + LARGE_PIECE_BYTES), has_large);
    }

    #[test]
    fn whole_pages_alone_are_asked_for_behind_the_beginning() {
        let memory = vec![7; FIRST_LARGE_BYTES + 4 * PAGE_BYTES];
        let of = |length: usize| pages_of(memory.get(..length).unwrap());
        for length in [0, 1, FIRST_LARGE_BYTES, FIRST_LARGE_BYTES + PAGE_BYTES - 1] {
            assert_eq!(of(length), None, "of {length}");
        }
        for more in 0..PAGE_BYTES {
            let pages = of(FIRST_LARGE_BYTES + 3 * PAGE_BYTES + more).unwrap();
            let begins = pages.as_ptr().addr() - memory.as_ptr().addr();
            assert!((FIRST_LARGE_BYTES..FIRST_LARGE_BYTES + PAGE_BYTES).contains(&begins));
            assert!(begins + pages.len() <= FIRST_LARGE_BYTES + 3 * PAGE_BYTES + more);
            assert!(pages.as_ptr().addr().is_multiple_of(PAGE_BYTES));
            assert!(pages.len().is_multiple_of(PAGE_BYTES));
        }
    }
}

//! Large pages behind what a guest is given, where that is long.
//!
//! The memory of a fresh instance has no pages yet: the system hands out one after the other as they are first written.
//! For sixteen megabytes that took as long as all of their way through TLS. Where the machine leaves it
//! to programs to ask for large pages, this asks for them, for the part of a guest's memory that is about to be
//! filled.
//!
//! This is advice alone: how much memory the guest has, and is charged for, stays as it is, and a page is never larger than
//! what the guest may write to. A machine that has none of them goes on as ever.
#![allow(
    unsafe_code,
    reason = "advice on memory is unsafe in general, as some of it throws away what is there; this one does not"
)]

use rustix::mm::{Advice, madvise};

/// Shorter parts may not hold one whole large page, wherever they begin.
pub(super) const LARGE_PART_BYTES: usize = 4 << 20;
/// Advice is on whole pages, of the size that all systems know on which this runs. Where pages are larger, it is refused.
const PAGE_BYTES: usize = 4 << 10;

/// Asks for large pages behind this part of a guest's memory.
pub(super) fn prefer_large(part: &mut [u8]) {
    let before = part.as_ptr().align_offset(PAGE_BYTES);
    let Some(pages) = part.get_mut(before..) else {
        return;
    };
    let length = pages.len() - pages.len() % PAGE_BYTES;
    // SAFETY: the pages are within a slice that nobody else has, and the advice changes neither what is in them nor
    // whether they may be written to. It may be refused, and then nothing has happened.
    let _refused = unsafe { madvise(pages.as_mut_ptr().cast(), length, Advice::LinuxHugepage) };
}

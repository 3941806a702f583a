//! Large pages behind the memory of a guest that much is handed to, or taken from.
//!
//! The memory of a fresh instance has no pages yet: the system hands out one after the other as they are first written.
//! For sixteen megabytes that took as long as half of their way through TLS. Where the machine leaves it to
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
    let Some(pages) = memory.get(FIRST_LARGE_BYTES..) else {
        return;
    };
    let pages = pages.get(pages.as_ptr().align_offset(PAGE_BYTES)..);
    let Some(pages) = pages.filter(|pages| pages.len() >= PAGE_BYTES) else {
        return;
    };
    let length = pages.len() - pages.len() % PAGE_BYTES;
    // SAFETY: the pages are within a slice, and this advice changes neither what is in them nor who may read and write
    // them. It may be refused, and then nothing has happened.
    let _refused = unsafe {
        madvise(
            pages.as_ptr().cast_mut().cast(),
            length,
            Advice::LinuxHugepage,
        )
    };
}

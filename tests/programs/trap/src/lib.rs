//! Ends in every way that is a trap.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod trap {
    use std::hint::black_box;

    /// Panics with `message`, three calls deep: the frames have names.
    pub fn panic_with(message: &str) -> u32 {
        outer_step(message) + 1
    }

    #[inline(never)]
    fn outer_step(message: &str) -> u32 {
        middle_step(black_box(message)) + 1
    }

    #[inline(never)]
    fn middle_step(message: &str) -> u32 {
        inner_step(black_box(message)) + 1
    }

    #[inline(never)]
    fn inner_step(message: &str) -> u32 {
        if black_box(true) {
            panic!("{message}");
        }
        0
    }

    /// Divides, and by zero it panics.
    pub fn divide(a: i32, b: i32) -> i32 {
        a / b
    }

    /// Calls itself so many times, keeping nothing in memory: a large `depth` uses up the
    /// engine's stack.
    pub fn recurse(depth: u64) -> u64 {
        fall(depth)
    }

    #[inline(never)]
    fn fall(depth: u64) -> u64 {
        if depth == 0 {
            return 1;
        }
        // Nothing that a compiler could turn into a loop.
        fall(depth - 1).rotate_left(7) ^ depth
    }

    /// Calls itself with an array in every frame, until the stack in its memory is used up.
    pub fn overflow_stack() -> u64 {
        dig(black_box(0))
    }

    #[inline(never)]
    fn dig(depth: u64) -> u64 {
        if depth == u64::MAX {
            return 0;
        }
        let room = black_box([depth; 32]);
        room.iter().sum::<u64>() + dig(black_box(depth + 1)) + 1
    }

    /// Takes memory, a mebibyte at a time, up to `mebibytes`; returns how many it has got.
    pub fn grow_memory(mebibytes: u32) -> u32 {
        let mut kept = Vec::new();
        for _ in 0..mebibytes {
            let mut piece: Vec<u8> = Vec::new();
            if piece.try_reserve_exact(1 << 20).is_err() {
                break;
            }
            piece.resize(1 << 20, 0xa5);
            kept.push(black_box(piece));
        }
        u32::try_from(kept.len()).unwrap_or(u32::MAX)
    }

    /// Takes memory as ordinary code does, which ends when there is none.
    pub fn allocate(bytes: u32) -> u32 {
        let taken = black_box(vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)]);
        u32::try_from(taken.len()).unwrap_or(u32::MAX)
    }

    /// Ends the instance as a command would.
    pub fn exit(code: i32) {
        std::process::exit(code);
    }

    /// Returns at once, to show that a node still answers.
    pub fn ping() -> String {
        "pong".into()
    }
}

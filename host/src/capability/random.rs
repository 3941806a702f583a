//! Random numbers that are the same each time, for runs that are to be had again.
//!
//! Without the grant a guest draws from the system's secure source.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, SeedableRng as _};
use wasmtime_wasi::WasiCtxBuilder;

/// Has everything that WASI calls random follow from `seed`, on every machine and in every release alike.
pub(super) fn seed(wasi: &mut WasiCtxBuilder, seed: u64) {
    let mut source = Xoshiro256PlusPlus::seed_from_u64(seed);
    wasi.secure_random(Xoshiro256PlusPlus::from_rng(&mut source))
        .insecure_random(Xoshiro256PlusPlus::from_rng(&mut source))
        .insecure_random_seed(u128::from(source.next_u64()) << 64 | u128::from(source.next_u64()));
}

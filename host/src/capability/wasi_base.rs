//! The part of WASI 0.2 that gives no power, interface by interface.
//!
//! No arguments, an empty environment, a closed stdin, stdout and stderr kept up to a limit, coarse clocks,
//! random numbers. Sockets and HTTP are not here. Some grants put something else behind these interfaces: an
//! environment, another clock, numbers that are not random. Files are served by [`files`](super::files), to
//! every module, but without a grant there is no directory to find any in.

use std::time::{Duration, Instant};

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, random as wasi_random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView as _};
use wasmtime_wasi_io::bindings::wasi::io;

use super::clock::{self, CoarseMonotonicClock, CoarseWallClock, FrozenAt};
use super::{Clock, Grants, random};
use crate::sandbox::State;

/// Random bytes that a guest may ask for at once.
pub(crate) const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// All interfaces that every module is served, without their version: those that [`add_to_linker`] links, and
/// those of files.
pub(super) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    io::error::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::poll::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::streams::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    wasi_random::random::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    wasi_random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    wasi_random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| {
        state.ctx().ctx.random()
    })?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    Ok(())
}

/// What stands behind these interfaces for one instance. Everything that is not set here is closed or
/// empty by default. `made_at` is when the instance was made; `began_at` is when the call began, since 1970, and
/// where the clock stands still, what is given sets it.
pub(crate) fn wasi_ctx(
    (stdout, stderr): (impl StdoutStream + 'static, impl StdoutStream + 'static),
    grants: &Grants,
    (made_at, began_at): (Instant, Duration),
) -> (WasiCtx, Option<FrozenAt>) {
    let mut frozen_at = None;
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(stdout)
        .stderr(stderr)
        .max_random_size(MAX_RANDOM_BYTES);
    for (key, value) in grants.env() {
        wasi.env(key, value);
    }
    match grants.clock() {
        None => wasi
            .wall_clock(CoarseWallClock)
            .monotonic_clock(CoarseMonotonicClock::since(made_at)),
        Some(Clock::Precise) => wasi
            .wall_clock(clock::PreciseWallClock)
            .monotonic_clock(clock::PreciseMonotonicClock::since(made_at)),
        Some(Clock::Frozen) => {
            let at = frozen_at.insert(FrozenAt::new(began_at));
            wasi.wall_clock(clock::FrozenClock(at.clone()))
                .monotonic_clock(clock::FrozenClock(at.clone()))
        }
    };
    if let Some(seed) = grants.seed() {
        random::seed(&mut wasi, seed);
    }
    (wasi.build(), frozen_at)
}

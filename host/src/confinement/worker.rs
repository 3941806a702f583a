//! The compile worker's confinement.

use std::num::NonZeroU64;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;

use super::{Enforcement, files, system_calls};

/// How much less of a busy processor a worker gets than the node: about a tenth of it.
const NICENESS: i32 = 10;

/// What one worker may use.
#[derive(Clone, Copy, Debug)]
pub struct WorkerLimits {
    /// Bytes of its address space.
    pub max_memory_bytes: NonZeroU64,
    /// Seconds of processor time.
    pub max_cpu_seconds: NonZeroU64,
}

/// Confines this process for good: no more than its limits, no file, no network, no other process, no
/// privilege, and of the system calls those that computing needs. It can still read from its stdin and
/// write to its stdout and stderr.
///
/// For a process with one thread, before it reads anything.
pub fn worker(limits: WorkerLimits) -> Enforcement {
    let mut enforcement = Enforcement::default();
    enforcement.note("parent-death", end_with_parent());
    enforcement.note("low-priority", nice(NICENESS).map(|_| ()));
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    enforcement.note("not-dumpable", undumpable);
    enforcement.note("no-new-privileges", set_no_new_privs(true));
    files::none_at_all(&mut enforcement);
    let memory = limit(Resource::As, limits.max_memory_bytes.get());
    enforcement.note("memory-limit", memory);
    enforcement.note("cpu-limit", cpu_limit(limits.max_cpu_seconds.get()));
    // Those that have a descriptor or are a process stay; there are no more.
    for (measure, resource) in [
        ("no-file-growth", Resource::Fsize),
        ("no-core-dump", Resource::Core),
        ("no-new-descriptors", Resource::Nofile),
        ("no-new-processes", Resource::Nproc),
        ("no-locked-memory", Resource::Memlock),
        ("no-message-queues", Resource::Msgqueue),
    ] {
        enforcement.note(measure, limit(resource, 0));
    }
    let filtered = system_calls::only_what_compiling_needs();
    enforcement.note("seccomp", filtered);
    enforcement
}

/// Nobody would read what a worker writes whose node is gone.
fn end_with_parent() -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))
}

fn cpu_limit(seconds: u64) -> Result<(), Errno> {
    // The first tells which limit it was, the second cannot be caught.
    set(Resource::Cpu, seconds, seconds.saturating_add(1))
}

fn limit(resource: Resource, value: u64) -> Result<(), Errno> {
    set(resource, value, value)
}

/// Lowers a limit; one that is lower already stays.
fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let present = getrlimit(resource);
    let lower = |value: u64, present: Option<u64>| Some(present.map_or(value, |it| it.min(value)));
    setrlimit(
        resource,
        Rlimit {
            current: lower(soft, present.current),
            maximum: lower(hard, present.maximum),
        },
    )
}

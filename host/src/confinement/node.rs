//! The serving process's confinement.

use std::path::Path;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use super::{Enforcement, files, system_calls};

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is the node's own: all but running what is in it.
    Own,
    /// To list it and to read files in it.
    Read,
    /// And to make, change, move and delete regular files and directories in it.
    Change,
    /// It is a file: to read it, and what is in its place later.
    Beside,
}

/// Confines this process, and those that it starts, for good: no file but those under `places`, as far as
/// these are for use, and what its own program needs, no connection that it makes itself but to these `ports`, no signal to
/// others, no privilege, and none of the system calls that no server needs.
///
/// For a process with one thread, before it starts others.
pub fn node(places: &[(&Path, Use)], ports: &[u16]) -> Enforcement {
    let mut enforcement = Enforcement::default();
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    enforcement.note("not-dumpable", undumpable);
    enforcement.note("no-new-privileges", set_no_new_privs(true));
    files::only_what_serving_needs(places, ports, &mut enforcement);
    let filtered = system_calls::none_that_no_server_needs();
    enforcement.note("seccomp", filtered);
    enforcement
}

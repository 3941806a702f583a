//! Directories that modules were granted: a tenant's own, and those of the machine that the operator names.
//!
//! What a guest says of a file is a [`Place`], names below the root of one volume. It is resolved by the
//! kernel in one step, beneath that root, through no symbolic link and into no other file system; there
//! is no second way for kernels that cannot do so. Only regular files and directories are ever opened.
//! What a volume holds is counted, and everything that changes it does so in turn with its count.
//!
//! It knows no guest, no grant and no name of a tenant: who may have which volume is decided above.
//!
//! | file | holds |
//! |---|---|
//! | `name`, `access`, `limits` | what a volume is called, what may be done in it, how much of it there may be |
//! | `place` | a guest's path, as names below the root |
//! | `volumes` | all of them: whose is which, counting at a start, and the end of a tenant's |
//! | `shelf` | one tenant's own |
//! | `volume` | one directory, with its count |
//! | `ledger` | how much is in it, and who has what open |
//! | `mount` | a volume as one instance sees it, and work of it on a thread that may block |
//! | `tree` | what is done by place |
//! | `file`, `listing` | what is open |
//! | `share` | what a tenant may have open and under way at once |
//! | `kernel` | the few ways to the kernel |

mod access;
mod error;
mod file;
mod kernel;
mod ledger;
mod limits;
mod listing;
mod mount;
mod name;
mod place;
mod share;
mod shelf;
#[cfg(test)]
mod tests;
mod tree;
#[allow(
    clippy::module_inception,
    reason = "the one directory among all that is about them"
)]
mod volume;
mod volumes;

pub use access::Access;
pub use error::{OpenVolumesError, VolumeError};
pub use file::{At, File};
pub use kernel::Node;
pub use ledger::Usage;
pub use limits::VolumeLimits;
pub use listing::{Entry, Listing};
pub use mount::Mount;
pub use name::{InvalidVolumeName, VolumeName};
pub use place::Place;
pub use tree::{Instant, Kind, NewTime, Opened, Stat, Times, Tree, Wish};
pub use volumes::{HostDirectory, Tenants, Volumes};

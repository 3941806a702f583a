//! Hostile programs: guests and clients that mean no good, each with the end that it has to come to.
//!
//! The threats and what holds each of them are listed in `tests/hostile/README.md`; guests written by hand
//! lie beside it. The test `hostile` runs every program once; `cargo xtask gauntlet` runs them in
//! random order, many at once, for as long as one likes.
//!
//! | file | holds |
//! |---|---|
//! | `program` | what a program is, and what it means that it ended as expected |
//! | `threats` | the list of threats, and who answers for each |
//! | `guests`, `uploads`, `peers`, `names`, `objects`, `things`, `kept`, `lent` | the programs: guests that are called, bytes that are uploaded, peers that break the protocol, clients that use what they have against others, objects of either side, guests whose objects are not what they seem, instances that others use as well, and objects that go to and fro |
//! | `holder` | a session that calls one module and holds objects of it |
//! | `large` | components that are too much of something |
//! | `arena` | a node with tenants that attack it, and one that is not to notice |
//! | `vitals` | what the system tells of a process from outside |
//! | `gauntlet` | many programs at once, and what that does to the node over time |
//! | `seed` | numbers that come again |

mod arena;
mod gauntlet;
mod guests;
mod holder;
mod kept;
mod large;
mod lent;
mod names;
mod objects;
mod peers;
mod program;
mod seed;
mod things;
mod threats;
mod uploads;
mod vitals;

pub(crate) use arena::connect_from;
pub use arena::{Arena, Ground, Scene};
pub use gauntlet::{Course, Lap, Outcome, Surprise, gauntlet};
pub use program::{
    Attack, Cost, Doing, End, Expect, Guest, Program, Registered, choose, guests as guests_folder,
};
pub use seed::Seed;
pub use threats::{Held, THREATS, Threat};
pub use vitals::Vitals;

/// All programs.
pub fn programs() -> Vec<Program> {
    [
        guests::programs(),
        uploads::programs(),
        peers::programs(),
        names::programs(),
        objects::programs(),
        things::programs(),
        kept::programs(),
        lent::programs(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

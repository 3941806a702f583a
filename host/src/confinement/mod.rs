//! What a process gives up before it touches what strangers sent: [`worker`] for the compiler's, which
//! needs hardly anything, and [`node`] for the one that serves; and its standard streams, where they are a
//! connection ([`standard_streams`]).
//!
//! Each measure stands for itself. What the kernel does not offer is told, in [`Enforcement`], and the
//! rest holds all the same.

mod descriptors;
mod files;
mod node;
pub mod standard_streams;
mod system_calls;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt::Display;

use serde::{Deserialize, Serialize};

pub use descriptors::take_all_descriptors;
pub use node::{Use, node};
pub use worker::{WorkerLimits, worker};

/// What holds for a process from now on, and what does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// The measures that are in force.
    pub enforced: Vec<String>,
    /// Those that are not, each with the reason.
    pub missing: Vec<String>,
}

impl Enforcement {
    fn note(&mut self, measure: &str, outcome: Result<(), impl Display>) {
        match outcome {
            Ok(()) => self.enforced.push(measure.to_owned()),
            Err(reason) => self.missing.push(format!("{measure} ({reason})")),
        }
    }
}

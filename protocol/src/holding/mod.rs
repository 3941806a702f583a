//! Who holds which object, and how often it was told: what both sides of a session count, so that they agree.
//!
//! An object may be sent to the other side again while a release of it is on its way back, so neither side can
//! tell from its own state alone whether the other still holds it. Therefore the side that has the object counts
//! how often it *sent* it, the side that holds it how often it *received* it, and a release carries that count.
//! What was sent and not yet received is then never among what is released, whatever crosses on the way.
//!
//! Plain data, for both directions: [`Given`] is the side that has the objects, [`Held`] the one that holds them.
//! Whoever has a lock around one of them changes nothing of what it says by when it is taken, as long as what
//! arrives is told to [`Held`] before anything is done with it.

mod given;
mod held;

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;

pub use given::{Given, GivenError};
pub use held::{Grip, Held};

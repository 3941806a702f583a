//! Sessions over streams in memory, in front of a node that does as its callers say.

mod exchanges;
mod lifetime;
mod objects;
mod output;
mod peer;
mod reach;
mod uploads;

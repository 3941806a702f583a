//! Who is who.

mod principal;

pub use principal::Principal;

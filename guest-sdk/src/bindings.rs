//! Bindings to what the host offers, generated from `wit/` and wrapped by the other modules.
//!
//! A component imports only what it uses of this.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

wit_bindgen::generate!({ world: "guest", path: "../wit" });

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

pub mod keyvalue {
    wit_bindgen::generate!({
        inline: "package rpc-host:keyvalue;
            world keyvalue {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }",
        path: "../wit/deps/keyvalue",
        generate_all,
    });
}

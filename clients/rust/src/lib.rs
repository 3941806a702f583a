//! clients/rust

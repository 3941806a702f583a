//! Values through CBOR, JSON and back; and everything that must be refused.

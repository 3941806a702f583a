//! Limits that no configuration changes: the shape of the engine's pool rests on them, or what a component
//! has to be like to be run at all.

use super::ahead::MAX_START_MS;
use super::call::MAX_ARGUMENT_ROOM_KIB;
use super::docs::{MAX_DOC_BYTES, MAX_DOCS_BYTES};
use super::engine::{
    MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_STACK_BYTES, MAX_TABLE_ELEMENTS, MAX_TABLES,
};
use super::import;
use crate::capability;

/// A limit that is always the same.
#[derive(Clone, Copy, Debug)]
pub struct FixedLimit {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it is.
    pub value: u64,
    /// What it limits.
    pub doc: &'static str,
}

const fn row(name: &'static str, value: u64, doc: &'static str) -> FixedLimit {
    FixedLimit { name, value, doc }
}

/// All of them that guests meet.
pub const FIXED: &[FixedLimit] = &[
    row(
        "stack-bytes",
        MAX_STACK_BYTES as u64,
        "Bytes of the stack of one instance.",
    ),
    row(
        "core-instances-per-instance",
        MAX_CORE_INSTANCES as u64,
        "Core instances that one instance consists of.",
    ),
    row(
        "memories-per-instance",
        MAX_MEMORIES as u64,
        "Memories of one instance.",
    ),
    row(
        "tables-per-instance",
        MAX_TABLES as u64,
        "Tables of one instance.",
    ),
    row(
        "elements-per-table",
        MAX_TABLE_ELEMENTS as u64,
        "Elements of one table.",
    ),
    row(
        "ready-instance-start-ms",
        MAX_START_MS,
        "Time, and processor time, that a guest has to start before its call comes; one that needs longer is started \
         when it comes.",
    ),
    row(
        "random-bytes-at-once",
        capability::MAX_RANDOM_BYTES,
        "Random bytes that a guest asks for at once.",
    ),
    row(
        "argument-room-bytes",
        (MAX_ARGUMENT_ROOM_KIB as u64) << 10,
        "Bytes that the arguments of all calls take once they are decoded, of one tenant half of it; and as \
         much the answers of clients.",
    ),
    row(
        "doc-bytes-per-export",
        MAX_DOC_BYTES as u64,
        "Bytes of what is told of what an author says about one export; the rest is cut off.",
    ),
    row(
        "doc-bytes-per-component",
        MAX_DOCS_BYTES as u64,
        "Bytes of what is kept of what an author says about all exports, names included.",
    ),
    row(
        "linked-items-per-component",
        import::MAX_LINKED_ITEMS as u64,
        "Functions and resources that one component imports.",
    ),
];

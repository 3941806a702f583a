//! What the system tells of a process from outside.

use std::fs;
use std::net::SocketAddr;

/// What a node takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Memory that it has resident.
    pub resident_bytes: u64,
    /// Its threads.
    pub threads: u64,
    /// What it has open; none where the system does not show that of a confined process.
    pub descriptors: Option<u64>,
    /// Connections to its port.
    pub connections: u64,
}

impl Vitals {
    /// Those of a process that listens at this address.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn of(pid: u32, address: &str) -> Vitals {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap_or_else(|error| panic!("the node is gone: {error}"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("no {name} of a running process in\n{status}"))
        };
        Vitals {
            resident_bytes: field("VmRSS:") * 1024,
            threads: field("Threads:"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
                .ok()
                .map(|entries| entries.count() as u64),
            connections: connections(address),
        }
    }
}

/// Established connections whose end on this machine is `address`, as the kernel counts them.
fn connections(address: &str) -> u64 {
    let Ok(SocketAddr::V4(address)) = address.parse() else {
        panic!("a node of these tests listens at an address of IPv4, not at {address}");
    };
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let port = format!(":{:04X}", address.port());
    let lines = table.lines().skip(1);
    let established = lines.filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        // 01 is ESTABLISHED, 08 is CLOSE_WAIT: the node has not let go of it.
        local.is_some_and(|local| local.ends_with(&port)) && matches!(state, Some("01" | "08"))
    });
    established.count() as u64
}

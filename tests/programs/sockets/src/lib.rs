//! Asks for the network, by WASI's own interfaces: the standard library of some toolchains has
//! none.

#![forbid(unsafe_code)]

use wasi::sockets::{instance_network, ip_name_lookup, network, tcp_create_socket};

rpc_guest::generate!({ world: "sockets", generate_all });

struct Sockets;

impl Guest for Sockets {
    fn create_tcp_socket() -> String {
        let made = tcp_create_socket::create_tcp_socket(network::IpAddressFamily::Ipv4);
        outcome(made.map(drop))
    }

    fn look_up(name: String) -> String {
        let network = instance_network::instance_network();
        let found = ip_name_lookup::resolve_addresses(&network, &name);
        outcome(found.map(drop))
    }
}

fn outcome(result: Result<(), network::ErrorCode>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => format!("error: {}", error.name()),
    }
}

export!(Sockets);

//! What counts as one address.

use std::net::{IpAddr, Ipv6Addr};

/// Where a connection comes from. In IPv6, whoever has one address has the whole network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(IpAddr);

impl Origin {
    /// Nobody's own: for those that are too many to be told apart.
    pub(super) const OTHERS: Origin = Origin(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Origin(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            address @ IpAddr::V4(_) => Origin(address),
        }
    }
}

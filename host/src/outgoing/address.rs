//! Which addresses a request may go to: public ones, and networks that the operator named.
//!
//! What a name resolves to is chosen by whoever owns the name, so every address is held to these rules
//! whatever led to it. All that the registries of special-purpose addresses list is refused, even the few
//! blocks of it that can be reached from everywhere: no module needs them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "of this network, or unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared behind a carrier"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Where Azure's machines find what their host tells them alone; public by its number only.
    (v4(168, 63, 129, 16, 32), "of a cloud's metadata"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 31, 196, 0, 24), "for protocols"),
    (v4(192, 52, 193, 0, 24), "for protocols"),
    (v4(192, 88, 99, 0, 24), "of 6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(192, 175, 48, 0, 24), "for protocols"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved, or broadcast"),
];

/// All that is global unicast. What lies outside, unspecified, loopback, IPv4 in other notations, local,
/// multicast, or not handed out, is refused without being listed.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "for protocols"),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "for documentation",
    ),
    // It leads to whatever IPv4 address it holds, by way of whoever relays.
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (
        v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
        "for protocols",
    ),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation"),
];

/// IPv4 as seen from networks that have none of it; as good as the address that it holds.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// What an address is, unless it is one that anybody may reach.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            special_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) if !GLOBAL_V6.contains(&address) => Some("not global unicast"),
        IpAddr::V6(address) => SPECIAL_V6
            .iter()
            .find(|(block, _)| block.contains(&address))
            .map(|(_, what)| *what),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4
        .iter()
        .find(|(block, _)| block.contains(&address))
        .map(|(_, what)| *what)
}

/// An address that no request goes to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {what}; the operator may name its network under `allow-networks` in `[http]`"
)]
pub(crate) struct ForbiddenAddress {
    address: IpAddr,
    what: &'static str,
}

/// The rules of one node.
pub(super) struct AddressRules {
    /// What the operator named.
    networks: Vec<IpNet>,
    /// Where the node itself listens, once it does.
    listening: OnceLock<SocketAddr>,
}

impl AddressRules {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        AddressRules {
            networks,
            listening: OnceLock::new(),
        }
    }

    pub(super) fn listens_on(&self, address: SocketAddr) {
        // It listens once.
        let _before = self.listening.set(address);
    }

    /// The address to connect to, if one may.
    ///
    /// # Errors
    /// When none may, or when the system cannot say, which is an error of its own kind.
    pub(super) fn check(
        &self,
        address: IpAddr,
        port: u16,
    ) -> io::Result<Result<IpAddr, ForbiddenAddress>> {
        // As it is connected to: a mapped address is the IPv4 one.
        let address = address.to_canonical();
        let forbidden = |what| Ok(Err(ForbiddenAddress { address, what }));
        let is_named = self.networks.iter().any(|named| named.contains(&address));
        if !is_named && let Some(what) = special(address) {
            return forbidden(what);
        }
        if is_own(address)? {
            if !is_named {
                return forbidden("this machine's own");
            }
            let is_node = |listening: &SocketAddr| listening.port() == port;
            if self.listening.get().is_some_and(is_node) && !self.is_named_alone(address) {
                return forbidden("where this node itself listens, and not named by itself");
            }
        }
        Ok(Ok(address))
    }

    fn is_named_alone(&self, address: IpAddr) -> bool {
        self.networks.contains(&IpNet::from(address))
    }
}

/// Whether an address is one of this machine's: only those can be spoken from. Nothing is sent.
fn is_own(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_bound) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for AddressRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AddressRules({:?})", self.networks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The registries of special-purpose addresses as IANA publishes them, and what is special without
    /// being in them.
    const REGISTERED: &[&str] = &[
        "0.0.0.0/8",
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.0.0.170/32",
        "192.0.0.171/32",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.88.99.2/32",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "::1/128",
        "::/128",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:1::1/128",
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:2::/48",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        // IPv4-compatible, and as translated without state.
        "::/96",
        "::ffff:0:0:0/96",
    ];

    fn registered() -> Vec<IpNet> {
        REGISTERED.iter().map(|it| it.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_open_and_those_beside_them_are_not() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2001:db7:ffff::",
            "3ffe:ffff::1",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
        ];
        for address in public {
            assert_eq!(special(ip(address)), None, "{address}");
        }
        let special_ones = [
            ("127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("168.63.129.16", "of a cloud's metadata"),
            ("100.100.100.200", "shared behind a carrier"),
            ("fd00:ec2::254", "not global unicast"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::127.0.0.1", "not global unicast"),
            ("::ffff:0:127.0.0.1", "not global unicast"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::8.8.8.8", "not global unicast"),
            ("2002:7f00:1::", "6to4"),
            ("2002:808:808::", "6to4"),
            ("2001::7f00:1", "for protocols"),
            ("::", "not global unicast"),
            ("0.0.0.0", "of this network, or unspecified"),
        ];
        for (address, what) in special_ones {
            assert_eq!(special(ip(address)), Some(what), "{address}");
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_every_registered_block_are_refused() {
        for block in registered() {
            for address in [block.network(), block.broadcast()] {
                assert!(special(address).is_some(), "{address} of {block}");
            }
        }
    }

    /// Any address of a block.
    fn within(block: IpNet) -> impl Strategy<Value = IpAddr> {
        any::<u128>().prop_map(move |bits| match block {
            IpNet::V4(block) => {
                let mask = u32::from(block.hostmask());
                #[allow(clippy::cast_possible_truncation, reason = "any bits will do")]
                let bits = bits as u32;
                IpAddr::from(Ipv4Addr::from(u32::from(block.network()) | (bits & mask)))
            }
            IpNet::V6(block) => {
                let mask = u128::from(block.hostmask());
                IpAddr::from(Ipv6Addr::from(u128::from(block.network()) | (bits & mask)))
            }
        })
    }

    proptest! {
        #[test]
        fn every_address_of_the_registries_is_refused_in_every_form(
            address in proptest::sample::select(registered()).prop_flat_map(within)
        ) {
            prop_assert!(special(address).is_some(), "{address}");
            if let IpAddr::V4(address) = address {
                let [a, b, c, d] = address.octets().map(u16::from);
                let (high, low) = (a << 8 | b, c << 8 | d);
                let forms = [
                    [0, 0, 0, 0, 0, 0xffff, high, low],
                    [0, 0, 0, 0, 0, 0, high, low],
                    [0, 0, 0, 0, 0xffff, 0, high, low],
                    [0x64, 0xff9b, 0, 0, 0, 0, high, low],
                    [0x64, 0xff9b, 1, 0, 0, 0, high, low],
                    [0x2002, high, low, 0, 0, 0, 0, 1],
                    [0x2001, 0, 0, 0, 0, 0, !high, !low],
                ];
                for form in forms {
                    let form = Ipv6Addr::from(form);
                    prop_assert!(special(form.into()).is_some(), "{form}");
                }
            }
        }

        #[test]
        fn what_is_open_is_in_no_registered_block(bits in any::<u128>()) {
            // Within global unicast, where most of what is drawn is open.
            let address = IpAddr::from(Ipv6Addr::from((bits >> 3) | (1 << 125)));
            if special(address).is_none() {
                for block in registered() {
                    prop_assert!(!block.contains(&address), "{address} in {block}");
                }
            }
        }
    }

    fn rules(networks: &[&str]) -> AddressRules {
        AddressRules::new(networks.iter().map(|it| it.parse().unwrap()).collect())
    }

    #[test]
    fn what_the_operator_named_is_open_and_its_neighbours_are_not() {
        let loopback = rules(&["127.0.0.0/8"]);
        let checked = |rules: &AddressRules, address| rules.check(ip(address), 443).unwrap();
        assert_eq!(checked(&loopback, "127.9.9.9"), Ok(ip("127.9.9.9")));
        // It is connected to as what it is.
        assert_eq!(checked(&loopback, "::ffff:127.0.0.1"), Ok(ip("127.0.0.1")));
        for other in ["10.0.0.1", "::1", "::127.0.0.1", "64:ff9b::127.0.0.1"] {
            let refused = checked(&loopback, other).unwrap_err().to_string();
            assert!(refused.contains("allow-networks"), "{refused}");
        }
        for nothing in ["127.0.0.1", "::ffff:127.0.0.1"] {
            assert!(checked(&rules(&[]), nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn where_the_node_listens_is_open_only_if_it_is_named_by_itself() {
        let listening: SocketAddr = "0.0.0.0:7443".parse().unwrap();
        let wide = rules(&["127.0.0.0/8"]);
        wide.listens_on(listening);
        assert!(wide.check(ip("127.0.0.1"), 7443).unwrap().is_err());
        assert!(wide.check(ip("127.0.0.1"), 7444).unwrap().is_ok());
        let narrow = rules(&["127.0.0.0/8", "127.0.0.1/32"]);
        narrow.listens_on(listening);
        assert!(narrow.check(ip("127.0.0.1"), 7443).unwrap().is_ok());
        assert!(narrow.check(ip("127.0.0.2"), 7443).unwrap().is_err());
    }

    #[test]
    fn a_machine_knows_its_own_addresses() {
        for own in ["127.0.0.1", "127.9.9.9"] {
            assert!(is_own(ip(own)).unwrap(), "{own}");
        }
        for other in ["192.0.2.1", "8.8.8.8"] {
            assert!(!is_own(ip(other)).unwrap(), "{other}");
        }
    }
}

//! Where a request goes: what its scheme and authority say, strictly read.
//!
//! A host that could be read in two ways is none. Names that some resolvers take for numbers, `0x7f.1` or
//! `2130706433`, are refused here; what a name resolves to is looked at all the same.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::OutgoingError;

const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A host, in the one spelling that it has here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    /// By its number.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as an authority has it: IPv6 in brackets.
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Host::Address(address.into()));
        }
        let labels = || text.split('.');
        let is_label = |label: &str| {
            let of_the_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(of_the_alphabet)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // No top-level domain is a number, so whatever ends in one is an address in some notation.
        let is_number = |label: &str| {
            let hexadecimal = label.strip_prefix("0x").or(label.strip_prefix("0X"));
            match hexadecimal {
                Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
                None => label.bytes().all(|byte| byte.is_ascii_digit()),
            }
        };
        let is_name = text.len() <= MAX_NAME_BYTES
            && labels().all(is_label)
            && !labels().next_back().is_some_and(is_number);
        is_name.then(|| Host::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => formatter.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

/// A host, a port, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl Destination {
    /// Reads what a request says.
    ///
    /// # Errors
    /// When the scheme is neither `https` nor `http`, or the authority is not `HOST` or `HOST:PORT`.
    pub(crate) fn parse(scheme: &str, authority: &str) -> Result<Self, OutgoingError> {
        let (is_tls, default_port) = match scheme {
            "https" => (true, HTTPS_PORT),
            "http" => (false, HTTP_PORT),
            _ => return Err(OutgoingError::NoScheme),
        };
        // Between brackets there are colons, and no port.
        let port_at = match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => Some(colon),
            _ => None,
        };
        let (host, port) = match port_at.and_then(|colon| authority.split_at_checked(colon)) {
            None => (authority, Some(default_port)),
            Some((host, port)) => (host, port.strip_prefix(':').and_then(parse_port)),
        };
        match (Host::parse(host), port) {
            (Some(host), Some(port)) => Ok(Destination { host, port, is_tls }),
            _ => Err(OutgoingError::NoDestination),
        }
    }

    fn is_default_port(&self) -> bool {
        self.port == if self.is_tls { HTTPS_PORT } else { HTTP_PORT }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 5;
    let port = is_plain.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port > 0)
}

/// As the authority of a request: what the server is told, and what is logged.
impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default_port() {
            return write!(formatter, "{}", self.host);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_one_meaning() {
        let table = [
            ("https", "example.com", "example.com", 443),
            ("https", "Example.COM:443", "example.com", 443),
            ("http", "example.com", "example.com", 80),
            ("http", "example.com:8080", "example.com:8080", 8080),
            ("https", "a_b.x-y.example", "a_b.x-y.example", 443),
            ("https", "localhost", "localhost", 443),
            ("https", "127.0.0.1", "127.0.0.1", 443),
            ("https", "[::1]", "[::1]", 443),
            ("https", "[0:0::1]:444", "[::1]:444", 444),
            ("https", "1.example.0xyz", "1.example.0xyz", 443),
        ];
        for (scheme, authority, shown, port) in table {
            let destination = Destination::parse(scheme, authority).unwrap();
            assert_eq!(destination.to_string(), shown);
            assert_eq!(
                (destination.port, destination.is_tls),
                (port, scheme == "https")
            );
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = "a.".repeat(130) + "example";
        let label = "a".repeat(64);
        let refused = [
            // Addresses in other notations: dword, octal, hexadecimal, short.
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.0.01",
            "0177.0.0.1",
            "1.2.3.4.5",
            "256.0.0.1",
            "example.0x",
            "0x",
            // Neither a name nor an address.
            "",
            ".",
            "example.com.",
            ".example.com",
            "example..com",
            "-example.com",
            "example-.com",
            "*.example.com",
            "user@example.com",
            "user:pass@example.com",
            "example.com/x",
            "example.com#x",
            "exämple.com",
            "ex%61mple.com",
            "example.com ",
            "::1",
            "[::1",
            "[::1%25lo]",
            "[fe80::1%lo]",
            "[127.0.0.1]",
            &long,
            &label,
            // No port.
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+443",
            "example.com:443:443",
            "example.com:00000443",
            "[::1]443",
        ];
        for authority in refused {
            let parsed = Destination::parse("https", authority);
            assert_eq!(parsed, Err(OutgoingError::NoDestination), "{authority}");
        }
        for scheme in ["", "HTTPS", "ftp", "file", "ws"] {
            let parsed = Destination::parse(scheme, "example.com");
            assert_eq!(parsed, Err(OutgoingError::NoScheme), "{scheme}");
        }
    }
}

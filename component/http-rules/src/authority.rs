//! `Host`: what it may look like (RFC 9112, 3.2; RFC 3986, 3.2), and which names are answered.
//!
//! A name is foreign if somebody else may own it. So names are answered that nobody can register
//! (`localhost` and below, names without a dot) and those the operator has listed. An address is
//! not looked up in DNS, and no page can be made to have one by DNS.

use std::net::{IpAddr, Ipv6Addr};

/// A host and perhaps a port, as `Host` and URLs have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name or an address, as sent; an IPv6 address with its brackets.
    pub host: &'a str,
    /// Absent, or empty: the scheme's own.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` where the text is no authority: empty, with a user, a path, spaces, or a wrong port.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(inside) => {
                let end = inside.find(']')?;
                inside[..end].parse::<Ipv6Addr>().ok()?;
                text.split_at(end + 2)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        (host.starts_with('[') || is_name(host)).then_some(Authority { host, port })
    }

    /// The address, if it is one and no name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let bare = self.host.strip_prefix('[');
        let bare = bare.and_then(|host| host.strip_suffix(']'));
        Some(
            bare.unwrap_or(self.host)
                .parse::<IpAddr>()
                .ok()?
                .to_canonical(),
        )
    }

    /// A name that nobody can own: `localhost`, names below it, and names without a dot, which a
    /// resolver finds on the machine or in its own network only.
    #[must_use]
    pub fn is_local_name(&self) -> bool {
        let name = self.host.strip_suffix('.').unwrap_or(self.host);
        let last = name.rsplit('.').next().unwrap_or_default();
        // Browsers read a last label of digits or hexadecimal digits as an address.
        let number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.to_ascii_lowercase().starts_with("0x");
        !number && (!name.contains('.') || last.eq_ignore_ascii_case("localhost"))
    }
}

/// A name as DNS and people have them. What RFC 3986 allows besides is in no name that exists, and
/// a comma would be two headers made one.
fn is_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !host.is_empty() && host.bytes().all(allowed)
}

/// Which addresses are answered as `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Whichever clients use: the pod's, the service's, a load balancer's.
    Any,
    /// Those of the machine itself: nobody else can reach a listener on 127.0.0.1.
    Loopback,
}

/// The names that are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Whatever `Host` says.
    Any,
    /// Local names, addresses, and these: a name, or `.example.com` for it and all names below it.
    Names(Vec<String>, Addresses),
}

impl AllowedHosts {
    /// By the setting `allowed_hosts`: empty is not set, and then `default` holds.
    #[must_use]
    pub fn of_setting(names: &[String], addresses: Addresses, default: AllowedHosts) -> Self {
        match names {
            [] => default,
            names if names.iter().any(|name| name == "*") => AllowedHosts::Any,
            names => AllowedHosts::Names(names.to_vec(), addresses),
        }
    }

    /// True if a request to this authority is answered.
    #[must_use]
    pub fn allow(&self, authority: &Authority<'_>) -> bool {
        let AllowedHosts::Names(names, addresses) = self else {
            return true;
        };
        let host = authority.host.strip_suffix('.').unwrap_or(authority.host);
        let listed = names.iter().any(|name| match name.strip_prefix('.') {
            Some(domain) => is_or_is_below(host, domain),
            None => host.eq_ignore_ascii_case(name),
        });
        let fits = match authority.address() {
            Some(address) => *addresses == Addresses::Any || address.is_loopback(),
            None => authority.is_local_name(),
        };
        listed || fits
    }
}

fn is_or_is_below(host: &str, domain: &str) -> bool {
    let start = host.len().checked_sub(domain.len());
    start.is_some_and(|start| {
        host.get(start..)
            .is_some_and(|end| end.eq_ignore_ascii_case(domain))
            && (start == 0 || host.as_bytes()[start - 1] == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> AllowedHosts {
        AllowedHosts::Names(Vec::new(), Addresses::Loopback)
    }

    fn allows(hosts: &AllowedHosts, text: &str) -> Option<bool> {
        Authority::parse(text).map(|authority| hosts.allow(&authority))
    }

    #[test]
    fn a_loopback_listener_answers_local_names_and_its_own_addresses() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "llm.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.1.2.3:",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
            "sterna:80",
            "test",
            "x",
        ] {
            assert_eq!(allows(&local(), host), Some(true), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "evil.localhost.example",
            "notlocalhost.com",
            "10.0.0.7",
            "0.0.0.0:8080",
            "[2001:db8::1]",
            "[::]",
            "2130706433",
            "0x7f000001",
            "127.1",
            "1.2.3.4.5",
        ] {
            assert_eq!(allows(&local(), host), Some(false), "{host}");
        }
    }

    #[test]
    fn what_is_no_authority_is_none() {
        for text in [
            "",
            ":80",
            "a b",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "user@localhost",
            "localhost/",
            "localhost?x",
            "[::1",
            "[::1]x",
            "[localhost]",
            "::1",
            "a,b",
            "a;b",
            "h\u{f6}st",
            "a%2eb",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn listed_names_are_answered_beside_local_ones_and_addresses() {
        let names = ["llm.example".to_owned(), ".chat.example".to_owned()];
        let hosts = AllowedHosts::of_setting(&names, Addresses::Any, AllowedHosts::Any);
        for (host, allowed) in [
            ("llm.example", true),
            ("LLM.example.:443", true),
            ("a.llm.example", false),
            ("chat.example", true),
            ("a.b.chat.example", true),
            ("xchat.example", false),
            ("chat.example.evil", false),
            ("localhost:9000", true),
            ("10.1.2.3:8080", true),
        ] {
            assert_eq!(allows(&hosts, host), Some(allowed), "{host}");
        }
    }

    #[test]
    fn a_star_and_no_setting_leave_it_to_the_default() {
        let any = ["a.example".to_owned(), "*".to_owned()];
        let hosts = AllowedHosts::of_setting(&any, Addresses::Loopback, local());
        assert_eq!(allows(&hosts, "evil.example"), Some(true));
        let hosts = AllowedHosts::of_setting(&[], Addresses::Any, local());
        assert_eq!(hosts, local());
    }
}

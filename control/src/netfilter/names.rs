//! Names of protocols and services: those of `/etc/protocols` and `/etc/services`, and the common ones built in, so that
//! a machine without these files reads the same rules.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Protocols by the names `/etc/protocols` has on common systems.
const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("eigrp", 88),
    ("ospf", 89),
    ("ipip", 94),
    ("etherip", 97),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
];

/// Names that iptables knows beside those of the file.
const PROTOCOL_ALIASES: &[(&str, u8)] = &[("all", 0), ("icmpv6", 58), ("mh", 135), ("ipv6-mh", 135)];

/// Services people write in rules, with both transports where both are assigned.
const SERVICES: &[(&str, u16, &str)] = &[
    ("echo", 7, "both"),
    ("discard", 9, "both"),
    ("ftp-data", 20, "tcp"),
    ("ftp", 21, "tcp"),
    ("ssh", 22, "tcp"),
    ("telnet", 23, "tcp"),
    ("smtp", 25, "tcp"),
    ("mail", 25, "tcp"),
    ("time", 37, "both"),
    ("domain", 53, "both"),
    ("bootps", 67, "udp"),
    ("bootpc", 68, "udp"),
    ("tftp", 69, "udp"),
    ("http", 80, "tcp"),
    ("www", 80, "tcp"),
    ("kerberos", 88, "both"),
    ("pop3", 110, "tcp"),
    ("sunrpc", 111, "both"),
    ("ntp", 123, "udp"),
    ("netbios-ns", 137, "udp"),
    ("netbios-dgm", 138, "udp"),
    ("netbios-ssn", 139, "tcp"),
    ("imap2", 143, "tcp"),
    ("imap", 143, "tcp"),
    ("snmp", 161, "both"),
    ("snmp-trap", 162, "both"),
    ("bgp", 179, "tcp"),
    ("ldap", 389, "both"),
    ("https", 443, "both"),
    ("microsoft-ds", 445, "both"),
    ("submissions", 465, "tcp"),
    ("isakmp", 500, "udp"),
    ("syslog", 514, "udp"),
    ("rip", 520, "udp"),
    ("submission", 587, "tcp"),
    ("ipp", 631, "tcp"),
    ("ldaps", 636, "both"),
    ("rsync", 873, "tcp"),
    ("imaps", 993, "tcp"),
    ("pop3s", 995, "tcp"),
    ("openvpn", 1194, "both"),
    ("l2f", 1701, "udp"),
    ("nfs", 2049, "both"),
    ("mysql", 3306, "tcp"),
    ("ipsec-nat-t", 4500, "udp"),
    ("sip", 5060, "both"),
    ("postgresql", 5432, "tcp"),
    ("http-alt", 8080, "both"),
];

/// The number of a protocol given as a number or by a name, in any case; 0 is every protocol.
pub(super) fn protocol(text: &str) -> Option<u8> {
    if let Some(number) = super::parse::values::number(text, 255) {
        return u8::try_from(number).ok();
    }
    let name = text.to_ascii_lowercase();
    let tables = tables();
    let built_in = || PROTOCOLS.iter().chain(PROTOCOL_ALIASES).find(|(n, _)| *n == name).map(|&(_, p)| p);
    tables.protocols.get(&name).copied().or_else(built_in)
}

/// The name `iptables-save` prints for a protocol.
pub(super) fn protocol_name(number: u8) -> String {
    let built_in = || PROTOCOLS.iter().find(|&&(_, p)| p == number).map(|(name, _)| (*name).to_owned());
    tables().protocol_names.get(&number).cloned().or_else(built_in).unwrap_or_else(|| number.to_string())
}

/// Names of protocols, for suggestions.
pub(super) fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().chain(PROTOCOL_ALIASES).map(|(name, _)| *name)
}

/// The port of a service of protocol `proto` (`tcp`, `udp`, ...); names are told apart by case.
pub(super) fn service(name: &str, proto: &str) -> Option<u16> {
    let of = |(n, _, p): &&(&str, u16, &str)| *n == name && (*p == proto || *p == "both");
    let built_in = || matches!(proto, "tcp" | "udp").then(|| SERVICES.iter().find(of))?.map(|s| s.1);
    tables().services.get(&(name.to_owned(), proto.to_owned())).copied().or_else(built_in)
}

/// The name of a port, as `iptables -L` without `-n` prints it.
pub(super) fn service_name(port: u16, proto: &str) -> Option<String> {
    let of = |(_, p, t): &&(&str, u16, &str)| *p == port && (*t == proto || *t == "both");
    let built_in =
        || matches!(proto, "tcp" | "udp").then(|| SERVICES.iter().find(of))?.map(|s| s.0.to_owned());
    tables().service_names.get(&(port, proto.to_owned())).cloned().or_else(built_in)
}

/// What the two files say, read once.
#[derive(Default)]
struct Tables {
    protocols: HashMap<String, u8>,
    protocol_names: HashMap<u8, String>,
    services: HashMap<(String, String), u16>,
    service_names: HashMap<(u16, String), String>,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Tables::read(&read("/etc/protocols"), &read("/etc/services"))
    })
}

impl Tables {
    /// The first entry of a number or name counts, as with getprotobynumber(3) and getservbyname(3).
    fn read(protocols: &str, services: &str) -> Tables {
        let mut tables = Tables::default();
        for words in protocols.lines().map(words) {
            let [name, number, aliases @ ..] = words.as_slice() else { continue };
            let Ok(number) = number.parse::<u8>() else { continue };
            tables.protocol_names.entry(number).or_insert_with(|| (*name).to_owned());
            for name in std::iter::once(name).chain(aliases) {
                tables.protocols.entry((*name).to_owned()).or_insert(number);
            }
        }
        for words in services.lines().map(words) {
            let [name, port, aliases @ ..] = words.as_slice() else { continue };
            let Some((port, proto)) = port.split_once('/') else { continue };
            let Ok(port) = port.parse::<u16>() else { continue };
            tables.service_names.entry((port, proto.to_owned())).or_insert_with(|| (*name).to_owned());
            for name in std::iter::once(name).chain(aliases) {
                tables.services.entry(((*name).to_owned(), proto.to_owned())).or_insert(port);
            }
        }
        tables
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split('#').next().unwrap_or_default().split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_go_by_number_and_name() {
        for (text, number) in
            [("6", 6), ("0x6", 6), ("TCP", 6), ("all", 0), ("icmpv6", 58), ("mh", 135), ("253", 253)]
        {
            assert_eq!(protocol(text), Some(number), "{text}");
        }
        assert_eq!((protocol("256"), protocol("foo"), protocol("")), (None, None, None));
        assert_eq!(protocol_name(6), "tcp");
        assert_eq!(protocol_name(253), "253");
    }

    #[test]
    fn services_depend_on_the_protocol() {
        assert_eq!(service("ssh", "tcp"), Some(22));
        assert_eq!(service("ssh", "sctp"), None);
        assert_eq!(service("SSH", "tcp"), None);
        assert_eq!(service_name(53, "udp").as_deref(), Some("domain"));
    }

    #[test]
    fn the_files_are_read_as_libc_reads_them() {
        let tables = Tables::read("tcp 6 TCP # x\nbad\n", "www 80/tcp http w # c\nfoo 80/tcp\nx y\n");
        assert_eq!((tables.protocols["TCP"], tables.protocol_names[&6].as_str()), (6, "tcp"));
        assert_eq!(tables.services[&("w".to_owned(), "tcp".to_owned())], 80);
        assert_eq!(tables.service_names[&(80, "tcp".to_owned())], "www");
    }
}

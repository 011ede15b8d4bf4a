//! Random rule sets in `iptables-save`'s language, and packets of which they catch a good part.

use std::fmt::Write as _;

use crate::frames::{Frame, Rng, seal};

/// Networks that packets come from and go to; the first of each is on the link.
const SOURCES: [[u8; 2]; 3] = [[10, 1], [20, 0], [20, 1]];
const DESTINATIONS: [[u8; 2]; 3] = [[10, 2], [30, 0], [30, 1]];
const PORTS: [u16; 8] = [22, 53, 80, 123, 443, 1024, 5001, 33434];

/// A rule set for the tables raw, mangle and filter. Chains jump to later chains only, so there are no loops; nothing
/// in it depends on time or chance.
pub fn random_ruleset(rng: &mut Rng) -> String {
    let mut text = String::new();
    for (table, chains) in [
        ("raw", &["PREROUTING", "OUTPUT"][..]),
        ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
        ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ] {
        let user = if table == "filter" { ["u0", "u1", "u2"].as_slice() } else { &["v0"] };
        let _ = writeln!(text, "*{table}");
        for chain in chains {
            let policy = if table == "filter" && rng.one_in(5) { "DROP" } else { "ACCEPT" };
            let _ = writeln!(text, ":{chain} {policy} [0:0]");
        }
        user.iter().for_each(|chain| text += &format!(":{chain} - [0:0]\n"));
        for chain in chains.iter().chain(user) {
            let most = if table == "filter" { 12 } else { 4 };
            for _ in 0..rng.below(most + 1) {
                text += &rule(rng, table, chain, user);
            }
        }
        text += "COMMIT\n";
    }
    text
}

fn rule(rng: &mut Rng, table: &str, chain: &str, user: &[&str]) -> String {
    let mut line = format!("-A {chain}");
    let knows_in = matches!(chain, "PREROUTING" | "INPUT" | "FORWARD");
    let knows_out = matches!(chain, "OUTPUT" | "FORWARD" | "POSTROUTING");
    if rng.one_in(4) {
        line += &format!(" {}-s {}", not(rng), network(rng, &SOURCES));
    }
    if rng.one_in(4) {
        line += &format!(" {}-d {}", not(rng), network(rng, &DESTINATIONS));
    }
    if knows_in && rng.one_in(4) {
        line += &format!(" {}-i {}", not(rng), one(rng, &["r1", "r2", "r+", "eth7"]));
    }
    if knows_out && rng.one_in(4) {
        line += &format!(" {}-o {}", not(rng), one(rng, &["r1", "r2", "r+", "eth7"]));
    }
    let fragment = rng.one_in(12);
    if fragment {
        line += &format!(" {}-f", not(rng));
    } else {
        line += &transport(rng);
    }
    for _ in 0..rng.below(2) {
        line += &extension(rng, chain);
    }
    line + &target(rng, table, chain, user) + "\n"
}

fn transport(rng: &mut Rng) -> String {
    let ports = |rng: &mut Rng| {
        let mut text = String::new();
        for side in ["--sport", "--dport"] {
            if rng.one_in(2) {
                let (a, b) = (one(rng, &PORTS), one(rng, &PORTS));
                let range = if rng.one_in(3) { format!("{}:{}", a.min(b), a.max(b)) } else { a.to_string() };
                text += &format!(" {}{side} {range}", not(rng));
            }
        }
        text
    };
    let multiport = |rng: &mut Rng| {
        let (a, b, c) = (one(rng, &PORTS), one(rng, &PORTS), one(rng, &PORTS));
        let kind = one(rng, &["--sports", "--dports", "--ports"]);
        format!(" -m multiport {}{kind} {a},{}:{}", not(rng), b.min(c), b.max(c) + 1)
    };
    match rng.below(9) {
        0 => format!(" -p tcp -m tcp{}", ports(rng)),
        1 => {
            let flags =
                one(rng, &["SYN,RST,ACK,FIN SYN", "ALL NONE", "SYN,FIN SYN,FIN", "ACK ACK", "RST RST"]);
            format!(" -p tcp -m tcp {}--tcp-flags {flags}", not(rng))
        }
        2 => format!(" -p udp -m udp{}", ports(rng)),
        3 => format!(" -p {}{}", one(rng, &["tcp", "udp"]), multiport(rng)),
        4 => {
            let kind = one(rng, &["any", "8", "0", "3/1", "11", "13"]);
            format!(" -p icmp -m icmp {}--icmp-type {kind}", if kind == "any" { "" } else { not(rng) })
        }
        5 => format!(" {}-p {}", not(rng), one(rng, &["tcp", "udp", "icmp", "gre", "99"])),
        _ => String::new(),
    }
}

fn extension(rng: &mut Rng, chain: &str) -> String {
    let invert = not(rng);
    match rng.below(13) {
        0 => format!(" -m ttl {}", one(rng, &["--ttl-eq 64", "--ttl-lt 10", "--ttl-gt 63", "! --ttl-eq 64"])),
        1 => format!(" -m length {invert}--length {}", one(rng, &["0:60", "100:400", "28", "600:65535"])),
        2 => format!(" -m dscp {invert}--dscp {}", one(rng, &["0x00", "0x2e", "0x0a"])),
        3 => format!(" -m tos {invert}--tos {}", one(rng, &["0x10/0x3f", "0xb8/0xff", "0x00/0x03"])),
        4 => format!(" -m mark {invert}--mark {}", one(rng, &["0x1", "0x2/0x3", "0x0", "0x10/0xf0"])),
        5 => {
            let (a, b) = (rng.below(200), rng.below(200));
            let (low, high) = (a.min(b), a.max(b));
            format!(" -m iprange {invert}--src-range 20.0.0.{low}-20.1.0.{high}")
        }
        6 => {
            format!(" -m addrtype {invert}--dst-type {}", one(rng, &["LOCAL", "UNICAST", "LOCAL,BROADCAST"]))
        }
        7 => format!(" -m pkttype {invert}--pkt-type {}", one(rng, &["unicast", "broadcast", "multicast"])),
        // Not where OUTPUT may come: its packets have no sender's MAC.
        8 if matches!(chain, "PREROUTING" | "INPUT" | "FORWARD" | "u0") => {
            format!(" -m mac {invert}--mac-source 02:AA:00:00:00:0{}", 1 + rng.below(2))
        }
        9 => format!(
            " -m u32 {invert}--u32 \"{}\"",
            one(rng, &["0x4&0x1fff=0x0", "0x6&0xff=0x11", "0x0>>0x16&0x3c@0x0>>0x10=0x16:0x50"])
        ),
        10 => format!(" -m ecn {invert}--ecn-ip-ect {}", rng.below(4)),
        11 => " -m comment --comment \"a rule of chance\"".to_owned(),
        12 if matches!(chain, "PREROUTING" | "FORWARD") => {
            let every = 2 + rng.below(5);
            format!(" -m statistic --mode nth --every {every} --packet {}", rng.below(every))
        }
        _ => String::new(),
    }
}

fn target(rng: &mut Rng, table: &str, chain: &str, user: &[&str]) -> String {
    let later: Vec<&&str> = match user.iter().position(|u| *u == chain) {
        Some(at) => user[at + 1..].iter().collect(),
        // What INPUT and FORWARD may refuse, OUTPUT may not reach: it would refuse its own refusals.
        None if chain == "OUTPUT" => user.iter().skip(1).collect(),
        None => user.iter().collect(),
    };
    let kind = rng.below(10);
    match (table, kind) {
        (_, 0) => String::new(),
        (_, 1 | 2) if !later.is_empty() => {
            let how = if rng.one_in(4) { "-g" } else { "-j" };
            format!(" {how} {}", later[rng.below(later.len())])
        }
        (_, 3) => " -j RETURN".to_owned(),
        ("mangle", 4) => {
            format!(" -j MARK --set-xmark {}", one(rng, &["0x1/0xffffffff", "0x2/0x3", "0x10/0xf0"]))
        }
        ("mangle", 5) => format!(" -j DSCP --set-dscp {}", one(rng, &["0x2e", "0x0a", "0x00"])),
        ("mangle", 6) => format!(" -j TOS --set-tos {}", one(rng, &["0x10/0x3f", "0x00/0xff"])),
        ("mangle", 7) => format!(" -j TTL --ttl-{}", one(rng, &["set 33", "inc 1", "dec 3"])),
        ("mangle", 8) if matches!(chain, "FORWARD" | "OUTPUT" | "POSTROUTING") => {
            " -j CLASSIFY --set-class 0001:0010".to_owned()
        }
        ("filter", 4) if matches!(chain, "INPUT" | "FORWARD" | "u0") => {
            let with = ["icmp-port-unreachable", "icmp-admin-prohibited", "icmp-host-unreachable"];
            format!(" -j REJECT --reject-with {}", one(rng, &with))
        }
        ("filter", 5 | 6) | ("raw" | "mangle", 9) if rng.one_in(2) => " -j DROP".to_owned(),
        ("raw", 4) => format!(" -j MARK --set-xmark {}", one(rng, &["0x3/0xffffffff", "0x20/0xf0"])),
        _ => " -j ACCEPT".to_owned(),
    }
}

fn not(rng: &mut Rng) -> &'static str {
    if rng.one_in(5) { "! " } else { "" }
}

fn one<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len())]
}

fn network(rng: &mut Rng, nets: &[[u8; 2]]) -> String {
    let [a, b] = one(rng, nets);
    match rng.below(5) {
        0 => format!("{a}.{b}.0.{}/32", 1 + rng.below(8)),
        1 => format!("{a}.{b}.0.0/29"),
        2 => format!("{a}.0.0.0/8"),
        3 => format!("{a}.0.0.{}/255.0.0.255", rng.below(16)),
        _ => format!("{a}.{b}.0.0/16"),
    }
}

/// A packet a host sends to a router with the addresses 10.1.0.1 and 10.2.0.1: through it to the networks the rules
/// know, or to the router itself.
pub fn random_packet(rng: &mut Rng, dst_mac: [u8; 6], src_mac: [u8; 6], back: bool) -> Frame {
    let (from, to) = if back { (&DESTINATIONS, &SOURCES) } else { (&SOURCES, &DESTINATIONS) };
    let (own, far) = if back { ([10, 2], [10, 1]) } else { ([10, 1], [10, 2]) };
    let mut host = |nets: &[[u8; 2]], link: [u8; 2]| {
        let [a, b] = one(rng, nets);
        // Only .2 is there on a link; behind it there is any.
        let last = if [a, b] == link { 2 } else { 1 + rng.below(200) as u8 };
        [a, b, 0, last]
    };
    let src = host(from, own);
    let mut dst = host(to, far);
    let local = rng.one_in(8);
    if local {
        dst = if rng.one_in(2) { [10, 1, 0, 1] } else { [10, 2, 0, 1] };
    }
    let payload = transport_bytes(rng, src, dst);
    let mut frame = vec![0; 34];
    frame[..6].copy_from_slice(&dst_mac);
    if local && rng.one_in(6) {
        frame[..6].fill(0xff);
    }
    frame[6..12].copy_from_slice(&src_mac);
    frame[12..14].copy_from_slice(&[8, 0]);
    let (protocol, bytes) = payload;
    let len = (20 + bytes.len()) as u16;
    // Fragments to the router itself would wait for the others of their datagram.
    let fragment: u16 = match rng.below(12) {
        0 if !local => 0x2000,
        1 if !local => 0x00b9,
        2 => 0x4000,
        _ => 0,
    };
    let id = rng.bits() as u16;
    let ttl = one(rng, &[1, 2, 5, 9, 63, 64, 64, 64, 64, 255]);
    let tos = one(rng, &[0, 0, 0, 0x10, 0x28, 0xb8, 0x01, 0x02, 0x03]);
    frame[14..16].copy_from_slice(&[0x45, tos]);
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[20..22].copy_from_slice(&fragment.to_be_bytes());
    frame[22..24].copy_from_slice(&[ttl, protocol]);
    frame[26..30].copy_from_slice(&src);
    frame[30..34].copy_from_slice(&dst);
    frame.extend_from_slice(&bytes);
    seal(&mut frame);
    frame
}

/// Protocol and bytes behind the IP header, checksums right.
fn transport_bytes(rng: &mut Rng, src: [u8; 4], dst: [u8; 4]) -> (u8, Vec<u8>) {
    let data = one(rng, &[0, 4, 20, 100, 300, 700]);
    let (sport, dport) = (one(rng, &PORTS), one(rng, &PORTS));
    let (protocol, mut bytes, check_at) = match rng.below(10) {
        0..4 => {
            let flags = one(rng, &[2, 0x12, 0x10, 0x11, 4, 0x14, 0x18, 0, 3, 0x3f]);
            let mut tcp = vec![0; 20 + data];
            tcp[4..12].copy_from_slice(&rng.bits().to_be_bytes());
            tcp[12..14].copy_from_slice(&[5 << 4, flags]);
            tcp[14] = 0x20;
            (6, tcp, Some(16))
        }
        4..7 => {
            let mut udp = vec![0; 8 + data];
            udp[4..6].copy_from_slice(&((8 + data) as u16).to_be_bytes());
            (17, udp, Some(6))
        }
        7 | 8 => {
            let mut icmp = vec![0; 8 + data];
            icmp[0] = one(rng, &[8, 8, 0, 13]);
            icmp[4..8].copy_from_slice(&[1, 2, 3, 4]);
            // A timestamp request is 20 bytes long, and what answers it depends on the time of day.
            if icmp[0] == 13 {
                icmp[0] = 0;
            }
            (1, icmp, None)
        }
        _ => (one(rng, &[47, 99]), vec![0; 4 + data], None),
    };
    if let Some(at) = check_at {
        bytes[..2].copy_from_slice(&sport.to_be_bytes());
        bytes[2..4].copy_from_slice(&dport.to_be_bytes());
        let mut pseudo = [src, dst].concat();
        pseudo.extend_from_slice(&[0, protocol]);
        pseudo.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        let sum = ones_complement(&[pseudo.as_slice(), &bytes].concat());
        bytes[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
    } else if protocol == 1 {
        let sum = ones_complement(&bytes);
        bytes[2..4].copy_from_slice(&(!sum).to_be_bytes());
    }
    (protocol, bytes)
}

fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_sets_repeat_and_differ() {
        let set = |seed| random_ruleset(&mut Rng::new(seed));
        assert_eq!(set(3), set(3));
        assert_ne!(set(3), set(4));
        let all: String = (0..50).map(set).collect();
        for word in
            ["REJECT", "-g u", "multiport", "--tcp-flags", "-m u32", "nth", "TTL", "MARK", "-f", "RETURN"]
        {
            assert!(all.contains(word), "{word}");
        }
    }
}

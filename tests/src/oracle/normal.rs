//! Frames as lines of text, with what may differ between two sound routers taken out: identifications they choose,
//! clocks, and checksums over these (which are verified instead).

use std::fmt::Write as _;

use super::packet::{ICMP, TCP, UDP, checksum};
use super::shape::{Addr, is_routers};

/// How far two readings of the clock in one exchange may be apart, milliseconds.
const CLOCK_SLACK: u32 = 20_000;

/// One frame: what it is, and its bytes.
pub fn line(frame: &[u8]) -> String {
    let mut bytes = frame.to_vec();
    let mut text = String::new();
    match (ethertype(&bytes), bytes.len()) {
        (0x0800, 34..) => ipv4(&mut bytes[14..], true, &mut text),
        (0x0806, 42..) => arp(&bytes[14..], &mut text),
        (other, _) => text = format!("type {other:04x}"),
    }
    let (dst, rest) = bytes.split_at(6.min(bytes.len()));
    let (src, rest) = rest.split_at(6.min(rest.len()));
    format!("{text} [{} {} {}]", hex(dst), hex(src), hex(rest))
}

/// The type of an untagged frame.
pub fn ethertype(frame: &[u8]) -> u16 {
    frame.get(12..14).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn arp(arp: &[u8], text: &mut String) {
    let op = if arp[7] == 1 { "request" } else { "reply" };
    let _ =
        write!(text, "ARP {op} {} is {}, asks {}", addr(&arp[14..18]), hex(&arp[8..14]), addr(&arp[24..28]));
}

/// Normalises a packet in place and says what it is. `outer` is false for one that is quoted.
fn ipv4(ip: &mut [u8], outer: bool, text: &mut String) {
    let header_len = usize::from(ip[0] & 15) * 4;
    if header_len < 20 || header_len > ip.len() {
        let _ = write!(text, "IPv4 with a header of {header_len}");
        return;
    }
    let src: Addr = [ip[12], ip[13], ip[14], ip[15]];
    let id = [ip[4], ip[5]];
    let good = checksum(&ip[..header_len]) == 0;
    timestamps(&mut ip[20..header_len]);
    let ours = is_routers(src) || src[0] == 127;
    if outer && ours && id != [0, 0] {
        ip[4..6].fill(0xdd);
    }
    if good {
        ip[10..12].fill(0);
    }
    let frag_off = u16::from_be_bytes([ip[6], ip[7]]);
    let total = u16::from_be_bytes([ip[2], ip[3]]);
    let _ = write!(text, "IPv4 {} > {} ttl {} len {total}", addr(&ip[12..16]), addr(&ip[16..20]), ip[8]);
    if ip[1] != 0 {
        let _ = write!(text, " tos {:02x}", ip[1]);
    }
    if frag_off & 0x3fff != 0 {
        let more = if frag_off & 0x2000 != 0 { "+" } else { "" };
        let _ = write!(text, " frag {}{more}", u32::from(frag_off & 0x1fff) * 8);
    }
    if frag_off & 0x4000 != 0 {
        text.push_str(" DF");
    }
    if header_len > 20 {
        let _ = write!(text, " options {}", hex(&ip[20..header_len]));
    }
    if !good {
        text.push_str(" BAD-HEADER-CHECKSUM");
    }
    let whole = frag_off & 0x3fff == 0;
    let protocol = ip[9];
    let body = &mut ip[header_len..];
    match protocol {
        ICMP if whole && body.len() >= 8 => icmp(body, outer, text),
        UDP if whole && body.len() >= 8 => text.push_str(" UDP"),
        TCP if whole && body.len() >= 20 => {
            let _ = write!(text, " TCP flags {:02x}", body[13]);
        }
        other => {
            let _ = write!(text, " protocol {other}");
        }
    }
}

fn icmp(body: &mut [u8], outer: bool, text: &mut String) {
    let (kind, code) = (body[0], body[1]);
    let good = checksum(body) == 0;
    let _ = write!(text, " ICMP {kind}/{code} word {}", hex(&body[4..8]));
    if outer && good {
        body[2..4].fill(0);
    } else if outer {
        text.push_str(" BAD-ICMP-CHECKSUM");
    }
    if kind == 14 && body.len() >= 20 {
        body[12..20].chunks_mut(4).for_each(clock);
    }
    if matches!(kind, 3 | 4 | 5 | 11 | 12) && body.len() >= 28 && outer {
        text.push_str(" about ");
        ipv4(&mut body[8..], false, text);
    }
}

/// Takes the time out of timestamp options.
fn timestamps(options: &mut [u8]) {
    let mut at = 0;
    while at + 1 < options.len() {
        match options[at] {
            0 => return,
            1 => at += 1,
            kind => {
                let len = usize::from(options[at + 1]);
                if len < 2 || at + len > options.len() {
                    return;
                }
                if kind == 68 && len >= 4 {
                    options[at + 4..at + len].chunks_mut(4).for_each(clock);
                }
                at += len;
            }
        }
    }
}

/// Replaces a time of day that is now, in milliseconds (RFC 781).
fn clock(word: &mut [u8]) {
    let Ok(bytes) = <[u8; 4]>::try_from(&*word) else { return };
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let now = (since.as_millis() % 86_400_000) as u32;
    if now.abs_diff(u32::from_be_bytes(bytes)) < CLOCK_SLACK {
        word.copy_from_slice(b"TIME");
    }
}

fn addr(bytes: &[u8]) -> String {
    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
}

/// Lower-case digits without separators.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::packet::Packet;
    use super::*;

    #[test]
    fn what_a_router_chooses_is_taken_out_and_no_more() {
        let reply = |id| Packet::icmp([10, 1, 0, 1], [10, 1, 1, 2], (0, 0), 7, b"data").id(id).frame();
        assert_eq!(line(&reply(1)), line(&reply(2)));
        assert_ne!(line(&reply(1)), line(&reply(0)), "an identification of zero is a choice to be seen");
        let forwarded = |id| Packet::udp([10, 1, 1, 2], [10, 2, 0, 2], 4).id(id).frame();
        assert_ne!(line(&forwarded(1)), line(&forwarded(2)));
    }

    #[test]
    fn wrong_checksums_are_said() {
        let good = Packet::echo([10, 1, 1, 2], [10, 2, 0, 2], 8);
        assert!(!line(&good.frame()).contains("BAD"));
        assert!(line(&good.clone().wrong_header_check().frame()).contains("BAD-HEADER-CHECKSUM"));
        assert!(line(&good.check(super::super::Check::Wrong).frame()).contains("BAD-ICMP-CHECKSUM"));
    }
}

//! Protocols and bytes as tc reads and prints them.

use std::fmt::Write;

use skiff_dataplane::sched::cls::ETH_P_ALL;

use crate::tc::units::u64_in;

const PROTOCOLS: [(&str, u16); 32] = [
    ("loop", 0x60),
    ("pup", 0x200),
    ("ip", 0x800),
    ("x25", 0x805),
    ("arp", 0x806),
    ("bpq", 0x8ff),
    ("ieeepup", 0xa00),
    ("ieeepupat", 0xa01),
    ("dec", 0x6000),
    ("dna_dl", 0x6001),
    ("dna_rc", 0x6002),
    ("dna_rt", 0x6003),
    ("lat", 0x6004),
    ("diag", 0x6005),
    ("cust", 0x6006),
    ("sca", 0x6007),
    ("rarp", 0x8035),
    ("atalk", 0x809b),
    ("aarp", 0x80f3),
    ("802.1Q", 0x8100),
    ("ipx", 0x8137),
    ("ipv6", 0x86dd),
    ("ppp_disc", 0x8863),
    ("ppp_ses", 0x8864),
    ("atmmpoa", 0x884c),
    ("atmfate", 0x8884),
    ("802.1ad", 0x88a8),
    ("mpls_uc", 0x8847),
    ("mpls_mc", 0x8848),
    ("all", ETH_P_ALL),
    ("802_3", 1),
    ("802_2", 4),
];

/// An EtherType: a name or a number.
pub fn protocol(text: &str) -> Option<u16> {
    let named = |name: &str| PROTOCOLS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, p)| *p);
    match text {
        "ipv4" => Some(0x800),
        text => named(text).or_else(|| u64_in(text, 0)?.try_into().ok()),
    }
}

/// An EtherType as tc prints it.
pub fn print_protocol(protocol: u16) -> String {
    match PROTOCOLS.iter().find(|(_, p)| *p == protocol) {
        Some((name, _)) => (*name).into(),
        None => format!("[{protocol}]"),
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hexadecimal digits as bytes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_names() {
        for (name, number) in
            [("ip", 0x800), ("all", 3), ("802.1q", 0x8100), ("0x88b5", 0x88b5), ("ipv6", 0x86dd)]
        {
            assert_eq!(protocol(name), Some(number));
        }
        assert_eq!((print_protocol(0x8100).as_str(), print_protocol(0x88b5).as_str()), ("802.1Q", "[34997]"));
    }
}

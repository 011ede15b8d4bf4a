#![no_main]
//! IPv4 header and its options: no panic, and the two checksum paths agree.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::ipv4::ip_options::{Entry, IpOptions, ip_options_compile};
use skiff_dataplane::skb::checksum::ipv4_header_20_ok;
use skiff_dataplane::skb::ipv4::{Ipv4Header, decrease_ttl, set_check};

fuzz_target!(|data: &[u8]| {
    let Some(header) = Ipv4Header::parse(data) else {
        assert!(data.len() < 20);
        return;
    };
    let _ = (header.version(), header.total_len(), header.is_fragment(), header.src(), header.dst());
    if let Some(whole) = data.get(..header.header_len()).filter(|whole| whole.len() >= 20) {
        let entry = Entry { addr: 0x0a00_0001, millis: 1234, is_unicast: |addr| addr & 1 == 0 };
        let mut header = whole.to_vec();
        if let Err(offset) = ip_options_compile(&mut header, &entry, &mut IpOptions::default()) {
            assert!((20..header.len()).contains(&usize::from(offset)), "it points at an option");
        }
        assert_eq!(header[..20], whole[..20], "only options are written to");
    }
    let mut copy: [u8; 20] = data[..20].try_into().expect("20 bytes");
    // As ip_rcv finds it: a version, and a TTL to take from.
    copy[0] = 0x45;
    copy[8] = copy[8].max(1);
    set_check(&mut copy);
    assert!(ipv4_header_20_ok(&copy));
    decrease_ttl(&mut copy);
    assert!(ipv4_header_20_ok(&copy), "the checksum follows the TTL (RFC 1624)");
});

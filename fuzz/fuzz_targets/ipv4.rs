#![no_main]
//! IPv4 header and its options: no panic, and the two checksum paths agree.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::ipv4::ip_options::ip_options_compile;
use skiff_dataplane::skb::checksum::ipv4_header_20_ok;
use skiff_dataplane::skb::ipv4::{Ipv4Header, decrease_ttl, set_check};

fuzz_target!(|data: &[u8]| {
    let Some(header) = Ipv4Header::parse(data) else {
        assert!(data.len() < 20);
        return;
    };
    let _ = (header.version(), header.total_len(), header.is_fragment(), header.src(), header.dst());
    if let Some(whole) = data.get(..header.header_len()).filter(|whole| whole.len() >= 20) {
        let _ = ip_options_compile(whole);
    }
    let mut copy: [u8; 20] = data[..20].try_into().expect("20 bytes");
    // What reaches the TTL step is version 4 with 20 bytes. (All zeros would be the one header of two checksums.)
    copy[0] = 0x45;
    copy[8] = copy[8].max(1);
    set_check(&mut copy);
    assert!(ipv4_header_20_ok(&copy));
    decrease_ttl(&mut copy);
    assert!(ipv4_header_20_ok(&copy), "the checksum follows the TTL (RFC 1624)");
});

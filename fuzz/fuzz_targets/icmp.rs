#![no_main]
//! ICMP header: no panic.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::skb::icmp::IcmpHeader;

fuzz_target!(|data: &[u8]| {
    if let Some(header) = IcmpHeader::parse(data) {
        assert_eq!((header.icmp_type(), header.code()), (data[0], data[1]));
    }
});

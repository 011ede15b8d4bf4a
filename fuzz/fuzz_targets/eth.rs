#![no_main]
//! Ethernet header: read, written again, the same.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::skb::eth::{EthHeader, HEADER_LEN, emit};

fuzz_target!(|data: &[u8]| {
    let Some(header) = EthHeader::parse(data) else {
        assert!(data.len() < HEADER_LEN);
        return;
    };
    let mut again = [0; HEADER_LEN];
    emit(&mut again, header.dst(), header.src(), header.ethertype());
    assert_eq!(again, data[..HEADER_LEN]);
});

#![no_main]
//! UDP and TCP headers: no panic.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::skb::udp::{TcpHeader, UdpHeader};

fuzz_target!(|data: &[u8]| {
    if let Some(udp) = UdpHeader::parse(data) {
        let _ = (udp.len(), udp.is_empty(), udp.check());
    }
    if let Some(tcp) = TcpHeader::parse(data) {
        let _ = (tcp.source(), tcp.dest(), tcp.seq(), tcp.ack_seq(), tcp.header_len(), tcp.flags());
    }
});

#![no_main]
//! ARP packet: every accessor, and the reply to it parses.

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::neigh::arp::{ArpFrame, ArpView};
use skiff_dataplane::net::MacAddr;

fuzz_target!(|data: &[u8]| {
    let Ok(view) = ArpView::parse(data) else { return };
    let reply = ArpFrame::reply(MacAddr([2, 0, 0, 0, 0, 1]), &view);
    let bytes = reply.to_bytes();
    let answered = ArpView::parse(&bytes).expect("our own reply is sound");
    assert_eq!(answered.target_mac(), view.sender_mac());
    assert_eq!(answered.target_ip(), view.sender_ip());
    assert_eq!(answered.sender_ip(), view.target_ip());
    let _ = view.op();
});

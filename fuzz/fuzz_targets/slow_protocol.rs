#![no_main]
//! Slow protocols: what is read is written and read again the same, and the machines of a bond take it in.

use libfuzzer_sys::fuzz_target;
use skiff_control::bond::lacp::wire::SlowPdu;
use skiff_control::bond::options::BondOptions;
use skiff_control::bond::{BondMachine, MemberInfo};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

fuzz_target!(|data: &[u8]| {
    if let Ok(pdu) = SlowPdu::parse(data) {
        assert_eq!(SlowPdu::parse(&pdu.emit(MacAddr::ZERO)), Ok(pdu));
    }
    let mut options = BondOptions::default();
    if options.set("mode", "802.3ad").is_err() {
        return;
    }
    let mut now = Instant::from_secs(1);
    let mut bond = BondMachine::new("bond0", IfIndex(9), options, None, 1, now);
    bond.set_up(true, now);
    for dev in 1..=2 {
        let info = MemberInfo {
            name: format!("eth{dev}"),
            mac: MacAddr([2, 0, 0, 0, 0, dev as u8]),
            up: true,
            carrier: true,
            speed: 10_000,
            full_duplex: true,
        };
        bond.add_member(IfIndex(dev), info, now);
    }
    for (at, frame) in data.chunks(124).enumerate() {
        bond.receive(IfIndex(1 + at as u16 % 2), frame, now);
        for _ in 0..30 {
            now = bond.poll(now).unwrap_or(now);
        }
    }
    assert!(bond.view().members.iter().all(|member| !member.transmits || member.receives));
    bond.proc_text();
});

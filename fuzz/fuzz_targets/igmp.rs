#![no_main]
//! IGMP: what is read is written and read again the same, and both machines take it in.

use libfuzzer_sys::fuzz_target;
use skiff_control::igmp::Timing;
use skiff_control::igmp::filter::Filter;
use skiff_control::igmp::host::Host;
use skiff_control::igmp::querier::Querier;
use skiff_control::igmp::wire::Message;
use skiff_dataplane::skb::checksum;
use skiff_dataplane::time::Instant;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    // Half of the inputs get the right checksum: the others rarely have one.
    if bytes.len() >= 4 && bytes.len() % 2 == 0 {
        bytes[2..4].fill(0);
        let check = !checksum::sum(&bytes);
        bytes[2..4].copy_from_slice(&check.to_be_bytes());
    }
    let Ok(message) = Message::parse(&bytes) else { return };
    if let Ok(again) = Message::parse(&message.emit()) {
        assert_eq!(Message::parse(&again.emit()), Ok(again));
    }
    let (mut querier, mut host) = (Querier::new(Timing::default(), 5, Instant::ZERO), Host::new(2, None, 1));
    host.set(0xef01_0203, &Filter::ALL, Instant::ZERO);
    querier.receive(1, &message, Instant::from_secs(1));
    host.receive(&message, Instant::from_secs(1));
    for _ in 0..64 {
        querier.turn(querier.deadline());
        if let Some(at) = host.deadline() {
            host.turn(at);
        }
    }
});

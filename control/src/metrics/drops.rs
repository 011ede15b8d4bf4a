//! Drops, and the law that nothing is lost without one.

use std::sync::atomic::Ordering::Relaxed;

use skiff_dataplane::core::shared::Shared;

use super::page::{Page, families};
use crate::drops;
use crate::facts::Facts;

families! {
    PACKETS: counter "skiff_drop_packets_total" ["node", "reason"] =
        "Packets dropped, by node and reason; every discard in the datapath is here exactly once.";
    BYTES: counter "skiff_drop_bytes_total" ["node", "reason"] = "Bytes dropped, by node and reason.";
    CREATED: counter "skiff_created_packets_total" [] = "Packets the router made itself.";
    DELIVERED: counter "skiff_delivered_packets_total" [] = "Packets a protocol of the router itself consumed.";
    IMBALANCE: gauge "skiff_accounting_imbalance_packets" [] =
        "Received + created - sent - dropped - delivered - waiting for a neighbour, a listener or other fragments: \
         packets on their way at the moment of the scrape, 0 at rest; anything else is a leak.";
}

pub(super) fn collect(page: &mut Page, shared: &Shared, facts: &Facts) {
    for row in drops::rows(shared) {
        let labels = [row.node.name(), row.reason.name()];
        page.add(&PACKETS, labels, row.packets);
        page.add(&BYTES, labels, row.bytes);
    }
    let ledger = shared.ledger();
    page.add(&CREATED, [], ledger.created);
    page.add(&DELIVERED, [], ledger.delivered);
    let queued: u32 = shared.nf_queues().values().map(|queue| queue.waiting.load(Relaxed)).sum();
    let waiting =
        facts.neighbours.hold_packets() as usize + shared.frags.memory.fragments() + queued as usize;
    page.set(&IMBALANCE, [], ledger.held() as f64 - waiting as f64);
}

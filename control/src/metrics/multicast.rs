//! Multicast forwarding and IGMP. Groups and sources are no labels: strangers make them up.

use super::flag;
use super::page::{Page, families};
use crate::facts::MulticastFacts;

families! {
    ENTRIES: gauge "skiff_mroute_entries" ["state"] =
        "Entries of the multicast forwarding cache: static, made by the proxy, or waited for by packets.";
    RX_PACKETS: counter "skiff_mroute_receive_packets_total" ["interface"] =
        "Multicast packets that came in by the interface and had an entry.";
    RX_BYTES: counter "skiff_mroute_receive_bytes_total" ["interface"] = "Their bytes, from the IP header on.";
    TX_PACKETS: counter "skiff_mroute_transmit_packets_total" ["interface"] =
        "Copies of multicast packets forwarded by the interface.";
    TX_BYTES: counter "skiff_mroute_transmit_bytes_total" ["interface"] = "Their bytes, from the IP header on.";
    UPCALLS: counter "skiff_mroute_upcalls_total" ["reason"] =
        "Reports of lcores: packets without an entry, entries whose packets came in by another interface.";
    GROUPS: gauge "skiff_igmp_groups" ["interface"] = "Groups that hosts on the interface want.";
    QUERIER: gauge "skiff_igmp_querier" ["interface"] = "Whether the router is the querier of the interface's link.";
    RX_MESSAGES: counter "skiff_igmp_receive_messages_total" [] = "IGMP messages taken in.";
    TX_MESSAGES: counter "skiff_igmp_transmit_messages_total" [] = "IGMP messages sent.";
    MALFORMED: counter "skiff_igmp_receive_malformed_total" [] = "IGMP packets that were no message.";
}

pub(super) fn collect(page: &mut Page, facts: &MulticastFacts) {
    for &(state, entries) in &facts.entries {
        page.set(&ENTRIES, [state], entries as f64);
    }
    for vif in &facts.interfaces {
        let labels = [vif.interface.as_str()];
        page.add(&RX_PACKETS, labels, vif.packets_in);
        page.add(&RX_BYTES, labels, vif.bytes_in);
        page.add(&TX_PACKETS, labels, vif.packets_out);
        page.add(&TX_BYTES, labels, vif.bytes_out);
    }
    for &(reason, upcalls) in &facts.upcalls {
        page.add(&UPCALLS, [reason], upcalls);
    }
    for (interface, groups, querier) in &facts.queriers {
        page.set(&GROUPS, [interface], *groups as f64);
        page.set(&QUERIER, [interface], flag(*querier));
    }
    page.add(&RX_MESSAGES, [], facts.igmp_in);
    page.add(&TX_MESSAGES, [], facts.igmp_out);
    page.add(&MALFORMED, [], facts.igmp_malformed);
}

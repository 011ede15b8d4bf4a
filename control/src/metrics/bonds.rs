//! Bonds and their members.

use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::Shared;

use super::flag;
use super::page::{Page, families};
use crate::facts::BondFacts;

families! {
    MEMBERS: gauge "skiff_bond_members" ["bond"] = "Configured members (node_bonding_slaves).";
    MEMBERS_ACTIVE: gauge "skiff_bond_members_active" ["bond"] = "Members that carry traffic (node_bonding_active).";
    MEMBER_ACTIVE: gauge "skiff_bond_member_active" ["bond", "port"] = "1 if this member carries traffic.";
    LACP: counter "skiff_bond_lacp_packets_total" ["bond", "port", "direction"] = "LACPDUs by direction.";
    ACTIVE: gauge "skiff_bond_active" ["bond", "member"] = "Whether the member is in use.";
    UP: gauge "skiff_bond_member_up" ["bond", "member"] = "Whether the member is usable.";
    FAILURES: counter "skiff_bond_link_failures_total" ["bond", "member"] = "Times the member's link failed.";
    FAILOVERS: counter "skiff_bond_failovers_total" ["bond"] = "Times another member became the active one.";
    NO_TX_TARGET: counter "skiff_bond_no_tx_target_total" [] = "Packets dropped because no member could send them.";
    LACP_RX: counter "skiff_bond_lacp_rx_pdus_total" ["bond", "member"] = "LACPDUs received.";
    LACP_TX: counter "skiff_bond_lacp_tx_pdus_total" ["bond", "member"] = "LACPDUs sent.";
    LACP_STATE: gauge "skiff_bond_lacp_port_state" ["bond", "member"] =
        "Our state as LACPDUs carry it: 1 activity, 2 timeout, 4 aggregation, 8 synchronization, 16 collecting, 32 distributing, 64 defaulted, 128 expired.";
    LACP_KEY: gauge "skiff_bond_lacp_partner_key" ["bond", "member"] = "The partner's key.";
    AGGREGATOR: gauge "skiff_bond_aggregator_id" ["bond", "member"] = "The aggregator the member is in.";
}

pub(super) fn collect(page: &mut Page, shared: &Shared, bonds: &[BondFacts]) {
    let cells = shared.all_cells();
    let dropped = cells.iter().map(|cells| cells.drops(Node::BondStartXmit, DropReason::NoTxTarget).0).sum();
    page.add(&NO_TX_TARGET, [], dropped);
    for bond in bonds {
        let name = bond.name.as_str();
        page.add(&FAILOVERS, [name], bond.failovers);
        page.set(&MEMBERS, [name], bond.members.len() as f64);
        page.set(&MEMBERS_ACTIVE, [name], bond.members.iter().filter(|m| m.active && m.up).count() as f64);
        for member in &bond.members {
            let labels = [name, member.name.as_str()];
            page.set(&ACTIVE, labels, flag(member.active));
            page.set(&MEMBER_ACTIVE, labels, flag(member.active && member.up));
            page.set(&UP, labels, flag(member.up));
            page.add(&FAILURES, labels, member.link_failures);
            if let Some((rx, tx, state, key)) = member.lacp {
                page.add(&LACP, [name, &member.name, "receive"], rx);
                page.add(&LACP, [name, &member.name, "transmit"], tx);
                page.add(&LACP_RX, labels, rx);
                page.add(&LACP_TX, labels, tx);
                page.set(&LACP_STATE, labels, f64::from(state));
                page.set(&LACP_KEY, labels, f64::from(key));
            }
            if let Some(aggregator) = member.aggregator {
                page.set(&AGGREGATOR, labels, f64::from(aggregator));
            }
        }
    }
}

//! Hooks, the rules of tables, and queues that have listeners.

use std::sync::atomic::Ordering::Relaxed;

use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};

use super::page::{Page, families};
use crate::facts::{ChainFacts, Facts};

families! {
    HOOK: counter "skiff_hook_packets_total" ["hook", "verdict"] =
        "Packets leaving a hook by verdict (accept, drop, stolen, queue).";
    POLICY_PACKETS: counter "skiff_chain_policy_packets_total" ["chain", "policy"] =
        "Packets that fell through to the chain policy.";
    POLICY_BYTES: counter "skiff_chain_policy_bytes_total" ["chain", "policy"] =
        "Bytes that fell through to the chain policy.";
    RULE_PACKETS: counter "skiff_rule_packets_total" ["chain", "rule"] =
        "Packets matched by a rule; rule is its comment or its index.";
    RULE_BYTES: counter "skiff_rule_bytes_total" ["chain", "rule"] = "Bytes matched by a rule.";
    SET_ELEMENTS: gauge "skiff_set_elements" ["set"] = "Elements in a named set.";
    LOG_LOST: counter "skiff_nf_log_lost_total" [] =
        "Lines of LOG, NFLOG and TRACE lost because more came than could be printed.";
    QUEUED: counter "skiff_nfqueue_queued_total" ["queue"] = "Packets numbered for the queue's listener.";
    DROPPED: counter "skiff_nfqueue_dropped_total" ["queue"] = "Packets lost because the queue was full.";
    USER_DROPPED: counter "skiff_nfqueue_user_dropped_total" ["queue"] =
        "Packets lost because the listener's socket took no more.";
    FAILOPEN: counter "skiff_nfqueue_failopen_total" ["queue"] =
        "Packets that went on without a verdict because the queue was full and its listener wants that.";
    WAITING: gauge "skiff_nfqueue_waiting" ["queue"] = "Packets that wait for a verdict.";
}

pub(super) fn collect(page: &mut Page, shared: &Shared, facts: &Facts) {
    collect_chains(page, &facts.chains);
    for (set, elements) in &facts.sets {
        page.set(&SET_ELEMENTS, [set], *elements as f64);
    }
    page.add(&LOG_LOST, [], shared.nf_log().lost());
    for cells in shared.all_cells() {
        for &hook in Hook::ALL {
            // A packet that is shown again leaves the hook later.
            for &fate in Fate::ALL.iter().filter(|&&fate| fate != Fate::Repeated) {
                page.add(&HOOK, [hook.name(), fate.name()], cells.hook(hook, fate).get());
            }
        }
    }
    // A queue's numbers begin anew with its listener, as the kernel's do.
    for (num, queue) in &*shared.nf_queues() {
        let num = num.to_string();
        page.add(&QUEUED, [&num], queue.queued.load(Relaxed));
        page.add(&DROPPED, [&num], queue.dropped.load(Relaxed));
        page.add(&USER_DROPPED, [&num], queue.user_dropped.load(Relaxed));
        page.add(&FAILOPEN, [&num], queue.failed_open.load(Relaxed));
        page.set(&WAITING, [&num], f64::from(queue.waiting.load(Relaxed)));
    }
}

/// Each chain has its table in front but for those of `filter`, the table that `iptables` means without `-t`. Rules of a
/// chain that share a comment are one series.
fn collect_chains(page: &mut Page, chains: &[ChainFacts]) {
    for chain in chains {
        let name = match chain.table {
            "filter" => chain.name.clone(),
            // No name of a chain has a blank in it.
            table => format!("{table} {}", chain.name),
        };
        if let Some((policy, counters)) = chain.policy {
            page.add(&POLICY_PACKETS, [&name, policy], counters.packets);
            page.add(&POLICY_BYTES, [&name, policy], counters.bytes);
        }
        for (i, (comment, counters)) in chain.rules.iter().enumerate() {
            let rule = if comment.is_empty() { (i + 1).to_string() } else { comment.clone() };
            page.add(&RULE_PACKETS, [&name, &rule], counters.packets);
            page.add(&RULE_BYTES, [&name, &rule], counters.bytes);
        }
    }
}

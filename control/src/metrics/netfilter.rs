//! Hooks, the rules of tables, and queues that have listeners.

use std::sync::atomic::Ordering::Relaxed;

use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};

use super::page::{Page, families};
use crate::facts::{ChainFacts, Facts};

families! {
    HOOK: counter "skiff_hook_packets_total" ["hook", "fate"] =
        "Packets that hook functions let go on, dropped, took, queued or asked to see again.";
    RULE_PACKETS: counter "skiff_nf_rule_packets_total" ["table", "chain", "rule", "comment"] =
        "Packets a rule matched (iptables -L -v); rule is its number in the chain.";
    RULE_BYTES: counter "skiff_nf_rule_bytes_total" ["table", "chain", "rule", "comment"] =
        "Their bytes, from the IP header on.";
    POLICY_PACKETS: counter "skiff_nf_policy_packets_total" ["table", "chain", "policy"] =
        "Packets that met the policy of a built-in chain.";
    POLICY_BYTES: counter "skiff_nf_policy_bytes_total" ["table", "chain", "policy"] =
        "Their bytes, from the IP header on.";
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
    page.add(&LOG_LOST, [], shared.nf_log().lost());
    for cells in shared.all_cells() {
        for &hook in Hook::ALL {
            for &fate in Fate::ALL {
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

fn collect_chains(page: &mut Page, chains: &[ChainFacts]) {
    for chain in chains {
        if let Some((policy, counters)) = chain.policy {
            let labels = [chain.table, &chain.name, policy];
            page.add(&POLICY_PACKETS, labels, counters.packets);
            page.add(&POLICY_BYTES, labels, counters.bytes);
        }
        for (i, (comment, counters)) in chain.rules.iter().enumerate() {
            let number = (i + 1).to_string();
            let labels = [chain.table, &chain.name, &number, comment];
            page.add(&RULE_PACKETS, labels, counters.packets);
            page.add(&RULE_BYTES, labels, counters.bytes);
        }
    }
}

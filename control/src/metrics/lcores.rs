//! Worker lcores, and the stages they run.

use skiff_dataplane::core::counters::{BURST_BUCKETS, LcoreCells};
use skiff_dataplane::core::drop_reason::Node;
use skiff_dataplane::core::shared::Shared;

use super::page::{Page, families};
use super::{duration, number};
use crate::facts::Facts;

families! {
    INFO: gauge "skiff_lcore_info" ["lcore", "cpu", "numa_node", "role"] = "Worker identity; value is always 1.";
    CYCLES: counter "skiff_lcore_cycles_total" ["lcore", "state"] =
        "TSC cycles by state (busy, idle, sleep, control).";
    TSC_HERTZ: gauge "skiff_lcore_tsc_hertz" ["lcore"] = "TSC frequency, to turn cycles into seconds.";
    POLLS: counter "skiff_lcore_polls_total" ["lcore"] = "RX polls over all queues of the lcore.";
    EMPTY_POLLS: counter "skiff_lcore_empty_polls_total" ["lcore"] = "RX polls that returned no packet.";
    PACKETS: counter "skiff_lcore_packets_total" ["lcore"] = "Packets the lcore took from its RX queues.";
    WAKEUPS: counter "skiff_lcore_interrupt_wakeups_total" ["lcore"] =
        "Times the lcore slept and an RX interrupt woke it.";
    RX_BURST: histogram "skiff_lcore_rx_burst_packets" ["lcore"] = "Packets per non-empty RX burst.";
    LOOP: histogram "skiff_lcore_loop_seconds" ["lcore"] = "Duration of one loop iteration, sampled.";
    LAST_QUIESCENT: gauge "skiff_lcore_last_quiescent_timestamp_seconds" ["lcore"] =
        "Unix time of the last quiescent report; a stuck lcore stops advancing.";
    NODE_PACKETS: counter "skiff_node_packets_total" ["lcore", "node"] = "Packets that entered a pipeline node.";
    NODE_BATCHES: counter "skiff_node_batches_total" ["lcore", "node"] = "Bursts that entered a pipeline node.";
    NODE_CYCLES: counter "skiff_node_cycles_total" ["lcore", "node"] =
        "TSC cycles spent in a pipeline node, when stage timing is on.";
}

pub(super) fn collect(page: &mut Page, shared: &Shared, facts: &Facts) {
    for lcore in 0..shared.lcores() {
        let (label, cells) = (lcore.to_string(), shared.cells(lcore));
        let known = facts.lcores.get(lcore).copied().unwrap_or_default();
        page.set(&INFO, [&label, &number(known.cpu), &number(known.numa_node), "worker"], 1.0);
        page.set(&TSC_HERTZ, [&label], facts.tsc.hertz as f64);
        if let Some(at) = facts.tsc.unix(cells.last_quiescent_tsc.get()) {
            page.set(&LAST_QUIESCENT, [&label], at);
        }
        activity(page, &label, cells);
        nodes(page, &label, cells);
    }
    nodes(page, "control", shared.control_cells());
}

fn activity(page: &mut Page, lcore: &str, cells: &LcoreCells) {
    page.add(&CYCLES, [lcore, "busy"], cells.busy_cycles.get());
    page.add(&CYCLES, [lcore, "idle"], cells.idle_cycles.get());
    page.add(&CYCLES, [lcore, "sleep"], cells.sleep_cycles.get());
    page.add(&CYCLES, [lcore, "control"], cells.control_cycles.get());
    page.add(&POLLS, [lcore], cells.polls.get());
    page.add(&EMPTY_POLLS, [lcore], cells.empty_polls.get());
    page.add(&PACKETS, [lcore], cells.rx.get());
    page.add(&WAKEUPS, [lcore], cells.interrupt_wakeups.get());
    let bursts = BURST_BUCKETS.iter().zip(&cells.rx_bursts).map(|(&bound, n)| (bound as f64, n.get()));
    // Every packet came in by a burst, so they are the sum of all burst sizes.
    page.histogram(&RX_BURST, [lcore], bursts, cells.rx.get() as f64);
    duration(page, &LOOP, [lcore], &cells.loops);
}

fn nodes(page: &mut Page, lcore: &str, cells: &LcoreCells) {
    for &node in Node::ALL {
        let (name, cells) = (node.name(), cells.node(node));
        page.add(&NODE_PACKETS, [lcore, name], cells.packets.get());
        page.add(&NODE_BATCHES, [lcore, name], cells.batches.get());
        page.add(&NODE_CYCLES, [lcore, name], cells.cycles.get());
    }
}

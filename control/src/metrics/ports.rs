//! DPDK ports and their queues.

use skiff_dataplane::core::counters::{LcoreCells, QueueCells};
use skiff_dataplane::core::shared::Shared;

use super::page::{Page, families};
use super::{flag, number};
use crate::facts::{Facts, PortFacts, QueueFacts};

families! {
    INFO: gauge "skiff_port_info" ["port", "driver", "device", "mac", "numa_node"] =
        "Port identity; value is always 1.";
    UP: gauge "skiff_port_up" ["port"] =
        "1 if the port is administratively up and has carrier (node_network_up).";
    ADMIN_UP: gauge "skiff_port_admin_up" ["port"] = "1 if the port is administratively up.";
    CARRIER_CHANGES: counter "skiff_port_carrier_changes_total" ["port"] =
        "Carrier transitions since start (node_network_carrier_changes_total).";
    SPEED: gauge "skiff_port_speed_bytes" ["port"] =
        "Negotiated speed in bytes per second (node_network_speed_bytes).";
    MTU: gauge "skiff_port_mtu_bytes" ["port"] = "MTU of the port (node_network_mtu_bytes).";
    RX_PACKETS: counter "skiff_port_receive_packets_total" ["port"] =
        "Packets received by the port (DPDK ipackets).";
    RX_BYTES: counter "skiff_port_receive_bytes_total" ["port"] =
        "Bytes received by the port, without FCS (DPDK ibytes).";
    TX_PACKETS: counter "skiff_port_transmit_packets_total" ["port"] =
        "Packets sent by the port (DPDK opackets).";
    TX_BYTES: counter "skiff_port_transmit_bytes_total" ["port"] =
        "Bytes sent by the port, without FCS (DPDK obytes).";
    RX_MISSED: counter "skiff_port_receive_missed_total" ["port"] =
        "Packets the NIC dropped because an RX ring was full (DPDK imissed).";
    RX_ERRORS: counter "skiff_port_receive_errors_total" ["port"] =
        "Packets received with errors (DPDK ierrors).";
    RX_NOMBUF: counter "skiff_port_receive_nombuf_total" ["port"] =
        "RX mbuf allocation failures (DPDK rx_nombuf).";
    TX_ERRORS: counter "skiff_port_transmit_errors_total" ["port"] =
        "Packets that failed to be sent (DPDK oerrors).";
    XSTAT: counter "skiff_port_xstat_total" ["port", "xstat"] =
        "Driver-native extended statistic, off by default (metrics.xstats).";
    QUEUE_RX: counter "skiff_queue_receive_packets_total" ["port", "queue", "lcore"] =
        "Packets taken from an RX queue.";
    QUEUE_RX_DESC: gauge "skiff_queue_receive_descriptors" ["port", "queue"] =
        "RX ring size in descriptors.";
    QUEUE_RX_USED: gauge "skiff_queue_receive_descriptors_used" ["port", "queue"] =
        "Filled RX descriptors waiting to be polled (rte_eth_rx_queue_count).";
    QUEUE_TX: counter "skiff_queue_transmit_packets_total" ["port", "queue", "lcore"] =
        "Packets handed to a TX queue.";
    QUEUE_TX_FULL: counter "skiff_queue_transmit_full_total" ["port", "queue", "lcore"] =
        "Bursts for which the TX ring took fewer packets than offered.";
}

/// What drivers say when they do not know the speed of a link (`RTE_ETH_SPEED_NUM_UNKNOWN`).
const SPEED_UNKNOWN: u32 = u32::MAX;
const BYTES_A_MEGABIT: f64 = 125_000.0;

pub(super) fn collect(page: &mut Page, shared: &Shared, facts: &Facts) {
    for port in &facts.ports {
        identity(page, port);
        driver_counters(page, port);
        queues(page, shared, port);
    }
}

fn identity(page: &mut Page, port: &PortFacts) {
    let name = port.name.as_str();
    page.set(&INFO, [name, &port.driver, &port.device, &port.mac, &number(port.numa_node)], 1.0);
    page.set(&UP, [name], flag(port.admin_up && port.link.up));
    page.set(&ADMIN_UP, [name], flag(port.admin_up));
    page.add(&CARRIER_CHANGES, [name], port.carrier_changes);
    page.set(&MTU, [name], port.mtu.into());
    if port.link.speed_mbps != SPEED_UNKNOWN {
        page.set(&SPEED, [name], f64::from(port.link.speed_mbps) * BYTES_A_MEGABIT);
    }
}

fn driver_counters(page: &mut Page, port: &PortFacts) {
    let (name, stats) = (port.name.as_str(), &port.stats);
    page.add(&RX_PACKETS, [name], stats.ipackets);
    page.add(&RX_BYTES, [name], stats.ibytes);
    page.add(&TX_PACKETS, [name], stats.opackets);
    page.add(&TX_BYTES, [name], stats.obytes);
    page.add(&RX_MISSED, [name], stats.imissed);
    page.add(&RX_ERRORS, [name], stats.ierrors);
    page.add(&RX_NOMBUF, [name], stats.rx_nombuf);
    page.add(&TX_ERRORS, [name], stats.oerrors);
    for (xstat, value) in &port.xstats {
        page.add(&XSTAT, [name, xstat], *value);
    }
}

fn queues(page: &mut Page, shared: &Shared, port: &PortFacts) {
    let (name, id) = (port.name.as_str(), port.id.0);
    for (q, facts) in (0u16..).zip(&port.rx_queues) {
        let queue = q.to_string();
        page.set(&QUEUE_RX_DESC, [name, &queue], facts.descriptors.into());
        each_user(
            shared,
            facts,
            |cells| cells.rx_queue(id, q),
            |lcore, cells| {
                page.add(&QUEUE_RX, [name, &queue, lcore], cells.packets.get());
                if let Some(used) = cells.used() {
                    page.set(&QUEUE_RX_USED, [name, &queue], used as f64);
                }
            },
        );
    }
    for (q, facts) in (0u16..).zip(&port.tx_queues) {
        let queue = q.to_string();
        each_user(
            shared,
            facts,
            |cells| cells.tx_queue(id, q),
            |lcore, cells| {
                page.add(&QUEUE_TX, [name, &queue, lcore], cells.packets.get());
                page.add(&QUEUE_TX_FULL, [name, &queue, lcore], cells.full.get());
            },
        );
    }
}

/// Visits the cells of a queue on the lcore it belongs to and on those that have ever used it: a queue has one user
/// at a time, so a series for each lcore would be zeros for the most part.
fn each_user<'a>(
    shared: &'a Shared,
    queue: &QueueFacts,
    cells_of: impl Fn(&'a LcoreCells) -> &'a QueueCells,
    mut visit: impl FnMut(&str, &QueueCells),
) {
    for lcore in 0..shared.lcores() {
        let cells = cells_of(shared.cells(lcore));
        if queue.lcore == Some(lcore) || cells.packets.get() > 0 || cells.full.get() > 0 {
            visit(&lcore.to_string(), cells);
        }
    }
}

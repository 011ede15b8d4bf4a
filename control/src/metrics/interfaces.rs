//! Logical interfaces: the device table of the newest snapshot.

use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::net::IfIndex;

use super::page::{Page, families};

families! {
    INFO: gauge "skiff_interface_info" ["interface", "kind", "parent", "vlan"] =
        "Logical interface identity; value is always 1.";
    RX_PACKETS: counter "skiff_interface_receive_packets_total" ["interface"] =
        "Packets classified to the interface.";
    RX_BYTES: counter "skiff_interface_receive_bytes_total" ["interface"] =
        "Bytes classified to the interface, Ethernet header included.";
    TX_PACKETS: counter "skiff_interface_transmit_packets_total" ["interface"] =
        "Packets sent through the interface.";
    TX_BYTES: counter "skiff_interface_transmit_bytes_total" ["interface"] =
        "Bytes sent through the interface, Ethernet header included.";
    RX_DROPPED: counter "skiff_interface_receive_dropped_total" ["interface"] =
        "Packets dropped on the way in, before a protocol took them (node_network_receive_drop_total).";
    RX_OTHERHOST: counter "skiff_interface_receive_otherhost_total" ["interface"] =
        "Packets for another station's MAC address (rx_otherhost_dropped).";
    RX_MULTICAST: counter "skiff_interface_receive_multicast_total" ["interface"] =
        "Link-layer multicast packets received (node_network_receive_multicast_total).";
    TX_DROPPED: counter "skiff_interface_transmit_dropped_total" ["interface"] =
        "Packets dropped on the way out (node_network_transmit_drop_total).";
    VLAN_UNKNOWN: counter "skiff_vlan_unknown_total" ["interface"] =
        "Received frames of VLANs without a device.";
    VLAN_SW_STRIP: counter "skiff_vlan_sw_strip_total" ["interface"] =
        "VLAN tags taken out of received frames in software.";
    VLAN_SW_INSERT: counter "skiff_vlan_sw_insert_total" ["interface"] =
        "VLAN tags put into sent frames in software.";
}

/// What a device lies on, and its VLAN there.
fn below<'a>(snapshot: &'a Snapshot, device: &NetDevice) -> (&'a str, String) {
    match &device.vlan {
        Some(vlan) => (&snapshot.device(vlan.real_dev).name, vlan.vid.to_string()),
        None if device.master != IfIndex::NONE => (&snapshot.device(device.master).name, String::new()),
        None => ("", String::new()),
    }
}

pub(super) fn collect(page: &mut Page, shared: &Shared, snapshot: &Snapshot) {
    for device in snapshot.devices() {
        let name = device.name.as_str();
        let kind = match device.kind {
            DeviceKind::Absent => continue,
            DeviceKind::Loopback => "loopback",
            DeviceKind::Port(_) => "port",
            DeviceKind::Vlan => "vlan",
            DeviceKind::Bond => "bond",
        };
        let (parent, vlan) = below(snapshot, device);
        page.set(&INFO, [name, kind, parent, &vlan], 1.0);
        for cells in shared.all_cells().iter().map(|cells| cells.device(device.ifindex)) {
            page.add(&RX_PACKETS, [name], cells.rx_packets.get());
            page.add(&RX_BYTES, [name], cells.rx_bytes.get());
            page.add(&TX_PACKETS, [name], cells.tx_packets.get());
            page.add(&TX_BYTES, [name], cells.tx_bytes.get());
            page.add(&RX_DROPPED, [name], cells.rx_dropped.get());
            page.add(&RX_OTHERHOST, [name], cells.rx_otherhost.get());
            page.add(&RX_MULTICAST, [name], cells.multicast.get());
            page.add(&TX_DROPPED, [name], cells.tx_dropped.get());
        }
        for cells in shared.all_cells().iter().map(|cells| cells.vlan(device.ifindex)) {
            page.add(&VLAN_UNKNOWN, [name], cells.unknown.get());
            page.add(&VLAN_SW_STRIP, [name], cells.sw_strip.get());
            page.add(&VLAN_SW_INSERT, [name], cells.sw_insert.get());
        }
    }
}

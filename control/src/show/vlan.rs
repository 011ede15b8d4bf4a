//! `skiff vlan show`.

use serde_json::json;
use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::device::NetDevice;
use skiff_dataplane::device::vlan::Vlan;

/// A line for each VLAN device, under the heading of the kernel's `/proc/net/vlan/config`: its name, its VLAN and the
/// device below.
pub fn vlans(snapshot: &Snapshot, json: bool) -> String {
    let vlans = || snapshot.devices().filter_map(|device| Some((device, device.vlan.as_deref()?)));
    let below = |vlan: &Vlan| snapshot.device(vlan.real_dev).name.as_str();
    if json {
        let row = |(device, vlan): (&NetDevice, &Vlan)| {
            json!({
                "ifname": device.name,
                "link": below(vlan),
                "id": vlan.vid,
                "protocol": if vlan.proto.tpid() == 0x8100 { "802.1Q" } else { "802.1ad" },
            })
        };
        return format!("{}\n", vlans().map(row).collect::<serde_json::Value>());
    }
    let heading = "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n".to_owned();
    vlans().fold(heading, |text, (device, vlan)| {
        text + &format!("{:<15}| {}  | {}\n", device.name, vlan.vid, below(vlan))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skiff_dataplane::core::snapshot::Sysctl;
    use skiff_dataplane::device::DeviceKind;
    use skiff_dataplane::device::vlan::VlanProto;
    use skiff_dataplane::net::IfIndex;

    use super::*;

    #[test]
    fn vlans_are_listed_as_the_kernel_does() {
        let device = |ifindex, name: &str, vlan: Option<Vlan>| NetDevice {
            ifindex: IfIndex(ifindex),
            name: name.to_owned(),
            kind: if vlan.is_some() { DeviceKind::Vlan } else { DeviceKind::Loopback },
            vlan: vlan.map(Arc::new),
            ..NetDevice::absent()
        };
        let vlan = |below, vid, proto| {
            let real_dev = IfIndex(below);
            Some(Vlan { real_dev, proto, vid, reorder_hdr: true, ingress: [0; 8], egress: Vec::new() })
        };
        let devices = [
            device(1, "eth0", None),
            device(2, "eth0.10", vlan(1, 10, VlanProto::Dot1q)),
            device(3, "service", vlan(2, 4094, VlanProto::Dot1ad)),
        ];
        let snapshot = Snapshot::new(1, devices, Sysctl::default(), false);
        assert_eq!(
            vlans(&snapshot, false),
            "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
             eth0.10        | 10  | eth0\nservice        | 4094  | eth0.10\n"
        );
        assert!(vlans(&snapshot, true).contains("\"id\":4094"));
        assert!(vlans(&snapshot, true).contains("\"protocol\":\"802.1ad\""));
    }
}

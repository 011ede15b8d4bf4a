//! `vlan = { ... }` and `bond = { ... }`.

use skiff_dataplane::device::bond::{BondMode, XmitPolicy};

use super::*;
use crate::bond::options::LacpRate;
use crate::ip::VlanFlags;

#[test]
fn a_vlan_is_read_whole() {
    let config = good(&format!(
        "{PORTS}[interface.'lan0.100']\nvlan = {{ parent = 'lan0', id = 100, protocol = '802.1ad', ingress-qos-map = \
         '5:6 1:2', egress-qos-map = '6:5', reorder-hdr = false, loose-binding = true }}\naddresses = ['10.3.0.1/24']"
    ));
    let Some(InterfaceKind::Vlan(vlan)) = config.interface("lan0.100").map(|interface| &interface.kind)
    else {
        panic!("no VLAN");
    };
    assert_eq!((vlan.parent.value.as_str(), vlan.id.value), ("lan0", 100));
    assert_eq!((vlan.protocol.value, vlan.flags), (VlanProtocol::Dot1ad, VlanFlags::LOOSE_BINDING));
    assert_eq!((&vlan.ingress_qos_map, &vlan.egress_qos_map), (&vec![(5, 6), (1, 2)], &vec![(6, 5)]));
}

#[test]
fn a_bond_takes_every_option() {
    let config = good(
        "[interface.p]\ndevice = 'vdev:net_null0'\n[interface.bond0]\nbond = { min-links = 2, mode = '802.3ad', members \
         = ['p'], xmit-hash-policy = 'layer3+4', lacp-rate = 'fast', lacp-active = false, miimon = 50, updelay = 120 }\n\
         [interface.q]\ndevice = 'vdev:net_null1'\n[interface.bond1]\nbond = { mode = 'active-backup', members = ['q'], \
         primary = 'q', arp-interval = 200, arp-ip-target = ['10.0.0.1', '10.0.0.2'], all-slaves-active = true }",
    );
    let bond = |name: &str| match config.interface(name).map(|interface| &interface.kind) {
        Some(InterfaceKind::Bond(bond)) => bond.value.clone(),
        other => panic!("{other:?}"),
    };
    let (one, two) = (bond("bond0").settled, bond("bond1").settled);
    assert_eq!((one.mode, one.xmit_hash_policy, one.min_links), (BondMode::Lacp, XmitPolicy::Layer34, 2));
    assert_eq!((one.lacp_rate, one.lacp_active, one.updelay()), (LacpRate::Fast, false, 100));
    assert_eq!((two.arp_interval_ms, two.miimon_ms, two.arp_ip_targets.len()), (200, 0, 2));
    assert_eq!((two.primary.as_deref(), two.all_slaves_active), (Some("q"), true));
    assert_eq!(bond("bond0").options["lacp_active"].value, "off");
}

#[test]
fn mistakes_in_uppers_have_their_place() {
    assert_mistakes(
        PORTS,
        &[
            (
                "[interface.v]\nvlan = { parent = 'lan0', id = 1, lose-binding = true }",
                &["r:9:35: unknown key \"lose-binding\", did you mean \"loose-binding\"?"],
            ),
            ("[interface.v]\nvlan = { parent = 'v', id = 1 }", &["r:9:19: \"v\" cannot stand on itself"]),
            (
                "[interface.v]\nvlan = { parent = 'w', id = 1 }\n[interface.w]\nvlan = { parent = 'v', id = 1 }",
                &[
                    "r:9:19: \"v\" stands on \"w\", which stands on it",
                    "r:11:19: \"w\" stands on \"v\", which stands on it",
                ],
            ),
            (
                "[interface.v]\nvlan = { parent = 'lan0', id = 1 }\n[interface.w]\nvlan = { parent = 'lan0', id = 1 }",
                &["r:11:32: VLAN 1 of \"lan0\" is already taken by \"v\""],
            ),
            (
                "[interface.v]\nvlan = { parent = 'lan0', id = 1 }\nmtu = 1501",
                &["r:10:7: \"mtu\" 1501 is more than the 1500 of \"lan0\""],
            ),
            (
                "[interface.b]\nbond = { members = ['lan0'], mode = '802.3aq' }",
                &[
                    "r:3:14: \"lan0\" is a bond member and has no addresses",
                    "r:9:37: \"mode\" must be \"balance-rr\", \"active-backup\", \"balance-xor\", \"broadcast\", \
                     \"802.3ad\", \"balance-tlb\" or \"balance-alb\", not \"802.3aq\", did you mean \"802.3ad\"?",
                ],
            ),
            (
                "[interface.p]\ndevice = 'vdev:net_null2'\n[interface.b]\nbond = { members = ['p'], mode = 4, mimon = 1 }",
                &[
                    "r:11:34: \"mode\" must be \"balance-rr\", \"active-backup\", \"balance-xor\", \"broadcast\", \
                     \"802.3ad\", \"balance-tlb\" or \"balance-alb\", not \"4\"",
                    "r:11:37: unknown key \"mimon\", did you mean \"miimon\"?",
                ],
            ),
            (
                "[interface.p]\ndevice = 'vdev:net_null2'\n[interface.b]\nbond = { members = ['p'], mode = 'active-backup', \
                 lacp-rate = 'fast', primary = 'q', resend-igmp = 256 }",
                &[
                    "r:11:63: \"lacp-rate\": mode dependency failed, not supported in mode active-backup(1)",
                    "r:11:81: \"q\" is not a member of the bond",
                    "r:11:100: \"resend-igmp\": invalid value (256), allowed values 0 - 255",
                ],
            ),
            (
                "[interface.p]\ndevice = 'vdev:net_null2'\n[interface.b]\nbond = { members = ['p'], miimon = 100, arp-interval = 5 }",
                &["r:11:56: \"arp-interval\" and \"miimon\" cannot both be used"],
            ),
            (
                "[interface.v]\nvlan = { parent = 'lan0', id = 1 }\n[interface.b]\nbond = { members = ['v', 'c'] }\n\
                 [interface.c]\nbond = { members = [] }",
                &[
                    "r:11:21: \"v\" is a vlan and cannot be a bond member",
                    "r:11:26: \"c\" is a bond and cannot be a bond member",
                ],
            ),
        ],
    );
}

#[test]
fn no_more_than_eight_interfaces_lie_one_on_the_other() {
    let stack = |height: usize| {
        let mut text = PORTS.to_owned();
        let mut below = "lan0".to_owned();
        for n in 2..=height {
            text.push_str(&format!("[interface.v{n}]\nvlan = {{ parent = '{below}', id = 1 }}\n"));
            below = format!("v{n}");
        }
        mistakes(&text)
    };
    assert_eq!(stack(8), [""; 0]);
    assert_eq!(stack(9), ["r:23:19: \"v9\" is more than 8 interfaces high"]);
}

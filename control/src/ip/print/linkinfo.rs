//! What `-d` says of a link's kind.

use std::fmt::Write as _;

use skiff_dataplane::device::vlan::VlanProto;

use crate::ip::json::Json;
use crate::ip::linkspec::{VlanFlags, VlanRow};
use crate::ip::rows::LinkRow;

/// Whether `type KIND` selects the link.
pub(super) fn is_of_kind(row: &LinkRow, kind: &str) -> bool {
    row.details.kind == Some(kind)
}

/// The lines of the kind, each from the end of the line before it on.
pub(super) fn text(row: &LinkRow, line_break: char, out: &mut String) {
    let Some(kind) = row.details.kind else { return };
    let _ = write!(out, "{line_break}    {kind} ");
    if let Some(vlan) = &row.details.vlan {
        vlan_text(vlan, line_break, out);
    }
}

/// The member `linkinfo` of a link's JSON object.
pub(super) fn json(row: &LinkRow) -> Option<(&'static str, Json)> {
    let mut info = vec![("info_kind", Json::str(row.details.kind?))];
    info.extend(row.details.vlan.as_ref().map(|vlan| ("info_data", vlan_json(vlan))));
    Some(("linkinfo", Json::Obj(info)))
}

fn vlan_text(vlan: &VlanRow, line_break: char, out: &mut String) {
    let flags = flag_names(vlan.flags).collect::<Vec<_>>().join(",");
    let _ = write!(out, "protocol {} id {} <{flags}> ", protocol(vlan.protocol), vlan.id);
    for (name, map) in [("ingress-qos-map", &vlan.ingress), ("egress-qos-map", &vlan.egress)] {
        if !map.is_empty() {
            let _ = write!(out, "{line_break}      {name} {{ ");
            map.iter().for_each(|(from, to)| drop(write!(out, "{from}:{to} ")));
            out.push_str("} ");
        }
    }
}

fn vlan_json(vlan: &VlanRow) -> Json {
    let pair = |(from, to): &(u32, u32)| Json::Obj(vec![("from", Json::num(*from)), ("to", Json::num(*to))]);
    let map = |name, map: &Vec<(u32, u32)>| {
        (!map.is_empty()).then(|| (name, Json::Arr(map.iter().map(pair).collect())))
    };
    let mut data = vec![
        ("protocol", Json::str(protocol(vlan.protocol))),
        ("id", Json::num(vlan.id)),
        ("flags", Json::strings(flag_names(vlan.flags))),
    ];
    data.extend(map("ingress_qos", &vlan.ingress));
    data.extend(map("egress_qos", &vlan.egress));
    Json::Obj(data)
}

fn protocol(proto: VlanProto) -> &'static str {
    match proto {
        VlanProto::Dot1q => "802.1Q",
        VlanProto::Dot1ad => "802.1ad",
    }
}

/// In iproute2's order, which is not that of the bits.
fn flag_names(flags: VlanFlags) -> impl Iterator<Item = &'static str> {
    const NAMES: [(VlanFlags, &str); 5] = [
        (VlanFlags::REORDER_HDR, "REORDER_HDR"),
        (VlanFlags::GVRP, "GVRP"),
        (VlanFlags::MVRP, "MVRP"),
        (VlanFlags::LOOSE_BINDING, "LOOSE_BINDING"),
        (VlanFlags::BRIDGE_BINDING, "BRIDGE_BINDING"),
    ];
    NAMES.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| name)
}

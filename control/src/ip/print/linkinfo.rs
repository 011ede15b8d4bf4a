//! What `-d` says of a link's kind.

use std::fmt::Write as _;

use skiff_dataplane::device::vlan::VlanProto;

use crate::bond::options::OptionRow;
use crate::ip::json::Json;
use crate::ip::linkspec::{VlanFlags, VlanRow};
use crate::ip::rows::LinkRow;

/// The kind of every member.
const SLAVE: &str = "bond_slave";

/// Whether `type KIND` selects the link; it may name what a member is, too.
pub(super) fn is_of_kind(row: &LinkRow, kind: &str) -> bool {
    if kind == SLAVE { row.details.slave.is_some() } else { row.details.kind == Some(kind) }
}

/// The lines of the kind, each from the end of the line before it on.
pub(super) fn text(row: &LinkRow, line_break: char, out: &mut String) {
    if let Some(kind) = row.details.kind {
        let _ = write!(out, "{line_break}    {kind} ");
    }
    if let Some(vlan) = &row.details.vlan {
        vlan_text(vlan, line_break, out);
    }
    if let Some(bond) = &row.details.bond {
        options_text(&bond.0.rows(&bond.1), out);
    }
    if let Some(slave) = &row.details.slave {
        let _ = write!(out, "{line_break}    {SLAVE} ");
        options_text(&slave.rows(), out);
    }
}

fn options_text(rows: &[OptionRow], out: &mut String) {
    for row in rows.iter().filter(|row| !row.text.is_empty()) {
        out.push_str(&row.text);
        out.push(' ');
    }
}

fn options_json(rows: Vec<OptionRow>) -> Json {
    Json::Obj(rows.into_iter().map(|row| (row.key, Json::Value(row.json))).collect())
}

/// The member `linkinfo` of a link's JSON object.
pub(super) fn json(row: &LinkRow) -> Option<(&'static str, Json)> {
    let details = &row.details;
    let mut info = Vec::from_iter(details.kind.map(|kind| ("info_kind", Json::str(kind))));
    info.extend(details.vlan.as_ref().map(|vlan| ("info_data", vlan_json(vlan))));
    info.extend(details.bond.as_ref().map(|bond| ("info_data", options_json(bond.0.rows(&bond.1)))));
    if let Some(slave) = &details.slave {
        info.extend([("info_slave_kind", Json::str(SLAVE)), ("info_slave_data", options_json(slave.rows()))]);
    }
    (!info.is_empty()).then_some(("linkinfo", Json::Obj(info)))
}

fn vlan_text(vlan: &VlanRow, line_break: char, out: &mut String) {
    let flags = flag_names(vlan.flags).collect::<Vec<_>>().join(",");
    let _ = write!(out, "protocol {} id {} <{flags}> ", protocol(vlan.protocol), vlan.id);
    for (name, map) in [("ingress-qos-map", &vlan.ingress), ("egress-qos-map", &vlan.egress)] {
        if !map.is_empty() {
            let _ = write!(out, "{line_break}      {name} {{ ");
            for (from, to) in map {
                let _ = write!(out, "{from}:{to} ");
            }
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

//! `vlan = { ... }` and `bond = { ... }`: interfaces that stand on others.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::diag::{At, Fault, quote};
use super::model::{Bond, Vlan, VlanProtocol};
use super::section::{Section, Value, narrow, one_of, wrong_type};
use crate::bond::options::{
    AdSelect, ArpAllTargets, ArpValidate, BondOptions, FailOverMac, LacpRate, Named, OPTION_NAMES,
    PrimaryReselect,
};
use crate::ip::VlanFlags;

/// Flags of a VLAN, by their keys.
const VLAN_FLAGS: [(&str, VlanFlags); 5] = [
    ("reorder-hdr", VlanFlags::REORDER_HDR),
    ("gvrp", VlanFlags::GVRP),
    ("mvrp", VlanFlags::MVRP),
    ("loose-binding", VlanFlags::LOOSE_BINDING),
    ("bridge-binding", VlanFlags::BRIDGE_BINDING),
];

/// Reads `vlan`.
pub(super) fn vlan(section: &Section<'_>) -> Option<At<Vlan>> {
    const KEYS: &[&str] = &[
        "parent",
        "id",
        "protocol",
        "ingress-qos-map",
        "egress-qos-map",
        "reorder-hdr",
        "gvrp",
        "mvrp",
        "loose-binding",
        "bridge-binding",
    ];
    const PROTOCOLS: &[(&str, VlanProtocol)] =
        &[("802.1q", VlanProtocol::Dot1q), ("802.1ad", VlanProtocol::Dot1ad)];
    const MAX_PRIORITY: u32 = u32::MAX;
    const MAX_PCP: u32 = 7;
    let table = section.section("vlan", KEYS)?;
    table.require("parent");
    table.require("id");
    let parent = table.string("parent").map(|parent| parent.map(str::to_owned));
    let id = table.integer("id", 1..=4094).and_then(narrow);
    let protocol = table.word("protocol", PROTOCOLS).unwrap_or(At::unwritten(VlanProtocol::Dot1q));
    let map =
        |key, from, to| table.parsed(key, |text| qos_map(text, from, to)).map_or(Vec::new(), |map| map.value);
    let ingress_qos_map = map("ingress-qos-map", MAX_PCP, MAX_PRIORITY);
    let egress_qos_map = map("egress-qos-map", MAX_PRIORITY, MAX_PCP);
    let mut flags = VlanFlags::REORDER_HDR;
    for (key, flag) in VLAN_FLAGS {
        if let Some(on) = table.boolean(key) {
            flags.set(flag, on.value);
        }
    }
    let vlan = Vlan { parent: parent?, id: id?, protocol, flags, ingress_qos_map, egress_qos_map };
    Some(At::new(vlan, section.key_pos("vlan")?))
}

/// `FROM:TO` pairs with white space between them, as `ip link` takes them.
fn qos_map(text: &str, max_from: u32, max_to: u32) -> Result<Vec<(u32, u32)>, Fault> {
    let pair = |word: &str| {
        let (from, to) = word.split_once(':')?;
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        (from <= max_from && to <= max_to).then_some((from, to))
    };
    let read = |word| {
        pair(word).ok_or_else(|| {
            format!("{}: FROM:TO is wanted, FROM at most {max_from} and TO at most {max_to}", quote(word))
                .into()
        })
    };
    text.split_whitespace().map(read).collect()
}

/// The keys of the options, in the order of [`OPTION_NAMES`].
const OPTION_KEYS: [&str; OPTION_NAMES.len()] = [
    "mode",
    "active-slave",
    "clear-active-slave",
    "miimon",
    "updelay",
    "downdelay",
    "peer-notify-delay",
    "use-carrier",
    "arp-interval",
    "arp-ip-target",
    "ns-ip6-target",
    "arp-validate",
    "arp-all-targets",
    "arp-missed-max",
    "primary",
    "primary-reselect",
    "fail-over-mac",
    "xmit-hash-policy",
    "resend-igmp",
    "num-grat-arp",
    "num-unsol-na",
    "all-slaves-active",
    "min-links",
    "lp-interval",
    "packets-per-slave",
    "lacp-active",
    "lacp-rate",
    "coupled-control",
    "ad-select",
    "ad-actor-sys-prio",
    "ad-user-port-key",
    "ad-actor-system",
    "tlb-dynamic-lb",
];

/// What is no setting but a command.
const COMMANDS: [&str; 2] = ["active-slave", "clear-active-slave"];

/// Reads `bond`: its members, and any option of a bond by its name with hyphens.
pub(super) fn bond(section: &Section<'_>) -> Option<At<Bond>> {
    let settings = OPTION_KEYS.into_iter().filter(|key| !COMMANDS.contains(key));
    let known: Vec<&'static str> = settings.clone().chain(["members"]).collect();
    let table = section.section("bond", &known)?;
    let members = table.parsed_list("members", |name| Ok(name.to_owned()));
    table.require("members");
    let (mut options, mut settled) = (BTreeMap::new(), BondOptions::default());
    // In the order in which they are carried out: the mode decides what others mean.
    for (key, name) in OPTION_KEYS.into_iter().zip(OPTION_NAMES) {
        let Some(value) = table.get(key).filter(|_| !COMMANDS.contains(&key)) else { continue };
        let pos = table.source.pos(value.span().start);
        match option(&mut settled, key, name, value) {
            Ok(text) => drop(options.insert(name, At::new(text, pos))),
            Err(fault) => table.source.report(pos, fault),
        }
    }
    let on = |name: &str| options.get(name).filter(|value| value.value.parse::<u32>().is_ok_and(|n| n > 0));
    if let (Some(_), Some(arp)) = (on("miimon"), on("arp_interval")) {
        table.source.report(arp.pos, "\"arp-interval\" and \"miimon\" cannot both be used");
    }
    Some(At::new(Bond { members, options, settled }, section.key_pos("bond")?))
}

/// Takes one option; gives its value as a command would write it.
fn option(settled: &mut BondOptions, key: &str, name: &str, value: &Value<'_>) -> Result<String, Fault> {
    let text = written(key, value)?;
    let words = words_of(name);
    if !words.is_empty() && !words.contains(&text.as_str()) {
        let list = one_of(words.iter());
        let fault = Fault::from(format!("{} must be {list}, not {}", quote(key), quote(&text)));
        return Err(fault.nearest(&text, words.iter().copied()));
    }
    match settled.set(name, &text) {
        Ok(()) => Ok(text),
        Err(why) => Err(why.replace(&format!("option {name}"), &quote(key)).into()),
    }
}

/// The value as the command line has it.
fn written(key: &str, value: &Value<'_>) -> Result<String, Fault> {
    let words = matches!(key, "lacp-active" | "coupled-control");
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(format!("{} is too large a number", quote(key)).into()),
        },
        DeValue::Boolean(on) if words => Ok(on.word().to_owned()),
        DeValue::Boolean(on) => Ok(u8::from(*on).to_string()),
        DeValue::Array(items) if key == "arp-ip-target" => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(Fault::from(wrong_type(key, "a list of addresses", other))),
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        other => Err(wrong_type(key, "a string, a number, true or false", other).into()),
    }
}

/// The words an option takes, if it takes words.
fn words_of(name: &str) -> Vec<&'static str> {
    fn names<T: Named>() -> Vec<&'static str> {
        T::NAMES.iter().map(|(_, name)| *name).collect()
    }
    match name {
        "mode" => names::<skiff_dataplane::device::bond::BondMode>(),
        "xmit_hash_policy" => names::<skiff_dataplane::device::bond::XmitPolicy>(),
        "arp_validate" => names::<ArpValidate>(),
        "arp_all_targets" => names::<ArpAllTargets>(),
        "primary_reselect" => names::<PrimaryReselect>(),
        "fail_over_mac" => names::<FailOverMac>(),
        "lacp_active" | "coupled_control" => names::<bool>(),
        "lacp_rate" => names::<LacpRate>(),
        "ad_select" => names::<AdSelect>(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_names_of_options_with_hyphens() {
        for (key, name) in OPTION_KEYS.into_iter().zip(OPTION_NAMES) {
            assert_eq!(key.replace('-', "_"), name);
        }
    }
}

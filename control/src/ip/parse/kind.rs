//! `type KIND` of `ip link add` and `set`: what follows belongs to the kind, to the end of the line.

use skiff_dataplane::device::bond::{BondMode, XmitPolicy};
use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::net::MacAddr;

use super::{UsageError, Words};
use crate::bond::options::{
    AdSelect, ArpAllTargets, ArpValidate, FailOverMac, LacpRate, Named, OptionName, PrimaryReselect,
};
use crate::ip::linkspec::{KindSpec, SlaveSpec, VlanFlags, VlanSpec};
use crate::ip::words::parse_number;

/// Reads the kind and its options.
pub(super) fn kind(words: &mut Words<'_>) -> Result<KindSpec, UsageError> {
    match words.value("type")? {
        "vlan" => vlan(words).map(KindSpec::Vlan),
        "bond" => bond(words).map(KindSpec::Bond),
        "bond_slave" => bond_slave(words).map(KindSpec::BondSlave),
        other => Err(words.unsupported(&format!("a link of type \"{other}\""))),
    }
}

#[derive(Clone, Copy)]
enum VlanWord {
    Protocol,
    Id,
    Flag(&'static str, VlanFlags),
    Ingress,
    Egress,
}

/// In the order in which abbreviations are tried.
const VLAN_WORDS: [(&str, VlanWord); 9] = [
    ("protocol", VlanWord::Protocol),
    ("id", VlanWord::Id),
    ("reorder_hdr", VlanWord::Flag("reorder_hdr", VlanFlags::REORDER_HDR)),
    ("gvrp", VlanWord::Flag("gvrp", VlanFlags::GVRP)),
    ("mvrp", VlanWord::Flag("mvrp", VlanFlags::MVRP)),
    ("loose_binding", VlanWord::Flag("loose_binding", VlanFlags::LOOSE_BINDING)),
    ("bridge_binding", VlanWord::Flag("bridge_binding", VlanFlags::BRIDGE_BINDING)),
    ("ingress-qos-map", VlanWord::Ingress),
    ("egress-qos-map", VlanWord::Egress),
];

fn vlan(words: &mut Words<'_>) -> Result<VlanSpec, UsageError> {
    let mut spec = VlanSpec::default();
    while let Some(word) = words.next() {
        match abbreviated(&VLAN_WORDS, word) {
            Some(VlanWord::Protocol) => spec.protocol = Some(protocol(words)?),
            Some(VlanWord::Id) => spec.id = Some(narrow(words, "id", "id is invalid")?),
            Some(VlanWord::Flag(name, flag)) => {
                spec.mask |= flag;
                spec.flags.set(flag, super::link::on_off(words, name)?);
            }
            Some(VlanWord::Ingress) => spec.ingress.extend(qos_map(words, "ingress-qos-map")?),
            Some(VlanWord::Egress) => spec.egress.extend(qos_map(words, "egress-qos-map")?),
            None => return Err(words.error(format!("vlan: unknown command \"{word}\"?"))),
        }
    }
    Ok(spec)
}

fn protocol(words: &mut Words<'_>) -> Result<VlanProto, UsageError> {
    let word = words.value("protocol")?;
    let named = |name: &str| word.eq_ignore_ascii_case(name);
    let number = || parse_number(word).and_then(|n| u16::try_from(n).ok()).and_then(VlanProto::from_tpid);
    match word {
        _ if named("802.1q") => Ok(VlanProto::Dot1q),
        _ if named("802.1ad") => Ok(VlanProto::Dot1ad),
        _ => number().ok_or_else(|| words.wrong(word, "protocol is invalid")),
    }
}

/// `FROM:TO` pairs, as many as follow. At least one word must; one without a colon begins something else.
fn qos_map(words: &mut Words<'_>, key: &str) -> Result<Vec<(u32, u32)>, UsageError> {
    let mut map = Vec::new();
    if words.peek().is_none() {
        words.value(key)?;
    }
    while let Some((from, to)) = words.peek().and_then(|word| word.split_once(':')) {
        words.next();
        let number = |word: &str| parse_number(word).and_then(|n| u32::try_from(n).ok());
        let pair = number(from).zip(number(to));
        map.push(pair.ok_or_else(|| words.wrong(from, &format!("invalid {key}")))?);
    }
    Ok(map)
}

/// Names and values, as far as their form can be told without the bond.
fn bond(words: &mut Words<'_>) -> Result<Vec<(&'static str, String)>, UsageError> {
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let unknown = || words.error(format!("bond: unknown command \"{word}\"?"));
        let option = OptionName::resolve(word).ok_or_else(unknown)?;
        let value = if option.is_flag() { "" } else { words.value(option.name())? };
        bond_value(words, option.name(), value)?;
        options.push((option.name(), value.to_owned()));
    }
    Ok(options)
}

fn bond_value(words: &Words<'_>, option: &str, value: &str) -> Result<(), UsageError> {
    let below = |limit: u64| parse_number(value).is_some_and(|n| n < limit);
    let good = match option {
        "active_slave" | "clear_active_slave" | "primary" | "ns_ip6_target" => true,
        "mode" => BondMode::from_word(value).is_some(),
        "xmit_hash_policy" => XmitPolicy::from_word(value).is_some(),
        "arp_validate" => ArpValidate::from_word(value).is_some(),
        "arp_all_targets" => ArpAllTargets::from_word(value).is_some(),
        "primary_reselect" => PrimaryReselect::from_word(value).is_some(),
        "fail_over_mac" => FailOverMac::from_word(value).is_some(),
        "lacp_rate" => LacpRate::from_word(value).is_some(),
        "lacp_active" | "coupled_control" => bool::from_word(value).is_some(),
        "ad_select" => AdSelect::from_word(value).is_some(),
        "arp_ip_target" => {
            let bad =
                value.split(',').find(|word| !word.is_empty() && word.parse::<std::net::Ipv4Addr>().is_err());
            return bad.map_or(Ok(()), |bad| {
                Err(words.error(format!("an IP address is expected rather than \"{bad}\"")))
            });
        }
        "ad_actor_system" if value.parse::<MacAddr>().is_err() => {
            return Err(words.error(format!("\"{value}\" is invalid lladdr.")));
        }
        "ad_actor_system" => true,
        "use_carrier" | "num_grat_arp" | "all_slaves_active" | "tlb_dynamic_lb" | "arp_missed_max" => {
            below(1 << 8)
        }
        "ad_user_port_key" | "ad_actor_sys_prio" => below(1 << 16),
        _ => below(1 << 32),
    };
    let name = if option == "num_grat_arp" { "num_grat_arp|num_unsol_na" } else { option };
    if good { Ok(()) } else { Err(words.wrong(value, &format!("invalid {name}"))) }
}

fn bond_slave(words: &mut Words<'_>) -> Result<SlaveSpec, UsageError> {
    const WORDS: [(&str, bool); 2] = [("queue_id", true), ("prio", false)];
    let mut spec = SlaveSpec::default();
    while let Some(word) = words.next() {
        match abbreviated(&WORDS, word) {
            Some(true) => spec.queue_id = Some(narrow(words, "queue_id", "queue_id is invalid")?),
            Some(false) => {
                let word = words.value("prio")?;
                spec.prio = Some(word.parse().map_err(|_| words.wrong(word, "prio is invalid"))?);
            }
            None => return Err(words.error(format!("bond_slave: unknown option \"{word}\"?"))),
        }
    }
    Ok(spec)
}

/// The first that `word` abbreviates.
fn abbreviated<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| !word.is_empty() && name.starts_with(word)).map(|(_, value)| *value)
}

/// The number after `key`, of the width the option has.
fn narrow<T: TryFrom<u64>>(words: &mut Words<'_>, key: &str, why: &str) -> Result<T, UsageError> {
    let word = words.value(key)?;
    parse_number(word).and_then(|n| T::try_from(n).ok()).ok_or_else(|| words.wrong(word, why))
}

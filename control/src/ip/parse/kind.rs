//! `type KIND` of `ip link add` and `set`: what follows belongs to the kind, to the end of the line.

use skiff_dataplane::device::vlan::VlanProto;

use super::{UsageError, Words};
use crate::ip::linkspec::{KindSpec, SlaveSpec, VlanFlags, VlanSpec};
use crate::ip::words::parse_number;

/// Reads the kind and its options.
pub(super) fn kind(words: &mut Words<'_>) -> Result<KindSpec, UsageError> {
    match words.value("type")? {
        "vlan" => vlan(words).map(KindSpec::Vlan),
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

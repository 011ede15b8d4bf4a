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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::linkspec::LinkAdd;
    use crate::ip::request::{Command, LinkFilter, LinkSet};

    fn parse(line: &str) -> Result<Command, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        super::super::parse(&words).map(|request| request.command).map_err(|error| error.to_string())
    }

    fn vlan(line: &str) -> VlanSpec {
        match parse(line) {
            Ok(Command::LinkAdd(LinkAdd {
                set: LinkSet { kind: Some(KindSpec::Vlan(spec)), .. }, ..
            })) => spec,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_vlan_with_all_its_words() {
        let line = "link add link eth0 name eth0.10 mtu 1400 address 02:00:00:00:00:01 up type vlan protocol 802.1AD \
                    id 0xa reorder_hdr off gvrp on mvrp on loose_binding on bridge_binding on ingress-qos-map 1:2 3:4 \
                    egress-qos-map 5:6";
        let spec = VlanSpec {
            protocol: Some(VlanProto::Dot1ad),
            id: Some(10),
            flags: VlanFlags::all() - VlanFlags::REORDER_HDR,
            mask: VlanFlags::all(),
            ingress: vec![(1, 2), (3, 4)],
            egress: vec![(5, 6)],
        };
        let set = LinkSet {
            mtu: Some(1400),
            address: Some("02:00:00:00:00:01".parse().unwrap()),
            up: Some(true),
            kind: Some(KindSpec::Vlan(spec.clone())),
            ..LinkSet::default()
        };
        let add = LinkAdd { name: Some("eth0.10".into()), link: Some("eth0".into()), set };
        assert_eq!(parse(line), Ok(Command::LinkAdd(add)));
        let short =
            "l a eth0.10 link eth0 type vlan p 0x88a8 i 10 r off g on m on l on b on in 1:2 3:4 e 5:6";
        assert_eq!(vlan(short), spec);
        assert_eq!(
            vlan("link add link eth0 type vlan id 1"),
            VlanSpec { id: Some(1), ..VlanSpec::default() }
        );
    }

    #[test]
    fn bonds_and_members() {
        let options = |line: &str| match parse(line) {
            Ok(Command::LinkAdd(add)) => add.set.kind,
            Ok(Command::LinkSet(set)) => set.kind,
            other => panic!("{line}: {other:?}"),
        };
        let words = |pairs: &[(&'static str, &str)]| {
            Some(KindSpec::Bond(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()))
        };
        assert_eq!(
            options("link add bond0 type bond mode 4 mii 50 xmit layer3+4 arp_ip_target 10.0.0.1,10.0.0.2"),
            words(&[
                ("mode", "4"),
                ("miimon", "50"),
                ("xmit_hash_policy", "layer3+4"),
                ("arp_ip_target", "10.0.0.1,10.0.0.2")
            ])
        );
        assert_eq!(
            options("link set bond0 type bond clear_active_slave num_unsol_na 3"),
            words(&[("clear_active_slave", ""), ("num_grat_arp", "3")])
        );
        let slave = SlaveSpec { queue_id: Some(3), prio: Some(-5) };
        assert_eq!(
            options("link set eth0 type bond_slave queue_id 3 prio -5"),
            Some(KindSpec::BondSlave(slave))
        );
        let set = |line: &str| match parse(line) {
            Ok(Command::LinkSet(set)) => set.master,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(set("link set eth0 master bond0"), Some(Some("bond0".into())));
        assert_eq!(set("link set eth0 nomaster"), Some(None));
        assert_eq!(parse("link del dev bond0 type bond"), Ok(Command::LinkDel("bond0".into())));
        let filter = LinkFilter {
            kind: Some("vlan".into()),
            master: Some(Some("bond0".into())),
            ..LinkFilter::default()
        };
        assert_eq!(parse("link show type vlan master bond0"), Ok(Command::LinkShow(filter)));
    }

    /// What `ip` itself says, without its usage.
    #[test]
    fn mistakes_in_the_words_of_iproute2() {
        for (line, why) in [
            ("type vlan id", "command line is not complete: \"id\" takes a value"),
            ("type vlan id x", "argument \"x\" is wrong: id is invalid"),
            ("type vlan id 70000", "argument \"70000\" is wrong: id is invalid"),
            ("type vlan id 5 foo", "vlan: unknown command \"foo\"?"),
            ("type vlan id 5 mtu 1400", "vlan: unknown command \"mtu\"?"),
            ("type vlan id 5 protocol foo", "argument \"foo\" is wrong: protocol is invalid"),
            ("type vlan reorder_hdr x", "argument of \"reorder_hdr\" must be \"on\" or \"off\", not \"x\""),
            ("type vlan ingress-qos-map 1", "vlan: unknown command \"1\"?"),
            ("type vlan ingress-qos-map x:1", "argument \"x\" is wrong: invalid ingress-qos-map"),
            ("type vlan egress-qos-map 1:x", "argument \"1\" is wrong: invalid egress-qos-map"),
            ("type vlan ingress-qos-map", "command line is not complete: \"ingress-qos-map\" takes a value"),
            ("name w type vlan", "both \"name\" and \"dev\" cannot be used when creating devices."),
            ("w type vlan", "either \"dev\" is duplicate, or \"w\" is a garbage"),
            ("link lo", "not enough information: \"type\" argument is required"),
            ("type bond mode foo", "argument \"foo\" is wrong: invalid mode"),
            ("type bond mode 9", "argument \"9\" is wrong: invalid mode"),
            ("type bond miimon x", "argument \"x\" is wrong: invalid miimon"),
            ("type bond foo", "bond: unknown command \"foo\"?"),
            ("type bond num_grat_arp 300", "argument \"300\" is wrong: invalid num_grat_arp|num_unsol_na"),
            ("type bond arp_ip_target 1.2.3.4,x", "an IP address is expected rather than \"x\""),
            ("type bond ad_actor_system zz", "\"zz\" is invalid lladdr."),
            ("type bond_slave foo", "bond_slave: unknown option \"foo\"?"),
            ("type bond_slave queue_id x", "argument \"x\" is wrong: queue_id is invalid"),
        ] {
            let error = parse(&format!("link add v {line}")).unwrap_err();
            assert_eq!(error.split_once(": ").map(|(_, why)| why), Some(why), "{line}");
        }
    }
}

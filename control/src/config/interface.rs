//! `[interface.NAME]`.

use toml::de::DeValue;

use super::device::Device;
use super::diag::{At, Source, quote};
use super::model::{DEFAULT_DESCRIPTORS, Interface, InterfaceKind, Port};
use super::section::{Key, Section, Value, in_file_order, narrow, wrong_type};
use super::upper::{bond, vlan};
use super::value::{interface_address, interface_name, unicast_mac};

const KINDS: [&str; 3] = ["device", "vlan", "bond"];
const PORT_KEYS: [&str; 4] = ["rx-queues", "tx-queues", "rx-desc", "tx-desc"];
const KEYS: &[&str] = &[
    "device",
    "vlan",
    "bond",
    "addresses",
    "mtu",
    "mac",
    "enabled",
    "promiscuous",
    "rx-queues",
    "tx-queues",
    "rx-desc",
    "tx-desc",
];

/// Smallest MTU of IPv4 (RFC 791 section 3.2).
const MIN_MTU: i64 = 68;
/// Largest MTU of the jumbo frames Ethernet NICs take.
const MAX_MTU: i64 = 9600;
const MAX_QUEUES: i64 = 128;
const DESCRIPTORS: std::ops::RangeInclusive<i64> = 32..=16384;

/// The interfaces of a file.
#[derive(Default)]
pub(super) struct Interfaces {
    /// Those without a mistake that hides what they are, in the order of the file.
    pub(super) read: Vec<Interface>,
    /// False if an address may be missing from `read`: one had a mistake, or its key or its interface had.
    pub(super) addresses_are_known: bool,
}

/// Reads every interface.
pub(super) fn read_all<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Interfaces {
    let DeValue::Table(table) = value.get_ref() else {
        let pos = source.pos(value.span().start);
        source.report(pos, wrong_type("interface", "a table of interfaces", value.get_ref()));
        return Interfaces::default();
    };
    let mut interfaces = Interfaces { read: Vec::new(), addresses_are_known: true };
    for (key, value) in in_file_order(table) {
        let interface = read(source, key, value);
        let written =
            value.get_ref().get("addresses").map(|list| list.get_ref().as_array().map_or(1, |l| l.len()));
        let known_keys = value.get_ref().as_table().is_some_and(|keys| keys.keys().all(is_known));
        let found = interface.as_ref().map(|interface| interface.addresses.len());
        interfaces.addresses_are_known &= known_keys && found == Some(written.unwrap_or(0));
        interfaces.read.extend(interface);
    }
    interfaces
}

fn is_known(key: &Key<'_>) -> bool {
    KEYS.contains(&key.get_ref().as_ref())
}

fn read<'t>(source: &'t Source<'t>, key: &'t Key<'t>, value: &'t Value<'t>) -> Option<Interface> {
    let name = At::new(key.get_ref().to_string(), source.pos(key.span().start));
    if let Err(fault) = interface_name(&name) {
        source.report(name.pos, fault);
    }
    let section = Section::of(source, &name, value, KEYS)?;
    let kind = kind(&section, &name);
    let addresses = section.parsed_list("addresses", interface_address);
    let mtu = section.integer("mtu", MIN_MTU..=MAX_MTU).and_then(narrow);
    let mac = section.parsed("mac", unicast_mac);
    let enabled = section.boolean("enabled").unwrap_or(At::unwritten(true));
    let promiscuous = section.boolean("promiscuous").unwrap_or(At::unwritten(false));
    Some(Interface { kind: kind?, addresses, mtu, mac, enabled, promiscuous, name })
}

/// What carries the interface: exactly one of the three kinds is given.
fn kind(section: &Section<'_>, name: &str) -> Option<InterfaceKind> {
    let (port, vlan, bond) = (port(section), vlan(section), bond(section));
    let mut given = KINDS.into_iter().filter(|kind| section.get(kind).is_some());
    let Some(first) = given.next() else {
        section.report(format!("interface {} has no device", quote(name)));
        return None;
    };
    if let Some(second) = given.next() {
        let pos = section.key_pos(second).unwrap_or(section.pos);
        section.source.report(pos, format!("interface {} has both {first} and {second}", quote(name)));
        return None;
    }
    if first != "device" {
        without_queues(section, first);
    }
    let vlan_or_bond = vlan.map(InterfaceKind::Vlan).or(bond.map(InterfaceKind::Bond));
    port.map(InterfaceKind::Port).or(vlan_or_bond)
}

fn port(section: &Section<'_>) -> Option<Port> {
    let device = section.parsed("device", Device::parse);
    let number = |key, range| section.integer(key, range).and_then(narrow);
    let (rx_queues, tx_queues) = (number("rx-queues", 1..=MAX_QUEUES), number("tx-queues", 1..=MAX_QUEUES));
    let (rx_desc, tx_desc) = (number("rx-desc", DESCRIPTORS), number("tx-desc", DESCRIPTORS));
    Some(Port {
        device: device?,
        rx_queues: rx_queues.unwrap_or(At::unwritten(1)),
        tx_queues,
        rx_desc: rx_desc.unwrap_or(At::unwritten(DEFAULT_DESCRIPTORS)),
        tx_desc: tx_desc.unwrap_or(At::unwritten(DEFAULT_DESCRIPTORS)),
    })
}

/// Reports queue keys on an interface that has no queues of its own.
fn without_queues(section: &Section<'_>, kind: &str) {
    for key in PORT_KEYS {
        if let Some(pos) = section.key_pos(key) {
            section.source.report(pos, format!("{} is for ports, not for a {kind}", quote(key)));
        }
    }
}

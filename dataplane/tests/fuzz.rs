//! Whatever comes in, nothing panics and every packet is accounted for.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::{arp, checksum, ethernet};
use common::{Frame, Ip, PORTS, R1, R2, R3, Rig, To, dev, mac};
use skiff_dataplane::core::counters::Ledger;
use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::cache::SetMode;
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::skb::{Skb, SkbList};

const FRAMES: u64 = 1_000_000;

/// xorshift64*: a run can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Somewhere in a packet: one time in `rare` anywhere, else in the headers.
    fn offset(&mut self, rare: u64) -> usize {
        let end = if self.one_in(rare) { 1500 } else { 80 };
        self.below(end) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.word() as u8).collect()
    }
}

const ADDRESSES: [&str; 26] = [
    "10.1.0.1",
    "10.2.0.1",
    "10.3.0.1",
    "10.1.0.2",
    "10.2.0.2",
    "10.3.0.2",
    "10.1.0.3",
    "10.2.0.77",
    "10.1.0.255",
    "10.1.0.0",
    "255.255.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "20.0.0.1",
    "21.0.0.1",
    "22.0.0.1",
    "23.0.0.1",
    "24.0.0.1",
    "25.0.0.1",
    "99.0.0.1",
    "98.0.0.1",
    "97.0.0.1",
];

fn packet(dice: &mut Dice) -> Ip {
    let (src, dst) = (dice.pick(&ADDRESSES), dice.pick(&ADDRESSES));
    let src = if dice.one_in(3) { src } else { "10.1.0.2" };
    let len = dice.pick(&[0, 1, 7, 18, 40, 61, 400, 1400]);
    let mut packet = match dice.below(8) {
        0 => Ip::echo(src, dst, len),
        1 => Ip::tcp(src, dst, (1, 2), 3, 4, dice.word() as u8, &vec![7; len]),
        2 => {
            let quote = Ip::udp(dst, src, (1, 2), 8).bytes();
            let kind = if dice.one_in(8) { 42 } else { dice.word() as u8 % 20 };
            Ip::icmp(src, dst, kind, 0, &[&[0, 0, 0, dice.word() as u8], &quote[..]].concat())
        }
        3 => Ip::new(src, dst, dice.word() as u8, dice.bytes(len)),
        _ => Ip::udp(src, dst, (dice.word() as u16, 2), len),
    };
    packet.ttl = dice.pick(&[0, 1, 2, 64, 255]);
    packet.tos = dice.word() as u8;
    packet.id = dice.word() as u16;
    if dice.one_in(4) {
        packet.frag = dice.pick(&[0x4000, 0x2000, 0x2005, 0x0007, 0x1fff, 0x8000, 0xffff]);
    }
    if dice.one_in(4) {
        packet.options = options(dice);
    }
    packet
}

fn options(dice: &mut Dice) -> Vec<u8> {
    let mut options = Vec::new();
    while options.len() < 36 && !dice.one_in(4) {
        if dice.one_in(3) {
            options.extend(source_route(dice));
            continue;
        }
        let kind = dice.pick(&[0, 1, 7, 68, 130, 131, 134, 137, 148, 222]);
        let len = dice.below(14) as usize;
        options.extend([kind, len as u8, dice.pick(&[0, 4, 5, 8, 9, 255]), dice.word() as u8]);
        let rest = len.saturating_sub(4);
        options.extend(dice.bytes(rest));
    }
    options.truncate(40);
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

/// A source route over addresses of the router and its hosts, its pointer mostly where one may be.
fn source_route(dice: &mut Dice) -> Vec<u8> {
    let hops = dice.below(4) as usize;
    let pointer = if dice.one_in(8) { dice.word() as u8 } else { 4 + 4 * dice.below(hops as u64 + 1) as u8 };
    let mut option = vec![dice.pick(&[131, 137]), 3 + 4 * hops as u8, pointer];
    (0..hops).for_each(|_| option.extend(common::ip(dice.pick(&ADDRESSES)).to_be_bytes()));
    option
}

fn arp_frame(dice: &mut Dice, port: usize) -> Vec<u8> {
    let to = dice.pick(&[MacAddr::BROADCAST, mac::router(port), mac::of(9)]);
    let (sender, target) = (dice.pick(&ADDRESSES), dice.pick(&ADDRESSES));
    arp(to, dice.below(4) as u16, (mac::of(dice.word() as u32), sender), (MacAddr::ZERO, target))
}

fn frame(dice: &mut Dice, port: usize) -> Frame {
    let mut bytes = match dice.below(10) {
        0 => arp_frame(dice, port),
        1 => {
            let len = dice.below(100) as usize;
            let ethertype = dice.pick(&[0x8100, 0x88a8, 0x86dd, 0x0800, 0x0806, 0x0026, 0x9000]);
            ethernet(mac::router(port), mac::of(1), ethertype, &dice.bytes(len))
        }
        _ => {
            let to = if dice.one_in(10) {
                dice.pick(&[MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1]), mac::of(3)])
            } else {
                mac::router(port)
            };
            packet(dice).to_mac(to)
        }
    };
    if dice.one_in(6) {
        corrupt(dice, &mut bytes);
    }
    if dice.one_in(8) && bytes.len() > 12 {
        for _ in 0..=dice.below(3) {
            let (tpid, tci) =
                (dice.pick(&[0x8100u16, 0x8100, 0x88a8]), dice.pick(&[10u16, 10, 5, 100, 0, 4095]));
            bytes.splice(12..12, [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
        }
    }
    if dice.one_in(8) {
        bytes.truncate(dice.below(bytes.len() as u64) as usize + 1);
    }
    if dice.one_in(3) {
        bytes.resize(bytes.len().max(60), 0x77);
    }
    let cuts: Vec<usize> =
        if dice.one_in(3) { (0..dice.below(6)).map(|_| dice.offset(2)).collect() } else { vec![] };
    Frame::cut(&bytes, &cuts)
}

/// Flips bytes, mostly of headers, half of the time with a header checksum that covers it up.
fn corrupt(dice: &mut Dice, bytes: &mut [u8]) {
    for _ in 0..=dice.below(3) {
        let at = dice.offset(4) % bytes.len();
        bytes[at] ^= 1 << dice.below(8);
    }
    if dice.one_in(2) && bytes.len() > 34 {
        let end = (14 + usize::from(bytes[14] & 0xf) * 4).clamp(34, bytes.len());
        bytes[24..26].fill(0);
        let check = checksum(&bytes[14..end]);
        bytes[24..26].copy_from_slice(&check.to_be_bytes());
    }
}

fn router() -> Rig {
    let mut rig = Rig::with(1, 8191);
    rig.route("20.0.0.0/8", To::Narrow("10.2.0.2", R2, 300));
    rig.route("21.0.0.0/8", To::Paths(&[("10.2.0.2", R2, 3), ("10.3.0.2", R3, 1)]));
    rig.route("22.0.0.0/8", To::Spec(NextHopSpec::Blackhole));
    rig.route("23.0.0.0/8", To::Spec(NextHopSpec::Unreachable));
    rig.route("24.0.0.0/8", To::Via("10.1.0.3", R1));
    rig.route("25.0.0.0/8", To::Narrow("10.3.0.2", R3, 60));
    rig.route("240.0.0.0/4", To::Via("10.3.0.2", R3));
    // VLAN 10 on r1 and VLAN 5 in it, service VLAN 100 on r2, whose tag stays.
    add_vlan(&mut rig, 10, dev(R1), VlanProto::Dot1q, 10);
    add_vlan(&mut rig, 11, IfIndex(10), VlanProto::Dot1q, 5);
    add_vlan(&mut rig, 12, dev(R2), VlanProto::Dot1ad, 100);
    rig
}

/// A VLAN device and a route out by it.
fn add_vlan(rig: &mut Rig, ifindex: u16, real_dev: IfIndex, proto: VlanProto, vid: u16) {
    let oif = IfIndex(ifindex);
    let vlan =
        Vlan { real_dev, proto, vid, reorder_hdr: ifindex != 12, ingress: [1; 8], egress: vec![(2, 3)] };
    let device = NetDevice {
        ifindex: oif,
        name: format!("vlan{vid}"),
        kind: DeviceKind::Vlan,
        vlan: Some(Arc::new(vlan)),
        addresses: Vec::new(),
        ..rig.devices[1].clone()
    };
    rig.neigh.set_device(oif, device.mac, false, NeighParams::default());
    rig.devices.push(device);
    rig.configure(|_, _| {});
    let (gateway, now, mut actions) = (common::ip("10.99.0.2"), rig.now, Vec::new());
    let lladdr = Some(mac::of(gateway));
    let id =
        rig.neigh.set(oif, gateway, lladdr, Nud::Permanent, SetMode::Replace, now, &mut actions).unwrap();
    let spec = NextHopSpec::Unicast { oif, gateway: Some((gateway, id)), mtu: 1500, prefsrc: 0 };
    rig.route(["99.0.0.0/8", "98.0.0.0/8", "97.0.0.0/8"][usize::from(ifindex - 10)], To::Spec(spec));
}

/// Changes the configuration to something that is odd in another way.
fn reconfigure(rig: &mut Rig, dice: &mut Dice) {
    let words: Vec<u64> = (0..PORTS).map(|_| dice.word()).collect();
    rig.configure(|devices, sysctl| {
        for (device, word) in devices.iter_mut().zip(&words) {
            device.up = word % 32 != 0;
            device.carrier = word / 32 % 16 != 0;
            device.conf.rp_filter = (word / 512 % 8).saturating_sub(5) as u8;
            device.conf.forwarding = word / 4096 % 8 != 0;
            device.conf.accept_local = word / 32_768 % 4 == 0;
            device.conf.proxy_arp = word / 131_072 % 2 == 0;
            device.conf.route_localnet = word / 262_144 % 4 == 0;
            device.conf.accept_source_route = word >> 20 & 1 == 0;
            device.conf.bc_forwarding = word >> 21 & 3 == 0;
            device.conf.log_martians = word >> 23 & 1 == 0;
            device.conf.shared_media = word >> 24 & 1 == 0;
        }
        sysctl.fib_multipath_hash_policy = words[0] as u8 & 1;
        sysctl.icmp_echo_ignore_broadcasts = words[1] & 1 == 0;
        sysctl.icmp_echo_enable_probe = words[1] & 2 == 0;
        sysctl.icmp_ignore_bogus_error_responses = words[1] & 4 == 0;
        sysctl.icmp_errors_use_inbound_ifaddr = words[2] & 1 == 0;
    });
    let state = dice.pick(&[Nud::Reachable, Nud::Stale, Nud::Failed, Nud::Permanent]);
    rig.neighbour(R2, "10.2.0.2", state);
}

#[test]
fn a_million_frames() {
    let mut rig = router();
    let mut dice = Dice(std::env::var("SKIFF_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed));
    let (mut fed, mut on_wire) = (0u64, 0u64);
    let mut burst = SkbList::new();
    while fed < FRAMES {
        if dice.one_in(64) {
            reconfigure(&mut rig, &mut dice);
        }
        let port = dice.pick(&[R1, R1, R2, R3]);
        for _ in 0..=dice.below(32).min(31) {
            let skb: Skb = rig.skb(&frame(&mut dice, port));
            burst.push(skb).unwrap();
        }
        fed += burst.len() as u64;
        let offered = burst.len();
        assert_eq!(rig.feed[port].tx_burst(&mut burst), offered);
        rig.round();
        rig.take_messages();
        let mut held = std::mem::take(&mut rig.held);
        if dice.one_in(8) {
            held.drain(..).for_each(|(_, _, skb)| rig.shared.send_to_lcore(0, failed(skb)).unwrap());
        }
        rig.held = held;
        if rig.held.len() > 2000 {
            drop(rig.give_up_held());
        }
        on_wire += free_sent(&mut rig);
        rig.after(Duration::from_millis(1));
    }
    rig.round();
    on_wire += free_sent(&mut rig);
    rig.give_up_held();
    rig.purge_fragments();
    let Ledger { rx, created, tx, dropped, delivered } = rig.shared.ledger();
    println!("rx {rx} created {created} tx {tx} dropped {dropped} delivered {delivered}");
    assert_eq!((rx, rx + created), (fed, tx + dropped + delivered));
    assert!(on_wire <= tx && tx > fed / 10 && dropped > fed / 10 && delivered > fed / 100, "a fair mix");
}

fn failed(skb: Skb) -> skiff_dataplane::core::shared::ToLcore {
    skiff_dataplane::core::shared::ToLcore::NeighFailed(skb)
}

/// Takes what was sent off the wires, looking at its headers.
fn free_sent(rig: &mut Rig) -> u64 {
    let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
    rig.collect(&mut wire);
    let frames = wire.iter().flatten();
    for frame in frames.clone() {
        if frame[12..14] == [8, 0] {
            let header_len = usize::from(frame[14] & 0xf) * 4;
            assert_eq!(checksum(&frame[14..14 + header_len]), 0, "{frame:x?}");
            assert_eq!(
                usize::from(u16::from_be_bytes([frame[16], frame[17]])),
                frame.len() - 14,
                "{frame:x?}"
            );
        }
    }
    frames.count() as u64
}

//! Captures: what is copied where, and that nothing else changes.

mod common;

use std::sync::Arc;

use common::bonds::{BOND, bond, bonded};
use common::frames::arp;
use common::vlans::{add, dot1q};
use common::{Frame, Ip, R1, R2, R3, Rig, dev, ip, mac};
use skiff_dataplane::core::capture::Direction::{Drop, Rx, Tx};
use skiff_dataplane::core::capture::{Captures, Counts, Direction, MAX_SESSIONS, Session};
use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::device::vlan::{VlanOffload, VlanProto};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, HookFn, Verdict, Verdicts};
use skiff_dataplane::skb::{Skb, SkbList};
use skiff_pmd::bpf::{Filter, Insn};

const SNAPLEN: usize = 2048;
/// VLAN 10 on r1 and VLAN 20 on r2.
const V10: IfIndex = IfIndex(10);
const V20: IfIndex = IfIndex(20);

type Seen = (Direction, IfIndex, Vec<u8>);

fn program(insns: &[(u16, u8, u8, u32)]) -> Filter {
    let insns: Vec<_> = insns.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
    Filter::new(&insns).unwrap()
}

fn everything() -> Filter {
    program(&[(0x06, 0, 0, 1)])
}

/// Frames with this EtherType.
fn ethertype(kind: u16) -> Filter {
    program(&[(0x28, 0, 0, 12), (0x15, 0, 1, kind.into()), (0x06, 0, 0, 1), (0x06, 0, 0, 0)])
}

fn run(rig: &mut Rig, session: Session) -> Arc<Session> {
    let session = Arc::new(session);
    rig.captures = Captures::new([Arc::clone(&session)]);
    rig.configure(|_, _| {});
    session
}

fn capture(rig: &mut Rig, device: Option<IfIndex>, directions: &[Direction]) -> Arc<Session> {
    run(rig, Session::new(everything(), device, directions.iter().copied().collect(), SNAPLEN))
}

fn read(session: &Session) -> Vec<Seen> {
    let records = std::iter::from_fn(|| session.next()).map(|record| {
        let seen = (record.direction, record.dev, record.bytes().to_vec());
        session.recycle(record);
        seen
    });
    records.collect()
}

/// From a host at r1 to one at r2.
fn transit(i: u16) -> Ip {
    Ip::udp("10.1.0.2", "10.2.0.2", (i, 7), 40)
}

#[test]
fn what_comes_in_and_goes_out_is_copied() {
    let mut rig = Rig::new();
    let session = capture(&mut rig, None, &[Rx, Tx, Drop]);
    let sent = transit(1).to_port(R1);
    let out = rig.send(R1, sent.clone());
    let records: Vec<_> = std::iter::from_fn(|| session.next()).collect();
    let [rx, tx] = &records[..] else { panic!("{records:?}") };
    assert_eq!((rx.direction, rx.dev, rx.bytes()), (Rx, dev(R1), &sent[..]));
    assert_eq!((tx.direction, tx.dev, tx.bytes()), (Tx, dev(R2), &out.wire[R2][0][..]));
    assert_eq!((rx.wire_len as usize, rx.freed, tx.freed), (sent.len(), None, None));
    let now = rig.now.as_nanos();
    assert!((now..now + 10_000).contains(&rx.unix_nanos), "{} {now}", rx.unix_nanos);
    assert_eq!(session.counts(), Counts { matched: 2, missed: 0 });
}

#[test]
fn a_capture_sees_its_device_and_direction_only() {
    let mut rig = Rig::new();
    for (device, direction, expected) in
        [(R1, Rx, 40), (R1, Tx, 0), (R2, Tx, 40), (R2, Rx, 0), (R3, Rx, 0), (R1, Drop, 0)]
    {
        let session = capture(&mut rig, Some(dev(device)), &[direction]);
        let out = rig.send_all(R1, (0..40).map(|i| transit(i).to_port(R1)));
        assert_eq!(out.wire[R2].len(), 40);
        let seen = read(&session);
        assert_eq!(seen.len(), expected, "{direction} on r{}", device + 1);
        assert!(seen.iter().all(|(to, on, _)| (*to, *on) == (direction, dev(device))));
    }
    // None is left: nobody looks.
    rig.captures = Captures::default();
    rig.configure(|_, _| {});
    assert!([Rx, Tx, Drop].iter().all(|direction| !rig.snap.taps(*direction)));
    assert_eq!(rig.send(R1, transit(1).to_port(R1)).sent(), 1);
}

#[test]
fn the_filter_decides_and_several_captures_do_not_meet() {
    let mut rig = Rig::new();
    let session = |filter| Arc::new(Session::new(filter, None, [Rx].into_iter().collect(), SNAPLEN));
    let sessions: Vec<_> = (0..MAX_SESSIONS + 1)
        .map(|i| session(if i % 2 == 0 { ethertype(0x0806) } else { ethertype(0x0800) }))
        .collect();
    rig.captures = Captures::new(sessions.iter().cloned());
    rig.configure(|_, _| {});
    let request =
        arp(mac::router(R1), 1, (mac::of(ip("10.1.0.2")), "10.1.0.2"), (mac::router(R1), "10.1.0.1"));
    rig.send_all(R1, [request.clone(), transit(1).to_port(R1), transit(2).to_port(R1)]);
    for (i, session) in sessions.iter().enumerate() {
        let seen = read(session);
        match i {
            MAX_SESSIONS => assert!(seen.is_empty(), "there is no such capture"),
            _ if i % 2 == 0 => assert_eq!(seen, [(Rx, dev(R1), request.clone())]),
            _ => assert_eq!(seen.len(), 2),
        }
    }
}

#[test]
fn copies_are_cut_and_joined() {
    let mut rig = Rig::new();
    let session = run(&mut rig, Session::new(everything(), None, [Rx].into_iter().collect(), 50));
    let frame = transit(1).to_port(R1);
    rig.send(R1, Frame::cut(&frame, &[14, 37, 45]));
    let record = session.next().unwrap();
    assert_eq!((record.bytes(), record.wire_len as usize), (&frame[..50], frame.len()));
}

#[test]
fn freed_packets_say_where_and_why() {
    let mut rig = Rig::new();
    let session = capture(&mut rig, None, &[Drop]);
    let mut bad = transit(1).to_port(R1);
    bad[24] ^= 1;
    // A burst of both, so that the marked one is picked out.
    rig.send_all(R1, [transit(2).to_port(R1), bad.clone()]).drop_of(Node::IpRcv, DropReason::IpCsum);
    let record = session.next().unwrap();
    assert_eq!(record.freed, Some((Node::IpRcv, DropReason::IpCsum)));
    assert_eq!((record.direction, record.dev, record.bytes()), (Drop, dev(R1), &bad[..]));
    assert!(session.next().is_none());

    rig.hook(Hook::Forward, 0, Arc::new(DropAll));
    let sent = transit(3).to_port(R1);
    rig.send(R1, sent.clone()).drop_of(Node::IpForward, DropReason::NetfilterDrop);
    let record = session.next().unwrap();
    assert_eq!(record.freed, Some((Node::IpForward, DropReason::NetfilterDrop)));
    assert_eq!((record.dev, &record.bytes()[26..]), (dev(R1), &sent[26..]));
    assert_eq!(session.counts(), Counts { matched: 2, missed: 0 });
}

#[test]
fn freed_packets_are_on_the_device_they_were_on() {
    let mut rig = Rig::new();
    let (lan, wan) = (
        Arc::new(Session::new(everything(), Some(dev(R1)), [Drop].into_iter().collect(), SNAPLEN)),
        Arc::new(Session::new(everything(), Some(dev(R2)), [Drop].into_iter().collect(), SNAPLEN)),
    );
    rig.captures = Captures::new([Arc::clone(&lan), Arc::clone(&wan)]);
    rig.configure(|devices, _| devices[R2].up = false);
    rig.send(R1, transit(1).to_port(R1)).drop_of(Node::DevQueueXmit, DropReason::DevReady);
    assert_eq!(read(&wan).len(), 1);
    rig.send(R1, transit(1).ttl(1).to_port(R1));
    assert_eq!(read(&wan).len(), 0);
    assert!(!read(&lan).is_empty());
}

#[derive(Debug)]
struct DropAll;

impl HookFn for DropAll {
    fn name(&self) -> &str {
        "drop-all"
    }

    fn run(&self, _: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
        (0..list.len()).for_each(|at| verdicts.set(at, Verdict::Drop));
    }
}

#[test]
fn late_readers_miss_packets_and_the_traffic_does_not_notice() {
    let mut rig = Rig::new();
    let session = run(&mut rig, Session::new(everything(), None, [Rx].into_iter().collect(), 60_000));
    let buffers = session.buffers();
    assert!((64..2000).contains(&buffers), "{buffers}");
    let sent = buffers + 100;
    let out = rig.send_all(R1, (0..sent).map(|i| transit(i as u16).to_port(R1)));
    assert_eq!(out.wire[R2].len(), sent);
    assert_eq!(session.counts(), Counts { matched: sent as u64, missed: 100 });
    let seen = read(&session);
    assert_eq!(seen.len(), buffers);
    // The oldest are there, in order, and the buffers are back.
    assert!(seen.iter().enumerate().all(|(i, (_, _, frame))| *frame == transit(i as u16).to_port(R1)));
    rig.send(R1, transit(7).to_port(R1));
    assert_eq!(read(&session).len(), 1);
}

#[test]
fn what_the_driver_does_not_take_was_not_sent() {
    let mut rig = Rig::new();
    let session = capture(&mut rig, None, &[Tx, Drop]);
    for i in 0..80 {
        let mut burst = SkbList::new();
        (0..32).for_each(|k| burst.push(rig.skb(&transit(i * 32 + k).to_port(R1).into())).unwrap());
        assert_eq!(rig.feed[R1].tx_burst(&mut burst), 32);
        rig.round();
    }
    let ledger = rig.shared.ledger();
    assert!(ledger.tx > 0 && ledger.dropped > 0, "{ledger:?}");
    let seen = read(&session);
    let count = |direction| seen.iter().filter(|(to, _, _)| *to == direction).count() as u64;
    assert_eq!((count(Tx), count(Drop)), (ledger.tx, ledger.dropped));
    assert_eq!(session.counts(), Counts { matched: ledger.rx, missed: 0 });
}

fn tagged(frame: &[u8], vid: u16) -> Vec<u8> {
    let [a, b] = vid.to_be_bytes();
    [&frame[..12], &[0x81, 0, a, b], &frame[12..]].concat()
}

/// A frame as a driver brings it that takes tags out.
fn stripped(rig: &Rig, frame: &[u8], vid: u16) -> Skb {
    let mut skb = rig.skb(&Frame::from(frame.to_vec()));
    // A driver does not say which protocol the tag had.
    skb.set_vlan_tag(0xdead, vid);
    skb
}

#[test]
fn tags_are_where_each_device_has_them() {
    let mut rig = Rig::new();
    add(&mut rig, V10, dot1q(dev(R1), 10), "10.10.0.1/24");
    add(&mut rig, V20, dot1q(dev(R2), 20), "10.20.0.1/24");
    for (strips, inserts) in [(None, false), (Some(VlanProto::Dot1q), false), (None, true)] {
        let offload = VlanOffload { strips, inserts };
        rig.configure(|devices, _| devices[..2].iter_mut().for_each(|d| d.vlan_offload = offload));
        let session = capture(&mut rig, None, &[Rx, Tx]);
        let inner = Ip::udp("10.10.0.2", "10.20.0.2", (1, 7), 40).to_port(R1);
        let out = rig.acting(|rig| {
            let mut burst = SkbList::new();
            burst
                .push(match strips {
                    Some(_) => stripped(rig, &inner, 10),
                    None => rig.skb(&tagged(&inner, 10).into()),
                })
                .unwrap();
            assert_eq!(rig.feed[R1].tx_burst(&mut burst), 1);
        });
        let wire = out.wire[R2][0].clone();
        assert_eq!(wire[12..16], [0x81, 0, 0, 20]);
        let untagged = [&wire[..12], &wire[16..]].concat();
        let expected =
            [(Rx, dev(R1), tagged(&inner, 10)), (Rx, V10, inner), (Tx, V20, untagged), (Tx, dev(R2), wire)];
        assert_eq!(read(&session), expected, "{offload:?}");
    }
}

#[test]
fn a_vlan_device_sees_its_own_in_mixed_bursts() {
    let mut rig = Rig::new();
    add(&mut rig, V10, dot1q(dev(R1), 10), "10.10.0.1/24");
    let session = capture(&mut rig, Some(V10), &[Rx]);
    let inner = |i| Ip::udp("10.10.0.2", "10.2.0.2", (i, 7), 40).to_port(R1);
    let frames =
        [tagged(&inner(1), 10), transit(2).to_port(R1), tagged(&inner(3), 99), tagged(&inner(4), 10)];
    rig.send_all(R1, frames);
    assert_eq!(read(&session), [(Rx, V10, inner(1)), (Rx, V10, inner(4))]);
    // A tag in a tag makes the frame odd: it goes its way alone.
    let odd = tagged(&tagged(&inner(5), 10), 0);
    rig.send(R1, odd);
    let seen = read(&session);
    assert_eq!(seen, [(Rx, V10, inner(5))]);
}

#[test]
fn a_bond_sees_what_its_members_do() {
    let mut rig = bonded(bond(BondMode::ActiveBackup));
    let session = capture(&mut rig, None, &[Rx, Tx]);
    let out = rig.send(R1, common::bonds::transit(2, (1, 2), 7).to_port(R1));
    let wire = out.wire[R2][0].clone();
    let seen = read(&session);
    assert_eq!(seen[1..], [(Tx, BOND, wire.clone()), (Tx, dev(R2), wire)]);
    let back = Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 20).to_mac(rig.devices.last().unwrap().mac);
    rig.send(R2, back.clone());
    let seen = read(&session);
    assert_eq!(seen[..2], [(Rx, dev(R2), back.clone()), (Rx, BOND, back)]);
}

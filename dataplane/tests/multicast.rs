//! Multicast forwarding: copies, thresholds, the wrong interface, packets without an entry, groups joined here.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::DF;
use common::{Ip, PORTS, R1, R2, R3, Rig, dev, ip};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::DropReason::*;
use skiff_dataplane::core::drop_reason::Node::*;
use skiff_dataplane::core::shared::{ToControl, ToLcore};
use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::ipv4::ipmr::{MAXVIFS, Mfc, MfcStats, Multicast, NOT_AN_OIF, Vif, group_mac};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::skb::Skb;

const GROUP: &str = "239.1.2.3";
const SOURCE: &str = "10.1.0.2";

/// An entry; ways out with their thresholds. Interface numbers are those of the ports.
fn entry(source: &str, group: &str, parent: usize, oifs: &[(usize, u8)]) -> Mfc {
    let mut ttls = [NOT_AN_OIF; MAXVIFS];
    oifs.iter().for_each(|&(port, ttl)| ttls[port] = ttl);
    let stats = Arc::new(MfcStats::new(1));
    Mfc { source: ip(source), group: ip(group), parent: parent as u8, ttls, stats }
}

/// Makes this the multicast configuration.
fn publish(rig: &mut Rig, entries: &[Mfc], joined: &[(IfIndex, u32)]) -> Arc<Multicast> {
    let vifs = (0..PORTS).map(|port| Vif::new(dev(port), 1)).collect();
    let table = Arc::new(Multicast::new(vifs, entries.to_vec(), joined.iter().copied()));
    let next = rig.snap.generation + 1;
    let snapshot = Snapshot::new(next, rig.devices.clone(), rig.sysctl, false);
    drop(rig.shared.publish(snapshot.with_multicast(Arc::clone(&table))));
    rig.snap = rig.shared.snapshot();
    table
}

fn packet(source: &str, group: &str, len: usize) -> Ip {
    Ip::udp(source, group, (1000, 5001), len)
}

fn frame(packet: &Ip) -> Vec<u8> {
    packet.to_mac(group_mac(packet.dst))
}

/// Packets, bytes and wrong arrivals of an entry.
fn stats(entry: &Mfc) -> (u64, u64, u64) {
    let cells = &entry.stats.cells;
    (cells.sum(|c| &c.packets), cells.sum(|c| &c.bytes), cells.sum(|c| &c.wrong_if))
}

/// The packets the control thread was asked to hold.
fn unresolved(rig: &mut Rig) -> Vec<(IfIndex, Skb)> {
    let mut packets = Vec::new();
    while let Some(message) = rig.shared.receive_control() {
        match message {
            ToControl::McUnresolved { dev, skb } => packets.push((dev, skb)),
            other => panic!("{other:?}"),
        }
        rig.shared.unresolved_budget.give_back();
    }
    packets
}

#[test]
fn every_way_out_gets_a_copy() {
    let mut rig = Rig::new();
    let entry = entry(SOURCE, GROUP, R1, &[(R2, 1), (R3, 1)]);
    let table = publish(&mut rig, std::slice::from_ref(&entry), &[]);
    let sent = packet(SOURCE, GROUP, 100);
    let out = rig.send_all(R1, vec![frame(&sent); 5]);
    assert_eq!([out.wire[R1].len(), out.wire[R2].len(), out.wire[R3].len()], [0, 5, 5]);
    for port in [R2, R3] {
        for seen in out.all(port) {
            seen.is_forwarded(&sent);
            assert_eq!(seen.eth_dst.to_string(), "01:00:5e:01:02:03");
            assert_eq!(seen.eth_src, common::mac::router(port));
        }
    }
    out.no_drops().counted(&[
        (IpExtInMcastPkts, 5),
        (IpExtInMcastOctets, 5 * 128),
        (IpForwDatagrams, 10),
        (IpExtOutMcastPkts, 10),
        (IpExtOutMcastOctets, 10 * 128),
    ]);
    assert_eq!(stats(&entry), (5, 5 * 128, 0));
    let vif = |port: usize| &table.vifs()[port].cells;
    assert_eq!((vif(R1).sum(|c| &c.packets_in), vif(R1).sum(|c| &c.packets_out)), (5, 0));
    assert_eq!((vif(R2).sum(|c| &c.packets_out), vif(R3).sum(|c| &c.bytes_out)), (5, 5 * 128));
}

#[test]
fn a_group_on_the_wrong_group_mac_is_forwarded_all_the_same() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1)])], &[]);
    let sent = packet(SOURCE, GROUP, 10);
    let wrong = "01:02:03:04:05:06".parse().unwrap();
    rig.send(R1, sent.to_mac(wrong)).only(R2).is_forwarded(&sent);
}

#[test]
fn ttl_must_be_above_the_threshold() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1), (R3, 16)])], &[]);
    for (ttl, ways) in [(1, [0, 0]), (2, [1, 0]), (16, [1, 0]), (17, [1, 1]), (0, [0, 0])] {
        let out = rig.send(R1, frame(&packet(SOURCE, GROUP, 10).ttl(ttl)));
        assert_eq!([out.wire[R2].len(), out.wire[R3].len()], ways, "TTL {ttl}");
        if ways == [0, 0] {
            out.drop_of(IpMrInput, NotSpecified).counted(&[(IcmpOutMsgs, 0)]);
        } else {
            out.no_drops();
        }
    }
}

#[test]
fn link_local_groups_are_never_forwarded() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, "224.0.0.9", R1, &[(R2, 0)])], &[]);
    rig.send(R1, frame(&packet(SOURCE, "224.0.0.9", 10))).drop_of(IpRcvFinish, NotSpecified).silent();
}

#[test]
fn the_wrong_interface_is_counted_and_told_of_every_three_seconds() {
    let mut rig = Rig::new();
    rig.route("192.0.2.0/24", common::To::Via("10.2.0.2", R2));
    let entry = entry("192.0.2.9", GROUP, R1, &[(R2, 1), (R3, 1)]);
    publish(&mut rig, std::slice::from_ref(&entry), &[]);
    let sent = frame(&packet("192.0.2.9", GROUP, 10));
    let out = rig.send_all(R2, vec![sent.clone(); 5]);
    out.dropped(&[(IpMrInput, NotSpecified, 5)]).silent();
    assert_eq!(stats(&entry), (5, 5 * 38, 5));
    assert_eq!(out.control.len(), 1, "{out:?}");
    assert!(out.control[0].contains("McWrongVif"), "{out:?}");
    rig.after(Duration::from_millis(2900));
    assert!(rig.send(R2, sent.clone()).control.is_empty());
    rig.after(Duration::from_millis(200));
    assert_eq!(rig.send(R2, sent).control.len(), 1);
}

#[test]
fn nothing_comes_through_once_the_entry_is_gone() {
    let mut rig = Rig::new();
    publish(&mut rig, &[], &[]);
    rig.send_raw(R1, vec![frame(&packet(SOURCE, GROUP, 10)); 5]);
    let waiting = unresolved(&mut rig);
    assert_eq!(waiting.len(), 5);
    assert!(waiting.iter().all(|(from, _)| *from == dev(R1)));
    rig.held_outside.extend(waiting.into_iter().map(|(_, skb)| skb));
    rig.free_held_outside();
}

#[test]
fn a_packet_that_waited_goes_once_its_entry_is_there() {
    let mut rig = Rig::new();
    publish(&mut rig, &[], &[]);
    let sent = packet(SOURCE, GROUP, 10);
    rig.send_raw(R1, vec![frame(&sent)]);
    let (_, skb) = unresolved(&mut rig).remove(0);
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R3, 1)])], &[]);
    rig.tell(ToLcore::McResolved(skb)).only(R3).is_forwarded(&sent);
}

#[test]
fn packets_without_an_entry_cannot_fill_the_queue_to_control() {
    let mut rig = Rig::new();
    publish(&mut rig, &[], &[]);
    rig.send_raw(R1, vec![frame(&packet(SOURCE, GROUP, 10)); 320]);
    let waiting = unresolved(&mut rig);
    assert_eq!(waiting.len(), 256);
    assert_eq!(rig.shared.cells(0).drops(IpMrInput, NotSpecified).0, 64);
    rig.held_outside.extend(waiting.into_iter().map(|(_, skb)| skb));
    rig.free_held_outside();
}

#[test]
fn too_large_with_df_is_dropped_in_silence_and_without_it_cut() {
    let mut rig = Rig::new();
    rig.devices[R2 + 1].mtu = 1000;
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1), (R3, 1)])], &[]);
    let large = packet(SOURCE, GROUP, 1400);
    let out = rig.send(R1, frame(&large.clone().frag(DF)));
    assert_eq!([out.wire[R1].len(), out.wire[R2].len(), out.wire[R3].len()], [0, 0, 1]);
    out.drop_of(IpMrInput, PktTooBig).counted(&[(IpFragFails, 1), (IcmpOutMsgs, 0)]);
    let out = rig.send(R1, frame(&large));
    assert_eq!([out.wire[R2].len(), out.wire[R3].len()], [2, 1]);
    let lengths: Vec<usize> = out.all(R2).iter().map(|seen| seen.payload.len()).collect();
    assert_eq!(lengths, [976, 432]);
    assert!(out.all(R2).iter().all(|seen| seen.eth_dst == group_mac(ip(GROUP)) && seen.ttl == 63));
    out.no_drops().counted(&[(IpFragOKs, 1), (IpFragCreates, 2), (IpExtOutMcastPkts, 3)]);
}

#[test]
fn a_joined_group_is_delivered_and_forwarded() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1)])], &[(dev(R1), ip(GROUP))]);
    let sent = packet(SOURCE, GROUP, 10);
    let out = rig.send(R1, frame(&sent));
    out.only(R2).is_forwarded(&sent);
    out.drop_of(IpLocalDeliver, NoSocket).counted(&[(UdpIgnoredMulti, 1), (IpInDelivers, 1)]);
    // Where the router takes no part in forwarding, the group still is its own.
    rig.configure(|_, _| {});
    rig.send(R1, frame(&sent)).drop_of(IpRcvFinish, NotSpecified).silent();
}

#[test]
fn igmp_goes_to_control_whatever_its_group() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1)])], &[(dev(R1), ip("224.0.0.22"))]);
    let report =
        |group: &str| frame(&Ip::new("0.0.0.0", group, 2, vec![0x16, 0, 0, 0]).options(&[148, 4, 0, 0]));
    for group in [GROUP, "224.0.0.22"] {
        rig.send_raw(R1, vec![report(group)]);
        let Some(ToControl::Igmp { dev: from, skb }) = rig.shared.receive_control() else {
            panic!("an IGMP message to {group}")
        };
        assert_eq!(from, dev(R1));
        rig.held_outside.push(skb);
    }
    rig.send(R1, report("224.0.0.5")).drop_of(IpRcvFinish, NotSpecified);
    rig.free_held_outside();
}

#[test]
fn sources_must_be_possible() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry("0.0.0.0", GROUP, R1, &[(R1, 1), (R2, 1)])], &[]);
    for (source, reason) in [
        ("224.0.0.5", IpInvalidSource),
        ("255.255.255.255", IpInvalidSource),
        ("0.0.0.0", IpInvalidSource),
        ("127.0.0.1", IpLocalnet),
        ("10.2.0.1", IpLocalSource),
    ] {
        rig.send(R1, frame(&packet(source, GROUP, 10))).drop_of(IpRcvFinish, reason).silent();
    }
}

#[test]
fn an_entry_of_any_source_serves_its_tree_but_not_back() {
    let mut rig = Rig::new();
    let group_entry = entry("0.0.0.0", GROUP, R1, &[(R1, 1), (R2, 1), (R3, 1)]);
    publish(&mut rig, std::slice::from_ref(&group_entry), &[]);
    let out = rig.send(R1, frame(&packet("10.1.0.7", GROUP, 10)));
    assert_eq!([out.wire[R1].len(), out.wire[R2].len(), out.wire[R3].len()], [0, 1, 1]);
    // From below it may come only if a (*,*) entry makes this a bidirectional tree.
    rig.send(R2, frame(&packet("10.2.0.7", GROUP, 10))).drop_of(IpMrInput, NotSpecified).silent();
    assert_eq!(stats(&group_entry).2, 1);
    let proxy = entry("0.0.0.0", "0.0.0.0", R1, &[(R1, 1), (R2, 1), (R3, 1)]);
    publish(&mut rig, &[group_entry, proxy], &[]);
    let out = rig.send(R2, frame(&packet("10.2.0.7", GROUP, 10)));
    assert_eq!([out.wire[R1].len(), out.wire[R2].len(), out.wire[R3].len()], [1, 0, 1]);
    // A group nobody asked for goes upstream alone, and nowhere from there.
    let out = rig.send(R2, frame(&packet("10.2.0.7", "239.9.9.9", 10)));
    assert_eq!([out.wire[R1].len(), out.wire[R2].len(), out.wire[R3].len()], [1, 0, 0]);
    rig.send(R1, frame(&packet("10.1.0.7", "239.9.9.9", 10))).drop_of(IpMrInput, NotSpecified).silent();
}

#[test]
fn options_and_long_chains_survive_copying() {
    let mut rig = Rig::new();
    publish(&mut rig, &[entry(SOURCE, GROUP, R1, &[(R2, 1), (R3, 1)])], &[]);
    let sent = packet(SOURCE, GROUP, 1200).options(&[148, 4, 0, 0]);
    let out = rig.send(R1, common::Frame::cut(&frame(&sent), &[100, 700]));
    out.all(R2)[0].is_forwarded(&sent);
    out.all(R3)[0].is_forwarded(&sent);
    out.no_drops();
}

#[test]
fn own_messages_leave_for_the_groups_mac() {
    let mut rig = Rig::new();
    let message = Ip::new("10.2.0.1", "224.0.0.22", 2, vec![0x22, 0, 0xdd, 0xff, 0, 0, 0, 0]).ttl(1);
    let mut skb = rig.skb(&common::Frame::cut(&frame(&message), &[]));
    rig.shared.control_cells().created.add(1);
    {
        use skiff_dataplane::skb::{SkbExt, SkbFields, flags};
        let fields = SkbFields {
            oif: dev(R2).0,
            network_offset: 14,
            ip_hdr_len: 20,
            flags: flags::LOCAL_OUT,
            ..Default::default()
        };
        *skb.fields_mut() = fields;
    }
    let out = rig.tell(ToLcore::McLocalOut(skb));
    let seen = out.only(R2);
    assert_eq!((seen.ttl, seen.eth_dst.to_string().as_str()), (1, "01:00:5e:00:00:16"));
    out.counted(&[(IpOutRequests, 1), (IpExtOutMcastPkts, 1)]);
}

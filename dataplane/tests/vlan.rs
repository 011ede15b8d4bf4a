//! VLAN devices: which frames are theirs, what they do with tags, and what both devices count.

mod common;

use std::sync::{Arc, Mutex};

use common::frames::{arp, ethernet};
use common::vlans::add;
use common::{Frame, Ip, Out, PORTS, R1, R2, Rig, Seen, dev, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::device::NetDevice;
use skiff_dataplane::device::vlan::{Vlan, VlanOffload, VlanProto};
use skiff_dataplane::neigh::nud::NeighParams;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, HookFn, Hooks, Verdicts};
use skiff_dataplane::skb::vlan::noted;
use skiff_dataplane::skb::{Skb, SkbExt, SkbList};

const C: u16 = 0x8100;
const S: u16 = 0x88a8;

/// VLAN 10 on r1 and VLAN 20 on r2.
const V10: IfIndex = IfIndex(10);
const V20: IfIndex = IfIndex(20);

/// A frame with these tags, outermost first: protocol and control information.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat());
    [&frame[..12], &tags.collect::<Vec<_>>(), &frame[12..]].concat()
}

/// The tags of a frame, and the frame without them.
fn untag(frame: &[u8]) -> (Vec<(u16, u16)>, Vec<u8>) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (mut tags, mut at) = (vec![], 12);
    while frame.len() >= at + 4 && [C, S].contains(&word(at)) {
        tags.push((word(at), word(at + 2)));
        at += 4;
    }
    (tags, [&frame[..12], &frame[at..]].concat())
}

/// The same without padding, read.
#[track_caller]
fn seen(frame: &[u8]) -> (Vec<(u16, u16)>, Seen) {
    let (tags, mut frame) = untag(frame);
    frame.truncate(14 + usize::from(u16::from_be_bytes([frame[16], frame[17]])));
    (tags, Seen::read(&frame))
}

/// The one frame there is, by `port`.
#[track_caller]
fn only(out: &Out, port: usize) -> (Vec<(u16, u16)>, Seen) {
    assert_eq!((out.sent(), out.wire[port].len()), (1, 1), "{out:?}");
    seen(&out.wire[port][0])
}

fn proto(tpid: u16) -> VlanProto {
    VlanProto::from_tpid(tpid).unwrap()
}

fn vlan(real_dev: IfIndex, tpid: u16, vid: u16) -> Vlan {
    Vlan { real_dev, proto: proto(tpid), vid, reorder_hdr: true, ingress: [0; 8], egress: vec![] }
}

fn change(rig: &mut Rig, ifindex: IfIndex, change: impl FnOnce(&mut NetDevice)) {
    rig.configure(|devices, _| change(devices.iter_mut().find(|d| d.ifindex == ifindex).unwrap()));
}

fn change_vlan(rig: &mut Rig, ifindex: IfIndex, with: impl FnOnce(&mut Vlan)) {
    change(rig, ifindex, |device| {
        let mut vlan = Vlan::clone(device.vlan.as_ref().unwrap());
        with(&mut vlan);
        device.vlan = Some(Arc::new(vlan));
    });
}

/// r1.10 (10.10.0.1/24) and r2.20 (10.20.0.1/24).
fn router() -> Rig {
    let mut rig = Rig::new();
    add(&mut rig, V10, vlan(dev(R1), C, 10), "10.10.0.1/24");
    add(&mut rig, V20, vlan(dev(R2), C, 20), "10.20.0.1/24");
    rig
}

/// From a host of VLAN 10 to one of VLAN 20.
fn transit(i: u16) -> Ip {
    Ip::udp("10.10.0.2", "10.20.0.2", (i, 7), 40)
}

fn rx(rig: &Rig, dev: IfIndex) -> (u64, u64) {
    let cells = rig.shared.cells(0).device(dev);
    (cells.rx_packets.get(), cells.rx_bytes.get())
}

fn tx(rig: &Rig, dev: IfIndex) -> (u64, u64) {
    let cells = rig.shared.cells(0).device(dev);
    (cells.tx_packets.get(), cells.tx_bytes.get())
}

/// Unknown VLANs, tags taken out and put in here.
fn tags(rig: &Rig, dev: IfIndex) -> [u64; 3] {
    let cells = rig.shared.cells(0).vlan(dev);
    [cells.unknown.get(), cells.sw_strip.get(), cells.sw_insert.get()]
}

/// Receives frames as a driver brings them that takes 802.1Q tags out where `strip` says so.
fn send_as(rig: &mut Rig, port: usize, frames: &[Vec<u8>], strip: Option<u16>) -> Out {
    let skbs: Vec<Skb> = frames.iter().map(|frame| by_driver(rig, frame, strip)).collect();
    rig.acting(|rig| {
        let mut burst = SkbList::new();
        skbs.into_iter().for_each(|skb| burst.push(skb).unwrap());
        let offered = burst.len();
        assert_eq!(rig.feed[port].tx_burst(&mut burst), offered);
    })
}

fn by_driver(rig: &Rig, frame: &[u8], strip: Option<u16>) -> Skb {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    if strip.is_none_or(|tpid| frame.len() < 18 || word(12) != tpid) {
        return rig.skb(&Frame::from(frame.to_vec()));
    }
    let mut skb = rig.skb(&Frame::from([&frame[..12], &frame[16..]].concat()));
    // A driver does not say which protocol the tag had.
    skb.set_vlan_tag(0xdead, word(14));
    skb
}

/// Makes the drivers of r1 and r2 take tags out and put them in.
fn offload(rig: &mut Rig, strips: Option<u16>, inserts: bool) {
    let vlan_offload = VlanOffload { strips: strips.map(proto), inserts };
    rig.configure(|devices, _| devices[..2].iter_mut().for_each(|d| d.vlan_offload = vlan_offload));
}

#[test]
fn packets_are_routed_between_vlans() {
    let mut rig = router();
    let out = rig.send(R1, tagged(&transit(1).to_port(R1), &[(C, 10)]));
    out.no_drops();
    let (tags, frame) = only(&out, R2);
    assert_eq!(tags, [(C, 20)]);
    frame.is_forwarded(&transit(1));
    assert_eq!((frame.eth_dst, frame.eth_src), (mac::of(ip("10.20.0.2")), mac::router(R2)));

    let ping = Ip::echo("10.10.0.2", "10.10.0.1", 56);
    let out = rig.send(R1, tagged(&ping.to_port(R1), &[(C, 10)]));
    let (tags, reply) = only(&out, R1);
    assert_eq!((tags, reply.icmp()), (vec![(C, 10)], (0, 0)));
    // To and from devices without a tag.
    let packet = Ip::udp("10.10.0.2", "10.2.0.2", (1, 2), 40);
    let out = rig.send(R1, tagged(&packet.to_port(R1), &[(C, 10)]));
    assert_eq!(only(&out, R2).0, []);
    let packet = Ip::udp("10.1.0.2", "10.20.0.2", (1, 2), 40);
    assert_eq!(only(&rig.send(R1, packet.to_port(R1)), R2).0, [(C, 20)]);
}

#[test]
fn arp_is_answered_with_the_tag_of_the_request() {
    let mut rig = router();
    let host = mac::of(ip("10.10.0.2"));
    let request = arp(MacAddr::BROADCAST, 1, (host, "10.10.0.2"), (MacAddr::ZERO, "10.10.0.1"));
    for reorder_hdr in [true, false] {
        change_vlan(&mut rig, V10, |vlan| vlan.reorder_hdr = reorder_hdr);
        let out = rig.send(R1, tagged(&request, &[(C, 10)]));
        let (tags, reply) = untag(&out.wire[R1][0]);
        assert_eq!((tags, &reply[12..14], reply[21]), (vec![(C, 10)], &[8, 6][..], 2), "{out:?}");
        assert_eq!(reply.len(), 60, "a tagged frame is padded to 64 bytes");
        let out = rig.send(R1, tagged(&request, &[(C, 11)]));
        out.drop_of(ArpRcv, OtherHost).silent();
    }
}

#[test]
fn an_unknown_vlan_is_another_stations() {
    let mut rig = router();
    let ping = Ip::echo("10.1.0.2", "10.1.0.1", 56).to_port(R1);
    let log = watch(&mut rig, Hook::L2Input);
    for (at, vid) in [99, 4095, 20].into_iter().enumerate() {
        let out = rig.send(R1, tagged(&ping, &[(C, vid)]));
        out.drop_of(IpRcv, OtherHost).silent().counted(&[(IpInReceives, 0)]);
        assert_eq!(tags(&rig, dev(R1))[0], at as u64 + 1);
        assert_eq!(log.lock().unwrap().pop().unwrap(), format!("2:8100/{vid}"), "a tap sees the tag");
    }
    assert_eq!(rig.shared.cells(0).device(dev(R1)).rx_otherhost.get(), 3);
    // A device without VLANs, and the same without anybody watching.
    rig.hooks = Default::default();
    rig.configure(|_, _| {});
    let ping = Ip::echo("10.3.0.2", "10.3.0.1", 56).to_port(2);
    rig.send(2, tagged(&ping, &[(C, 10)])).drop_of(IpRcv, OtherHost).silent();
    rig.send(2, tagged(&ping, &[(S, 10)])).drop_of(IpRcv, OtherHost).silent();
    assert_eq!(tags(&rig, dev(2)), [2, 2, 0]);
    let other = ethernet(mac::router(R1), mac::of(1), 0x86dd, &[0; 60]);
    rig.send(R1, tagged(&other, &[(C, 99)])).drop_of(NetifReceive, UnhandledProto);
    rig.send(R1, tagged(&ping, &[(C, 99), (C, 10)])).drop_of(NetifReceive, UnhandledProto);
}

#[test]
fn vlan_0_is_a_priority_only() {
    let mut rig = router();
    let ping = Ip::echo("10.1.0.2", "10.1.0.1", 56).to_port(R1);
    for tags in [&[(C, 0xa000)][..], &[(S, 0xa000)], &[(C, 0), (S, 0x6000)]] {
        assert_eq!(only(&rig.send(R1, tagged(&ping, tags)), R1).0, [], "{tags:?}");
    }
    let ping3 = Ip::echo("10.3.0.2", "10.3.0.1", 56).to_port(2);
    only(&rig.send(2, tagged(&ping3, &[(C, 0xa000)])), 2);
    // The tag behind it counts, and so does a device for VLAN 0.
    let inner = Ip::echo("10.10.0.2", "10.10.0.1", 56).to_port(R1);
    assert_eq!(only(&rig.send(R1, tagged(&inner, &[(C, 0xa000), (C, 10)])), R1).0, [(C, 10)]);
    rig.send(R1, tagged(&inner, &[(C, 0xa000), (C, 11)])).drop_of(IpRcv, OtherHost);
    let mut zero = vlan(dev(R1), C, 0);
    zero.egress = vec![(3, 2)];
    zero.ingress[5] = 3;
    add(&mut rig, IfIndex(11), zero, "10.11.0.1/24");
    rig.configure(|_, sysctl| sysctl.ip_forward_update_priority = false);
    let inner = Ip::udp("10.11.0.2", "10.11.0.77", (1, 2), 40);
    assert_eq!(inner.dst, ip("10.11.0.77"));
    let ping = Ip::echo("10.11.0.2", "10.11.0.1", 56).to_port(R1);
    assert_eq!(only(&rig.send(R1, tagged(&ping, &[(C, 0xa000)])), R1).0[0].1 & 0xfff, 0);
}

#[test]
fn a_tag_cut_short_is_no_frame() {
    let mut rig = router();
    let frame = tagged(&transit(0).to_port(R1), &[(C, 10)]);
    for port in [R1, 2] {
        for len in 14..18 {
            rig.send(port, frame[..len].to_vec()).drop_of(NetifReceive, UnhandledProto).silent();
        }
    }
    // In pieces it is whole.
    for cut in 1..34 {
        let out = rig.send(R1, Frame::cut(&frame, &[cut, cut + 3]));
        assert_eq!(only(&out, R2).0, [(C, 20)], "cut at {cut}");
    }
}

#[test]
fn a_device_that_is_down_takes_nothing() {
    let mut rig = router();
    let frame = tagged(&transit(0).to_port(R1), &[(C, 10)]);
    change(&mut rig, V10, |device| device.up = false);
    rig.send(R1, frame.clone()).drop_of(NetifReceive, DevReady).silent();
    rig.send_all(R1, [frame.clone(), tagged(&frame, &[(S, 1)])])
        .dropped(&[(NetifReceive, DevReady, 1), (NetifReceive, UnhandledProto, 1)]);
    change_vlan(&mut rig, V10, |vlan| vlan.reorder_hdr = false);
    rig.send(R1, frame.clone()).drop_of(NetifReceive, DevReady).silent();
    assert_eq!(rig.shared.cells(0).device(V10).rx_dropped.get(), 3);
    assert_eq!(rx(&rig, V10), (0, 0));
    change(&mut rig, dev(R1), |device| device.up = false);
    rig.send(R1, frame).drop_of(NetifReceive, DevReady).silent();
    // And sends nothing, nor does one whose lower device cannot.
    let out = rig.send(2, Ip::udp("10.3.0.2", "10.10.0.2", (1, 2), 40).to_port(2));
    out.drop_of(DevQueueXmit, DevReady).silent();
    change(&mut rig, V10, |device| device.up = true);
    let out = rig.send(2, Ip::udp("10.3.0.2", "10.10.0.2", (1, 2), 40).to_port(2));
    out.drop_of(DevQueueXmit, DevReady).silent();
    let cells = |dev| rig.shared.cells(0).device(dev).tx_dropped.get();
    assert_eq!((cells(V10), cells(dev(R1)), tx(&rig, V10)), (2, 1, (0, 0)));
}

#[test]
fn a_hardware_address_of_its_own_is_heard() {
    let mut rig = router();
    let own = MacAddr([2, 0, 0, 0, 9, 9]);
    change(&mut rig, V10, |device| device.mac = own);
    rig.neigh.set_device(V10, own, false, NeighParams::default());
    for to in [own, mac::router(R1)] {
        let out = rig.send(R1, tagged(&transit(1).to_mac(to), &[(C, 10)]));
        assert_eq!(only(&out, R2).0, [(C, 20)], "{to}");
    }
    rig.send(R1, tagged(&transit(1).to_mac(mac::of(3)), &[(C, 10)])).drop_of(IpRcv, OtherHost);
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).to_mac(own)).drop_of(IpRcv, OtherHost);
    assert_eq!(rig.shared.cells(0).device(V10).rx_otherhost.get(), 1);
}

#[test]
fn priorities_are_mapped() {
    let mut rig = router();
    change_vlan(&mut rig, V10, |vlan| vlan.ingress[5] = 7);
    change_vlan(&mut rig, V20, |vlan| vlan.egress = vec![(2, 1), (7, 3)]);
    let pcp = |rig: &mut Rig, pcp: u16, tos| {
        let out = rig.send(R1, tagged(&transit(1).tos(tos).to_port(R1), &[(C, pcp << 13 | 0x1000 | 10)]));
        let (tags, _) = only(&out, R2);
        assert_eq!(tags[0].1 & 0x1fff, 20, "DEI is not sent");
        tags[0].1 >> 13
    };
    // Forwarding sets the priority by TOS.
    assert_eq!([pcp(&mut rig, 5, 0), pcp(&mut rig, 5, 0x08), pcp(&mut rig, 0, 0x08)], [0, 1, 1]);
    rig.configure(|_, sysctl| sysctl.ip_forward_update_priority = false);
    assert_eq!([pcp(&mut rig, 5, 0), pcp(&mut rig, 5, 0x08), pcp(&mut rig, 4, 0)], [3, 3, 0]);
    let reorder = |rig: &mut Rig, on| change_vlan(rig, V10, |vlan| vlan.reorder_hdr = on);
    reorder(&mut rig, false);
    assert_eq!([pcp(&mut rig, 5, 0), pcp(&mut rig, 4, 0)], [3, 0]);
    reorder(&mut rig, true);
    watch(&mut rig, Hook::L2Input);
    assert_eq!([pcp(&mut rig, 5, 0), pcp(&mut rig, 4, 0)], [3, 0]);
}

#[test]
fn the_tag_is_not_part_of_the_mtu() {
    let mut rig = router();
    let big = |len: usize| Ip { frag: 0x4000, ..Ip::udp("10.10.0.2", "10.20.0.2", (1, 2), len - 28) };
    let out = rig.send(R1, tagged(&big(1500).to_port(R1), &[(C, 10)]));
    assert_eq!((out.wire[R2][0].len(), only(&out, R2).0), (1518, vec![(C, 20)]));
    let out = rig.send(R1, tagged(&big(1501).to_port(R1), &[(C, 10)]));
    out.drop_of(IpForward, PktTooBig);
    let (tags, error) = only(&out, R1);
    assert_eq!((tags, error.icmp(), error.icmp_info()), (vec![(C, 10)], (3, 4), 1500));
    let whole = Ip::udp("10.10.0.2", "10.20.0.2", (1, 2), 2000);
    let out = rig.send(R1, tagged(&whole.to_port(R1), &[(C, 10)]));
    out.no_drops().counted(&[(IpFragCreates, 2)]);
    let pieces: Vec<_> = out.wire[R2].iter().map(|frame| (frame.len(), untag(frame).0)).collect();
    assert_eq!(pieces, [(1518, vec![(C, 20)]), (566, vec![(C, 20)])]);
}

/// Notes who received or sends what, with its tag beside the data and those in it.
#[derive(Debug)]
struct Watch(Arc<Mutex<Vec<String>>>);

impl HookFn for Watch {
    fn name(&self) -> &str {
        "watch"
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, _: &mut Verdicts) {
        for skb in list.iter() {
            let fields = skb.fields();
            let mut text = (if cx.hook == Hook::L2Input { fields.iif } else { fields.oif }).to_string();
            let beside = noted(skb).map(|tag| (tag.proto.tpid(), tag.tci));
            let beside = beside.or(skb.tx_vlan().map(|tci| (C, tci)));
            let inside = untag(skb.data()).0;
            text.extend(beside.map(|(tpid, tci)| format!(":{tpid:x}/{}", tci & 0xfff)));
            text.extend(inside.iter().map(|(tpid, tci)| format!(" {tpid:x}/{}", tci & 0xfff)));
            self.0.lock().unwrap().push(text);
        }
    }
}

fn watch(rig: &mut Rig, hook: Hook) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(vec![]));
    rig.hook(hook, 0, Arc::new(Watch(Arc::clone(&log))));
    log
}

#[test]
fn each_device_of_the_way_is_seen_by_hooks() {
    let mut rig = router();
    let (inward, outward) = (watch(&mut rig, Hook::L2Input), watch(&mut rig, Hook::L2Enqueue));
    let at_driver = watch(&mut rig, Hook::L2Dequeue);
    let frame = tagged(&transit(1).to_port(R1), &[(C, 10)]);
    let take = |log: &Arc<Mutex<Vec<String>>>| std::mem::take(&mut *log.lock().unwrap());
    for reorder_hdr in [true, false] {
        for inserts in [false, true] {
            change_vlan(&mut rig, V10, |vlan| vlan.reorder_hdr = reorder_hdr);
            offload(&mut rig, None, inserts);
            only(&rig.send(R1, frame.clone()), R2);
            let own = if reorder_hdr { "10" } else { "10 8100/10" };
            assert_eq!(take(&inward), ["2:8100/10", own]);
            let with_tag = if inserts { "3:8100/20" } else { "3 8100/20" };
            assert_eq!(
                (take(&outward), take(&at_driver)),
                (vec!["20".into(), with_tag.into()], vec![with_tag.into()])
            );
        }
    }
    only(&rig.send(R1, Ip::udp("10.1.0.2", "10.2.0.2", (1, 2), 40).to_port(R1)), R2);
    assert_eq!(take(&inward), ["2"]);
}

#[test]
fn ip_works_behind_a_tag_that_stays() {
    let mut rig = router();
    change_vlan(&mut rig, V10, |vlan| vlan.reorder_hdr = false);
    change_vlan(&mut rig, V20, |vlan| vlan.reorder_hdr = false);
    for strip in [None, Some(C)] {
        offload(&mut rig, strip, false);
        let out = send_as(&mut rig, R1, &[tagged(&transit(1).to_port(R1), &[(C, 10)])], strip);
        let (tags, frame) = only(&out, R2);
        assert_eq!(tags, [(C, 20)]);
        frame.is_forwarded(&transit(1));
        let ping = Ip::echo("10.10.0.2", "10.10.0.1", 56);
        let out = send_as(&mut rig, R1, &[tagged(&ping.to_port(R1), &[(C, 10)])], strip);
        assert_eq!(only(&out, R1).1.payload[4..], ping.payload[4..]);
        let piece = |i: u16| {
            let whole = Ip::echo("10.10.0.2", "10.10.0.1", 92);
            let (from, to) = (usize::from(i) * 48, if i == 0 { 48 } else { whole.payload.len() });
            let frag = if i == 0 { 0x2000 } else { 6 };
            Ip { frag, payload: whole.payload[from..to].to_vec(), ..whole }
        };
        let frames = [0, 1].map(|i| tagged(&piece(i).to_port(R1), &[(C, 10)]));
        assert_eq!(only(&send_as(&mut rig, R1, &frames, strip), R1).1.icmp(), (0, 0));
    }
    assert_eq!(rx(&rig, V10).1, 2 * (82 + 98 + 82 + 86));
}

#[test]
fn both_devices_count_their_frames() {
    counters(None, false);
}

#[test]
fn both_devices_count_what_the_driver_untags() {
    counters(Some(C), false);
}

#[test]
fn both_devices_count_what_the_driver_tags() {
    counters(Some(C), true);
}

fn counters(strip: Option<u16>, inserts: bool) {
    let mut rig = router();
    offload(&mut rig, strip, inserts);
    let frames: Vec<_> = (0..5).map(|i| tagged(&transit(i).to_port(R1), &[(C, 10)])).collect();
    let out = send_as(&mut rig, R1, &frames, strip);
    assert_eq!(out.wire[R2].len(), 5);
    let group = MacAddr([1, 0, 0x5e, 1, 2, 3]);
    let stray = tagged(&transit(9).to_mac(group), &[(C, 10)]);
    send_as(&mut rig, R1, &[stray], strip);
    assert_eq!((rx(&rig, dev(R1)), rx(&rig, V10)), ((6, 6 * 86), (6, 6 * 82)));
    assert_eq!((tx(&rig, dev(R2)), tx(&rig, V20)), ((5, 5 * 86), (5, 5 * 82)));
    let multicast = |dev| rig.shared.cells(0).device(dev).multicast.get();
    assert_eq!((multicast(dev(R1)), multicast(V10), multicast(dev(R2))), (1, 1, 0));
    let stripped = if strip.is_some() { 0 } else { 6 };
    let inserted = if inserts { 0 } else { 5 };
    assert_eq!((tags(&rig, dev(R1)), tags(&rig, dev(R2))), ([0, stripped, 0], [0, 0, inserted]));
}

/// Whether drivers or the router handle tags makes no difference on the wire.
#[test]
fn drivers_make_no_difference() {
    let mut rig = Rig::new();
    let mut results = Vec::new();
    for (at, tpid) in [C, S].into_iter().enumerate() {
        rig.devices.truncate(1 + PORTS);
        let (a, b) = (IfIndex(10 + 2 * at as u16), IfIndex(11 + 2 * at as u16));
        add(&mut rig, a, vlan(dev(R1), tpid, 10), "10.10.0.1/24");
        add(&mut rig, b, Vlan { egress: vec![(2, 6)], ..vlan(dev(R2), tpid, 20) }, "10.20.0.1/24");
        let mut frames: Vec<_> = (0..9)
            .map(|i| tagged(&transit(i).tos(i as u8 & 8).to_port(R1), &[(tpid, 0x2000 | 10)]))
            .collect();
        frames.push(tagged(&transit(7).to_port(R1), &[(tpid, 99)]));
        frames.push(Ip::echo("10.1.0.2", "10.1.0.1", 3).to_port(R1));
        frames.push(tagged(&Ip::echo("10.1.0.2", "10.1.0.1", 3).to_port(R1), &[(tpid, 0x8000)]));
        frames.push(tagged(&transit(7).to_port(R1), &[(tpid, 10)]));
        for strip in [None, Some(tpid)] {
            for inserts in [false, true] {
                offload(&mut rig, strip, inserts);
                let unknown = tags(&rig, dev(R1))[0];
                let out = send_as(&mut rig, R1, &frames, strip);
                assert_eq!(tags(&rig, dev(R1))[0] - unknown, 1);
                assert_eq!((out.wire[R1].len(), out.wire[R2].len()), (2, 10), "{out:?}");
                let wire = out.wire[R2].iter().map(|frame| {
                    let (tags, frame) = untag(frame);
                    assert_eq!(tags[0].0, tpid);
                    (tags[0].1, frame)
                });
                results.push((wire.collect::<Vec<_>>(), out.drops.clone()));
            }
        }
    }
    assert_eq!(
        results[0].0.iter().map(|(tci, _)| tci >> 13).collect::<Vec<_>>(),
        [0, 0, 0, 0, 0, 0, 0, 0, 6, 0]
    );
    results.iter().for_each(|result| assert_eq!(result, &results[0]));
}

/// 802.1ad 100 with 802.1Q 10 in it, on r1; 200 with 20 on r2.
#[test]
fn tags_stack() {
    let mut rig = Rig::new();
    let (outer1, inner1, outer2, inner2) = (IfIndex(10), IfIndex(11), IfIndex(12), IfIndex(13));
    add(&mut rig, outer1, vlan(dev(R1), S, 100), "10.50.0.1/24");
    add(&mut rig, inner1, vlan(outer1, C, 10), "10.10.0.1/24");
    add(&mut rig, outer2, vlan(dev(R2), S, 200), "10.60.0.1/24");
    add(&mut rig, inner2, vlan(outer2, C, 20), "10.20.0.1/24");
    let big = Ip::udp("10.10.0.2", "10.20.0.2", (1, 2), 1472);
    let outer = Ip::udp("10.50.0.2", "10.20.0.2", (1, 2), 40);
    for strip in [None, Some(S)] {
        for inserts in [false, true] {
            offload(&mut rig, strip, inserts);
            for packet in [&big, &transit(1)] {
                let frame = tagged(&packet.to_port(R1), &[(S, 100), (C, 10)]);
                let out = send_as(&mut rig, R1, &[frame.clone(), frame], strip);
                assert_eq!(out.wire[R2].len(), 2);
                let (tags, frame) = seen(&out.wire[R2][1]);
                assert_eq!(tags, [(S, 200), (C, 20)]);
                frame.is_forwarded(packet);
            }
            // What stays on the outer device, alone and beside frames for the inner one.
            let frames = [
                tagged(&outer.to_port(R1), &[(S, 100)]),
                tagged(&transit(1).to_port(R1), &[(S, 100), (C, 10)]),
                tagged(&transit(1).to_port(R1), &[(S, 100), (C, 11)]),
            ];
            let out = send_as(&mut rig, R1, &frames[..1], strip);
            only(&out, R2).1.is_forwarded(&outer);
            let out = send_as(&mut rig, R1, &frames, strip);
            assert_eq!(out.wire[R2].len(), 2);
            out.drop_of(IpRcv, OtherHost);
        }
    }
    let out = send_as(&mut rig, R1, &[tagged(&big.to_port(R1), &[(S, 100), (C, 10)])], Some(S));
    assert_eq!(out.wire[R2][0].len(), 1522);
    assert_eq!(tags(&rig, outer1)[0], 4);
    let [port, outer, inner] = [dev(R1), outer1, inner1].map(|dev| rx(&rig, dev));
    assert_eq!(port.1 - outer.1, 4 * port.0);
    assert_eq!(outer.0, port.0);
    assert_eq!((inner.0, inner.1), (4 * (2 + 2 + 1) + 1, 9 * 1514 + 12 * 82));
    let [port, outer, inner] = [dev(R2), outer2, inner2].map(|dev| tx(&rig, dev));
    assert_eq!((port.0, port.1), (outer.0, outer.1 + 4 * outer.0));
    assert_eq!((outer.0, outer.1), (inner.0, inner.1 + 4 * inner.0));
}

#[test]
fn the_outer_tag_alone_is_left_to_the_driver() {
    let mut rig = Rig::new();
    add(&mut rig, IfIndex(10), vlan(dev(R2), C, 200), "10.60.0.1/24");
    add(&mut rig, IfIndex(11), vlan(IfIndex(10), C, 20), "10.20.0.1/24");
    offload(&mut rig, None, true);
    let log = watch(&mut rig, Hook::L2Dequeue);
    let out = rig.send(R1, Ip::udp("10.1.0.2", "10.20.0.2", (1, 2), 40).to_port(R1));
    assert_eq!(only(&out, R2).0, [(C, 200), (C, 20)]);
    assert_eq!(log.lock().unwrap()[..], ["3:8100/200 8100/20"]);
    assert_eq!((tags(&rig, dev(R2))[2], tags(&rig, IfIndex(10))[2]), (0, 1));
}

#[test]
fn eight_tags_and_no_more() {
    let mut rig = Rig::new();
    let mut below = [dev(R1), dev(R2)];
    let mut stack = vec![];
    for depth in 0..9u16 {
        for (side, below) in below.iter_mut().enumerate() {
            let ifindex = IfIndex(10 + 2 * depth + side as u16);
            let net = format!("10.{}.{depth}.1/24", 10 + 10 * side);
            add(&mut rig, ifindex, vlan(*below, if depth % 2 == 0 { S } else { C }, 100 + depth), &net);
            *below = ifindex;
        }
        stack.push((if depth % 2 == 0 { S } else { C }, 100 + depth));
        let packet = Ip::udp(&format!("10.10.{depth}.2"), &format!("10.20.{depth}.2"), (1, 2), 40);
        let out = rig.send(R1, tagged(&packet.to_port(R1), &stack));
        if depth == 8 {
            out.drop_of(IpRcv, OtherHost).silent();
            let packet = Ip::udp("10.1.0.2", "10.20.8.2", (1, 2), 40);
            rig.send(R1, packet.to_port(R1)).drop_of(DevQueueXmit, DevReady).silent();
        } else {
            let (tags, frame) = only(&out, R2);
            assert_eq!(tags, stack);
            frame.is_forwarded(&packet);
        }
    }
}

#[test]
fn a_ring_of_devices_carries_nothing() {
    let mut rig = router();
    change_vlan(&mut rig, V10, |vlan| vlan.real_dev = V20);
    change_vlan(&mut rig, V20, |vlan| vlan.real_dev = V10);
    let out = rig.send(R1, Ip::udp("10.1.0.2", "10.20.0.2", (1, 2), 40).to_port(R1));
    out.drop_of(DevQueueXmit, DevReady).silent();
    rig.send(R1, tagged(&transit(1).to_port(R1), &[(C, 10)])).drop_of(IpRcv, OtherHost);
}

#[test]
fn a_mixed_burst_keeps_the_order_of_each_device() {
    let mut rig = router();
    add(&mut rig, IfIndex(11), vlan(dev(R1), C, 11), "10.11.0.1/24");
    let frames = (0..32u16).map(|i| match i % 4 {
        0 => tagged(&Ip::udp("10.11.0.2", "10.20.0.2", (i, 7), 40).to_port(R1), &[(C, 11)]),
        1 => Ip::udp("10.1.0.2", "10.20.0.2", (i, 7), 40).to_port(R1),
        2 if i % 8 == 2 => tagged(&Ip::udp("10.1.0.2", "10.20.0.2", (i, 7), 40).to_port(R1), &[(C, 0)]),
        _ => tagged(&transit(i).to_port(R1), &[(C, 10)]),
    });
    let out = rig.send_all(R1, frames.collect::<Vec<_>>());
    out.no_drops();
    let sent: Vec<(u32, u16)> = out.wire[R2]
        .iter()
        .map(|frame| seen(frame).1)
        .map(|seen| (seen.src, u16::from_be_bytes([seen.payload[0], seen.payload[1]])))
        .collect();
    assert_eq!(sent.len(), 32);
    for source in ["10.11.0.2", "10.1.0.2", "10.10.0.2"] {
        let of: Vec<u16> = sent.iter().filter(|(src, _)| *src == ip(source)).map(|(_, i)| *i).collect();
        assert!(of.len() >= 8 && of.is_sorted(), "{source}: {of:?}");
    }
}

/// Numbers for the property test: a run can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Whatever stands on what, and whatever tags come: every packet is accounted for (the rig looks when it goes), and every
/// device has received what those on it have.
#[test]
fn random_stacks_and_tags_lose_nothing() {
    let mut rig = Rig::new();
    let mut dice = Dice(std::env::var("SKIFF_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed));
    let log = watch(&mut rig, Hook::L2Input);
    let hooks = (rig.hooks.clone(), Hooks::default());
    for n in 0..24 {
        let on = dice.pick(&rig.devices[1..].iter().map(|d| d.ifindex).collect::<Vec<_>>());
        let vlan = vlan(on, dice.pick(&[C, S]), dice.pick(&[0, 1, 2, 3]));
        add(&mut rig, IfIndex(10 + n), vlan, &format!("10.{}.0.1/24", 10 + n));
    }
    let (mut sent, mut got) = (0, 0);
    for _ in 0..400 {
        let devices = rig.devices.len() as u64;
        let odd = dice.below(devices) as usize;
        let (up, reorder, strips, inserts) =
            (dice.below(8) != 0, dice.below(2) == 0, dice.below(3), dice.below(2) == 0);
        rig.hooks = if dice.below(4) == 0 { hooks.0.clone() } else { hooks.1.clone() };
        offload(&mut rig, [None, Some(C), Some(S)][strips as usize], inserts);
        rig.configure(|devices, _| {
            if let Some(device) = devices.get_mut(odd) {
                device.up = up;
                if let Some(vlan) = &mut device.vlan {
                    Arc::make_mut(vlan).reorder_hdr = reorder;
                }
            }
        });
        let strip = [None, Some(C), Some(S)][strips as usize];
        let frames: Vec<_> = (0..=dice.below(32).min(31))
            .map(|_| {
                let (from, to) = (dice.below(24) + 10, dice.below(24) + 10);
                let packet = Ip::udp(&format!("10.{from}.0.2"), &format!("10.{to}.0.2"), (1, 2), 20);
                let tags: Vec<_> = (0..dice.below(5))
                    .map(|_| (dice.pick(&[C, S]), dice.pick(&[0, 1, 2, 3, 0x2001, 0xe000, 99])))
                    .collect();
                let frame = tagged(&packet.to_port(R1), &tags);
                let cut = if dice.below(12) == 0 { 14 + dice.below(30) as usize } else { frame.len() };
                frame[..cut.min(frame.len())].to_vec()
            })
            .collect();
        sent += frames.len();
        let out = send_as(&mut rig, R1, &frames, strip);
        got += out.sent();
        let dropped: u64 = out.drops.values().sum();
        assert_eq!(frames.len(), out.sent() + dropped as usize - out.grew(IcmpOutMsgs) as usize, "{out:?}");
    }
    println!("{sent} in, {got} out, {} seen by hooks", log.lock().unwrap().len());
    assert!(got > sent / 50, "{got} of {sent}");
}

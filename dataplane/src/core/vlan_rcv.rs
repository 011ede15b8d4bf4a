//! `vlan_do_receive`: tagged frames to their VLAN devices.
//!
//! Uses:  the tag, in the data or beside it where the driver has put it.   Sets: iif, priority, network_offset, pkt_type.
//! Next:  netif_receive_skb_list on the VLAN device; on the device itself for VLAN 0, which is a priority only, and for
//!        VLANs without a device, whose frames are nobody's.
//! Drops: dev_ready (VLAN device down), unhandled_proto (a tag cut short), nomem.
//!
//! A burst of one VLAN goes to its device whole; others are sorted by device, and frames of one device keep their order.

use super::capture::{self, Direction};
use super::dev::{
    deliver_here, deliver_other, netif_receive_finish, netif_receive_skb_list, netif_receive_untagged,
    received_by, trace_received,
};
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::trace::{self, Step};
use crate::device::NetDevice;
use crate::device::vlan::{Vlan, VlanProto};
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_device};
use crate::skb::vlan::{self, TAG_OFFSET, Tag, VID_MASK, VLAN_HLEN};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, pkt_type};

/// What makes frames those of one VLAN: protocol and identifier.
const VLAN_MASK: u32 = 0xffff_0000 | VID_MASK as u32;
/// In place of a device: the frame wants a look of its own.
const ODD: IfIndex = IfIndex(u16::MAX);

/// Takes a burst that came in by `dev`, which is up, and has VLAN devices or a driver that takes tags out.
#[inline(never)]
pub fn vlan_do_receive_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    if env.taps(Direction::Rx) && dev.vlan.is_some() {
        capture::tap_rx_upper(env, dev, list);
    }
    if env.snap.hooks.has(Hook::L2Input) {
        return receive_hooked(env, hands, dev, list);
    }
    let survey = survey(dev, list);
    match Tag::from_word(survey.first) {
        Some(tag) if survey.differences & VLAN_MASK == 0 => match plain_vlan(env, dev, tag) {
            Some(to) => receive_vlan(env, hands, dev, to, &survey, list),
            None => receive_mixed(env, hands, dev, list),
        },
        None if survey.differences >> 16 == 0 => receive_untagged(env, hands, dev, list),
        _ => receive_mixed(env, hands, dev, list),
    }
}

/// What the frames of a burst have in common, and their size.
struct Survey {
    /// [`tag_word`] of the first.
    first: u32,
    /// Bits in which another's differs.
    differences: u32,
    bytes: usize,
    /// Frames whose tag the driver has taken out.
    stripped: usize,
}

#[inline]
fn survey(dev: &NetDevice, list: &SkbList) -> Survey {
    let first = list.iter().next().map_or(0, |skb| tag_word(dev, skb));
    let mut survey = Survey { first, differences: 0, bytes: 0, stripped: 0 };
    if dev.vlan_offload.strips.is_none() {
        for skb in list.iter() {
            survey.differences |= vlan::tag_word(skb) ^ first;
            survey.bytes += skb.len();
        }
        return survey;
    }
    for skb in list.iter() {
        survey.differences |= tag_word(dev, skb) ^ first;
        survey.bytes += skb.len();
        survey.stripped += usize::from(skb.is_vlan_stripped());
    }
    survey
}

/// The tag of a frame as it came in by `dev`, as a word; an EtherType and what follows if there is none.
#[inline]
fn tag_word(dev: &NetDevice, skb: &Skb) -> u32 {
    match dev.vlan_offload.strips {
        Some(proto) if skb.is_vlan_stripped() => Tag { proto, tci: skb.vlan_tci() }.word(),
        _ => vlan::tag_word(skb),
    }
}

/// The VLAN device of a tag, if its packets take the short way.
#[inline]
fn plain_vlan<'a>(env: &Env<'a>, dev: &NetDevice, tag: Tag) -> Option<(&'a NetDevice, &'a Vlan)> {
    let to = env.snap.device(dev.vlans.as_ref()?.find(tag.proto, tag.vid())?);
    let vlan = to.vlan.as_deref().filter(|vlan| vlan.reorder_hdr)?;
    Some((to, vlan))
}

/// A burst of one VLAN to its device.
fn receive_vlan(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    (to, vlan): (&NetDevice, &Vlan),
    survey: &Survey,
    list: &mut SkbList,
) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    if env.snap.hooks.tracing() {
        trace_vlan(env, dev, to, list);
    }
    let cells = env.cells.device(dev.ifindex);
    cells.rx_packets.add(count);
    cells.rx_bytes.add((survey.bytes + survey.stripped * VLAN_HLEN) as u64);
    env.cells.vlan(dev.ifindex).sw_strip.add(count - survey.stripped as u64);
    if to.untags {
        list.iter_mut().for_each(|skb| _ = vlan_untag(skb));
    }
    env.stage_end(Node::VlanDoReceive, count, started);
    if to.untags || !to.up {
        return netif_receive_skb_list(env, hands, to, list);
    }
    let fields = received_by(to);
    if vlan.maps_ingress() || survey.stripped != 0 {
        return netif_receive_untagged(env, hands, to, list, |skb| {
            let priority = vlan.priority(vlan_untag(skb));
            SkbFields { priority, ..fields }
        });
    }
    netif_receive_untagged(env, hands, to, list, |skb| {
        vlan::pop(skb);
        fields
    });
}

#[cold]
fn trace_vlan(env: &Env<'_>, dev: &NetDevice, to: &NetDevice, list: &SkbList) {
    env.trace_list(list, |skb| {
        let tag = Tag::from_word(tag_word(dev, skb)).unwrap_or(Tag { proto: VlanProto::Dot1q, tci: 0 });
        Step::VlanDoReceive { dev: dev.ifindex, tag, to: Some(to.ifindex) }
    });
}

/// Sets the fields of a packet; a traced one stays traced.
#[cold]
fn set_fields(env: &Env<'_>, skb: &mut Skb, fields: SkbFields) {
    *skb.fields_mut() = fields;
    if env.snap.hooks.tracing() {
        trace::keep_one(skb);
    }
}

/// A burst without tags of its own; on a VLAN device they may have had one.
fn receive_untagged(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let fields = received_by(dev);
    match dev.vlan.as_deref().filter(|vlan| vlan.maps_ingress()) {
        None => netif_receive_untagged(env, hands, dev, list, |_| fields),
        Some(vlan) => netif_receive_untagged(env, hands, dev, list, |skb| {
            let priority = vlan.priority(skb.vlan_tci());
            SkbFields { priority, ..fields }
        }),
    }
}

/// Takes the tag off a packet that has one and returns its control information, which stays noted.
#[inline]
fn vlan_untag(skb: &mut Skb) -> u16 {
    if skb.is_vlan_stripped() {
        skb.clear_vlan_tag();
        return skb.vlan_tci();
    }
    let tci = vlan::tag_word(skb) as u16;
    vlan::pop(skb);
    skb.note_vlan_tci(tci);
    tci
}

/// Frames of several VLANs: those of one device go to it together.
fn receive_mixed(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let mut places = places_of(env, dev, list);
    let mut same = SkbList::new();
    while !list.is_empty() {
        let (to, left) = (places[0], list.len());
        let (mut mask, mut kept) = (0u32, 0);
        for at in 0..left {
            mask |= u32::from(places[at] == to) << at;
            places[kept] = places[at];
            kept += usize::from(places[at] != to);
        }
        list.extract(mask, &mut same);
        match env.snap.device(to).vlan.as_deref() {
            _ if to == ODD => same.drain().for_each(|skb| receive_odd(env, hands, dev, skb)),
            Some(vlan) if to != dev.ifindex => {
                let survey = survey(dev, &same);
                receive_vlan(env, hands, dev, (env.snap.device(to), vlan), &survey, &mut same);
            }
            _ => receive_untagged(env, hands, dev, &mut same),
        }
    }
}

/// The device each frame is for: `dev` itself where it has no tag. If one of those for `dev` itself is odd, all are, so
/// that they keep their order.
fn places_of(env: &Env<'_>, dev: &NetDevice, list: &SkbList) -> [IfIndex; SkbList::CAPACITY] {
    let mut places = [ODD; SkbList::CAPACITY];
    let (mut last, mut place, mut any_odd) = (0, dev.ifindex, false);
    for (skb, to) in list.iter().zip(&mut places) {
        let word = tag_word(dev, skb);
        if word & VLAN_MASK != last {
            last = word & VLAN_MASK;
            place = match Tag::from_word(word) {
                None => dev.ifindex,
                Some(tag) => plain_vlan(env, dev, tag).map_or(ODD, |(to, _)| to.ifindex),
            };
        }
        any_odd |= place == ODD;
        *to = place;
    }
    if any_odd {
        places.iter_mut().filter(|place| **place == dev.ifindex).for_each(|place| *place = ODD);
    }
    places
}

/// A frame that came in by `dev` and is not counted yet: whatever it has of tags, if any.
#[cold]
fn receive_odd(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) {
    let cells = env.cells.device(dev.ifindex);
    let beside = note_drivers_tag(dev, &mut skb);
    cells.rx_packets.add(1);
    cells.rx_bytes.add((skb.len() + beside) as u64);
    let fields = fields_of(dev, &skb);
    set_fields(env, &mut skb, fields);
    vlan_do_receive(env, hands, dev, skb);
}

/// What a packet is given that `dev` receives: on a VLAN device a priority by the tag it had.
fn fields_of(dev: &NetDevice, skb: &Skb) -> SkbFields {
    let priority = dev.vlan.as_deref().map_or(0, |vlan| vlan.priority(skb.vlan_tci()));
    SkbFields { priority, ..received_by(dev) }
}

/// Notes the protocol of a tag the driver took out. The bytes it has beside the data.
fn note_drivers_tag(dev: &NetDevice, skb: &mut Skb) -> usize {
    match dev.vlan_offload.strips {
        Some(proto) if skb.is_vlan_stripped() => {
            skb.set_vlan_tag(proto.tpid(), skb.vlan_tci());
            VLAN_HLEN
        }
        _ => {
            skb.clear_vlan_tag();
            0
        }
    }
}

/// A burst somebody wants to see before all else: with its tags beside the data, wherever they were.
#[cold]
fn receive_hooked(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let mut bytes = 0;
    for skb in list.iter_mut() {
        bytes += skb.len() + note_drivers_tag(dev, skb);
        set_fields(env, skb, fields_of(dev, skb));
    }
    let cells = env.cells.device(dev.ifindex);
    cells.rx_packets.add(list.len() as u64);
    cells.rx_bytes.add(bytes as u64);
    if env.snap.hooks.tracing() {
        trace_received(env, dev, list);
    }
    l2_input(env, hands, dev, list);
}

/// The hook L2_INPUT and what comes after it, for packets that are counted.
#[cold]
pub fn l2_input(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    for skb in list.iter_mut() {
        skb_vlan_untag(env, dev, skb);
    }
    nf_hook_device(env, hands, Hook::L2Input, dev, list);
    if !list.is_empty() {
        netif_receive_finish(env, hands, dev, list);
    }
}

/// Puts the tag of a packet beside the data; it, if there is one.
fn skb_vlan_untag(env: &Env<'_>, dev: &NetDevice, skb: &mut Skb) -> Option<Tag> {
    if let Some(tag) = vlan::noted(skb) {
        return Some(tag);
    }
    let tag = vlan::in_data(skb)?;
    vlan::pop_at(skb, usize::from(skb.fields().network_offset) - 2);
    skb.set_vlan_tag(tag.proto.tpid(), tag.tci);
    env.cells.vlan(dev.ifindex).sw_strip.add(1);
    Some(tag)
}

/// One packet that came in by `dev` and is counted: to the VLAN device of its tag, if it has a tag.
#[cold]
pub fn vlan_do_receive(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) {
    while let Some(tag) = skb_vlan_untag(env, dev, &mut skb) {
        let to = dev.vlans.as_ref().and_then(|group| group.find(tag.proto, tag.vid()));
        env.trace(&skb, || Step::VlanDoReceive { dev: dev.ifindex, tag, to });
        if let Some(to) = to {
            return to_vlan(env, hands, env.snap.device(to), tag, skb);
        }
        if tag.vid() != 0 {
            env.cells.vlan(dev.ifindex).unknown.add(1);
            skb.fields_mut().pkt_type = pkt_type::OTHERHOST;
            return deliver_other(env, hands, dev, skb);
        }
        // A priority and no VLAN: what is behind it counts.
        skb.clear_vlan_tag();
    }
    deliver_here(env, hands, dev, skb);
}

/// One packet to the VLAN device of its tag, which is beside the data.
fn to_vlan(env: &Env<'_>, hands: &mut Hands, to: &NetDevice, tag: Tag, mut skb: Skb) {
    let node = env.cells.node(Node::VlanDoReceive);
    node.packets.add(1);
    node.batches.add(1);
    if !to.up {
        env.cells.device(to.ifindex).rx_dropped.add(1);
        return env.kfree_skb(skb, Node::NetifReceive, DropReason::DevReady);
    }
    skb.clear_vlan_tag();
    let cells = env.cells.device(to.ifindex);
    cells.rx_packets.add(1);
    cells.rx_bytes.add(skb.len() as u64);
    let mut network_offset = skb.fields().network_offset;
    if to.vlan.as_ref().is_some_and(|vlan| !vlan.reorder_hdr) {
        // The users of the device see the tag where it was; IP begins behind it.
        if !vlan::push_at(&mut skb, usize::from(network_offset) - 2, tag.word()) {
            return env.kfree_skb(skb, Node::VlanDoReceive, DropReason::Nomem);
        }
        network_offset += VLAN_HLEN as u8;
    }
    let fields = SkbFields { network_offset, ..fields_of(to, &skb) };
    set_fields(env, &mut skb, fields);
    let (tapped, hooked) = (env.taps(Direction::Rx), env.snap.hooks.has(Hook::L2Input));
    if tapped || hooked {
        let mut one = SkbList::new();
        let _ = one.push(skb);
        if tapped {
            capture::tap_rx_upper(env, to, &one);
        }
        if hooked {
            return l2_input(env, hands, to, &mut one);
        }
        let Some(seen) = one.pop() else { return };
        skb = seen;
    }
    vlan_do_receive(env, hands, to, skb);
}

/// Whether the packet has a tag that nobody has looked at, in the data or beside it.
pub fn is_tagged(skb: &Skb) -> bool {
    let at = usize::from(skb.fields().network_offset).wrapping_sub(2);
    let ethertype = skb.data().get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_be_bytes(*b));
    skb.is_vlan_stripped() || ethertype.is_some_and(|tpid| VlanProto::from_tpid(tpid).is_some())
}

const _: () = assert!(TAG_OFFSET + 2 == crate::skb::eth::HEADER_LEN);

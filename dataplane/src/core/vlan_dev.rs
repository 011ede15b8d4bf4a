//! `vlan_dev_hard_start_xmit`: packets of a VLAN device get their tag and go on to the device under it.
//!
//! Uses:  priority.   Sets: oif, the tag.
//! Next:  dev_queue_xmit on the device under it.
//! Drops: nomem (no room for the tag).
//!
//! The tag goes into the data at once, whose first line is at hand, or beside it where the driver of a port puts it in. So
//! of several tags the outer one alone can be beside the data, and who looks at the packet on the lower device sees both.

use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::trace::Step;
use super::xmit::{Refused, dev_queue_again, refuse_list};
use crate::device::vlan::{Vlan, VlanProto};
use crate::device::{DeviceKind, NetDevice};
use crate::net::IfIndex;
use crate::skb::vlan::{self, Tag, VLAN_HLEN};
use crate::skb::{Skb, SkbExt, SkbList};

/// Shortest frame without a tag and without the checksum. A tagged one is longer by the tag, so that who takes the tag
/// out has a frame of this length left.
const MIN_FRAME: usize = 60;

/// Tags the packets of `list`, which leave by the VLAN device `dev`, and sends them on. What was not taken.
#[inline(never)]
pub(super) fn vlan_dev_hard_start_xmit(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
) -> Refused {
    let Some((vlan, real_dev)) = lower(env, dev) else { return refuse_list(env, list) };
    let (started, count) = (env.stage_start(), list.len() as u64);
    if env.snap.hooks.tracing() {
        env.trace_list(list, |_| Step::VlanXmit { dev: dev.ifindex, lower: real_dev.ifindex });
    }
    let beside = tag_beside(vlan, real_dev);
    let mut bytes = 0;
    let mut failed = 0u32;
    for (i, skb) in list.iter_mut().enumerate() {
        bytes += skb.len() as u64;
        skb.fields_mut().oif = real_dev.ifindex.0;
        failed |= u32::from(!put_tag(skb, vlan, beside)) << i;
    }
    if !beside {
        env.cells.vlan(real_dev.ifindex).sw_insert.add(count);
    }
    let mut refused = drop_failed(env, dev.ifindex, list, failed);
    env.stage_end(Node::VlanXmit, count, started);

    let below = dev_queue_again(env, hands, list);
    let own_tag = if beside { 0 } else { VLAN_HLEN as u64 };
    refused += Refused { packets: below.packets, bytes: below.bytes - below.packets * own_tag };
    let cells = env.cells.device(dev.ifindex);
    cells.tx_packets.add(count - refused.packets);
    cells.tx_bytes.add(bytes.saturating_sub(refused.bytes));
    cells.tx_dropped.add(below.packets);
    refused
}

/// Tags those packets of a list of several devices that leave by VLANs on ports which can send: then the list may be one
/// for a single port. The others stay as they are.
#[inline(never)]
pub(super) fn tag_mixed(env: &Env<'_>, list: &mut SkbList) {
    let mut failed = 0u32;
    for (i, skb) in list.iter_mut().enumerate() {
        let dev = env.snap.device(IfIndex(skb.fields().oif));
        let Some((vlan, port)) = lower(env, dev).filter(|(_, below)| is_open_port(below)) else { continue };
        if !dev.is_running() {
            continue;
        }
        let len = skb.len() as u64;
        let beside = tag_beside(vlan, port);
        if !put_tag(skb, vlan, beside) {
            failed |= 1 << i;
            continue;
        }
        skb.fields_mut().oif = port.ifindex.0;
        let cells = env.cells.device(dev.ifindex);
        cells.tx_packets.add(1);
        cells.tx_bytes.add(len);
        env.cells.vlan(port.ifindex).sw_insert.add(u64::from(!beside));
        env.cells.node(Node::VlanXmit).packets.add(1);
    }
    env.cells.node(Node::VlanXmit).batches.add(1);
    let mut gone = SkbList::new();
    list.extract(failed, &mut gone);
    for skb in gone.drain() {
        env.cells.device(IfIndex(skb.fields().oif)).tx_dropped.add(1);
        env.kfree_skb(skb, Node::VlanXmit, DropReason::Nomem);
    }
}

fn is_open_port(dev: &NetDevice) -> bool {
    matches!(dev.kind, DeviceKind::Port(_)) && dev.is_running()
}

/// The driver of the device puts the tag in.
#[inline]
fn tag_beside(vlan: &Vlan, real_dev: &NetDevice) -> bool {
    real_dev.vlan_offload.inserts && vlan.proto == VlanProto::Dot1q
}

/// What `dev` is, and the device it lies on; `None` if that does not know of it.
fn lower<'a>(env: &Env<'a>, dev: &'a NetDevice) -> Option<(&'a Vlan, &'a NetDevice)> {
    let vlan = dev.vlan.as_deref()?;
    let real_dev = env.snap.device(vlan.real_dev);
    let known = real_dev.vlans.as_ref()?.find(vlan.proto, vlan.vid);
    (known == Some(dev.ifindex)).then_some((vlan, real_dev))
}

/// Gives a packet its tag. False if there is no room.
#[inline]
fn put_tag(skb: &mut Skb, vlan: &Vlan, beside: bool) -> bool {
    if !vlan.reorder_hdr && vlan::tag_word(skb) >> 16 == u32::from(vlan.proto.tpid()) {
        // With that setting a frame of this protocol is taken for one whose tag is there already, as the kernel does.
        return true;
    }
    if skb.len() < MIN_FRAME {
        pad(skb);
    }
    let tci = vlan.vid | u16::from(vlan.pcp(skb.fields().priority)) << 13;
    if beside {
        skb.set_tx_vlan(tci);
        return true;
    }
    vlan::push(skb, Tag { proto: vlan.proto, tci }.word())
}

/// Fills a short frame up with zeros. One without the room for that is left to the driver.
#[inline(never)]
fn pad(skb: &mut Skb) {
    if let Some(padding) = skb.append(MIN_FRAME.saturating_sub(skb.len())) {
        padding.fill(0);
    }
}

#[inline]
fn drop_failed(env: &Env<'_>, dev: IfIndex, list: &mut SkbList, failed: u32) -> Refused {
    if failed == 0 {
        return Refused::default();
    }
    let mut gone = SkbList::new();
    list.extract(failed, &mut gone);
    let refused =
        Refused { packets: gone.len() as u64, bytes: gone.iter().map(|skb| skb.len() as u64).sum() };
    env.cells.device(dev).tx_dropped.add(refused.packets);
    env.kfree_skb_list(&mut gone, Node::VlanXmit, DropReason::Nomem);
    refused
}

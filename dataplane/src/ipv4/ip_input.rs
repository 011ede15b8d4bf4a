//! `ip_list_rcv`: what the kernel's `ip_rcv` checks before a packet may be looked at.
//!
//! Uses:  network_offset, pkt_type, the driver's checksum verdict.   Sets: ip_hdr_len.
//! Next:  hook PRE_ROUTING, ip_rcv_finish.
//! Drops: ip_inhdr (version, header length), ip_csum, pkt_too_small (frame shorter than total length).

use skiff_pmd::RxFlags;

use super::route::ip_list_rcv_finish;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace;
use crate::device::NetDevice;
use crate::netfilter::hooks::{Hook, nf_hook_list};
use crate::skb::eth;
use crate::skb::ipv4::{Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbList, checksum};

/// The congestion bits of the TOS.
const INET_ECN_MASK: u8 = 3;

/// Checks a burst of IPv4 packets and hands the good ones on.
#[inline]
pub fn ip_list_rcv(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let started = env.stage_start();
    let (mut octets, mut all_good, mut ecn) = (0, true, 0);
    for skb in list.iter_mut() {
        let (good, total_len) = is_plain_and_good(skb);
        octets += total_len as u64;
        ecn |= skb.head().map_or(0, |head| head.tos());
        all_good &= good;
        skb.fields_mut().ip_hdr_len = MIN_HEADER_LEN as u8;
    }
    let received = list.len() as u64;
    env.cells.mib(Mib::IpInReceives).add(received);
    if all_good & (ecn & INET_ECN_MASK == 0) {
        env.cells.mib(Mib::IpExtInNoECTPkts).add(received);
    } else {
        count_ecn(env, list);
    }
    if !all_good {
        octets = list.iter().map(|skb| skb.network_len() as u64).sum();
        let doubtful = list.mask_of(|skb| !is_plain_and_good(skb).0);
        check_slowly(env, dev, list, doubtful);
    }
    env.cells.mib(Mib::IpExtInOctets).add(octets);
    env.stage_end(Node::IpRcv, received, started);
    if env.snap.hooks.watched(Hook::PreRouting) {
        trace::ip_rcv(env, list);
        nf_hook_list(env, hands, Hook::PreRouting, list);
    }
    if !list.is_empty() {
        ip_list_rcv_finish(env, hands, dev, list);
    }
}

/// A header without options, a good checksum, a total length that fills the frame exactly: nearly every packet. The
/// total length is right only then.
#[inline(always)]
fn is_plain_and_good(skb: &Skb) -> (bool, usize) {
    let trusted = skb.rx_flags().contains(RxFlags::IP_CKSUM_GOOD);
    let Some(head) = skb.head() else { return (false, 0) };
    let total_len = head.total_len();
    let good = (usize::from(skb.fields().network_offset) == eth::HEADER_LEN)
        & head.is_plain_ipv4()
        & (total_len + eth::HEADER_LEN == skb.len())
        & (trusted | head.checksum_ok());
    (good, total_len)
}

/// Counts packets by their congestion bits (RFC 3168), where not all of a burst are without: every one whose header can be
/// read, whatever else is wrong with it.
#[cold]
pub(super) fn count_ecn(env: &Env<'_>, list: &mut SkbList) {
    const MIBS: [Mib; 4] =
        [Mib::IpExtInNoECTPkts, Mib::IpExtInECT1Pkts, Mib::IpExtInECT0Pkts, Mib::IpExtInCEPkts];
    let mut packets = [0; MIBS.len()];
    for skb in list.iter_mut() {
        skb.pull(usize::from(skb.fields().network_offset) + MIN_HEADER_LEN);
        let header = Ipv4Header::parse(skb.network());
        if let Some(header) = header.filter(|h| h.version() == 4 && h.header_len() >= MIN_HEADER_LEN) {
            packets[usize::from(header.tos() & INET_ECN_MASK)] += 1;
        }
    }
    MIBS.iter().zip(packets).for_each(|(&mib, n)| env.cells.mib(mib).add(n));
}

/// The checks one by one, in the kernel's order, for the packets of `doubtful`. Good ones keep their places.
#[cold]
fn check_slowly(env: &Env<'_>, dev: &NetDevice, list: &mut SkbList, doubtful: u32) {
    let mut reasons = [DropReason::IpInhdr; SkbList::CAPACITY];
    let mut gone = 0u32;
    for (i, skb) in list.iter_mut().enumerate().filter(|(i, _)| doubtful >> i & 1 == 1) {
        let Err(reason) = ip_rcv_core(skb) else { continue };
        match reason {
            DropReason::PktTooSmall => env.cells.mib(Mib::IpExtInTruncatedPkts).add(1),
            _ => env.cells.mib(Mib::IpInHdrErrors).add(1),
        }
        if reason == DropReason::IpCsum {
            env.cells.mib(Mib::IpExtInCsumErrors).add(1);
        }
        reasons[i] = reason;
        gone |= 1 << i;
    }
    if gone != 0 {
        env.cells.device(dev.ifindex).rx_dropped.add(u64::from(gone.count_ones()));
        env.kfree_marked(list, gone, Node::IpRcv, &reasons);
    }
}

/// Header checks and the trim to the total length. After `Ok` the whole header is in the first segment.
fn ip_rcv_core(skb: &mut Skb) -> Result<(), DropReason> {
    let offset = skb.fields().network_offset as usize;
    skb.pull(offset + MIN_HEADER_LEN);
    let header = Ipv4Header::parse(skb.network()).ok_or(DropReason::IpInhdr)?;
    let (header_len, total) = (header.header_len(), header.total_len());
    if header.version() != 4 || header_len < MIN_HEADER_LEN || !skb.pull(offset + header_len) {
        return Err(DropReason::IpInhdr);
    }
    let bytes = skb.network().get(..header_len).ok_or(DropReason::IpInhdr)?;
    if checksum::sum(bytes) != 0xffff {
        return Err(DropReason::IpCsum);
    }
    if total > skb.network_len() {
        return Err(DropReason::PktTooSmall);
    }
    if total < header_len {
        return Err(DropReason::IpInhdr);
    }
    skb.truncate(offset + total);
    skb.fields_mut().ip_hdr_len = header_len as u8;
    Ok(())
}

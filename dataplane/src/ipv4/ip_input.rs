//! `ip_list_rcv`: what the kernel's `ip_rcv` checks before a packet may be looked at.
//!
//! Uses:  network_offset, pkt_type, the driver's checksum verdict.   Sets: ip_hdr_len.
//! Next:  ip_rcv_finish.
//! Drops: ip_inhdr (version, header length), ip_csum, pkt_too_small (frame shorter than total length).

use skiff_pmd::RxFlags;

use super::route::ip_list_rcv_finish;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::device::NetDevice;
use crate::skb::ipv4::{Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbList, checksum};

/// Checks a burst of IPv4 packets and hands the good ones on.
#[inline]
pub fn ip_list_rcv(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let started = env.stage_start();
    let mut octets = 0;
    let mut bad = 0u32;
    for (i, skb) in list.iter_mut().enumerate() {
        octets += skb.network_len() as u64;
        bad |= u32::from(!is_plain_and_good(skb)) << i;
    }
    let received = list.len() as u64;
    env.cells.mib(Mib::IpInReceives).add(received);
    env.cells.mib(Mib::IpExtInOctets).add(octets);
    if bad != 0 {
        check_slowly(env, dev, list, bad);
    }
    env.stage_end(Node::IpRcv, received, started);
    if !list.is_empty() {
        ip_list_rcv_finish(env, hands, dev, list);
    }
}

/// A header without options, a good checksum, a total length that fills the frame exactly: nearly every packet.
#[inline]
fn is_plain_and_good(skb: &mut Skb) -> bool {
    let len = skb.network_len();
    let trusted = skb.rx_flags().contains(RxFlags::IP_CKSUM_GOOD);
    let Some(header) = skb.network().first_chunk::<MIN_HEADER_LEN>() else { return false };
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let good = header[0] == 0x45 && total == len && (trusted || checksum::ipv4_header_20_ok(header));
    skb.fields_mut().ip_hdr_len = MIN_HEADER_LEN as u8;
    good
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

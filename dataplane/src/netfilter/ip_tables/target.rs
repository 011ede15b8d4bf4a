//! What rules do beyond verdicts and jumps (`xt_*_tg`). Targets that change the packet keep its checksums right by the
//! difference (RFC 1624).

use std::sync::Arc;

use super::reject;
use super::rule::{EcnTarget, Masked8, NfqueueTarget, RejectWith, TtlTarget};
use super::tcpmss::{self, Mss};
use super::trace;
use crate::netfilter::hooks::{HookCx, Verdict};
use crate::netfilter::nf_log::LogSpec;
use crate::skb::ipv4::{IP_OFFSET, IPPROTO_TCP, Ipv4Header};
use crate::skb::{Skb, SkbExt, checksum, flags};

/// A target that is a module of its own in the kernel.
#[derive(Debug)]
pub(super) enum Extension {
    Reject(RejectWith),
    Log(Arc<LogSpec>),
    Nfqueue(NfqueueTarget),
    Mark { value: u32, mask: u32 },
    Classify(u32),
    Tos(Masked8),
    Ttl(TtlTarget),
    Ecn(EcnTarget),
    Tcpmss(Mss),
    Trace,
}

/// Whether the table goes on.
pub(super) enum Then {
    Continue,
    Verdict(Verdict),
}

impl Extension {
    #[cold]
    #[inline(never)]
    pub fn run(&self, cx: &mut HookCx<'_, '_>, skb: &mut Skb) -> Then {
        match self {
            Extension::Reject(with) => {
                reject::send(cx, skb, *with);
                return Then::Verdict(Verdict::Drop);
            }
            Extension::Nfqueue(target) => return Then::Verdict(nfqueue(target, cx, skb)),
            Extension::Log(spec) => trace::log(cx, skb, spec),
            Extension::Trace => skb.fields_mut().flags |= flags::NF_TRACE,
            Extension::Mark { value, mask } => {
                let fields = skb.fields_mut();
                fields.mark = fields.mark & !mask ^ value;
            }
            Extension::Classify(class) => skb.fields_mut().priority = *class,
            Extension::Tos(tos) => set_tos(skb.network_mut(), |old| old & !tos.mask ^ tos.value),
            Extension::Ttl(target) => set_ttl(skb.network_mut(), *target),
            Extension::Ecn(target) => set_ecn(skb.network_mut(), target),
            Extension::Tcpmss(mss) => {
                if tcpmss::run(cx, skb, *mss).is_err() {
                    return Then::Verdict(Verdict::Drop);
                }
            }
        }
        Then::Continue
    }
}

/// The queue of a packet: the same for both directions of a flow, or by lcore.
fn nfqueue(target: &NfqueueTarget, cx: &HookCx<'_, '_>, skb: &Skb) -> Verdict {
    let total = u32::from(target.total.max(1));
    let offset = match (total, target.cpu_fanout) {
        (1, _) => 0,
        (_, true) => cx.hands.lcore() as u32 % total,
        (_, false) => {
            let hash =
                Ipv4Header::parse(skb.network()).map_or(0, |ip| flow_hash(ip.src(), ip.dst(), ip.protocol()));
            ((u64::from(hash) * u64::from(total)) >> 32) as u32
        }
    };
    Verdict::Queue { num: target.queue.wrapping_add(offset as u16), bypass: target.bypass }
}

fn flow_hash(a: u32, b: u32, protocol: u8) -> u32 {
    let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
    let mixed = (pair ^ u64::from(protocol) << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

/// Changes a header byte through `change`, and the header checksum with it. `at` is even or odd within its word.
fn change_byte(packet: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    let word = at & !1;
    let Some(header) = packet.first_chunk_mut::<20>() else { return };
    let old = u16::from_be_bytes([header[word], header[word + 1]]);
    header[at] = change(header[at]);
    let new = u16::from_be_bytes([header[word], header[word + 1]]);
    if old != new {
        let check = u16::from_be_bytes([header[10], header[11]]);
        header[10..12].copy_from_slice(&checksum::update16(check, old, new).to_be_bytes());
    }
}

pub(super) fn set_tos(packet: &mut [u8], change: impl FnOnce(u8) -> u8) {
    change_byte(packet, 1, change);
}

pub(super) fn set_ttl(packet: &mut [u8], target: TtlTarget) {
    change_byte(packet, 8, |ttl| match target {
        TtlTarget::Set(new) => new,
        TtlTarget::Inc(n) => ttl.saturating_add(n),
        TtlTarget::Dec(n) => ttl.saturating_sub(n),
    });
}

/// Later fragments have no TCP header to change.
pub(super) fn set_ecn(packet: &mut [u8], target: &EcnTarget) {
    if let Some(ect) = target.ip_ect {
        set_tos(packet, |tos| tos & !3 | ect & 3);
    }
    let (ece, cwr) = match target.tcp_remove {
        true => (Some(false), Some(false)),
        false => (target.tcp_ece, target.tcp_cwr),
    };
    let Some(ip) = Ipv4Header::parse(packet) else { return };
    if (ece.is_none() && cwr.is_none()) || ip.protocol() != IPPROTO_TCP || ip.frag_off() & IP_OFFSET != 0 {
        return;
    }
    let at = ip.header_len();
    let Some(tcp) = packet.get_mut(at..).and_then(|p| p.first_chunk_mut::<20>()) else { return };
    let old = u16::from_be_bytes([tcp[12], tcp[13]]);
    for (bit, wanted) in [(0x40, ece), (0x80, cwr)] {
        match wanted {
            Some(true) => tcp[13] |= bit,
            Some(false) => tcp[13] &= !bit,
            None => {}
        }
    }
    let new = u16::from_be_bytes([tcp[12], tcp[13]]);
    let check = u16::from_be_bytes([tcp[16], tcp[17]]);
    if old != new {
        tcp[16..18].copy_from_slice(&checksum::update16(check, old, new).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::ip_tables::tests::Bytes;

    #[test]
    fn ttl_and_tos_within_their_bounds() {
        let mut p = Bytes::udp("10.0.0.1", "10.0.0.2", 1, 2);
        for (target, want) in [
            (TtlTarget::Set(250), 250),
            (TtlTarget::Inc(10), 255),
            (TtlTarget::Dec(5), 250),
            (TtlTarget::Dec(251), 0),
        ] {
            set_ttl(&mut p.0, target);
            p.assert_ip_checksum();
            assert_eq!(p.view().ip().ttl(), want);
        }
        for (mask, value, want) in [(0xfc, 0xb8, 0xb8), (3, 1, 0xb9), (0xff, 0x46, 0x46), (0, 0, 0x46)] {
            set_tos(&mut p.0, |old| (old & !mask) ^ value);
            p.assert_ip_checksum();
            assert_eq!(p.view().ip().tos(), want);
        }
    }

    #[test]
    fn congestion_bits_of_both_headers() {
        let mut p = Bytes::tcp("10.0.0.1", "10.0.0.2", 1, 2, 0xc2, &[]);
        let set = |p: &mut Bytes, target: EcnTarget| {
            set_ecn(&mut p.0, &target);
            p.assert_ip_checksum();
            p.assert_tcp_checksum();
            (p.0[1], p.0[33])
        };
        let none = EcnTarget::default();
        assert_eq!(set(&mut p, EcnTarget { tcp_remove: true, ..none }), (0, 2));
        assert_eq!(set(&mut p, EcnTarget { ip_ect: Some(2), tcp_cwr: Some(true), ..none }), (2, 0x82));
        assert_eq!(set(&mut p, EcnTarget { tcp_ece: Some(true), tcp_cwr: Some(false), ..none }), (2, 0x42));
        let mut later = Bytes::tcp("10.0.0.1", "10.0.0.2", 1, 2, 0xc2, &[]).fragment(9);
        set_ecn(&mut later.0, &EcnTarget { tcp_remove: true, ..none });
        assert_eq!(later.0[33], 0xc2);
    }

    #[test]
    fn both_directions_of_a_flow_share_a_queue() {
        assert_eq!(flow_hash(1, 2, 6), flow_hash(2, 1, 6));
        let spread: std::collections::HashSet<u32> = (0..64).map(|i| flow_hash(1, i, 6) >> 30).collect();
        assert_eq!(spread.len(), 4);
    }
}

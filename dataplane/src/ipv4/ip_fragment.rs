//! `ip_fragment`: cut a datagram to the MTU of the way out (RFC 791 section 3.2, kernel `ip_do_fragment`).
//!
//! Uses:  network_offset, ip_hdr_len, mtu.   Sets: fragments carry the original's fields.
//! Drops: frag_failed (no mbuf, MTU too small for the header).
//!
//! Every piece but the last carries the largest multiple of 8 bytes that fits. The first keeps all options; later
//! ones keep those with the copy bit and turn the rest into no-operations, so header lengths stay equal. A fragment
//! that is cut again keeps its More Fragments bit on its last piece. What was put together from fragments is cut to
//! the largest of them at most, and keeps Don't Fragment if that one had it (RFC 1191: the sender is probing the path).

use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{Mark, Step};
use crate::skb::eth;
use crate::skb::ipv4::{self, IP_DF, IP_MF, IP_OFFSET, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbList, flags};

const IPOPT_END: u8 = 0;
const IPOPT_NOOP: u8 = 1;
const IPOPT_COPY: u8 = 0x80;

/// A datagram partly cut, when the pieces did not fit one list.
#[derive(Debug)]
pub struct Cutting {
    skb: Skb,
    header: [u8; 60],
    header_len: usize,
    payload: usize,
    /// Payload bytes already sent.
    at: usize,
    /// Payload bytes of a full piece.
    step: usize,
    pieces: u64,
}

/// Cuts `skb` into `pieces`. `Some` if there is more to cut once `pieces` is empty again.
pub fn ip_fragment(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, pieces: &mut SkbList) -> Option<Cutting> {
    let fields = *skb.fields();
    let header_len = usize::from(fields.ip_hdr_len);
    let step = (usize::from(fields.mtu).saturating_sub(header_len)) & !7;
    let mut header = [0u8; 60];
    let whole = skb.network_len();
    let copied = skb.pull(usize::from(fields.network_offset) + header_len)
        && (MIN_HEADER_LEN..=60).contains(&header_len)
        && skb.copy_out(usize::from(fields.network_offset), &mut header[..header_len]);
    if step == 0 || !copied {
        env.cells.mib(Mib::IpFragFails).add(1);
        env.kfree_skb(skb, Node::IpOutput, DropReason::FragFailed);
        return None;
    }
    Cutting { skb, header, header_len, payload: whole - header_len, at: 0, step, pieces: 0 }
        .resume(env, hands, pieces)
}

impl Cutting {
    /// Goes on cutting until all is cut or `pieces` is full.
    pub fn resume(mut self, env: &Env<'_>, hands: &mut Hands, pieces: &mut SkbList) -> Option<Cutting> {
        while self.at < self.payload {
            if pieces.is_full() {
                return Some(self);
            }
            let Some(piece) = self.piece(hands) else {
                // The kernel fails the datagram as a whole; pieces already on their way cannot be called back.
                env.cells.mib(Mib::IpFragFails).add(1);
                env.kfree_skb(self.skb, Node::IpOutput, DropReason::FragFailed);
                return None;
            };
            env.cells.created.add(1);
            env.trace(&piece, || Step::Copied);
            env.cells.mib(Mib::IpFragCreates).add(1);
            self.pieces += 1;
            // Checked above: there is room.
            let _ = pieces.push(piece);
        }
        env.cells.mib(Mib::IpFragOKs).add(1);
        // The datagram lives on in its pieces: it was consumed, not dropped.
        env.cells.delivered.add(1);
        env.trace(&self.skb, || Step::Fragmented);
        None
    }

    fn piece(&mut self, hands: &mut Hands) -> Option<Skb> {
        let len = self.step.min(self.payload - self.at);
        let last = self.at + len == self.payload;
        let mut piece = hands.pool.alloc()?;
        let bytes = piece.append(eth::HEADER_LEN + self.header_len + len)?;
        let (_, network) = bytes.split_at_mut(eth::HEADER_LEN);
        let (header, data) = network.split_at_mut(self.header_len);
        header.copy_from_slice(&self.header[..self.header_len]);
        let from = usize::from(self.skb.fields().network_offset) + self.header_len + self.at;
        if !self.skb.copy_out(from, data) {
            return None;
        }
        let original = Ipv4Header::parse(header)?.frag_off();
        let offset = (original & IP_OFFSET) + (self.at / 8) as u16;
        let more = if last { original & IP_MF } else { IP_MF };
        header[2..4].copy_from_slice(&((self.header_len + len) as u16).to_be_bytes());
        // Don't Fragment is there only where the fragments this was put together from had it.
        header[6..8].copy_from_slice(&(offset | more | original & IP_DF).to_be_bytes());
        ipv4::set_check(header);
        *piece.fields_mut() = *self.skb.fields();
        if piece.fields().flags & flags::TRACED != 0 {
            *piece.private_mut() = *self.skb.private::<Mark>();
        }
        piece.fields_mut().network_offset = eth::HEADER_LEN as u8;
        if self.at == 0 {
            blank_uncopied_options(&mut self.header[MIN_HEADER_LEN..self.header_len]);
        }
        self.at += len;
        Some(piece)
    }
}

/// Turns the options that later fragments do not carry into no-operations (kernel `ip_options_fragment`).
fn blank_uncopied_options(options: &mut [u8]) {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            IPOPT_END => return,
            IPOPT_NOOP => at += 1,
            kind => {
                let Some(&len) = options.get(at + 1) else { return };
                let end = at + usize::from(len);
                if len < 2 || end > options.len() {
                    return;
                }
                if kind & IPOPT_COPY == 0 {
                    options[at..end].fill(IPOPT_NOOP);
                }
                at = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_fragments_keep_only_options_with_the_copy_bit() {
        // Record route (7, not copied), router alert (148, copied), no-operation.
        let mut options = [7, 3, 4, 148, 4, 0, 0, 1];
        blank_uncopied_options(&mut options);
        assert_eq!(options, [1, 1, 1, 148, 4, 0, 0, 1]);
        let mut broken = [7, 0, 4];
        blank_uncopied_options(&mut broken);
        assert_eq!(broken, [7, 0, 4], "a broken option is left for the receiver to judge");
    }
}

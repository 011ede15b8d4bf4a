//! `ip_defrag`: put datagrams that came in pieces together again (RFC 791 section 3.2, RFC 815; kernel `ip_defrag`).
//!
//! Uses:  the IP header, iif.   Sets: the header of the whole datagram, iif, frag_max_size, flags.
//! Next:  back to who asked: ip_local_deliver.
//! Drops: dup_frag, frag_too_far, frag_discard (overlap, two ends, no data, ECN, oversize), frag_mem_limit,
//!        frag_reasm_timeout, handoff_full (the owner is busy), nomem.
//!
//! # Who holds the fragments
//! The fragments of one datagram may come by different queues, and so to different lcores. Each source has one owner
//! among the lcores, by a keyed hash of its address, and the others hand it what they get by its message queue. So a
//! table has one user and no lock that a descheduled thread could hold while others wait, the timers run where the
//! queues are, and the distance between fragments of one source ([`FragLimits::max_dist`]) is counted exactly. An owner
//! with [`MOST_HANDED`] messages waiting is handed no more: fragments are not to take the place of the control thread's
//! messages.
//!
//! Packets that are no fragments pay nothing; the lcore's loop pays one comparison a round, of the time against
//! [`FragTable::next_deadline`].
//!
//! # What it may take
//! Memory is counted in whole mbufs ([`truesize`]), over all lcores together, and never more than
//! `net.ipv4.ipfrag_high_thresh`. The mbufs held are receive buffers that the ports are short of meanwhile, so an eighth
//! of the pool is the limit where that is less. Fragments over the limit are refused until others complete or expire.
//!
//! A whole datagram is a chain of the mbufs its fragments came in, none of it copied, as long as it has no more than
//! [`MOST_SEGMENTS`] of them; one of a great many small fragments is copied together.

mod queue;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use skiff_pmd::Pool;

use super::icmp::{self, icmp_send};
use super::ip_local_deliver::deliver_reassembled;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::shared::ToLcore;
use crate::core::trace::Step;
use crate::skb::icmp::ICMP_TIME_EXCEEDED;
use crate::skb::ipv4::{self, IP_DF, Ipv4Header};
use crate::skb::{Skb, SkbExt, flags};

pub use queue::{Datagram, Discard, Fragment, Piece};
pub use table::{
    DefragUser, Expired, FragKey, FragLimits, FragMemory, FragTable, Inserted, QUEUE_COST, Verdict,
};

/// Messages that may wait for an owner before it is handed no more fragments.
pub const MOST_HANDED: usize = 256;
/// Segments a whole datagram may have: the longest in fragments of 1500 bytes has 45.
pub const MOST_SEGMENTS: u16 = 64;
/// The part of the pool that fragments may hold, as a divisor.
const POOL_SHARE: usize = 8;
/// What an mbuf takes beside its data room: the descriptor, the private area, the headroom.
const MBUF_OVERHEAD: usize = 128 + skiff_pmd::PRIV_SIZE + 128;
/// Datagrams given up in one round at most, so that the end of a flood of them delays nobody.
const EXPIRED_A_ROUND: usize = 16;

/// What all lcores share of reassembly.
#[derive(Debug, Default)]
pub struct FragShared {
    /// The memory in use.
    pub memory: FragMemory,
    spread: RandomState,
}

impl FragShared {
    /// The lcore of `lcores` that holds the fragments of source `src`.
    pub fn owner(&self, src: u32, lcores: usize) -> usize {
        match lcores {
            0 | 1 => 0,
            n => (self.spread.hash_one(src) % n as u64) as usize,
        }
    }
}

/// Takes a fragment. Returns the whole datagram if this was its last missing piece and this lcore is the owner of its
/// source; otherwise the fragment is held, dropped, or on its way to the owner, which goes on with what becomes whole
/// as `user` says.
#[cold]
pub fn ip_defrag(env: &Env<'_>, hands: &mut Hands, skb: Skb, user: DefragUser) -> Option<Skb> {
    let src = Ipv4Header::parse(skb.network()).map_or(0, |header| header.src());
    let owner = env.shared.frags.owner(src, env.shared.lcores());
    if owner == hands.lcore() {
        return reassemble(env, hands, skb, user);
    }
    if let Err(ToLcore::Fragment(skb, _)) = env.shared.hand_fragment(owner, skb, user) {
        env.cells.mib(Mib::IpReasmReqds).add(1);
        env.cells.mib(Mib::IpReasmFails).add(1);
        env.kfree_skb(skb, Node::IpDefrag, DropReason::HandoffFull);
    }
    None
}

/// Takes a fragment of a source this lcore owns, which another lcore received.
#[cold]
pub fn ip_defrag_handed(env: &Env<'_>, hands: &mut Hands, skb: Skb, user: DefragUser) {
    let Some(whole) = reassemble(env, hands, skb, user) else { return };
    match user {
        DefragUser::LocalDeliver => deliver_reassembled(env, hands, whole),
    }
}

/// Gives up the datagrams whose time is over (the kernel's `ip_expire`). Returns how many; a few at a time, so there may
/// be more.
#[cold]
pub fn ip_expire(env: &Env<'_>, hands: &mut Hands) -> usize {
    let mut expired = 0;
    while expired < EXPIRED_A_ROUND
        && let Some(gone) = hands.frags.expire(env.now, &env.shared.frags.memory)
    {
        expired += 1;
        env.cells.mib(Mib::IpReasmFails).add(1);
        env.cells.mib(Mib::IpReasmTimeout).add(1);
        // Only an end host reports it, and only with the header of the datagram to quote (RFC 792).
        if gone.has_first
            && let (Some(first), DefragUser::LocalDeliver) = (gone.carriers.first(), gone.key.user)
        {
            icmp_send(env, hands, first, ICMP_TIME_EXCEEDED, icmp::EXC_FRAGTIME, 0);
        }
        free(env, gone.carriers, DropReason::FragReasmTimeout);
    }
    expired
}

/// Frees everything held, for the end of the router.
#[cold]
pub fn purge(env: &Env<'_>, hands: &mut Hands) {
    while let Some(gone) = hands.frags.pop(&env.shared.frags.memory) {
        free(env, gone.carriers, DropReason::Shutdown);
    }
}

/// Memory that `segments` mbufs of `pool` take, bytes.
pub fn truesize(pool: &Pool, segments: usize) -> usize {
    segments * (usize::from(pool.data_room()) + MBUF_OVERHEAD)
}

fn reassemble(env: &Env<'_>, hands: &mut Hands, skb: Skb, user: DefragUser) -> Option<Skb> {
    let started = env.stage_start();
    env.cells.mib(Mib::IpReasmReqds).add(1);
    let whole = queue(env, hands, skb, user);
    env.stage_end(Node::IpDefrag, 1, started);
    whole
}

fn queue(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, user: DefragUser) -> Option<Skb> {
    let Some((key, fragment)) = read(&mut skb, user) else {
        env.cells.mib(Mib::IpReasmFails).add(1);
        env.kfree_skb(skb, Node::IpDefrag, DropReason::IpInhdr);
        return None;
    };
    let sysctl = &env.snap.sysctl;
    let share = truesize(&hands.pool, hands.pool.capacity() as usize / POOL_SHARE);
    let limits = FragLimits {
        memory: &env.shared.frags.memory,
        high_thresh: share.min(sysctl.ipfrag_high_thresh as usize),
        timeout: Duration::from_secs(sysctl.ipfrag_time.into()),
        max_dist: sysctl.ipfrag_max_dist,
    };
    env.trace(&skb, || Step::Defrag);
    let (iif, cost) = (skb.fields().iif, truesize(&hands.pool, usize::from(skb.nb_segs())));
    let inserted = hands.frags.insert(key, fragment, skb, cost, env.now, &limits);
    if !inserted.too_far.is_empty() {
        fail(env, inserted.too_far, DropReason::FragTooFar);
    }
    match inserted.verdict {
        Verdict::Queued => None,
        Verdict::Complete(datagram) => finish(env, hands, datagram, iif),
        Verdict::Duplicate(skb) => {
            env.kfree_skb(skb, Node::IpDefrag, DropReason::DupFrag);
            None
        }
        Verdict::Discarded(why, carriers) => {
            env.cells.mib(Mib::IpExtReasmOverlaps).add(u64::from(why == Discard::Overlap));
            fail(env, carriers, DropReason::FragDiscard)
        }
        Verdict::NoMemory(skb) => fail(env, vec![skb], DropReason::FragMemLimit),
    }
}

/// What a fragment's header says; the packet is cut to the data that counts. `None` if it has no whole header.
fn read(skb: &mut Skb, user: DefragUser) -> Option<(FragKey, Fragment)> {
    let at = usize::from(skb.fields().network_offset);
    let header = Ipv4Header::parse(skb.network())?;
    let header_len = header.header_len();
    let len = u16::try_from(skb.network_len().checked_sub(header_len)?).ok()?;
    let fragment = Fragment::new(header.frag_off(), header_len as u8, len, header.tos());
    let key = FragKey {
        src: header.src(),
        dst: header.dst(),
        id: header.id(),
        protocol: header.protocol(),
        user,
        vif: 0,
    };
    // The header contiguous, and a byte behind it, so that no segment is empty once the header is gone.
    if !skb.pull(at + header_len + usize::from(!fragment.is_empty())) {
        return None;
    }
    skb.truncate(at + header_len + fragment.len());
    Some((key, fragment))
}

/// Makes one packet of a whole datagram.
fn finish(env: &Env<'_>, hands: &mut Hands, datagram: Datagram<Skb>, iif: u16) -> Option<Skb> {
    let Datagram { pieces, len, tos, max_size, df } = datagram;
    let merged = pieces.len() as u64 - 1;
    pieces.iter().skip(1).for_each(|piece| env.trace(&piece.carrier, || Step::Merged));
    let mut skb = match join(pieces) {
        Ok(skb) => skb,
        Err(parts) => return fail(env, parts, DropReason::Nomem),
    };
    let header_len = usize::from(skb.fields().ip_hdr_len);
    if let Some(header) = skb.network_mut().get_mut(..header_len) {
        header[1] |= tos;
        header[2..4].copy_from_slice(&((header_len + len) as u16).to_be_bytes());
        header[6..8].copy_from_slice(&(if df { IP_DF } else { 0 }).to_be_bytes());
        ipv4::set_check(header);
    }
    let fields = skb.fields_mut();
    fields.iif = iif;
    fields.flags |= flags::REASSEMBLED;
    fields.frag_max_size = max_size;
    env.cells.mib(Mib::IpReasmOKs).add(1);
    env.trace(&skb, || Step::Reassembled { len: skb.network_len() as u32, fragments: merged as u32 + 1 });
    // They live on in the datagram: consumed, not dropped.
    env.cells.delivered.add(merged);
    // A chain that long is more than drivers send; without an mbuf to copy to it does for reading.
    let long = skb.nb_segs() > MOST_SEGMENTS;
    Some(long.then(|| hands.pool.copy(&skb)).flatten().unwrap_or(skb))
}

/// Chains the fragments, all but the first without their headers. From the last on, so that no chain is walked.
///
/// # Errors
/// The parts, if they are more segments than a chain can count.
fn join(mut pieces: Vec<Piece<Skb>>) -> Result<Skb, Vec<Skb>> {
    let Some(Piece { fragment, carrier }) = pieces.pop() else { return Err(Vec::new()) };
    let (mut whole, mut surplus) = (carrier, fragment.header_len());
    while let Some(Piece { fragment, mut carrier }) = pieces.pop() {
        let behind = usize::from(whole.fields().network_offset) + surplus;
        // `read` saw to it that the header is there.
        whole.adj(behind);
        if let Err(rest) = carrier.chain(whole) {
            let left = pieces.into_iter().map(|piece| piece.carrier);
            return Err(left.chain([carrier, rest]).collect());
        }
        (whole, surplus) = (carrier, fragment.header_len());
    }
    Ok(whole)
}

/// One datagram failed.
fn fail(env: &Env<'_>, carriers: Vec<Skb>, reason: DropReason) -> Option<Skb> {
    env.cells.mib(Mib::IpReasmFails).add(1);
    free(env, carriers, reason);
    None
}

fn free(env: &Env<'_>, carriers: Vec<Skb>, reason: DropReason) {
    carriers.into_iter().for_each(|skb| env.kfree_skb(skb, Node::IpDefrag, reason));
}

//! Next hops: what a route says to do with a packet.
//!
//! Lcores read the table while the control thread changes it, under one rule: a slot is written before its number
//! appears in the FIB, and written again only when the number has left the FIB and every lcore has since been
//! quiescent. The one exception is the MTU, which changes in place by a single store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::NextHopId;
use super::multipath::{self, FlowHash};
use crate::core::qsbr::{Deferred, Qsbr};
use crate::neigh::table::NeighId;
use crate::net::IfIndex;

/// Most next hops, groups included, at one time.
pub const MAX_NEXT_HOPS: usize = 1 << 16;
/// Most members of all groups together.
pub const MAX_GROUP_MEMBERS: usize = 1 << 16;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// No route (also a `throw` route: this router has one table).
    None = 0,
    /// To a gateway whose neighbour entry is named.
    Gateway = 1,
    /// To the destination itself, on a connected network.
    Link = 2,
    /// To the router itself.
    Local = 3,
    /// To everybody on a connected network.
    Broadcast = 4,
    /// Discard in silence.
    Blackhole = 5,
    /// Answer host unreachable.
    Unreachable = 6,
    /// Answer administratively prohibited.
    Prohibit = 7,
    /// One of several, by flow.
    Multipath = 8,
}

impl Kind {
    #[inline]
    fn from_bits(bits: u8) -> Kind {
        match bits {
            1 => Kind::Gateway,
            2 => Kind::Link,
            3 => Kind::Local,
            4 => Kind::Broadcast,
            5 => Kind::Blackhole,
            6 => Kind::Unreachable,
            7 => Kind::Prohibit,
            8 => Kind::Multipath,
            _ => Kind::None,
        }
    }
}

/// A next hop as an lcore reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// What to do.
    pub kind: Kind,
    /// Device to leave by; for `Local` and `Broadcast` the device that owns the address.
    pub oif: IfIndex,
    /// MTU of the route: its own, else the device's.
    pub mtu: u16,
    /// The gateway, host byte order (`Gateway`).
    pub gateway: u32,
    /// The gateway's neighbour entry (`Gateway`).
    pub neigh: NeighId,
    /// Source address for packets of our own, host byte order; 0 if none.
    pub prefsrc: u32,
    /// Packets take the members in turn, whatever their flow (`Multipath`).
    pub per_packet: bool,
    members: Members,
}

/// The bit of the first word that says so.
const PER_PACKET: u64 = 1 << 8;

/// One 32-byte slot: kind, device and MTU in the first word; gateway and neighbour in the second; source in the third.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Slot([AtomicU64; 3]);

/// The table lcores read.
#[derive(Debug)]
pub struct NextHopTable {
    slots: Box<[Slot; MAX_NEXT_HOPS]>,
    members: Box<[AtomicU64; MAX_GROUP_MEMBERS]>,
}

impl Default for NextHopTable {
    fn default() -> Self {
        NextHopTable { slots: boxed_array(), members: boxed_array() }
    }
}

fn boxed_array<T: Default, const N: usize>() -> Box<[T; N]> {
    let slice: Box<[T]> = (0..N).map(|_| T::default()).collect();
    slice.try_into().unwrap_or_else(|_| unreachable!("collected exactly N elements"))
}

/// A [`NextHopTable`] as loops over a burst hold it: in one register.
#[derive(Clone, Copy, Debug)]
pub struct NextHops<'a>(&'a [Slot; MAX_NEXT_HOPS]);

impl NextHops<'_> {
    /// As [`NextHopTable::get`].
    #[inline]
    pub fn get(&self, id: NextHopId) -> NextHop {
        let slot = &self.0[id.index() % MAX_NEXT_HOPS];
        let [a, b, c] = [0, 1, 2].map(|i| slot.0[i].load(Ordering::Relaxed));
        NextHop {
            kind: Kind::from_bits(a as u8),
            oif: IfIndex((a >> 16) as u16),
            mtu: (a >> 32) as u16,
            gateway: b as u32,
            neigh: NeighId::from_u32((b >> 32) as u32),
            prefsrc: c as u32,
            per_packet: a & PER_PACKET != 0,
            members: (b as u32, (a >> 48) as u16),
        }
    }

    /// The neighbour entry of a [`Kind::Gateway`] next hop, and of no other, from the number [`NextHopId::get`] gave.
    #[inline]
    pub fn gateway_neigh(&self, id: u32) -> Option<NeighId> {
        let slot = &self.0[id as usize % MAX_NEXT_HOPS];
        let is_gateway = slot.0[0].load(Ordering::Relaxed) as u8 == Kind::Gateway as u8;
        is_gateway.then(|| NeighId::from_u32((slot.0[1].load(Ordering::Relaxed) >> 32) as u32))
    }
}

impl NextHopTable {
    /// The next hop of that number. Number 0 and free slots read as [`Kind::None`].
    #[inline]
    pub fn get(&self, id: NextHopId) -> NextHop {
        self.view().get(id)
    }

    /// The table for reading by the burst.
    #[inline]
    pub fn view(&self) -> NextHops<'_> {
        NextHops(&self.slots)
    }

    /// The member of a [`Kind::Multipath`] group for a flow with this 31-bit hash, and the group itself otherwise.
    #[inline]
    pub fn select(&self, id: NextHopId, hash: FlowHash) -> NextHopId {
        let group = self.get(id);
        if group.kind != Kind::Multipath {
            return id;
        }
        let (first, count) = group.members;
        for i in first..first + u32::from(count) {
            let member = self.members[i as usize % MAX_GROUP_MEMBERS].load(Ordering::Relaxed);
            if hash.get() as i32 <= (member >> 32) as i32 {
                return hop_id(member as u32);
            }
        }
        NextHopId::NONE
    }

    /// The same among the members that are `good`, the one kept for the flow if it is, and of those preferably one that
    /// sends from `source` (0 for none). Without any good one the first that takes flows at all, as the kernel does.
    #[cold]
    pub fn select_best(
        &self,
        id: NextHopId,
        hash: FlowHash,
        source: u32,
        good: impl Fn(&NextHop) -> bool,
    ) -> NextHopId {
        let group = self.get(id);
        if group.kind != Kind::Multipath {
            return id;
        }
        let (first, count) = group.members;
        let (mut best, mut best_score) = (NextHopId::NONE, -1);
        for i in first..first + u32::from(count) {
            let member = self.members[i as usize % MAX_GROUP_MEMBERS].load(Ordering::Relaxed);
            let (member, bound) = (hop_id(member as u32), (member >> 32) as i32);
            let hop = self.get(member);
            if bound == multipath::NEVER {
                continue;
            }
            let score = match good(&hop) {
                // Below every good one, above none at all.
                false if best.is_none() => -1,
                false => continue,
                true => {
                    2 * i32::from(source != 0 && hop.prefsrc == source)
                        + i32::from(hash.get() as i32 <= bound)
                }
            };
            if best.is_none() || score > best_score {
                (best, best_score) = (member, score);
            }
        }
        best
    }

    /// The members of a [`Kind::Multipath`] group; nothing for other next hops.
    pub fn members(&self, id: NextHopId) -> impl Iterator<Item = NextHop> + '_ {
        let group = self.get(id);
        let (first, count) = if group.kind == Kind::Multipath { group.members } else { (0, 0) };
        (first..first + u32::from(count)).map(|i| {
            let member = self.members[i as usize % MAX_GROUP_MEMBERS].load(Ordering::Relaxed);
            self.get(hop_id(member as u32))
        })
    }

    fn write(&self, id: NextHopId, words: [u64; 3]) {
        for (cell, word) in self.slots[id.index() % MAX_NEXT_HOPS].0.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
    }
}

/// What a next hop is to be; equal specifications share one slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextHopSpec {
    /// To a neighbour.
    Unicast {
        /// Device to leave by.
        oif: IfIndex,
        /// The gateway (host byte order) and its neighbour entry; none for a connected network.
        gateway: Option<(u32, NeighId)>,
        /// MTU of the route.
        mtu: u16,
        /// Source address of our own packets, 0 for none.
        prefsrc: u32,
    },
    /// To the router itself.
    Local {
        /// Device that owns the address.
        oif: IfIndex,
        /// The address.
        prefsrc: u32,
    },
    /// To everybody on a connected network.
    Broadcast {
        /// Device that owns the address.
        oif: IfIndex,
        /// Its MTU.
        mtu: u16,
        /// Source address of our own packets.
        prefsrc: u32,
    },
    /// Discard in silence.
    Blackhole,
    /// Answer host unreachable.
    Unreachable,
    /// Answer administratively prohibited.
    Prohibit,
    /// As if there were no route at all, not even a shorter one.
    Throw,
    /// One of several by flow: members with their weights.
    Multipath(Vec<(NextHopId, u16)>),
    /// One of several, packet by packet: members with their weights.
    Equalize(Vec<(NextHopId, u16)>),
}

/// The table has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the next-hop table is full ({MAX_NEXT_HOPS} next hops, {MAX_GROUP_MEMBERS} group members)")]
pub struct NextHopsFull;

/// The one writer of a [`NextHopTable`], owned by the control thread.
#[derive(Debug)]
pub struct NextHopWriter {
    table: Arc<NextHopTable>,
    by_spec: HashMap<NextHopSpec, u32>,
    in_use: HashMap<u32, InUse>,
    free: Vec<u32>,
    fresh: u32,
    free_members: Vec<Members>,
    fresh_member: u32,
    retired: Deferred<(u32, Option<Members>)>,
}

/// A slot in use.
#[derive(Debug)]
struct InUse {
    spec: NextHopSpec,
    refs: u32,
    members: Option<Members>,
}

/// Where a group's members stand: the first, and how many.
type Members = (u32, u16);

impl NextHopWriter {
    /// The writer of `table`, which must have no other.
    pub fn new(table: Arc<NextHopTable>) -> Self {
        NextHopWriter {
            table,
            by_spec: HashMap::new(),
            in_use: HashMap::new(),
            free: Vec::new(),
            fresh: 1,
            free_members: Vec::new(),
            fresh_member: 0,
            retired: Deferred::default(),
        }
    }

    /// The number of a next hop with this specification, taking one more reference to it, and whether it is new.
    /// A group takes a reference to each member.
    ///
    /// # Errors
    /// [`NextHopsFull`]; nothing changed.
    pub fn acquire(&mut self, spec: &NextHopSpec, qsbr: &Qsbr) -> Result<(NextHopId, bool), NextHopsFull> {
        if let Some(&id) = self.by_spec.get(spec) {
            if let Some(slot) = self.in_use.get_mut(&id) {
                slot.refs += 1;
            }
            return Ok((hop_id(id), false));
        }
        self.reclaim(qsbr);
        let id = match self.free.pop() {
            Some(id) => id,
            None if (self.fresh as usize) < MAX_NEXT_HOPS => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return Err(NextHopsFull),
        };
        let members = match spec {
            NextHopSpec::Multipath(list) | NextHopSpec::Equalize(list) => match self.write_members(list) {
                Ok(range) => Some(range),
                Err(full) => {
                    self.free.push(id);
                    return Err(full);
                }
            },
            _ => None,
        };
        if let NextHopSpec::Multipath(list) | NextHopSpec::Equalize(list) = spec {
            for (member, _) in list {
                if let Some(slot) = self.in_use.get_mut(&member.get()) {
                    slot.refs += 1;
                }
            }
        }
        self.table.write(hop_id(id), encode(spec, members));
        self.by_spec.insert(spec.clone(), id);
        self.in_use.insert(id, InUse { spec: spec.clone(), refs: 1, members });
        Ok((hop_id(id), true))
    }

    /// Gives one reference back. The last one retires the slot, which is used again after a grace period; what it
    /// stood for, and members that went with it, are added to `gone`.
    pub fn release(&mut self, id: NextHopId, qsbr: &Qsbr, gone: &mut Vec<NextHopSpec>) {
        let Some(slot) = self.in_use.get_mut(&id.get()) else { return };
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        if let Some(InUse { spec, members, .. }) = self.in_use.remove(&id.get()) {
            self.by_spec.remove(&spec);
            self.retired.defer(qsbr, (id.get(), members));
            if let NextHopSpec::Multipath(list) | NextHopSpec::Equalize(list) = &spec {
                for (member, _) in list {
                    self.release(*member, qsbr, gone);
                }
            }
            gone.push(spec);
        }
    }

    /// The specification behind a number in use.
    pub fn spec(&self, id: NextHopId) -> Option<&NextHopSpec> {
        self.in_use.get(&id.get()).map(|slot| &slot.spec)
    }

    /// Next hops in use, groups included.
    pub fn len(&self) -> usize {
        self.in_use.len()
    }

    /// True if no next hop is in use.
    pub fn is_empty(&self) -> bool {
        self.in_use.is_empty()
    }

    /// Multipath groups in use.
    pub fn groups(&self) -> usize {
        let is_group =
            |slot: &&InUse| matches!(slot.spec, NextHopSpec::Multipath(_) | NextHopSpec::Equalize(_));
        self.in_use.values().filter(is_group).count()
    }

    fn write_members(&mut self, list: &[(NextHopId, u16)]) -> Result<Members, NextHopsFull> {
        let count = u16::try_from(list.len()).map_err(|_| NextHopsFull)?;
        let first = match self.free_members.iter().position(|(_, n)| *n == count) {
            Some(at) => self.free_members.swap_remove(at).0,
            None if self.fresh_member as usize + list.len() <= MAX_GROUP_MEMBERS => {
                self.fresh_member += u32::from(count);
                self.fresh_member - u32::from(count)
            }
            None => return Err(NextHopsFull),
        };
        let weights = list.iter().map(|(_, w)| *w);
        for (i, (bound, (member, _))) in multipath::upper_bounds(weights).zip(list).enumerate() {
            let word = u64::from(bound as u32) << 32 | u64::from(member.get());
            self.table.members[(first as usize + i) % MAX_GROUP_MEMBERS].store(word, Ordering::Relaxed);
        }
        Ok((first, count))
    }

    fn reclaim(&mut self, qsbr: &Qsbr) {
        for (id, members) in self.retired.reclaim(qsbr) {
            self.free.push(id);
            self.free_members.extend(members);
        }
    }
}

/// The number of a slot; every slot number is a valid [`NextHopId`].
fn hop_id(slot: u32) -> NextHopId {
    NextHopId::new(slot).unwrap_or(NextHopId::NONE)
}

fn encode(spec: &NextHopSpec, members: Option<Members>) -> [u64; 3] {
    let word0 = |kind: Kind, oif: IfIndex, mtu: u16| {
        u64::from(kind as u8) | u64::from(oif.0) << 16 | u64::from(mtu) << 32
    };
    match *spec {
        NextHopSpec::Unicast { oif, gateway: Some((gw, neigh)), mtu, prefsrc } => [
            word0(Kind::Gateway, oif, mtu),
            u64::from(gw) | u64::from(neigh.as_u32()) << 32,
            u64::from(prefsrc),
        ],
        NextHopSpec::Unicast { oif, gateway: None, mtu, prefsrc } => {
            [word0(Kind::Link, oif, mtu), 0, u64::from(prefsrc)]
        }
        NextHopSpec::Local { oif, prefsrc } => [word0(Kind::Local, oif, 0), 0, u64::from(prefsrc)],
        NextHopSpec::Broadcast { oif, mtu, prefsrc } => {
            [word0(Kind::Broadcast, oif, mtu), 0, u64::from(prefsrc)]
        }
        NextHopSpec::Blackhole => [word0(Kind::Blackhole, IfIndex::NONE, 0), 0, 0],
        NextHopSpec::Unreachable => [word0(Kind::Unreachable, IfIndex::NONE, 0), 0, 0],
        NextHopSpec::Throw => [word0(Kind::None, IfIndex::NONE, 0), 0, 0],
        NextHopSpec::Prohibit => [word0(Kind::Prohibit, IfIndex::NONE, 0), 0, 0],
        NextHopSpec::Multipath(_) | NextHopSpec::Equalize(_) => {
            let (first, count) = members.unwrap_or((0, 0));
            let per_packet = if matches!(spec, NextHopSpec::Equalize(_)) { PER_PACKET } else { 0 };
            let word0 = word0(Kind::Multipath, IfIndex::NONE, 0) | per_packet | u64::from(count) << 48;
            [word0, u64::from(first), 0]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unicast(oif: u16, gateway: u32) -> NextHopSpec {
        NextHopSpec::Unicast {
            oif: IfIndex(oif),
            gateway: Some((gateway, NeighId::from_u32(9))),
            mtu: 1500,
            prefsrc: 7,
        }
    }

    #[test]
    fn equal_next_hops_share_a_slot_until_the_last_reference_goes() {
        let (table, qsbr) = (Arc::new(NextHopTable::default()), Qsbr::new(1));
        qsbr.online(0);
        let mut writer = NextHopWriter::new(table.clone());
        let a = writer.acquire(&unicast(2, 0x0a000001), &qsbr).unwrap().0;
        assert_eq!(writer.acquire(&unicast(2, 0x0a000001), &qsbr).unwrap(), (a, false));
        let b = writer.acquire(&unicast(3, 0x0a000001), &qsbr).unwrap().0;
        assert_ne!(a, b);
        let hop = table.get(a);
        assert_eq!((hop.kind, hop.oif, hop.mtu, hop.gateway), (Kind::Gateway, IfIndex(2), 1500, 0x0a000001));
        assert_eq!((hop.neigh, hop.prefsrc), (NeighId::from_u32(9), 7));
        writer.release(a, &qsbr, &mut Vec::new());
        assert!(writer.spec(a).is_some());
        writer.release(a, &qsbr, &mut Vec::new());
        assert!(writer.spec(a).is_none());
        let reused_early = writer.acquire(&unicast(4, 1), &qsbr).unwrap().0;
        assert_ne!(reused_early, a, "a slot came back before the lcore was quiescent");
    }

    #[test]
    fn a_group_selects_by_weight_and_holds_its_members() {
        let (table, qsbr) = (Arc::new(NextHopTable::default()), Qsbr::new(1));
        let mut writer = NextHopWriter::new(table.clone());
        let a = writer.acquire(&unicast(2, 1), &qsbr).unwrap().0;
        let b = writer.acquire(&unicast(3, 2), &qsbr).unwrap().0;
        let group = writer.acquire(&NextHopSpec::Multipath(vec![(a, 1), (b, 3)]), &qsbr).unwrap().0;
        writer.release(a, &qsbr, &mut Vec::new());
        writer.release(b, &qsbr, &mut Vec::new());
        assert_eq!(table.select(group, FlowHash::new(0)), a);
        assert_eq!(table.select(group, FlowHash::new(1 << 30)), b);
        assert_eq!(table.select(group, FlowHash::new(u32::MAX)), b);
        assert_eq!(table.select(a, FlowHash::new(12345)), a, "a plain next hop is its own selection");
        assert_eq!(writer.groups(), 1);
        writer.release(group, &qsbr, &mut Vec::new());
        assert!(writer.is_empty(), "members outlived their group");
    }
}

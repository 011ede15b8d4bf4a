//! Balancing what clients send to a bond: each is told the hardware address of one member (the kernel's
//! `rlb_choose_channel`, for IPv4 only).
//!
//! An lcore asks when it sends ARP of ours ([`RlbTable::choose`]), the control thread reports what it hears, and every
//! 100 ms it takes the clients that are to be told again ([`RlbTable::tick`]). ARP is rare: one lock serves all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::net::{IfIndex, MacAddr};

/// Clients told apart: one for each hash of their address.
pub const RLB_BUCKETS: usize = 256;
/// Unsolicited replies each client is sent, as the kernel sends them.
pub const RLB_ARP_BURST: usize = 2;

/// Ticks that updates wait after others, and after a request of ours, whose broadcast moves all who hear it to the
/// active member.
const DELAY_TICKS: u8 = 2;
/// Times updates are repeated after a member has left.
const RETRIES: u8 = 3;
/// Most clients that lost their place to another and wait for the next tick.
const MOST_DISPLACED: usize = 256;

/// A client and the member it sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RlbClient {
    /// Our address it talks to, host byte order.
    pub ours: u32,
    /// Its address, host byte order.
    pub client: u32,
    /// Its hardware address; broadcast or zero while unknown.
    pub client_mac: MacAddr,
    /// The hardware address our ARP said we have.
    pub our_mac: MacAddr,
    /// Tag it is reached with.
    pub vlan: Option<u16>,
    /// The member it is to send to; [`IfIndex::NONE`] if there is none.
    pub dev: IfIndex,
    /// It is to be told.
    tell: bool,
}

impl RlbClient {
    fn is_known(&self) -> bool {
        self.client_mac.is_valid_unicast()
    }
}

/// What an ARP packet of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurArp {
    /// Sender address, host byte order.
    pub ours: u32,
    /// Sender hardware address.
    pub our_mac: MacAddr,
    /// Target address, host byte order.
    pub client: u32,
    /// Target hardware address.
    pub client_mac: MacAddr,
    /// Its tag.
    pub vlan: Option<u16>,
}

/// The clients of one bond. Two tables are equal if they are the same one.
#[derive(Debug, Default)]
pub struct RlbTable(Mutex<Clients>);

#[derive(Debug)]
struct Clients {
    by_hash: Box<[Option<RlbClient>]>,
    /// Members in turn.
    members: Vec<IfIndex>,
    turn: usize,
    displaced: Vec<RlbClient>,
    delay: u8,
    retries: u8,
}

impl Default for Clients {
    fn default() -> Self {
        Clients {
            by_hash: vec![None; RLB_BUCKETS].into(),
            members: Vec::new(),
            turn: 0,
            displaced: Vec::new(),
            delay: 0,
            retries: 0,
        }
    }
}

impl RlbTable {
    /// The member that the client of an ARP packet of ours is to send to. `active` is the bond's active member, to which
    /// a client moves that shares its hash with this one.
    pub fn choose(&self, arp: &OurArp, active: Option<IfIndex>) -> Option<IfIndex> {
        let mut clients = self.lock();
        let place = hash(arp.client);
        if let Some(known) = &mut clients.by_hash[place] {
            if (known.ours, known.client) == (arp.ours, arp.client) {
                if arp.client_mac.is_valid_unicast() {
                    known.client_mac = arp.client_mac;
                }
                known.our_mac = arp.our_mac;
                if known.dev != IfIndex::NONE {
                    return Some(known.dev);
                }
            } else if let Some(active) = active.filter(|active| known.dev != *active) {
                let moved = RlbClient { dev: active, ..*known };
                clients.displace(moved);
            }
        }
        let dev = clients.next_member()?;
        let mut client = RlbClient {
            ours: arp.ours,
            client: arp.client,
            client_mac: arp.client_mac,
            our_mac: arp.our_mac,
            vlan: arp.vlan,
            dev,
            tell: false,
        };
        client.tell = client.is_known();
        clients.by_hash[place] = Some(client);
        Some(dev)
    }

    /// We have asked for somebody by broadcast, in the name of `ours`: those who heard it now send to the active member.
    pub fn asked(&self, ours: u32, active: Option<IfIndex>) {
        let mut clients = self.lock();
        clients.delay = DELAY_TICKS;
        for client in clients.by_hash.iter_mut().flatten() {
            client.tell |= client.ours == ours && Some(client.dev) != active && client.is_known();
        }
    }

    /// An ARP packet from `ip` at `mac` for `target` came in; `reply`: it was an answer.
    pub fn heard(&self, ip: u32, mac: MacAddr, target: u32, reply: bool) {
        let mut clients = self.lock();
        // Somebody else has an address we used: nobody is to be told it is ours.
        for client in clients.by_hash.iter_mut() {
            let _ = client.take_if(|client| client.ours == ip && client.our_mac != mac);
        }
        if let Some(client) = clients.by_hash[hash(ip)].as_mut()
            && reply
            && (client.ours, client.client) == (target, ip)
            && client.client_mac != mac
        {
            client.client_mac = mac;
            client.tell = true;
        }
    }

    /// The members that take turns: of those that may send, the fastest ones, in the order of the bond. Clients of others
    /// get new ones; if one is new, all do.
    pub fn set_members(&self, members: &[IfIndex]) {
        let mut clients = self.lock();
        let new = members.iter().any(|dev| !clients.members.contains(dev));
        let left = clients.members.iter().any(|dev| !members.contains(dev));
        clients.members = members.to_vec();
        for place in 0..RLB_BUCKETS {
            let Some(client) = clients.by_hash[place] else { continue };
            if !new && members.contains(&client.dev) {
                continue;
            }
            let dev = clients.next_member().unwrap_or(IfIndex::NONE);
            let tell = client.tell | (dev != client.dev && client.is_known());
            clients.by_hash[place] = Some(RlbClient { dev, tell, ..client });
        }
        if left {
            clients.retries = RETRIES;
        }
    }

    /// A tenth of a second has passed: the clients to send [`RLB_ARP_BURST`] replies to now, each by its member and with
    /// that member's address.
    pub fn tick(&self) -> Vec<RlbClient> {
        let mut clients = self.lock();
        let mut told = std::mem::take(&mut clients.displaced);
        if clients.delay > 0 {
            clients.delay -= 1;
            return told;
        }
        let again = clients.retries > 0;
        let waiting = clients.by_hash.iter_mut().flatten().filter(|client| client.tell);
        told.extend(waiting.filter(|client| client.dev != IfIndex::NONE).map(|client| {
            client.tell = again;
            *client
        }));
        clients.retries = clients.retries.saturating_sub(1);
        if !told.is_empty() {
            clients.delay = DELAY_TICKS;
        }
        told
    }

    /// All clients.
    pub fn clients(&self) -> Vec<RlbClient> {
        self.lock().by_hash.iter().flatten().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    fn next_member(&mut self) -> Option<IfIndex> {
        let dev = *self.members.get(self.turn % self.members.len().max(1))?;
        self.turn = (self.turn + 1) % self.members.len();
        Some(dev)
    }

    /// A client that lost its place is told once, where it can be.
    fn displace(&mut self, client: RlbClient) {
        if client.is_known() && self.displaced.len() < MOST_DISPLACED {
            self.displaced.push(client);
        }
    }
}

impl PartialEq for RlbTable {
    fn eq(&self, other: &RlbTable) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for RlbTable {}

/// The kernel's `_simple_hash`: the bytes folded into one.
fn hash(ip: u32) -> usize {
    usize::from(ip.to_be_bytes().into_iter().fold(0, |hash, byte| hash ^ byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IfIndex = IfIndex(2);
    const B: IfIndex = IfIndex(3);
    const OURS: u32 = 0x0a00_0001;

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 9, last])
    }

    fn reply(client: u32) -> OurArp {
        OurArp { ours: OURS, our_mac: mac(0), client, client_mac: mac(client as u8), vlan: None }
    }

    fn two_members() -> RlbTable {
        let table = RlbTable::default();
        table.set_members(&[A, B]);
        table
    }

    fn choose_two(table: &RlbTable) {
        for last in [5, 6] {
            table.choose(&reply(0x0a00_0000 + last), Some(A));
        }
    }

    /// Who is told in three ticks: what is due comes in one of them.
    fn told(table: &RlbTable) -> Vec<(u8, IfIndex)> {
        let ticks = (0..3).flat_map(|_| table.tick());
        ticks.map(|client| (client.client as u8, client.dev)).collect()
    }

    #[test]
    fn clients_get_members_in_turn_and_keep_them() {
        let table = two_members();
        let choose = |last: u32| table.choose(&reply(0x0a00_0000 + last), Some(A));
        assert_eq!([5, 6, 7, 5, 6].map(choose), [Some(A), Some(B), Some(A), Some(A), Some(B)]);
        assert_eq!(RlbTable::default().choose(&reply(9), None), None);
        // Each is told once more, in case the reply was lost.
        assert_eq!(told(&table), [(6, B), (7, A), (5, A)]);
        assert_eq!(told(&table), []);
    }

    #[test]
    fn a_request_brings_everybody_back_after_a_while() {
        let table = two_members();
        choose_two(&table);
        told(&table);
        table.asked(OURS, Some(A));
        assert_eq!([table.tick(), table.tick()], [vec![], vec![]]);
        assert_eq!(told(&table), [(6, B)], "the other is at the active member anyway");
    }

    #[test]
    fn a_client_of_the_same_hash_sends_the_older_one_to_the_active_member() {
        let table = two_members();
        table.choose(&reply(0x0a00_0005), Some(A));
        table.choose(&reply(0x0a00_0006), Some(A));
        told(&table);
        // 10.6.0.0 folds to the same byte as 10.0.0.6.
        let other = OurArp { client: 0x0a06_0000, client_mac: mac(9), ..reply(0) };
        assert_eq!(table.choose(&other, Some(A)), Some(A));
        assert_eq!(told(&table), [(6, A), (0, A)]);
    }

    #[test]
    fn clients_of_a_member_that_leaves_are_told_four_times() {
        let table = two_members();
        choose_two(&table);
        told(&table);
        table.set_members(&[A]);
        for _ in 0..4 {
            assert_eq!(told(&table), [(6, A)]);
        }
        assert_eq!(told(&table), []);
        table.set_members(&[]);
        assert_eq!(table.clients()[0].dev, IfIndex::NONE);
        assert_eq!(told(&table), [], "there is nobody to tell it by");
    }

    #[test]
    fn a_new_member_gets_its_share() {
        let table = RlbTable::default();
        table.set_members(&[A]);
        choose_two(&table);
        told(&table);
        table.set_members(&[A, B]);
        let of: Vec<IfIndex> = table.clients().iter().map(|client| client.dev).collect();
        assert!(of.contains(&A) && of.contains(&B), "{of:?}");
        assert_eq!(told(&table).len(), 1);
    }

    #[test]
    fn what_is_heard_corrects_the_table() {
        let table = two_members();
        let unknown = OurArp { client_mac: MacAddr::ZERO, ..reply(0x0a00_0005) };
        table.choose(&unknown, Some(A));
        assert_eq!(told(&table), [], "nobody knows where it is");
        table.heard(0x0a00_0005, mac(5), OURS, true);
        assert_eq!(told(&table), [(5, A)]);
        table.heard(OURS, mac(0), 1, false);
        assert_eq!(table.clients().len(), 1, "that was ourselves");
        table.heard(OURS, mac(77), 1, false);
        assert_eq!(table.clients().len(), 0, "somebody else has our address");
    }
}

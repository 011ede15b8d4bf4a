//! Balancing by load (balance-tlb) and by ARP (balance-alb): what is due when, of the tables the lcores use.
//!
//! Learning packets tell switches where the hardware addresses of members are; clients of balance-alb that belong to
//! another member now are told so by ARP replies nobody asked for.

use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::device::bond_rlb::{RLB_ARP_BURST, RlbClient, RlbTable};
use skiff_dataplane::device::bond_tlb::{TLB_REBALANCE_SECS, TlbTable};
use skiff_dataplane::neigh::arp::{ARP_FRAME_LEN, ArpFrame, ArpOp};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::machine::{BondEffect, BondMachine, due};
use super::options::BondOptions;

/// EtherType of learning packets: nobody takes them.
const ETH_P_LOOPBACK: u16 = 0x9000;
const ETH_P_8021Q: u16 = 0x8100;
/// Shortest Ethernet frame without its check sequence.
const MIN_FRAME: usize = 60;
/// Where the EtherType stands.
const ETHERTYPE_AT: usize = 12;
/// How often clients are looked through.
const CLIENT_TICK: Duration = Duration::from_millis(100);
const REBALANCE: Duration = Duration::from_secs(TLB_REBALANCE_SECS);

/// The tables of a bond and when they are due.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    lcores: usize,
    tlb: Option<Arc<TlbTable>>,
    rlb: Option<Arc<RlbTable>>,
    learning: Duration,
    learning_at: Option<Instant>,
    rebalance_at: Option<Instant>,
    clients_at: Option<Instant>,
}

impl Balancer {
    pub(super) fn new(lcores: usize) -> Balancer {
        Balancer {
            lcores,
            tlb: None,
            rlb: None,
            learning: Duration::ZERO,
            learning_at: None,
            rebalance_at: None,
            clients_at: None,
        }
    }

    pub(super) fn restart(&mut self, options: &BondOptions, now: Instant) {
        let (all, alb) = (balances(options.mode), options.mode == BondMode::BalanceAlb);
        let lcores = self.lcores;
        let dynamic = all && options.tlb_dynamic_lb;
        let tlb = self.tlb.take();
        self.tlb = dynamic.then(|| tlb.unwrap_or_else(|| Arc::new(TlbTable::new(lcores))));
        let rlb = self.rlb.take();
        self.rlb = alb.then(|| rlb.unwrap_or_default());
        self.learning = Duration::from_secs(u64::from(options.lp_interval_s));
        self.learning_at = all.then_some(now + self.learning);
        self.rebalance_at = dynamic.then_some(now + REBALANCE);
        self.clients_at = alb.then_some(now + CLIENT_TICK);
    }

    pub(super) fn tlb(&self) -> Option<Arc<TlbTable>> {
        self.tlb.clone()
    }

    pub(super) fn rlb(&self) -> Option<Arc<RlbTable>> {
        self.rlb.clone()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.learning_at, self.rebalance_at, self.clients_at].into_iter().flatten().min()
    }
}

/// Load is what `mode` goes by.
pub(super) fn balances(mode: BondMode) -> bool {
    matches!(mode, BondMode::BalanceTlb | BondMode::BalanceAlb)
}

impl BondMachine {
    /// Does what is due of balancing.
    pub(super) fn balance(&mut self, now: Instant) {
        let learning = self.balancer.learning;
        if due(&mut self.balancer.learning_at, Some(learning), now) {
            self.teach();
        }
        if due(&mut self.balancer.rebalance_at, Some(REBALANCE), now)
            && let Some(tlb) = &self.balancer.tlb
        {
            tlb.rebalance(self.active);
        }
        if due(&mut self.balancer.clients_at, Some(CLIENT_TICK), now)
            && let Some(rlb) = self.balancer.rlb()
        {
            rlb.tick().iter().for_each(|client| self.tell(client));
        }
    }

    fn teach(&mut self) {
        let taught = self.members.iter().filter(|member| member.can_send());
        self.effects.extend(
            taught.map(|member| BondEffect::Send { dev: member.dev, frame: learning_packet(member.mac) }),
        );
    }

    fn tell(&mut self, client: &RlbClient) {
        let Some(member) = self.member(client.dev).filter(|member| member.can_send()) else { return };
        let frame = client_update(client, member.mac);
        let send = BondEffect::Send { dev: client.dev, frame };
        self.effects.extend(std::iter::repeat_n(send, RLB_ARP_BURST));
    }

    /// The tables hear which members may send.
    pub(super) fn follow_balance(&mut self) {
        if !balances(self.options.mode) {
            return;
        }
        let sending = self.members.iter().filter(|member| self.transmits(member));
        let members: Vec<(IfIndex, u32)> = sending.map(|member| (member.dev, member.info.speed)).collect();
        if self.balanced.as_ref() == Some(&members) {
            return;
        }
        if let Some(tlb) = &self.balancer.tlb {
            tlb.set_members(&members);
        }
        if let Some(rlb) = &self.balancer.rlb {
            let most = members.iter().map(|(_, speed)| *speed).max();
            let fastest = members.iter().filter(|(_, speed)| Some(*speed) == most).map(|(dev, _)| *dev);
            rlb.set_members(&fastest.collect::<Vec<_>>());
        }
        self.balanced = Some(members);
    }
}

/// A frame a member sends to itself.
fn learning_packet(mac: MacAddr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(MIN_FRAME);
    frame.extend(mac.0);
    frame.extend(mac.0);
    frame.extend(ETH_P_LOOPBACK.to_be_bytes());
    frame.resize(MIN_FRAME, 0);
    frame
}

/// The ARP reply that makes a client send to a member.
fn client_update(client: &RlbClient, mac: MacAddr) -> Vec<u8> {
    let reply = ArpFrame {
        to: client.client_mac,
        op: ArpOp::Reply,
        sender_mac: mac,
        sender_ip: client.ours,
        target_mac: client.client_mac,
        target_ip: client.client,
    };
    let mut frame = vec![0; ARP_FRAME_LEN];
    reply.emit(&mut frame);
    if let Some(vid) = client.vlan {
        let [a, b] = ETH_P_8021Q.to_be_bytes();
        let [c, d] = vid.to_be_bytes();
        frame.splice(ETHERTYPE_AT..ETHERTYPE_AT, [a, b, c, d]);
    }
    frame
}

#[cfg(test)]
mod tests {
    use skiff_dataplane::device::bond_rlb::OurArp;

    use super::*;

    #[test]
    fn a_learning_packet_goes_to_its_sender() {
        let frame = learning_packet(MacAddr([2, 0, 0, 0, 0, 7]));
        assert_eq!((frame.len(), &frame[..6], &frame[12..14]), (60, &frame[6..12], &[0x90, 0][..]));
    }

    #[test]
    fn a_client_is_told_the_address_of_its_member() {
        let rlb = RlbTable::default();
        rlb.set_members(&[IfIndex(3)]);
        let (client_mac, our_mac) = (MacAddr([2, 0, 0, 0, 0, 9]), MacAddr([2, 0, 0, 0, 0, 1]));
        let said = OurArp { ours: 0x0a00_0001, our_mac, client: 0x0a00_0002, client_mac, vlan: Some(100) };
        rlb.choose(&said, None);
        let frame = client_update(&rlb.clients()[0], MacAddr([2, 0, 0, 0, 0, 3]));
        assert_eq!(frame[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 3]);
        assert_eq!(frame[12..18], [0x81, 0, 0, 100, 8, 6]);
        assert_eq!(frame[24..36], [0, 2, 2, 0, 0, 0, 0, 3, 10, 0, 0, 1]);
    }
}

//! flower: what the headers of a packet say, as words that are compared under masks (tc-flower(8)).

use super::view::View;
use crate::skb::eth::{ETH_P_ARP, ETH_P_IP, ETH_P_IPV6};
use crate::skb::ipv4::{
    IP_MF, IP_OFFSET, IPPROTO_DCCP, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP,
    IPPROTO_UDPLITE,
};

/// Words of a flow key.
pub const FLOW_WORDS: usize = 26;

/// Which word holds what.
pub mod word {
    /// First four bytes of the destination address.
    pub const DST_MAC: usize = 0;
    /// Its last two, and the first two of the source address.
    pub const MACS: usize = 1;
    /// Last four bytes of the source address.
    pub const SRC_MAC: usize = 2;
    /// EtherType behind all tags (high half), IP protocol (next byte), version of the addresses (low byte).
    pub const PROTO: usize = 3;
    /// First tag: protocol (high half) and control information.
    pub const VLAN: usize = 4;
    /// Second tag.
    pub const CVLAN: usize = 5;
    /// Source address, four words; IPv4 has the first.
    pub const SRC: usize = 6;
    /// Destination address.
    pub const DST: usize = 10;
    /// Source port (high half) and destination port.
    pub const PORTS: usize = 14;
    /// TCP flags (high half), type of service and time to live.
    pub const TCP_TOS_TTL: usize = 15;
    /// ICMP type and code (bytes 3 and 2), ARP operation (low half).
    pub const ICMP_ARP: usize = 16;
    /// Sender's IPv4 address of ARP.
    pub const ARP_SIP: usize = 17;
    /// Target's.
    pub const ARP_TIP: usize = 18;
    /// Sender's address of ARP, then the target's, twelve bytes.
    pub const ARP_MACS: usize = 19;
    /// Bit 0: a fragment; bit 1: the first one.
    pub const FRAGMENT: usize = 22;
    /// Where it came in.
    pub const INDEV: usize = 23;
    /// Number of tags.
    pub const VLANS: usize = 24;
    /// Firewall mark.
    pub const MARK: usize = 25;
}

/// What the headers say. What is not there is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey(pub [u32; FLOW_WORDS]);

/// What a flower filter compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flower {
    /// What there must be.
    pub key: FlowKey,
    /// Bits that count.
    pub mask: FlowKey,
    /// First and last destination port.
    pub dst_ports: Option<(u16, u16)>,
    /// First and last source port.
    pub src_ports: Option<(u16, u16)>,
    /// Age of its set of masks: those that came earlier are searched first.
    pub age: u64,
}

impl Flower {
    /// Whether it compares the same bits.
    pub fn same_mask(&self, other: &Flower) -> bool {
        self.mask == other.mask
            && self.dst_ports.is_some() == other.dst_ports.is_some()
            && self.src_ports.is_some() == other.src_ports.is_some()
    }

    /// Whether a packet is one of its.
    pub fn matches(&self, flow: &FlowKey) -> bool {
        let words = self.key.0.iter().zip(self.mask.0).zip(flow.0);
        let ports = flow.0[word::PORTS];
        words.into_iter().all(|((key, mask), word)| (word ^ key) & mask == 0)
            && within(self.src_ports, (ports >> 16) as u16)
            && within(self.dst_ports, ports as u16)
    }

    /// Whether it takes more than a comparison of words.
    pub fn has_ranges(&self) -> bool {
        self.dst_ports.is_some() || self.src_ports.is_some()
    }

    /// The words it compares, with masks and values.
    pub fn words(&self) -> impl Iterator<Item = (u8, u32, u32)> + '_ {
        let words = self.mask.0.iter().zip(self.key.0).enumerate();
        words.filter(|(_, (mask, _))| **mask != 0).map(|(at, (mask, key))| (at as u8, *mask, key & mask))
    }
}

fn within(range: Option<(u16, u16)>, port: u16) -> bool {
    range.is_none_or(|(first, last)| first <= port && port <= last)
}

impl FlowKey {
    /// Reads the headers of a packet, as far as they are there (kernel `skb_flow_dissect`).
    pub fn dissect(view: &View<'_>) -> FlowKey {
        let mut key = FlowKey::default();
        let words = &mut key.0;
        if let Some(head) = view.data.first_chunk::<12>() {
            for i in 0..3 {
                words[word::DST_MAC + i] = be32(&head[i * 4..]);
            }
        }
        words[word::INDEV] = view.iif.0.into();
        words[word::MARK] = view.mark;
        let (at, ethertype) = key.tags(view);
        key.0[word::PROTO] = u32::from(ethertype) << 16;
        let rest = view.data.get(at..).unwrap_or(&[]);
        match ethertype {
            ETH_P_IP => key.ipv4(rest),
            ETH_P_IPV6 => key.ipv6(rest),
            ETH_P_ARP => key.arp(rest),
            _ => {}
        }
        key
    }

    /// The tags: where the network header begins behind them, and its EtherType.
    fn tags(&mut self, view: &View<'_>) -> (usize, u16) {
        let mut at = view.network.saturating_sub(2).saturating_sub(view.tag_bytes);
        let mut count = 0;
        // One beside the data is in front of those in it.
        if let Some(tag) = view.tag.filter(|tag| view.data.get(at..).is_none_or(|d| be32(d) != tag.word())) {
            self.0[word::VLAN] = tag.word();
            count = 1;
        }
        let ethertype = loop {
            let here = view.data.get(at..).unwrap_or(&[]);
            let ethertype = here.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            if !matches!(ethertype, 0x8100 | 0x88a8) || here.len() < 6 {
                break ethertype;
            }
            match count {
                0 => self.0[word::VLAN] = be32(here),
                1 => self.0[word::CVLAN] = be32(here),
                _ => {}
            }
            count += 1;
            at += 4;
        };
        self.0[word::VLANS] = count;
        (at + 2, ethertype)
    }

    fn ipv4(&mut self, packet: &[u8]) {
        let Some(head) = packet.first_chunk::<20>() else { return };
        let header_len = usize::from(head[0] & 0xf) * 4;
        if header_len < 20 {
            return;
        }
        let frag = u16::from_be_bytes([head[6], head[7]]);
        self.0[word::PROTO] |= u32::from(head[9]) << 8 | 4;
        self.0[word::SRC] = be32(&head[12..]);
        self.0[word::DST] = be32(&head[16..]);
        self.0[word::TCP_TOS_TTL] = u32::from(head[1]) << 8 | u32::from(head[8]);
        if frag & (IP_MF | IP_OFFSET) != 0 {
            // Ports of a fragment are not looked at, not even of the first.
            self.0[word::FRAGMENT] = 1 | u32::from(frag & IP_OFFSET == 0) << 1;
            return;
        }
        self.transport(head[9], packet.get(header_len..).unwrap_or(&[]));
    }

    fn ipv6(&mut self, packet: &[u8]) {
        let Some(head) = packet.first_chunk::<40>() else { return };
        self.0[word::PROTO] |= 6;
        for i in 0..4 {
            self.0[word::SRC + i] = be32(&head[8 + 4 * i..]);
            self.0[word::DST + i] = be32(&head[24 + 4 * i..]);
        }
        let class = u16::from_be_bytes([head[0], head[1]]) >> 4 & 0xff;
        self.0[word::TCP_TOS_TTL] = u32::from(class) << 8 | u32::from(head[7]);
        let (mut next, mut rest) = (head[6], &packet[40..]);
        // Hop-by-hop, routing and destination options; a fragment header.
        for _ in 0..8 {
            let Some(option) = rest.first_chunk::<8>() else { break };
            match next {
                0 | 43 | 60 => rest = rest.get(usize::from(option[1]) * 8 + 8..).unwrap_or(&[]),
                44 => {
                    let first = u16::from_be_bytes([option[2], option[3]]) & 0xfff8 == 0;
                    self.0[word::PROTO] |= u32::from(option[0]) << 8;
                    self.0[word::FRAGMENT] = 1 | u32::from(first) << 1;
                    return;
                }
                _ => break,
            }
            next = option[0];
        }
        self.0[word::PROTO] |= u32::from(next) << 8;
        self.transport(next, rest);
    }

    fn transport(&mut self, protocol: u8, segment: &[u8]) {
        match protocol {
            IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP | IPPROTO_UDPLITE | IPPROTO_DCCP
                if segment.len() >= 4 =>
            {
                self.0[word::PORTS] = be32(segment);
            }
            IPPROTO_ICMP | IPPROTO_ICMPV6 => {
                if let Some([kind, code, ..]) = segment.first_chunk::<8>() {
                    self.0[word::ICMP_ARP] = u32::from(*kind) << 24 | u32::from(*code) << 16;
                }
            }
            _ => {}
        }
        if protocol == IPPROTO_TCP
            && let Some(head) = segment.first_chunk::<20>()
        {
            let flags = u16::from_be_bytes([head[12], head[13]]) & 0xfff;
            self.0[word::TCP_TOS_TTL] |= u32::from(flags) << 16;
        }
    }

    fn arp(&mut self, packet: &[u8]) {
        let Some(arp) = packet.first_chunk::<28>() else { return };
        // Ethernet and IPv4, requests and replies.
        let op = u16::from_be_bytes([arp[6], arp[7]]);
        if arp[..6] != [0, 1, 8, 0, 6, 4] || !matches!(op, 1 | 2) {
            return;
        }
        self.0[word::ICMP_ARP] = op.into();
        self.0[word::ARP_SIP] = be32(&arp[14..]);
        self.0[word::ARP_TIP] = be32(&arp[24..]);
        let [sha, tha] = [&arp[8..14], &arp[18..24]];
        let macs: [u8; 12] = std::array::from_fn(|i| if i < 6 { sha[i] } else { tha[i - 6] });
        for i in 0..3 {
            self.0[word::ARP_MACS + i] = be32(&macs[4 * i..]);
        }
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0x10, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x12, 0x34, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn a_tcp_segment_is_read() {
        let key = FlowKey::dissect(&View::of_frame(&tcp())).0;
        assert_eq!(key[word::PROTO], 0x0800_0604);
        assert_eq!((key[word::SRC], key[word::DST]), (0x0a00_0001, 0x0a00_0002));
        assert_eq!((key[word::PORTS], key[word::TCP_TOS_TTL]), (0x1234_0050, 0x0012_1040));
        assert_eq!((key[word::DST_MAC], key[word::MACS], key[word::SRC_MAC]), (0x0200_0000, 0x0001_0200, 2));
    }

    #[test]
    fn fragments_have_no_ports_and_tags_are_passed() {
        let mut frame = tcp();
        frame[20] = 0x20;
        let key = FlowKey::dissect(&View::of_frame(&frame)).0;
        assert_eq!((key[word::PORTS], key[word::FRAGMENT]), (0, 3));
        let mut tagged = tcp();
        tagged.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0x60, 9]);
        let key = FlowKey::dissect(&View::of_frame(&tagged)).0;
        assert_eq!((key[word::VLAN], key[word::CVLAN]), (0x88a8_0005, 0x8100_6009));
        assert_eq!((key[word::VLANS], key[word::PORTS], key[word::PROTO]), (2, 0x1234_0050, 0x0800_0604));
    }
}

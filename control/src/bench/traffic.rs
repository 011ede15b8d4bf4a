//! The traffic and the routes of each benchmark case: fixed seeds, so that every run and every router sees the same.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use ipnet::Ipv4Net;
use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::net::MacAddr;
use skiff_dataplane::skb::eth::{self, ETH_P_IP};
use skiff_dataplane::skb::ipv4::{self, IPPROTO_UDP, Ipv4Fields};
use skiff_dataplane::skb::vlan::TAG_OFFSET;

/// MAC address the packets are sent to.
pub const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const SENDER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
/// 64 bytes on the wire: 60 and the FCS.
const FRAME: usize = 60;

/// One workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// One flow, one route.
    #[value(name = "1flow")]
    OneFlow,
    /// 1024 flows over 1024 /24.
    #[value(name = "1024flows")]
    Flows1024,
    /// 65,535 flows over 10,000 /24.
    #[value(name = "65kflows")]
    Flows65k,
    /// 65,535 flows over 1,000,000 routes.
    #[value(name = "1mroutes")]
    Routes1m,
    /// 1024 flows over 1024 /24, sent by bonds of two ports: what each costs beyond a plain port.
    #[value(name = "bond")]
    Bond,
    /// The 1024 flows, received in one VLAN.
    #[value(name = "vlan-in")]
    VlanIn,
    /// The 1024 flows, sent in one VLAN.
    #[value(name = "vlan-out")]
    VlanOut,
    /// The 1024 flows, from one VLAN to another.
    #[value(name = "vlan-both")]
    VlanBoth,
    /// The 1024 flows, received in four VLANs in turn.
    #[value(name = "vlan4-in")]
    Vlan4In,
    /// The 1024 flows, sent in four VLANs in turn.
    #[value(name = "vlan4-out")]
    Vlan4Out,
    /// The 1024 flows, from four VLANs to four others.
    #[value(name = "vlan4-both")]
    Vlan4Both,
}

/// How many VLANs the traffic of a case has; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    /// In which it is received.
    pub rx: u16,
    /// In which it is sent.
    pub tx: u16,
}

impl Vlans {
    /// The identifiers of received frames.
    pub fn rx_vids(self) -> std::ops::Range<u16> {
        100..100 + self.rx
    }

    /// The identifiers of sent frames.
    pub fn tx_vids(self) -> std::ops::Range<u16> {
        200..200 + self.tx
    }
}

impl Case {
    /// All of them, in the order reports print them.
    pub const ALL: [Case; 11] = [
        Case::OneFlow,
        Case::Flows1024,
        Case::VlanIn,
        Case::VlanOut,
        Case::VlanBoth,
        Case::Vlan4In,
        Case::Vlan4Out,
        Case::Vlan4Both,
        Case::Flows65k,
        Case::Routes1m,
        Case::Bond,
    ];

    /// The word on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Case::OneFlow => "1flow",
            Case::Flows1024 => "1024flows",
            Case::Flows65k => "65kflows",
            Case::Routes1m => "1mroutes",
            Case::Bond => "bond",
            Case::VlanIn => "vlan-in",
            Case::VlanOut => "vlan-out",
            Case::VlanBoth => "vlan-both",
            Case::Vlan4In => "vlan4-in",
            Case::Vlan4Out => "vlan4-out",
            Case::Vlan4Both => "vlan4-both",
        }
    }

    /// Its VLANs.
    pub const fn vlans(self) -> Vlans {
        match self {
            Case::OneFlow | Case::Flows1024 | Case::Flows65k | Case::Routes1m | Case::Bond => {
                Vlans { rx: 0, tx: 0 }
            }
            Case::VlanIn => Vlans { rx: 1, tx: 0 },
            Case::VlanOut => Vlans { rx: 0, tx: 1 },
            Case::VlanBoth => Vlans { rx: 1, tx: 1 },
            Case::Vlan4In => Vlans { rx: 4, tx: 0 },
            Case::Vlan4Out => Vlans { rx: 0, tx: 4 },
            Case::Vlan4Both => Vlans { rx: 4, tx: 4 },
        }
    }

    const fn sizes(self) -> (usize, usize) {
        match self {
            Case::OneFlow => (1, 1),
            Case::Flows65k => (65_535, 10_000),
            Case::Routes1m => (65_535, 1_000_000),
            _ => (1024, 1024),
        }
    }

    /// The routing table: distinct prefixes with the lengths of the Internet's (mostly /24) where there are many.
    pub fn routes(self) -> Vec<Ipv4Net> {
        let (_, count) = self.sizes();
        let mut rng = Rng::new(0x5eed_0001);
        let mut seen = HashSet::with_capacity(count);
        let mut routes = Vec::with_capacity(count);
        while routes.len() < count {
            let len = if self == Case::Routes1m { internet_length(&mut rng) } else { 24 };
            let addr = public_address(&mut rng);
            let Ok(net) = Ipv4Net::new(addr.into(), len) else { continue };
            let net = net.trunc();
            if seen.insert(net) {
                routes.push(net);
            }
        }
        routes
    }

    /// A destination for each flow, spread over the routes.
    pub fn destinations(self, routes: &[Ipv4Net]) -> Vec<u32> {
        let (flows, _) = self.sizes();
        let mut rng = Rng::new(0x5eed_0002);
        (0..flows)
            .map(|i| {
                let net = if routes.len() <= flows {
                    routes[i % routes.len()]
                } else {
                    routes[rng.below(routes.len())]
                };
                let host = u64::from(u32::MAX) >> net.prefix_len();
                net.network().to_bits() | (rng.next() & host) as u32
            })
            .collect()
    }
}

/// Writes a capture of one 64-byte UDP packet for each destination, sent to a router of this MAC address.
pub fn write_pcap(path: &Path, router: MacAddr, destinations: &[u32]) -> io::Result<()> {
    write_tagged_pcap(path, router, destinations, Vlans::default())
}

/// The same with frames of `len` bytes, without their FCS.
pub fn write_long_pcap(path: &Path, router: MacAddr, destinations: &[u32], len: usize) -> io::Result<()> {
    write_frames(path, router, destinations, Vlans::default(), len)
}

/// The same in the VLANs the traffic is received in.
pub fn write_tagged_pcap(path: &Path, router: MacAddr, destinations: &[u32], vlans: Vlans) -> io::Result<()> {
    write_frames(path, router, destinations, vlans, FRAME)
}

fn write_frames(
    path: &Path,
    router: MacAddr,
    destinations: &[u32],
    vlans: Vlans,
    frame_len: usize,
) -> io::Result<()> {
    let vids: Vec<u16> = vlans.rx_vids().collect();
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    // Classic pcap, microseconds, Ethernet (the libpcap file format).
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    for (i, &dst) in destinations.iter().enumerate() {
        let frame = frame(router, dst, i, frame_len);
        let (addresses, rest) = frame.split_at(TAG_OFFSET);
        let tag = match vids.get(i % vids.len().max(1)) {
            Some(&vid) => [VlanProto::Dot1q.tpid().to_be_bytes(), vid.to_be_bytes()].concat(),
            None => Vec::new(),
        };
        let len = (frame.len() + tag.len()) as u32;
        for word in [0, i as u32, len, len] {
            out.write_all(&word.to_le_bytes())?;
        }
        for part in [addresses, &tag, rest] {
            out.write_all(part)?;
        }
    }
    out.flush()
}

fn frame(router: MacAddr, dst: u32, flow: usize, len: usize) -> Vec<u8> {
    let mut frame = vec![0u8; len];
    let (ethernet, rest) = frame.split_at_mut(eth::HEADER_LEN);
    if let (Some(header), Some((ip, udp))) = (ethernet.first_chunk_mut(), rest.split_first_chunk_mut::<20>())
    {
        eth::emit(header, router, SENDER_MAC, ETH_P_IP);
        let fields = Ipv4Fields {
            tos: 0,
            total_len: (len - eth::HEADER_LEN) as u16,
            id: 0,
            frag_off: 0,
            ttl: 64,
            protocol: IPPROTO_UDP,
            src: 0xc612_0000 | (flow as u32 & 0xffff),
            dst,
        };
        ipv4::emit(ip, &fields);
        udp[0..2].copy_from_slice(&1024u16.to_be_bytes());
        udp[2..4].copy_from_slice(&9u16.to_be_bytes());
        udp[4..6].copy_from_slice(&((len - eth::HEADER_LEN - 20) as u16).to_be_bytes());
    }
    frame
}

/// Prefix lengths about as the global table has them.
fn internet_length(rng: &mut Rng) -> u8 {
    match rng.below(100) {
        0..=59 => 24,
        60..=69 => 23,
        70..=81 => 22,
        82..=86 => 21,
        87..=91 => 20,
        92..=94 => 19,
        95..=96 => 18,
        97 => 16,
        98 => 17,
        _ => 25 + rng.below(8) as u8,
    }
}

/// An address that a router would forward to: no private, loopback, or multicast block.
fn public_address(rng: &mut Rng) -> u32 {
    loop {
        let addr = rng.next() as u32;
        let top = addr >> 24;
        if (1..224).contains(&top) && top != 10 && top != 127 && addr >> 16 != 0xc612 {
            return addr;
        }
    }
}

/// xorshift64*.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_is_inside_a_route_and_the_same_each_time() {
        let routes = Case::Flows65k.routes();
        assert_eq!(routes.len(), 10_000);
        let destinations = Case::Flows65k.destinations(&routes);
        assert_eq!(destinations.len(), 65_535);
        assert!(
            destinations
                .iter()
                .zip(routes.iter().cycle())
                .all(|(d, r)| r.contains(&std::net::Ipv4Addr::from_bits(*d)))
        );
        assert_eq!(destinations, Case::Flows65k.destinations(&Case::Flows65k.routes()));
    }
}

//! Which next hop of a multipath route a packet takes (kernel: `fib_multipath_hash`, `fib_select_multipath`).

use crate::core::env::Env;
use crate::fib::NextHopId;
use crate::fib::flow_keys::{self, LOOKED_AT};
use crate::fib::multipath::{self, FiveTuple, FlowHash};
use crate::fib::next_hop::{Kind, NextHop};
use crate::neigh::nud::Nud;
use crate::skb::ipv4::{self, Ipv4Header};
use crate::skb::{Skb, SkbExt};

/// The member of a multipath route for a flow. One whose neighbour is known not to answer is passed over where
/// `fib_multipath_use_neigh` says so. A packet of our own, from `source` (0 for one to forward), prefers a member that
/// sends from that address.
pub fn fib_select_best(env: &Env<'_>, group: NextHopId, hash: FlowHash, source: u32) -> NextHopId {
    let hops = &env.shared.next_hops;
    if !env.snap.sysctl.fib_multipath_use_neigh && source == 0 {
        return hops.select(group, hash);
    }
    let use_neigh = env.snap.sysctl.fib_multipath_use_neigh;
    hops.select_best(group, hash, source, |hop| !use_neigh || is_good(env, hop))
}

/// `fib_good_nh`. An entry that nobody has used yet says nothing, as if it were not there.
fn is_good(env: &Env<'_>, hop: &NextHop) -> bool {
    hop.kind != Kind::Gateway
        || !matches!(env.shared.neigh.entry(hop.neigh).state(), Nud::Incomplete | Nud::Failed)
}

/// The flow hash of `net.ipv4.fib_multipath_hash_policy`: 0 addresses, 1 addresses, protocol and ports (addresses and
/// protocol alone for fragments), 2 addresses inside tunnels, 3 the fields of `fib_multipath_hash_fields`. An ICMP
/// error hashes as the packet it quotes, so that errors follow their flow: the hash is symmetric, and the quoted packet
/// went the other way.
pub fn fib_multipath_hash(env: &Env<'_>, skb: &Skb, group: NextHopId) -> FlowHash {
    if env.shared.next_hops.get(group).per_packet {
        return next_turn(env);
    }
    // The segments of a packet may end anywhere: look at a copy.
    let mut bytes = [0u8; LOOKED_AT];
    let len = skb.network_len().min(bytes.len());
    if !skb.copy_out(usize::from(skb.fields().network_offset), &mut bytes[..len]) {
        return FlowHash::new(0);
    }
    let packet = quoted(&bytes[..len]).unwrap_or(&bytes[..len]);
    let sysctl = &env.snap.sysctl;
    let seed = sysctl.fib_multipath_hash_seed;
    match sysctl.fib_multipath_hash_policy {
        1 => hash_l4(packet, seed),
        2 => flow_keys::hash_inner(packet, seed),
        3 => flow_keys::hash_custom(packet, sysctl.fib_multipath_hash_fields, seed),
        _ => Ipv4Header::parse(packet)
            .map_or(FlowHash::new(0), |header| multipath::hash_l3(header.src(), header.dst(), seed)),
    }
}

/// In place of a hash, for a route that spreads packets and not flows (`equalize`): every lcore goes through the range of
/// hashes for itself, in the order of van der Corput's sequence, so that any run of packets is shared out by the weights as
/// evenly as can be; two next hops of one weight take turns.
fn next_turn(env: &Env<'_>) -> FlowHash {
    env.cells.equalized.add(1);
    FlowHash::new((env.cells.equalized.get() as u32).reverse_bits())
}

/// The packet that an ICMP error quotes.
fn quoted(packet: &[u8]) -> Option<&[u8]> {
    let header = Ipv4Header::parse(packet)?;
    if header.protocol() != ipv4::IPPROTO_ICMP || header.is_fragment() {
        return None;
    }
    let message = packet.get(header.header_len()..)?;
    super::icmp::quoted_header(message)?;
    message.get(crate::skb::icmp::HEADER_LEN..)
}

fn hash_l4(packet: &[u8], seed: u64) -> FlowHash {
    let Some(header) = Ipv4Header::parse(packet) else { return FlowHash::new(0) };
    let at = multipath::ports_offset(header.protocol()).filter(|_| !header.is_fragment());
    let ports = at.and_then(|at| packet.get(header.header_len() + at..)?.first_chunk::<4>());
    let [a, b, c, d] = ports.copied().unwrap_or_default();
    let flow = FiveTuple {
        src: header.src(),
        dst: header.dst(),
        protocol: header.protocol(),
        src_port: u16::from_be_bytes([a, b]),
        dst_port: u16::from_be_bytes([c, d]),
    };
    multipath::hash_l4(&flow, seed)
}

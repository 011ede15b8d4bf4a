//! Equal-cost multipath: which next hop of a group a flow takes.
//!
//! The kernel's hash-threshold scheme (`fib_rebalance`, `fib_select_multipath`; RFC 2992): each next hop owns
//! the 31-bit hashes up to its upper bound, `round(2^31 * cumulative weight / total) - 1`, and a flow takes the
//! first whose bound is not below its hash. A next hop that leaves moves few flows of the others.
//!
//! Contract: a flow keeps its next hop while group and seed stay; both directions hash alike; the shares follow
//! the weights. The hash function itself is no part of the contract and may change between versions.

use super::flow_keys::FlowKeys;

/// The bound of a next hop that takes no flow: below every hash.
pub const NEVER: i32 = -1;

/// A flow's hash, 31 bits, so that it compares with signed bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowHash(i32);

impl FlowHash {
    /// Keeps the upper 31 bits of `hash`, as the kernel does.
    #[inline]
    pub const fn new(hash: u32) -> Self {
        FlowHash((hash >> 1) as i32)
    }

    /// The hash, 0 to 2^31 - 1.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }
}

/// The upper bounds of next hops with these weights (1 to 256; 0 for one that is dead, down or to be skipped).
///
/// The last live next hop's bound is 2^31 - 1; one of weight 0 has [`NEVER`].
pub fn upper_bounds(weights: impl IntoIterator<Item = u16, IntoIter: Clone>) -> impl Iterator<Item = i32> {
    let weights = weights.into_iter();
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut cumulative = 0;
    weights.map(move |weight| {
        if weight == 0 {
            return NEVER;
        }
        cumulative += u64::from(weight);
        // cumulative <= total, so the rounded quotient is 2^31 at most and its predecessor fits.
        ((((cumulative << 31) + total / 2) / total) as i64 - 1) as i32
    })
}

/// The index of the next hop that `hash` takes; `None` if the group is empty or wholly dead.
#[inline]
pub fn select(bounds: &[i32], hash: FlowHash) -> Option<usize> {
    bounds.iter().position(|&bound| hash.0 <= bound)
}

/// What policy 1 hashes. For a fragment or a protocol without ports both ports are 0, so that every fragment of
/// a datagram takes one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Source address, host order.
    pub src: u32,
    /// Destination address, host order.
    pub dst: u32,
    /// IP protocol.
    pub protocol: u8,
    /// Source port, host order.
    pub src_port: u16,
    /// Destination port, host order.
    pub dst_port: u16,
}

/// The hash of `fib_multipath_hash_policy` 0: the addresses. For an ICMP error the caller passes the addresses
/// of the packet it quotes, so that the error follows the flow.
#[inline]
pub fn hash_l3(src: u32, dst: u32, seed: u64) -> FlowHash {
    finish(mix(pair(src.min(dst), src.max(dst)), seed))
}

/// The hash of `fib_multipath_hash_policy` 1: addresses, protocol and ports.
#[inline]
pub fn hash_l4(flow: &FiveTuple, seed: u64) -> FlowHash {
    let source = (flow.src, flow.src_port);
    let destination = (flow.dst, flow.dst_port);
    let (low, high) = (source.min(destination), source.max(destination));
    let ports = u64::from(low.1) << 32 | u64::from(high.1) << 16 | u64::from(flow.protocol);
    finish(mix(ports, mix(pair(low.0, high.0), seed)))
}

/// The hash of whatever `keys` holds; what is not to count is zero.
pub fn hash_keys(keys: &FlowKeys, seed: u64) -> FlowHash {
    let source = (keys.src, keys.src_port);
    let destination = (keys.dst, keys.dst_port);
    let (low, high) = (source.min(destination), source.max(destination));
    let ports = u64::from(low.1) << 48 | u64::from(high.1) << 32;
    let rest = u64::from(keys.protocol) << 20 | u64::from(keys.flow_label);
    let words = [low.0 as u64, (low.0 >> 64) as u64, high.0 as u64, (high.0 >> 64) as u64, ports | rest];
    finish(words.into_iter().fold(seed, |state, word| mix(word, state)))
}

/// Where a protocol has its ports, or what stands for them, behind the IP header (kernel: `proto_ports_offset`).
pub const fn ports_offset(protocol: u8) -> Option<usize> {
    match protocol {
        // TCP, UDP, DCCP, ESP, SCTP, UDP-Lite; the SPI of AH.
        6 | 17 | 33 | 50 | 132 | 136 => Some(0),
        51 => Some(4),
        _ => None,
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    (low as u64) << 32 | high as u64
}

/// One folded multiplication: every bit of `value ^ state` reaches the middle of the 128-bit product, and the
/// fold brings it to every bit of the result. The multiplier is 2^64 divided by the golden ratio.
#[inline]
const fn mix(value: u64, state: u64) -> u64 {
    let product = ((value ^ state) as u128) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// A second multiplication, by another odd number, so that low and high input bits weigh the same.
#[inline]
const fn finish(state: u64) -> FlowHash {
    let product = (state ^ 0xa076_1d64_78bd_642f) as u128 * 0xe703_7ed1_a0b4_28db;
    FlowHash::new(((product >> 64) as u64 ^ product as u64) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(weights: &[u16]) -> Vec<i32> {
        upper_bounds(weights.iter().copied()).collect()
    }

    #[test]
    fn bounds_are_the_kernels() {
        assert_eq!(bounds(&[1]), [i32::MAX]);
        assert_eq!(bounds(&[1, 1]), [0x3fff_ffff, 0x7fff_ffff]);
        assert_eq!(bounds(&[1, 3]), [0x1fff_ffff, 0x7fff_ffff]);
        // 2^31 / 3 = 715827882.67 and 2^32 / 3 = 1431655765.33, rounded to the closest.
        assert_eq!(bounds(&[1, 1, 1]), [715_827_882, 1_431_655_764, i32::MAX]);
        assert_eq!(bounds(&[0, 256, 0, 256]), [NEVER, 0x3fff_ffff, NEVER, i32::MAX]);
        assert_eq!(bounds(&[0, 0]), [NEVER, NEVER]);
        assert_eq!(bounds(&[]), [0i32; 0]);
    }

    #[test]
    fn a_hash_takes_the_first_bound_not_below_it() {
        let bounds = bounds(&[0, 1, 3]);
        let at = |hash: u32| select(&bounds, FlowHash::new(hash << 1));
        assert_eq!(at(0), Some(1));
        assert_eq!(at(0x1fff_ffff), Some(1));
        assert_eq!(at(0x2000_0000), Some(2));
        assert_eq!(at(0x7fff_ffff), Some(2));
        assert_eq!(select(&[], FlowHash::new(0)), None);
        assert_eq!(select(&[NEVER, NEVER], FlowHash::new(0)), None);
    }

    /// Each share is within 3 % of its weight for the flow sets that weak hashes fail on.
    #[test]
    fn shares_follow_the_weights() {
        const FLOWS: u32 = 400_000;
        let weights = [1u16, 3, 4, 8];
        let bounds = bounds(&weights);
        let tuple = |src, dst, src_port, dst_port| FiveTuple { src, dst, protocol: 17, src_port, dst_port };
        type Flows = (&'static str, Box<dyn Fn(u32, u64) -> FlowHash>);
        let sets: [Flows; 5] = [
            ("hosts of one net", Box::new(|i, seed| hash_l3(0x0a00_0000 + i, 0x0a01_0001, seed))),
            ("destination nets", Box::new(|i, seed| hash_l3(0x0a00_0001, i << 8 | 1, seed))),
            ("pairs", Box::new(|i, seed| hash_l3(0x0a00_0000 + i % 632, 0xc0a8_0000 + i / 632, seed))),
            (
                "ports",
                Box::new(move |i, seed| hash_l4(&tuple(1, 2, (i % 632) as u16, (i / 632) as u16), seed)),
            ),
            ("clients", Box::new(move |i, seed| hash_l4(&tuple(i, 9, 1024 + (i % 7) as u16, 443), seed))),
        ];
        for (name, hash) in &sets {
            for seed in [0, 1, 0x9e37_79b9_7f4a_7c15, u64::MAX] {
                let mut counts = [0u32; 4];
                for i in 0..FLOWS {
                    let index = select(&bounds, hash(i, seed)).expect("the last bound takes every hash");
                    counts[index] += 1;
                }
                for (count, weight) in counts.iter().zip(weights) {
                    let want = f64::from(FLOWS) * f64::from(weight) / 16.0;
                    let error = (f64::from(*count) - want).abs() / want;
                    assert!(error < 0.03, "{name}, seed {seed:#x}: {counts:?}, weight {weight}");
                }
            }
        }
    }

    #[test]
    fn seeds_choose_differently() {
        let picks = |seed| (0..64u32).map(|i| hash_l3(i, 9, seed).get() >> 30).collect::<Vec<_>>();
        assert_ne!(picks(1), picks(2));
    }

    proptest! {
        #[test]
        fn both_directions_hash_alike(src: u32, dst: u32, src_port: u16, dst_port: u16, protocol: u8, seed: u64) {
            let flow = FiveTuple { src, dst, protocol, src_port, dst_port };
            let back = FiveTuple { src: dst, dst: src, protocol, src_port: dst_port, dst_port: src_port };
            prop_assert_eq!(hash_l4(&flow, seed), hash_l4(&back, seed));
            prop_assert_eq!(hash_l3(src, dst, seed), hash_l3(dst, src, seed));
        }

        #[test]
        fn every_hash_finds_a_live_next_hop(weights in prop::collection::vec(0u16..=256, 1..64), hash: u32) {
            let bounds = bounds(&weights);
            match select(&bounds, FlowHash::new(hash)) {
                Some(index) => prop_assert_ne!(weights[index], 0),
                None => prop_assert!(weights.iter().all(|&weight| weight == 0)),
            }
        }
    }
}

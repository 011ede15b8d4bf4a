//! What holds of every tree, whatever happens to it.

use proptest::prelude::*;

use super::grafted::Gate;
use super::*;
use crate::random::Rng;
use crate::sched::htb::class::{LEVELS, Mode, NIL};
use crate::sched::htb::tree::{Tree, bits};
use crate::sched::queue::Fifo;

/// The longest packet of these tests, bytes.
const LONGEST: u32 = 9000;

/// Each class: which of the earlier ones is above it, and its parameters.
fn trees() -> impl Strategy<Value = Vec<(usize, HtbClassParams)>> {
    let rate = prop_oneof![1_000u64..100_000, 100_000u64..10_000_000, 10_000_000u64..1_000_000_000];
    let bytes = prop_oneof![Just(1u64), 1u64..3_000, 3_000u64..300_000];
    let params = (rate, 0.5..20.0f64, bytes.clone(), bytes, 0..8u8, 1..20_000u32).prop_map(
        |(rate, ceil, burst, cburst, prio, quantum)| HtbClassParams {
            ceil: (rate as f64 * ceil) as u64,
            rate,
            ..mbit(1.0).bursts(burst, cburst).prio(prio).quantum(quantum)
        },
    );
    prop::collection::vec((any::<usize>(), params), 1..60)
}

/// The tree, and its leaves. The parent of a class is one of those before it that may have children, or none.
fn grow(classes: &[(usize, HtbClassParams)]) -> (Sim, Vec<u16>) {
    let (mut sim, mut depths) = (Sim::new(), vec![0]);
    for (minor, (above, params)) in (1u16..).zip(classes) {
        let may: Vec<usize> = (0..depths.len()).filter(|&at| depths[at] < LEVELS).collect();
        let parent = may[above % may.len()];
        depths.push(depths[parent] + 1);
        sim.add(parent as u16, minor, *params);
    }
    let leaves = (1..=classes.len() as u16).filter(|&class| sim.leaf(class)).collect();
    (sim, leaves)
}

impl Sim {
    fn leaf(&self, class: u16) -> bool {
        self.htb.find(id(class)).is_some_and(|found| found.leaf().is_some())
    }

    fn index(&self, class: u16) -> u32 {
        self.htb.find(id(class)).expect("a class").class()
    }

    /// `class` and all above it.
    fn chain(&self, class: u16) -> Vec<u16> {
        let (mut at, mut chain) = (self.index(class), Vec::new());
        while at != NIL {
            chain.push(self.htb.names.minor(at));
            at = self.htb.tree.classes[at as usize].parent;
        }
        chain
    }

    /// Why a packet of a leaf might go now, from nothing but tokens: the ancestor that pays.
    fn payer(&self, leaf: u16) -> Option<u16> {
        for class in self.chain(leaf) {
            let hot = &self.htb.tree.classes[self.index(class) as usize];
            let earned = hot.earned(self.world.now);
            if hot.ctokens + earned < 0 {
                return None;
            }
            if hot.tokens + earned >= 0 {
                return Some(class);
            }
        }
        None
    }
}

/// Everything about who is where, as it follows from the modes and from who has packets.
fn check_links(tree: &Tree) {
    let mut active = vec![0u8; tree.classes.len()];
    for (leaf, class) in tree.classes.iter().enumerate().filter(|(_, class)| class.level == 0) {
        let waiting = tree.leaves[leaf].cells.qlen.get() > 0;
        assert_eq!(class.active, u8::from(waiting) << class.prio);
        if !waiting {
            continue;
        }
        let mut at = leaf as u32;
        while at != NIL {
            active[at as usize] |= 1 << class.prio;
            let above = &tree.classes[at as usize];
            at = if above.mode == Mode::MayBorrow { above.parent } else { NIL };
        }
    }
    let mut rows = [0u8; LEVELS];
    for (class, &active) in tree.classes.iter().zip(&active) {
        assert_eq!(class.active, active);
        if class.mode == Mode::CanSend {
            rows[usize::from(class.level)] |= active;
        }
        assert_eq!(bits(active).count(), active.count_ones() as usize);
    }
    assert_eq!(tree.row_mask.to_le_bytes(), rows);
}

/// The most that was ever over a rate: the fullest bucket, without a bottom, that leaks at the rate.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    /// In bytes times 10^9.
    over: u128,
    most: u128,
    at: u64,
}

impl Meter {
    /// Covers every window that ends with this packet.
    fn add(&mut self, at: u64, len: u32, rate: u64) {
        self.over = self.over.saturating_sub(u128::from(at - self.at) * u128::from(rate));
        self.over += u128::from(len) * u128::from(SECOND);
        self.most = self.most.max(self.over);
        self.at = at;
    }

    /// Bytes.
    fn most(&self) -> u64 {
        (self.most / u128::from(SECOND)) as u64
    }
}

/// What may not be exceeded, of each class.
#[derive(Clone, Copy, Debug, Default)]
struct Meters {
    /// What its own tokens paid for.
    own: Meter,
    /// What was paid for by it or by those above.
    through: Meter,
    /// What left it, bytes.
    sent: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_window_has_more_than_rate_and_burst(
        classes in trees(),
        len in 64..LONGEST,
        fast in any::<bool>(),
        slow_link in 1_000_000u64..10_000_000_000,
        seed in any::<u64>(),
    ) {
        let (mut sim, leaves) = grow(&classes);
        sim.link = if fast { None } else { Some(slow_link) };
        let mut random = Rng::new(seed);
        let backlogged: Vec<u16> = leaves.iter().copied().filter(|_| !random.word().is_multiple_of(4)).collect();
        for &leaf in &backlogged {
            sim.fill(leaf, len, 2);
        }
        let mut meters = vec![Meters::default(); classes.len() + 1];
        let chains: Vec<Vec<u16>> = (0..=classes.len() as u16)
            .map(|class| if class > 0 { sim.chain(class) } else { Vec::new() })
            .collect();
        // Eight million windows: from each packet to each later one.
        for _ in 0..4000 {
            sim.world.now = sim.world.now.max(sim.free_at);
            let Some((at, pkt)) = sim.next_checked(&backlogged) else { break };
            let leaf = TcHandle(pkt.priority).minor();
            let payer = sim.last_payer.take().expect("a payer");
            let chain = &chains[usize::from(leaf)];
            let paid = chain.iter().position(|&class| class == payer).expect("an ancestor");
            for &class in &chain[..=paid] {
                let meters = &mut meters[usize::from(class)];
                meters.through.add(at, pkt.len, classes[usize::from(class) - 1].1.ceil);
            }
            meters[usize::from(payer)].own.add(at, pkt.len, classes[usize::from(payer) - 1].1.rate);
            meters[usize::from(leaf)].sent += u64::from(pkt.len);
        }
        for ((_, params), (class, meters)) in classes.iter().zip(meters.iter().enumerate().skip(1)) {
            let longest = u64::from(len);
            prop_assert!(meters.own.most() <= params.burst + longest, "class {} {:?}: {:?}", class, params, meters);
            prop_assert!(meters.through.most() <= params.cburst + longest, "{} {:?}: {:?}", class, params, meters);
        }
        if fast {
            // Nothing but its own limits keeps a leaf from its rate.
            let seconds = u128::from(sim.world.now);
            for &leaf in &backlogged {
                let params = &classes[usize::from(leaf) - 1].1;
                let least = u128::from(params.rate.min(params.ceil)) * seconds / u128::from(SECOND);
                let sent = u128::from(meters[usize::from(leaf)].sent);
                prop_assert!(sent + u128::from(len) >= least, "{}: {} of {}", leaf, sent, least);
            }
        }
    }

    #[test]
    fn what_is_held_is_what_came_and_did_not_go(
        ops in prop::collection::vec((0..10u8, any::<u16>(), any::<u16>(), any::<u64>()), 1..400),
    ) {
        const PLACES: usize = 3000;
        let mut sim = Sim::new();
        sim.link = None;
        sim.world = World::new(PLACES);
        let (mut came, mut went) = (0, 0);
        for (op, a, b, random) in ops {
            // Few classes, so that changes meet packets.
            let (a, b) = (a % 12, b % 12);
            let rate = mbit((random % 100_000) as f64 / 1000.0 + 0.1);
            let params = rate.ceil((random >> 17) as f64 % 100.0 + 0.1).prio((random >> 40) as u8 % 8);
            match op {
                0 | 1 if sim.htb.find(id(a)).is_none() => drop(sim.add(b, a, params)),
                0 => drop(sim.apply(QdiscOp::ClassChange(id(a), params))),
                1 if random % 3 == 0 && sim.leaf(a) => drop(sim.delete(a)),
                2 if random % 2 == 0 => {
                    let gate = Gate::boxed(sim.world.now + random % (20 * MS), 1 + random as u32 % 8);
                    sim.apply(QdiscOp::Graft(id(a), gate.filter(|_| random % 3 != 0)));
                }
                3 => {
                    let packets = random % 33;
                    let packet = |i| (a + (i % 3) as u16, 60 + (random >> 32) as u32 % 1400 + i as u32);
                    sim.send_all((0..packets).map(packet));
                    came += packets;
                }
                4 | 5 => for i in 0..random % 40 {
                    sim.send(id(a + (i % 3) as u16), 60 + (random >> 32) as u32 % 1400);
                    came += 1;
                },
                6 if random % 16 == 0 => sim.htb.reset(&mut sim.world.cx(), DropReason::DevReady),
                6 => sim.world.now += random % (10 * MS),
                _ => for _ in 0..random % 50 {
                    went += u64::from(sim.take().is_ok());
                },
            }
            sim.check_counts();
            check_links(&sim.htb.tree);
            let held = sim.htb.held().packets;
            prop_assert_eq!(came, went + sim.world.dropped.0.len() as u64 + held);
            prop_assert_eq!(free_places(&mut sim.world.slab), PLACES as u64 - held);
        }
        // Everything goes in the end, and nothing is left anywhere.
        sim.world.now += SECOND;
        went += sim.departures().len() as u64;
        sim.check_counts();
        check_links(&sim.htb.tree);
        prop_assert_eq!(sim.htb.held(), Held::default());
        prop_assert_eq!(came, went + sim.world.dropped.0.len() as u64);
        for cells in sim.classes.values() {
            prop_assert_eq!((cells.qlen.get(), cells.backlog.get()), (0, 0));
        }
    }
}

impl Sim {
    /// The next packet, of leaves that always have one. It has a payer of the lowest level there is, and if nothing may
    /// go there is none.
    fn next_checked(&mut self, backlogged: &[u16]) -> Option<(u64, Pkt)> {
        for _ in 0..1000 {
            let levels = |sim: &Sim, class: u16| sim.htb.tree.classes[sim.index(class) as usize].level;
            let payers: BTreeMap<u16, u16> =
                backlogged.iter().filter_map(|&leaf| Some((leaf, self.payer(leaf)?))).collect();
            let lowest = payers.values().map(|&payer| levels(self, payer)).min();
            match self.take() {
                Ok(pkt) => {
                    let leaf = TcHandle(pkt.priority).minor();
                    self.last_payer = payers.get(&leaf).copied();
                    assert_eq!(self.last_payer.map(|payer| levels(self, payer)), lowest);
                    let at = self.world.now;
                    self.free_at = at + self.link.map_or(0, |link| u64::from(pkt.len) * SECOND / link);
                    self.send(TcHandle(pkt.priority), pkt.len);
                    return Some((at, pkt));
                }
                Err(wake) => {
                    assert_eq!(lowest, None, "something may go");
                    self.world.now = wake?.max(self.world.now);
                }
            }
        }
        panic!("nothing goes");
    }
}

fn free_places(slab: &mut PktSlab<Pkt>) -> u64 {
    let mut all = Fifo::default();
    while all.push(slab, Pkt { len: 0, priority: 0 }, 0).is_ok() {}
    let free = u64::from(all.len());
    while all.pop(slab).is_some() {}
    free
}

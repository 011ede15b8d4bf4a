//! The FIB against a naive model, under readers, and at its limits.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::entry::Entry;
use super::table::load;
use super::*;
use crate::core::qsbr::Qsbr;

fn hop(id: u32) -> NextHopId {
    NextHopId::new(id).expect("24 bits")
}

fn prefix(text: &str) -> Ipv4Net {
    text.parse().expect("a prefix")
}

fn addr(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an address").to_bits()
}

fn writer(groups: usize) -> FibWriter {
    FibWriter::new(groups, Arc::new(Qsbr::new(0))).expect("a small table")
}

/// Longest-prefix match by looking at every route.
#[derive(Default)]
struct Model(BTreeMap<Ipv4Net, NextHopId>);

impl Model {
    fn lookup(&self, dst: u32) -> Option<(Ipv4Net, NextHopId)> {
        let dst = Ipv4Addr::from_bits(dst);
        let covering = self.0.iter().filter(|(net, _)| net.contains(&dst));
        covering.max_by_key(|(net, _)| net.prefix_len()).map(|(&net, &hop)| (net, hop))
    }

    fn covering(&self, prefix: Ipv4Net) -> Option<(Ipv4Net, NextHopId)> {
        let covering = self.0.iter().filter(|(net, _)| net.contains(&prefix) && **net != prefix);
        covering.max_by_key(|(net, _)| net.prefix_len()).map(|(&net, &hop)| (net, hop))
    }
}

/// Every slot of both tables as painting all routes from the shortest to the longest makes it.
fn assert_tables_are(fib: &FibWriter, model: &Model) {
    let mut routes: Vec<_> = model.0.iter().map(|(net, hop)| (net.prefix_len(), *net, *hop)).collect();
    routes.sort_unstable();
    let mut upper = vec![Entry::EMPTY; 1 << 24];
    let mut lower: BTreeMap<u32, [Entry; 256]> = BTreeMap::new();
    for (len, net, hop) in routes {
        let first = net.network().to_bits();
        let entry = Entry::route(hop, len);
        if len <= 24 {
            upper[(first >> 8) as usize..][..1 << (24 - len)].fill(entry);
        } else {
            let group = lower.entry(first >> 8).or_insert([upper[(first >> 8) as usize]; 256]);
            group[(first & 0xff) as usize..][..1 << (32 - len)].fill(entry);
        }
    }
    for (i, (slot, want)) in fib.fib().slots24(0, 0).iter().zip(&upper).enumerate() {
        let got = load(slot);
        match lower.get(&(i as u32)) {
            None => assert_eq!(got, *want, "slot {i:#x}"),
            Some(want) => {
                assert!(got.is_extended(), "slot {i:#x}");
                let got: Vec<Entry> = fib.fib().group(got.value()).iter().map(load).collect();
                assert_eq!(got, want, "group of {i:#x}");
            }
        }
    }
    assert_eq!(fib.stats().groups_used, lower.len());
}

#[derive(Clone, Debug)]
enum Change {
    Add(Ipv4Net, u32),
    Remove(Ipv4Net),
    /// Removes one of the routes there are.
    RemoveSome(prop::sample::Index),
}

/// Prefixes that often cover one another: few address bits are free. /0 is rare as it paints the whole table.
fn prefixes() -> impl Strategy<Value = Ipv4Net> {
    let lengths = prop_oneof![
        1 => Just(0u8), 10 => 1u8..=13, 20 => 14u8..=23, 20 => Just(24u8), 40 => 25u8..=31, 20 => Just(32u8)
    ];
    let addrs = (0u32..4, 0u32..4, prop_oneof![0u32..8, 0u32..256]);
    (lengths, addrs).prop_map(|(len, (a, b, c))| {
        let addr = 0x0a00_0000 | a << 16 | b << 8 | c;
        Ipv4Net::new_assert(Ipv4Addr::from_bits(addr), len).trunc()
    })
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        5 => (prefixes(), 1u32..1 << 24).prop_map(|(net, hop)| Change::Add(net, hop)),
        1 => prefixes().prop_map(Change::Remove),
        3 => any::<prop::sample::Index>().prop_map(Change::RemoveSome),
    ]
}

/// First and last address of a prefix and their outer neighbours.
fn boundaries(net: &Ipv4Net) -> [u32; 4] {
    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
    [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changes_and_lookups_are_the_models(
        changes in prop::collection::vec(changes(), 1..60),
        dsts in prop::collection::vec(any::<u32>(), 40),
    ) {
        let mut fib = writer(64);
        let mut model = Model::default();
        for change in &changes {
            let touched = match *change {
                Change::Add(net, id) => {
                    prop_assert_eq!(fib.covering(net), model.covering(net));
                    prop_assert_eq!(fib.add(net, hop(id)), Ok(model.0.insert(net, hop(id))));
                    net
                }
                Change::Remove(net) => {
                    prop_assert_eq!(fib.remove(net), model.0.remove(&net));
                    net
                }
                Change::RemoveSome(index) => {
                    let Some(&net) = model.0.keys().nth(index.index(model.0.len().max(1))) else { continue };
                    prop_assert_eq!(fib.remove(net), model.0.remove(&net));
                    prop_assert_eq!(fib.get(net), None);
                    net
                }
            };
            for dst in boundaries(&touched) {
                prop_assert_eq!(fib.longest_match(Ipv4Addr::from_bits(dst)), model.lookup(dst));
            }
        }
        let mut dsts = dsts;
        dsts.extend(model.0.keys().flat_map(boundaries));
        let mut hops = vec![hop(7); dsts.len() + 1];
        fib.fib().lookup_bulk(&dsts, &mut hops);
        prop_assert_eq!(hops.pop(), Some(hop(7)));
        for (&dst, &got) in dsts.iter().zip(&hops) {
            prop_assert_eq!(fib.fib().lookup(dst), got);
            prop_assert_eq!(got, model.lookup(dst).map_or(NextHopId::NONE, |(_, hop)| hop));
        }
        let mut routes: Vec<_> = fib.iter().collect();
        routes.sort_unstable();
        prop_assert_eq!(routes, model.0.iter().map(|(net, hop)| (*net, *hop)).collect::<Vec<_>>());
        prop_assert_eq!(fib.len(), model.0.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn whole_tables_are_those_painted_from_scratch(changes in prop::collection::vec(changes(), 200)) {
        let mut fib = writer(64);
        let mut model = Model::default();
        for change in changes {
            match change {
                Change::Add(net, id) => {
                    prop_assert_eq!(fib.add(net, hop(id)), Ok(model.0.insert(net, hop(id))));
                }
                Change::Remove(net) => prop_assert_eq!(fib.remove(net), model.0.remove(&net)),
                Change::RemoveSome(index) => {
                    let Some(&net) = model.0.keys().nth(index.index(model.0.len().max(1))) else { continue };
                    prop_assert_eq!(fib.remove(net), model.0.remove(&net));
                }
            }
        }
        assert_tables_are(&fib, &model);
        for net in model.0.keys() {
            fib.remove(*net);
        }
        assert_tables_are(&fib, &Model::default());
    }
}

#[test]
fn bad_routes_are_refused() {
    let mut fib = writer(1);
    let host_bits = prefix("10.0.0.1/8");
    assert_eq!(fib.add(host_bits, hop(1)), Err(FibError::HostBits(host_bits)));
    assert_eq!(
        FibError::HostBits(host_bits).to_string(),
        "10.0.0.1/8 has host bits set (the network is 10.0.0.0/8)"
    );
    let net = prefix("10.0.0.0/8");
    assert_eq!(fib.add(net, NextHopId::NONE), Err(FibError::NoNextHop(net)));
    assert_eq!((fib.get(host_bits), fib.remove(host_bits), fib.remove(net)), (None, None, None));
    assert!(fib.is_empty());
    assert_eq!(fib.longest_match(Ipv4Addr::new(10, 0, 0, 1)), None);
    let too_many = FibWriter::new((1 << 24) + 1, Arc::new(Qsbr::new(0))).err();
    assert_eq!(too_many, Some(FibError::TooManyGroups((1 << 24) + 1)));
}

#[test]
fn a_full_table_refuses_and_stays_as_it_was() {
    let mut fib = writer(2);
    let mut model = Model::default();
    for (net, id) in [("10.0.0.0/8", 1), ("10.0.0.0/25", 2), ("10.0.1.0/32", 3)] {
        assert_eq!(fib.add(prefix(net), hop(id)), Ok(None));
        model.0.insert(prefix(net), hop(id));
    }
    let third = prefix("10.0.2.0/25");
    assert_eq!(fib.add(third, hop(4)), Err(FibError::GroupsFull { prefix: third, limit: 2 }));
    assert_eq!(fib.get(third), None);
    assert_tables_are(&fib, &model);
    // A group already there takes more, and one that becomes free is used again.
    assert_eq!(fib.add(prefix("10.0.1.7/32"), hop(5)), Ok(None));
    assert_eq!(fib.remove(prefix("10.0.0.0/25")), Some(hop(2)));
    assert_eq!(fib.add(third, hop(4)), Ok(None));
    assert_eq!(fib.fib().lookup(addr("10.0.2.127")), hop(4));
    assert_eq!(fib.fib().lookup(addr("10.0.2.128")), hop(1));
    let stats = fib.stats();
    assert_eq!((stats.routes, stats.groups_used, stats.groups_waiting, stats.groups_limit), (4, 2, 0, 2));
}

#[test]
fn a_group_is_not_used_again_before_every_lcore_has_let_go() {
    let qsbr = Arc::new(Qsbr::new(1));
    let mut fib = FibWriter::new(1, Arc::clone(&qsbr)).expect("a small table");
    qsbr.online(0);
    assert_eq!(fib.add(prefix("10.0.0.0/25"), hop(1)), Ok(None));
    assert_eq!(fib.remove(prefix("10.0.0.0/25")), Some(hop(1)));
    let next = prefix("10.0.1.0/25");
    assert_eq!(fib.add(next, hop(2)), Err(FibError::GroupsFull { prefix: next, limit: 1 }));
    assert_eq!(fib.stats().groups_waiting, 1);
    qsbr.quiescent(0);
    assert_eq!(fib.add(next, hop(2)), Ok(None));
    assert_eq!(fib.stats().groups_waiting, 0);
}

/// Readers look up addresses whose answer never changes, or changes between two known ones, while routes above,
/// below and beside them come and go, and groups with them.
#[test]
fn readers_never_see_a_wrong_answer_while_routes_churn() {
    const READERS: usize = 2;
    const ROUNDS: u32 = 3_000;
    /// As many as are ever in use at once, so that each is used again as soon as may be.
    const GROUPS: usize = 7;
    const WRONG: u32 = 99;
    let qsbr = Arc::new(Qsbr::new(READERS));
    let mut fib = FibWriter::new(GROUPS, Arc::clone(&qsbr)).expect("a small table");
    let stable = [("10.1.0.0/16", 1), ("10.1.2.0/24", 2), ("10.1.3.64/26", 3), ("10.1.3.70/32", 4)];
    for (net, id) in stable {
        fib.add(prefix(net), hop(id)).expect("room");
    }
    // Destination and the only answers it may get.
    let checks: [(u32, &[u32]); 10] = [
        ("10.1.0.1", &[1][..]),
        ("10.1.2.5", &[2]),
        ("10.1.2.128", &[2, 21]),
        ("10.1.3.65", &[3]),
        ("10.1.3.70", &[4]),
        ("10.1.4.9", &[1, 22]),
        ("10.1.4.130", &[1, 22, 23]),
        ("10.1.5.1", &[31, 32]),
        ("10.1.5.200", &[31, 32]),
        ("10.1.6.1", &[1, 24]),
    ]
    .map(|(dst, answers)| (addr(dst), answers));
    fib.add(prefix("10.1.5.0/24"), hop(31)).expect("room");
    let done = AtomicBool::new(false);
    let lookups = AtomicU64::new(0);

    thread::scope(|scope| {
        for lcore in 0..READERS {
            let (tables, qsbr, checks) = (Arc::clone(fib.fib()), &qsbr, &checks);
            let (done, lookups) = (&done, &lookups);
            scope.spawn(move || {
                let dsts: Vec<u32> = checks.iter().map(|(dst, _)| *dst).cycle().take(BULK).collect();
                let mut hops = [hop(WRONG); BULK];
                qsbr.online(lcore);
                while !done.load(Ordering::Relaxed) {
                    tables.lookup_bulk(&dsts, &mut hops);
                    for (got, (dst, answers)) in hops.iter().zip(checks.iter().cycle()) {
                        assert!(answers.contains(&got.get()), "{} got {got:?}", Ipv4Addr::from_bits(*dst));
                        let got = tables.lookup(*dst);
                        assert!(answers.contains(&got.get()), "{} got {got:?}", Ipv4Addr::from_bits(*dst));
                    }
                    lookups.fetch_add(2 * BULK as u64, Ordering::Relaxed);
                    qsbr.quiescent(lcore);
                }
                qsbr.offline(lcore);
            });
        }
        // Released before a failed expectation could leave the readers running for ever.
        let churned = churn(&mut fib, ROUNDS, WRONG);
        done.store(true, Ordering::Relaxed);
        churned.expect("room for every change");
    });
    assert!(lookups.load(Ordering::Relaxed) > 0);
}

/// Routes that change no checked answer except between the two allowed, `WRONG` where nobody looks.
fn churn(fib: &mut FibWriter, rounds: u32, wrong: u32) -> Result<(), FibError> {
    let routes = [
        ("0.0.0.0/1", wrong),
        ("10.0.0.0/12", wrong),
        ("10.1.2.128/25", 21),
        ("10.1.4.0/24", 22),
        ("10.1.4.130/32", 23),
        ("10.1.3.0/24", wrong),
        ("10.1.3.71/32", wrong),
        ("10.1.6.0/23", 24),
        ("10.1.6.7/32", wrong),
        ("10.1.7.9/32", wrong),
        ("10.1.8.0/30", wrong),
    ];
    for round in 0..rounds {
        // Every subset's turn comes; /1 is half the table and comes seldom.
        for (i, (net, id)) in routes.iter().enumerate().skip(usize::from(round % 256 != 0)) {
            if (round >> (i % 5)) & 1 == 0 {
                add_patiently(fib, net, *id)?;
            } else {
                fib.remove(prefix(net));
            }
        }
        add_patiently(fib, "10.1.5.0/24", 31 + round % 2)?;
        if round % 3 == 0 {
            add_patiently(fib, "10.1.5.128/25", 31)?;
            fib.remove(prefix("10.1.5.128/25"));
        }
    }
    Ok(())
}

/// Tries again while a reader's thread waits for a CPU with a group in its hands.
fn add_patiently(fib: &mut FibWriter, net: &str, id: u32) -> Result<(), FibError> {
    const TRIES: usize = 100;
    let mut added = fib.add(prefix(net), hop(id));
    for _ in 1..TRIES {
        if added.is_ok() {
            break;
        }
        added = fib.add(prefix(net), hop(id));
    }
    added.map(|_| ())
}

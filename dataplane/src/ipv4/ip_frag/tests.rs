use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::skb::ipv4::IP_MF;
use crate::time::Instant;

/// The memory of the tests: room for 100 fragments of cost 1000.
const LIMIT: usize = 100_000;
const COST: usize = 1000;

/// A table over byte strings, and its clock.
struct Bench {
    table: FragTable<Vec<u8>>,
    memory: FragMemory,
    now: Instant,
    max_dist: u32,
    high_thresh: usize,
}

/// What a fragment led to, in short.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Queued,
    Whole(Vec<u8>),
    Duplicate,
    Discarded(Discard, usize),
    NoMemory,
    /// As many let go as too far back.
    Restarted(usize),
}

impl Bench {
    fn new() -> Bench {
        Bench {
            table: FragTable::default(),
            memory: FragMemory::default(),
            now: Instant::from_secs(100),
            max_dist: 64,
            high_thresh: LIMIT,
        }
    }

    fn insert(&mut self, key: FragKey, fragment: Fragment, bytes: &[u8]) -> Inserted<Vec<u8>> {
        let limits = FragLimits {
            memory: &self.memory,
            high_thresh: self.high_thresh,
            timeout: Duration::from_secs(30),
            max_dist: self.max_dist,
        };
        let carrier = bytes[..fragment.len().min(bytes.len())].to_vec();
        let inserted = self.table.insert(key, fragment, carrier, COST, self.now, &limits);
        assert!(self.memory.bytes() <= self.high_thresh);
        assert_eq!((self.memory.queues(), self.memory.fragments()), (self.table.len(), self.table.held()));
        assert_eq!(self.memory.bytes(), self.table.held() * COST + self.table.len() * QUEUE_COST);
        inserted
    }

    fn put_tos(&mut self, id: u16, offset: usize, bytes: &[u8], more: bool, tos: u8) -> Got {
        let frag_off = (offset / 8) as u16 | if more { IP_MF } else { 0 };
        let inserted = self.insert(key(id), Fragment::new(frag_off, 20, bytes.len() as u16, tos), bytes);
        match (inserted.too_far.len(), inserted.verdict) {
            (0, Verdict::Queued) => Got::Queued,
            (n, Verdict::Queued) => Got::Restarted(n),
            (0, Verdict::Complete(datagram)) => Got::Whole(joined(datagram)),
            (0, Verdict::Duplicate(_)) => Got::Duplicate,
            (0, Verdict::Discarded(why, carriers)) => Got::Discarded(why, carriers.len()),
            (0, Verdict::NoMemory(_)) => Got::NoMemory,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, offset: usize, bytes: &[u8], more: bool) -> Got {
        self.put_tos(1, offset, bytes, more, 0)
    }

    fn empty(&self) {
        assert!(self.table.is_empty());
        assert_eq!(self.table.sources(), 0);
        assert_eq!((self.memory.bytes(), self.memory.queues(), self.memory.fragments()), (0, 0, 0));
        assert_eq!(self.table.next_deadline(), Instant::from_nanos(u64::MAX));
    }
}

fn key(id: u16) -> FragKey {
    FragKey { src: 1, dst: 2, id, protocol: 17, user: DefragUser::LocalDeliver, vif: 0 }
}

fn joined(datagram: Datagram<Vec<u8>>) -> Vec<u8> {
    let bytes = datagram.pieces.into_iter().flat_map(|piece| piece.carrier).collect::<Vec<_>>();
    assert_eq!(bytes.len(), datagram.len);
    bytes
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

#[test]
fn in_order_reversed_and_twice() {
    let d = data(48);
    let parts: [(usize, &[u8], bool); 3] =
        [(0, &d[..16], true), (16, &d[16..32], true), (32, &d[32..], false)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut bench = Bench::new();
        for &i in &order[..2] {
            let (offset, bytes, more) = parts[i];
            assert_eq!(bench.put(offset, bytes, more), Got::Queued);
            assert_eq!(bench.put(offset, bytes, more), Got::Duplicate, "an exact duplicate is ignored");
        }
        let (offset, bytes, more) = parts[order[2]];
        assert_eq!(bench.put(offset, bytes, more), Got::Whole(d.clone()));
        bench.empty();
    }
}

/// As measured on Linux 6.18: a run of data that came in order is one, runs that came to touch later are not.
#[test]
fn what_a_run_contains_is_a_duplicate_and_what_crosses_runs_is_an_overlap() {
    let d = data(48);
    let mut bench = Bench::new();
    assert_eq!(bench.put(0, &d[..16], true), Got::Queued);
    assert_eq!(bench.put(16, &d[16..32], true), Got::Queued);
    assert_eq!(bench.put(8, &d[8..24], true), Got::Duplicate);
    assert_eq!(bench.put(32, &d[32..], false), Got::Whole(d.clone()));

    assert_eq!(bench.put(16, &d[16..32], true), Got::Queued);
    assert_eq!(bench.put(0, &d[..16], true), Got::Queued);
    assert_eq!(bench.put(8, &d[8..24], true), Got::Discarded(Discard::Overlap, 3));
    bench.empty();
}

#[test]
fn contradictions_discard_all() {
    let d = data(64);
    let mut bench = Bench::new();
    for (first, second, why) in [
        ((0, 24, true), (16, 48, false), Discard::Overlap),
        ((0, 24, true), (0, 32, true), Discard::Overlap),
        ((16, 48, true), (0, 24, true), Discard::Overlap),
        ((32, 48, false), (32, 40, false), Discard::Contradiction),
        ((32, 48, false), (32, 56, false), Discard::Contradiction),
        ((32, 48, false), (48, 56, true), Discard::Contradiction),
        ((32, 48, true), (16, 24, false), Discard::Contradiction),
        ((0, 16, true), (16, 16, true), Discard::Empty),
        ((0, 48, true), (48, 48, false), Discard::Empty),
        // Not the last, and less than 8 bytes: nothing of it counts.
        ((0, 16, true), (16, 21, true), Discard::Empty),
    ] {
        let case = format!("{first:?} {second:?}");
        assert_eq!(bench.put(first.0, &d[first.0..first.1], first.2), Got::Queued, "{case}");
        let got = bench.put(second.0, &d[second.0..second.1], second.2);
        assert_eq!(got, Got::Discarded(why, 2), "{case}");
        bench.empty();
    }
    assert_eq!(bench.put(0, &[], true), Got::Discarded(Discard::Empty, 1));
    bench.empty();
}

/// Bytes over a multiple of 8 in a fragment that is not the last do not count, as on Linux 6.18.
#[test]
fn a_fragment_that_is_not_the_last_counts_in_units_of_8() {
    let d = data(48);
    let mut bench = Bench::new();
    assert_eq!(bench.put(0, &d[..21], true), Got::Queued);
    assert_eq!(bench.put(16, &d[16..], false), Got::Whole(d));
}

#[test]
fn congestion_marks_of_the_parts() {
    let d = data(48);
    // Not-ECT 0, ECT(1) 1, ECT(0) 2, CE 3: what is set in the result, None for a datagram that is discarded.
    for (codes, want) in [
        (&[0u8, 0][..], Some(0)),
        (&[0, 1], None),
        (&[0, 2], None),
        (&[3, 0], None),
        (&[1, 1], Some(0)),
        (&[1, 2], Some(0)),
        (&[1, 3], Some(3)),
        (&[3, 2], Some(3)),
        (&[3, 3], Some(3)),
        (&[1, 2, 3], Some(3)),
        (&[1, 0, 3], None),
    ] {
        let mut bench = Bench::new();
        let last = codes.len() - 1;
        for (i, &tos) in codes.iter().enumerate() {
            let end = if i == last { 48 } else { 16 * (i + 1) };
            let frag_off = (i * 2) as u16 | if i == last { 0 } else { IP_MF };
            let fragment = Fragment::new(frag_off, 20, (end - 16 * i) as u16, 0xb8 | tos);
            let verdict = bench.insert(key(1), fragment, &d[16 * i..end]).verdict;
            match (i == last, want, verdict) {
                (false, _, Verdict::Queued) => {}
                (true, Some(tos), Verdict::Complete(datagram)) => assert_eq!(datagram.tos, tos, "{codes:?}"),
                (true, None, Verdict::Discarded(Discard::Ecn, all)) => assert_eq!(all.len(), codes.len()),
                (_, _, other) => panic!("{codes:?}: {other:?}"),
            }
        }
        bench.empty();
    }
}

#[test]
fn the_longest_datagram_and_one_byte_more() {
    for (len, fits) in [(65515, true), (65516, false)] {
        let d = data(len);
        let mut bench = Bench::new();
        let mut last = Got::Queued;
        for offset in (0..len).step_by(1400) {
            assert_eq!(last, Got::Queued);
            let end = len.min(offset + 1400);
            last = bench.put(offset, &d[offset..end], end < len);
        }
        let want = if fits { Got::Whole(d) } else { Got::Discarded(Discard::Oversize, 47) };
        assert!(last == want, "{len}");
        bench.empty();
    }
    // The ends of what offsets and lengths can say.
    let mut bench = Bench::new();
    assert_eq!(bench.put(65528, &data(65515), false), Got::Queued);
    assert_eq!(bench.put(65528, &data(65515), true), Got::Duplicate, "65512 bytes, within");
}

#[test]
fn the_largest_fragment_and_its_dont_fragment() {
    let d = data(48);
    for (df, want) in
        [([true, true], true), ([true, false], true), ([false, true], false), ([false; 2], false)]
    {
        let mut bench = Bench::new();
        let bit = |df| if df { IP_DF } else { 0 };
        bench.insert(key(1), Fragment::new(IP_MF | bit(df[0]), 24, 32, 0), &d[..32]);
        let inserted = bench.insert(key(1), Fragment::new(4 | bit(df[1]), 20, 16, 0), &d[32..]);
        let Verdict::Complete(datagram) = inserted.verdict else { panic!("{inserted:?}") };
        assert_eq!((datagram.max_size, datagram.df), (56, want), "the larger one decides: {df:?}");
    }
}

#[test]
fn a_datagram_has_30_seconds_from_its_first_fragment_on() {
    let d = data(48);
    let mut bench = Bench::new();
    let started = bench.now;
    assert_eq!(bench.put_tos(1, 16, &d[16..32], true, 0), Got::Queued);
    bench.now = started + Duration::from_secs(10);
    assert_eq!(bench.put_tos(1, 0, &d[..16], true, 0), Got::Queued);
    assert_eq!(bench.put_tos(2, 32, &d[32..], false, 0), Got::Queued);
    assert_eq!(bench.table.next_deadline(), started + Duration::from_secs(30));

    let just_before = Instant::from_nanos((started + Duration::from_secs(30)).as_nanos() - 1);
    assert!(bench.table.expire(just_before, &bench.memory).is_none());
    let gone = bench.table.expire(started + Duration::from_secs(30), &bench.memory).unwrap();
    assert_eq!((gone.key, gone.has_first), (key(1), true));
    assert_eq!(gone.carriers, [&d[..16], &d[16..32]]);

    assert_eq!(bench.table.next_deadline(), started + Duration::from_secs(40));
    assert!(bench.table.expire(started + Duration::from_secs(39), &bench.memory).is_none());
    let gone = bench.table.expire(started + Duration::from_secs(90), &bench.memory).unwrap();
    assert_eq!((gone.key, gone.has_first), (key(2), false));
    bench.empty();
}

/// As measured on Linux 6.18: 63 fragments of other datagrams in between are well, 64 are too many.
#[test]
fn what_is_too_far_back_is_of_another_datagram() {
    let d = data(32);
    for (others, max_dist, far) in [(63, 64, false), (64, 64, true), (64, 0, false), (1, 1, true)] {
        let mut bench = Bench::new();
        bench.max_dist = max_dist;
        let started = bench.now;
        assert_eq!(bench.put_tos(1, 0, &d[..16], true, 0), Got::Queued);
        for id in 0..others {
            assert_eq!(bench.put_tos(100 + id, 0, &d[..8], true, 0), Got::Queued);
        }
        bench.now = started + Duration::from_secs(5);
        let got = bench.put_tos(1, 16, &d[16..], false, 0);
        if !far {
            assert_eq!(got, Got::Whole(d.clone()));
            continue;
        }
        assert_eq!(got, Got::Restarted(1));
        // The new datagram has its own 30 seconds, and can become whole.
        let firsts =
            std::iter::from_fn(|| bench.table.expire(started + Duration::from_secs(34), &bench.memory));
        assert_eq!(firsts.count(), usize::from(others));
        assert_eq!(bench.put_tos(1, 0, &d[..16], true, 0), Got::Whole(d.clone()));
        bench.empty();
    }
}

#[test]
fn another_key_is_another_datagram() {
    let d = data(32);
    let mut bench = Bench::new();
    let keys = [
        key(1),
        FragKey { src: 9, ..key(1) },
        FragKey { dst: 9, ..key(1) },
        FragKey { id: 9, ..key(1) },
        FragKey { protocol: 9, ..key(1) },
        FragKey { vif: 9, ..key(1) },
    ];
    for key in keys {
        let verdict = bench.insert(key, Fragment::new(IP_MF, 20, 16, 0), &d[..16]).verdict;
        assert!(matches!(verdict, Verdict::Queued));
    }
    assert_eq!(bench.table.len(), keys.len());
    for key in keys {
        let verdict = bench.insert(key, Fragment::new(2, 20, 16, 0), &d[16..]).verdict;
        assert!(matches!(verdict, Verdict::Complete(_)));
    }
    bench.empty();
}

#[test]
fn over_the_limit_everything_is_refused_until_something_ends() {
    let d = data(32);
    let mut bench = Bench::new();
    bench.max_dist = 0;
    let most = (LIMIT / (COST + QUEUE_COST)) as u16;
    for id in 0..most {
        assert_eq!(bench.put_tos(id, 0, &d[..16], true, 0), Got::Queued);
    }
    assert_eq!(bench.put_tos(most, 0, &d[..16], true, 0), Got::NoMemory);
    let left = (LIMIT - bench.memory.bytes()) / COST;
    assert_eq!(left, 0);
    assert_eq!(bench.put_tos(0, 16, &d[16..], false, 0), Got::NoMemory, "one under way is refused too");
    assert_eq!(bench.table.len(), usize::from(most));
    bench.now = bench.now + Duration::from_secs(30);
    while bench.table.expire(bench.now, &bench.memory).is_some() {}
    bench.empty();
    bench.high_thresh = 0;
    assert_eq!(bench.put_tos(0, 0, &d[..16], true, 0), Got::NoMemory, "0 turns reassembly off");
    bench.empty();
}

/// Where a datagram of `units` units of 8 bytes and `tail` bytes is cut, and in which order the parts come.
fn split_and_order() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
    (1usize..120, 1usize..9, proptest::collection::btree_set(1usize..120, 1..40)).prop_flat_map(
        |(units, tail, cuts)| {
            let len = units * 8 + tail;
            let mut edges: Vec<usize> =
                cuts.into_iter().filter(|&cut| cut <= units).map(|cut| cut * 8).collect();
            edges.insert(0, 0);
            edges.push(len);
            let parts: Vec<_> = edges.windows(2).map(|w| (w[0], w[1])).collect();
            (Just(len), Just(parts).prop_shuffle())
        },
    )
}

/// Fragments that fit and ones that do not, of a few datagrams.
fn arbitrary_fragment() -> impl Strategy<Value = (u16, u16, u8, u16, u8)> {
    (0u16..4, prop_oneof![0u16..16, Just(8191)], 5u8..16, prop_oneof![0u16..80, Just(65515)], any::<u8>())
}

proptest! {
    #[test]
    fn any_split_in_any_order_gives_the_same_bytes((len, parts) in split_and_order(), twice in any::<bool>()) {
        let d = data(len);
        let mut bench = Bench::new();
        for (i, &(start, end)) in parts.iter().enumerate() {
            let got = bench.put(start, &d[start..end], end < len);
            if i + 1 == parts.len() {
                prop_assert_eq!(got, Got::Whole(d.clone()));
                break;
            }
            prop_assert_eq!(got, Got::Queued);
            if twice {
                prop_assert_eq!(bench.put(start, &d[start..end], end < len), Got::Duplicate);
            }
        }
        bench.empty();
    }

    /// Two fragments that share some bytes but neither of which contains the other.
    #[test]
    fn a_partial_overlap_discards_always(start in 1usize..50, shared in 1usize..20, more in 1usize..20, swap in any::<bool>()) {
        let shared = shared.min(start);
        let d = data(2000);
        let (a, b) = ((0, start * 8), ((start - shared) * 8, (start + more) * 8));
        prop_assume!(b.0 > a.0);
        let (first, second) = if swap { (b, a) } else { (a, b) };
        let mut bench = Bench::new();
        prop_assert_eq!(bench.put(first.0, &d[first.0..first.1], true), Got::Queued);
        prop_assert_eq!(bench.put(second.0, &d[second.0..second.1], true), Got::Discarded(Discard::Overlap, 2));
        bench.empty();
    }

    /// Whatever comes: the memory keeps its limit (asserted at every step), a whole datagram is made of what came, and
    /// every carrier comes back exactly once.
    #[test]
    fn nothing_is_lost_and_memory_keeps_its_limit(
        fragments in proptest::collection::vec((arbitrary_fragment(), any::<bool>(), 0u64..4), 0..200), limit in 0usize..20_000
    ) {
        let mut bench = Bench::new();
        (bench.high_thresh, bench.max_dist) = (limit, 5);
        let mut out = BTreeMap::<u32, u32>::new();
        let mut back = |carriers: Vec<Vec<u8>>| {
            for carrier in carriers {
                *out.entry(u32::from_be_bytes(carrier[..4].try_into().unwrap())).or_default() += 1;
            }
        };
        for (serial, &((id, units, words, len, tos), more, secs)) in fragments.iter().enumerate() {
            bench.now = bench.now + Duration::from_secs(secs);
            let fragment = Fragment::new(units | if more { IP_MF } else { 0 }, words * 4, len, tos);
            let limits = FragLimits {
                memory: &bench.memory, high_thresh: limit, timeout: Duration::from_secs(30), max_dist: 5,
            };
            let carrier = (serial as u32).to_be_bytes().to_vec();
            let inserted = bench.table.insert(key(id), fragment, carrier, COST, bench.now, &limits);
            prop_assert!(bench.memory.bytes() <= limit);
            back(inserted.too_far);
            match inserted.verdict {
                Verdict::Queued => {}
                Verdict::Complete(datagram) => {
                    prop_assert!(datagram.len <= 65515);
                    let mut at = 0;
                    for piece in &datagram.pieces {
                        prop_assert_eq!(piece.fragment.offset(), at);
                        at += piece.fragment.len();
                    }
                    prop_assert_eq!(at, datagram.len);
                    back(datagram.pieces.into_iter().map(|piece| piece.carrier).collect());
                }
                Verdict::Duplicate(carrier) | Verdict::NoMemory(carrier) => back(vec![carrier]),
                Verdict::Discarded(_, carriers) => back(carriers),
            }
            while let Some(gone) = bench.table.expire(bench.now, &bench.memory) {
                back(gone.carriers);
            }
            prop_assert!(bench.table.next_deadline() > bench.now);
        }
        while let Some(gone) = bench.table.pop(&bench.memory) {
            back(gone.carriers);
        }
        bench.empty();
        prop_assert_eq!(out.len(), fragments.len());
        prop_assert!(out.values().all(|&n| n == 1));
    }
}

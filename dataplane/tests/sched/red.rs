//! red, packet by packet.

use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{QdiscSpec, RedParams};
use skiff_dataplane::sched::qdisc::{Enqueued, Held, Xmit};
use skiff_dataplane::sched::red::params::max_p;
use skiff_dataplane::time::Instant;

use crate::rig::{CE, ECT, NOT_ECT, TestPkt, Tree, World, class, made, red_cells};

/// 1 %.
const PERCENT: u64 = 42_949_673;

fn params() -> RedParams {
    RedParams {
        limit: 400_000,
        min: 30_000,
        max: 90_000,
        wlog: 5,
        avpkt: 1000,
        bandwidth: 1_250_000,
        max_p: max_p(0.02),
        ecn: false,
        harddrop: false,
        nodrop: false,
        adaptive: false,
        gentle: false,
    }
}

fn red(params: RedParams) -> (Tree, Arc<QdiscCells>) {
    made(&QdiscSpec::Red(params))
}

/// prob_drop, prob_mark, forced_drop, forced_mark, pdrop.
fn events(cells: &QdiscCells) -> [u64; 5] {
    let cells = red_cells(cells);
    [&cells.prob_drop, &cells.prob_mark, &cells.forced_drop, &cells.forced_mark, &cells.pdrop]
        .map(|counter| counter.get())
}

/// Fills the queue with packets that may be marked, to `bytes`, and lets the average come to that.
fn pin(world: &mut World, tree: &mut Tree, bytes: u64) {
    while tree.held().bytes < bytes {
        world.send(tree, TestPkt::new(0, 1000).ecn(ECT));
    }
    for _ in 0..2000 {
        turn(world, tree, TestPkt::new(0, 1000).ecn(ECT));
    }
    world.drops();
}

/// One packet leaves, one comes.
fn turn(world: &mut World, tree: &mut Tree, pkt: TestPkt) -> Enqueued {
    world.take(tree).unwrap();
    world.send(tree, pkt)
}

#[test]
fn a_burst_passes_below_the_threshold() {
    // The largest L with L + 1 + ((1-w)^(L+1) - 1)/w < min (Floyd and Jacobson, section 6).
    let absorbed = |w: f64, min: f64| {
        (1..1000).take_while(|&l| f64::from(l + 1) + ((1.0 - w).powi(l + 1) - 1.0) / w < min).count() as u64
    };
    assert!(absorbed(0.0042, 5.0).abs_diff(50) <= 1);
    for (wlog, min, known) in [(5, 30_000, Some(56)), (3, 15_360, Some(22)), (8, 5000, None), (1, 5000, None)]
    {
        let (mut tree, cells) = red(RedParams { wlog, min, max: 3 * min, ..params() });
        let mut world = World::new();
        let mut passed = 0u64;
        while red_cells(&cells).average.get() < min.into() {
            world.send(&mut tree, TestPkt::new(0, 1000));
            passed += 1;
        }
        let theory = absorbed(0.5f64.powi(wlog.into()), f64::from(min) / 1000.0);
        // The last one was too much; and a packet does not find itself.
        assert!((passed - 2).abs_diff(theory) <= 1, "{wlog}: {passed} and {theory}");
        assert!(known.is_none_or(|known: u64| known.abs_diff(theory) <= 1), "{theory}");
    }
}

#[test]
fn the_average_is_that_of_the_queue_and_falls_when_it_is_empty() {
    let (mut tree, cells) = red(RedParams { ecn: true, max: 100_000, ..params() });
    let mut world = World::new();
    pin(&mut world, &mut tree, 90_000);
    // Each finds one packet less than there was.
    assert_eq!(red_cells(&cells).average.get(), 89_000);
    while world.take(&mut tree).is_some() {}
    world.pass(Duration::from_millis(100));
    world.send(&mut tree, TestPkt::new(0, 1000));
    let left = red_cells(&cells).average.get() as f64 / 89_000.0;
    assert!((left / 0.0189 - 1.0).abs() < 0.01, "{left}");
    // The next one finds the first: no decay, its backlog counts.
    world.pass(Duration::from_secs(10));
    world.send(&mut tree, TestPkt::new(0, 1000));
    assert!((1660..1700).contains(&red_cells(&cells).average.get()), "{}", red_cells(&cells).average.get());
}

/// Sends three packets that pass, so that the next finds an average where it is chosen: a byte below the upper threshold,
/// or above it.
fn about_to_choose(params: RedParams, forced: bool) -> (World, Tree, Arc<QdiscCells>) {
    let params = RedParams { wlog: 1, min: 50_000, max: 60_000, max_p: 1 << 32, ..params };
    let (mut tree, cells) = red(params);
    let mut world = World::new();
    for (id, len) in [(0, 30_000), (0, 64_998), (0, 1)] {
        assert_eq!(world.send(&mut tree, TestPkt::new(id, len)).code, Xmit::Success);
    }
    assert_eq!(red_cells(&cells).average.get(), 54_999);
    if !forced {
        world.take(&mut tree);
    }
    (world, tree, cells)
}

#[test]
fn flags_decide_between_mark_drop_and_nothing() {
    let flags = (0..8).map(|n| (n & 1 != 0, n & 2 != 0, n & 4 != 0));
    let packets = [(NOT_ECT, false), (1, false), (ECT, false), (CE, false), (NOT_ECT, true), (ECT, true)];
    for ((ecn, harddrop, nodrop), (codepoint, forced)) in
        flags.flat_map(|flags| packets.map(|packet| (flags, packet)))
    {
        let what = format!("ecn {ecn} harddrop {harddrop} nodrop {nodrop}: {codepoint} forced {forced}");
        let params = RedParams { ecn, harddrop, nodrop, ..params() };
        let (mut world, mut tree, cells) = about_to_choose(params, forced);
        let sent = world.send(&mut tree, TestPkt::new(1, 1000).ecn(codepoint));
        assert_eq!(red_cells(&cells).average.get(), if forced { 74_999 } else { 59_999 });

        let may_pass = ecn && !(forced && harddrop);
        let marked = may_pass && codepoint != NOT_ECT;
        let queued = marked || may_pass && nodrop;
        let count = |is: bool| u64::from(is);
        let expected = [
            count(!forced && !queued),
            count(!forced && marked),
            count(forced && !queued),
            count(forced && marked),
            0,
        ];
        assert_eq!(events(&cells), expected, "{what}");
        assert_eq!((cells.overlimits.get(), cells.drops.get()), (1, count(!queued)), "{what}");
        if queued {
            assert_eq!(sent, Enqueued::success(1000), "{what}");
            let last = std::iter::from_fn(|| world.take(&mut tree)).last().unwrap();
            assert_eq!((last.id, last.ecn), (1, if marked { CE } else { codepoint }), "{what}");
        } else {
            assert_eq!(sent, Enqueued::refused(Xmit::Cn), "{what}");
            assert_eq!(world.drops(), [(1, DropReason::QdiscCongested)], "{what}");
        }
    }
}

#[test]
fn above_the_threshold_harddrop_drops_all() {
    let (mut world, mut tree, cells) =
        about_to_choose(RedParams { ecn: true, harddrop: true, ..params() }, true);
    for _ in 0..1000 {
        assert_eq!(world.send(&mut tree, TestPkt::new(0, 1000).ecn(ECT)), Enqueued::refused(Xmit::Cn));
    }
    assert_eq!(events(&cells), [0, 0, 1000, 0, 0]);
    assert_eq!((cells.qlen.get(), cells.overlimits.get()), (3, 1000));
}

/// As many of 300 packets of 500 bytes as are not queued, when none leaves.
fn drops_of_300(params: RedParams) -> u64 {
    let (mut tree, cells) = red(RedParams { limit: 300 * 500, avpkt: 500, ..params });
    let mut world = World::new();
    for _ in 0..300 {
        world.send(&mut tree, TestPkt::new(0, 500));
    }
    assert_eq!(world.dropped.0.len() as u64, cells.drops.get());
    cells.drops.get()
}

#[test]
fn more_is_dropped_the_harder_the_parameters() {
    let slow = RedParams { min: 35_000, max: 75_000, wlog: 9, gentle: true, ..params() };
    let quick = RedParams { wlog: 6, ..slow };
    let lower = RedParams { max: 50_000, ..quick };
    let likelier = RedParams { max_p: max_p(0.2), ..lower };
    let harsh = RedParams { gentle: false, ..likelier };
    let drops = [slow, quick, lower, likelier, harsh].map(drops_of_300);
    assert_eq!(drops[0], 0);
    assert!(drops.windows(2).all(|pair| pair[0] < pair[1]), "{drops:?}");
}

#[test]
fn marks_what_knows_ecn_and_drops_what_does_not() {
    for ecn in [NOT_ECT, ECT] {
        let (mut tree, cells) = red(RedParams { ecn: true, max_p: max_p(0.1), ..params() });
        let mut world = World::new();
        let (mut sent, mut marked) = (0, 0);
        // Two packets come for each that leaves while there is room between the thresholds.
        for id in 0..100_000 {
            world.send(&mut tree, TestPkt::new(id, 1000).ecn(ecn));
            if tree.held().bytes > 70_000 {
                let left = world.take(&mut tree).unwrap();
                sent += 1;
                marked += u64::from(left.ecn == CE);
            }
        }
        let [prob_drop, prob_mark, forced_drop, forced_mark, pdrop] = events(&cells);
        assert_eq!((forced_drop, forced_mark, pdrop), (0, 0, 0));
        if ecn == ECT {
            assert_eq!((prob_drop, cells.drops.get()), (0, 0));
            assert!(prob_mark > 1000 && marked > 1000 && marked <= prob_mark && sent > 90_000);
        } else {
            assert_eq!((prob_mark, marked), (0, 0));
            assert!(prob_drop > 1000);
            assert_eq!(cells.drops.get(), prob_drop);
        }
    }
}

#[test]
fn counters_add_up() {
    for (ecn, nodrop, limit) in [(false, false, 90_000), (true, false, 90_000), (true, true, 60_000)] {
        let (mut tree, cells) =
            red(RedParams { ecn, nodrop, limit, max: 60_000, max_p: max_p(0.3), ..params() });
        let mut world = World::new();
        let (mut random, mut sent) = (1u64, 0u64);
        for id in 0..200_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = random >> 33;
            let pkt = TestPkt::new(id, 60 + (word as u32 >> 8) % 1440).ecn((word & 3) as u8);
            sent += 1;
            world.send(&mut tree, pkt);
            world.pass(Duration::from_nanos(word % 1_000_000));
            // About as much leaves as comes, in waves.
            for _ in 0..if id % 4000 < 2000 { word >> 2 & 1 } else { word >> 3 & 2 } {
                world.take(&mut tree);
            }
        }
        let [prob_drop, prob_mark, forced_drop, forced_mark, pdrop] = events(&cells);
        let (early, marked) = (prob_drop + forced_drop, prob_mark + forced_mark);
        assert_eq!(cells.drops.get(), early + pdrop);
        assert_eq!(world.dropped.0.len() as u64, early + pdrop);
        let congested = world.dropped.0.iter().filter(|(_, why)| *why == DropReason::QdiscCongested).count();
        assert_eq!(congested as u64, early);
        assert_eq!(sent, cells.packets.get() + cells.qlen.get() + early + pdrop);
        if nodrop {
            assert!(cells.overlimits.get() > early + marked && early == 0 && pdrop > 0);
        } else {
            assert_eq!(cells.overlimits.get(), early + marked);
            assert!(prob_drop > 0 && forced_drop > 0 && (marked > 0) == ecn);
        }
    }
}

/// The largest probability after each half second in which the queue is so long.
fn adapted(world: &mut World, tree: &mut Tree, cells: &QdiscCells, bytes: u64, steps: usize) -> Vec<u64> {
    pin(world, tree, bytes);
    (0..steps)
        .map(|_| {
            for _ in 0..50 {
                world.pass(Duration::from_millis(10));
                turn(world, tree, TestPkt::new(0, 1000).ecn(ECT));
            }
            red_cells(cells).max_p.get()
        })
        .collect()
}

#[test]
fn the_probability_follows_the_average() {
    // The targets are 54000 and 66000.
    let (mut tree, cells) = red(RedParams { adaptive: true, ecn: true, ..params() });
    let mut world = World::new();
    world.now = Instant::from_secs(1000);
    let up = adapted(&mut world, &mut tree, &cells, 80_000, 60);
    let share = |max_p: u64| max_p as f64 / 4_294_967_296.0;
    for (step, expected) in
        [(0, 0.025), (1, 0.03125), (2, 0.0390625), (3, 0.048828), (4, 0.058828), (5, 0.068828)]
    {
        assert!((share(up[step]) - expected).abs() < 1e-5, "{step}: {}", share(up[step]));
    }
    assert!(
        up.windows(2).all(|pair| pair[1] == pair[0] + PERCENT.min(pair[0] / 4) || pair[0] > 50 * PERCENT)
    );
    let last = *up.last().unwrap();
    assert!(last > 50 * PERCENT && last <= 51 * PERCENT && up[50..].iter().all(|&p| p == last));

    while tree.held().bytes > 60_000 {
        world.take(&mut tree);
    }
    let same = adapted(&mut world, &mut tree, &cells, 60_000, 10);
    assert!(same.iter().all(|&p| p == last), "between the targets it stays");

    while tree.held().bytes > 40_000 {
        world.take(&mut tree);
    }
    let down = adapted(&mut world, &mut tree, &cells, 40_000, 50);
    assert_eq!(down[0], last / 10 * 9);
    assert!(
        down.windows(2).all(|pair| pair[1] == pair[0] / 10 * 9 || pair[0] < PERCENT && pair[0] == pair[1])
    );
    assert!(*down.last().unwrap() < PERCENT && *down.last().unwrap() > PERCENT * 8 / 10);
}

#[test]
fn change_begins_again_with_an_empty_queue() {
    let (mut tree, cells) = red(RedParams { ecn: true, ..params() });
    let mut world = World::new();
    pin(&mut world, &mut tree, 50_000);
    let own = tree.default_child_cells(class(1)).unwrap();
    assert_eq!(own.backlog.get(), 50_000);
    let before = cells.drops.get();
    let smaller = RedParams { limit: 2000, ..params() };
    let dropped = world.apply(&mut tree, &[], QdiscOp::Change(QdiscSpec::Red(smaller)));
    assert_eq!(dropped, Held { packets: 50, bytes: 50_000 });
    assert_eq!((cells.drops.get() - before, cells.qlen.get(), cells.backlog.get()), (50, 0, 0));
    assert_eq!((own.packets.get(), own.qlen.get(), own.backlog.get()), (0, 0, 0), "a new queue");
    world.drops();
    let codes = [0, 1, 2].map(|id| world.send(&mut tree, TestPkt::new(id, 1000)).code);
    assert_eq!(codes, [Xmit::Success, Xmit::Success, Xmit::Drop]);
    assert_eq!((red_cells(&cells).average.get() < 100, events(&cells)[4]), (true, 1));
    assert_eq!(world.drops(), [(2, DropReason::QdiscOverlimit)]);
}

#[test]
fn another_queue_has_its_own_limit() {
    let (mut tree, cells) = red(RedParams { limit: 2000, ..params() });
    let mut world = World::new();
    let (leaf, _) = made(&QdiscSpec::PfifoHeadDrop { limit: 3 });
    world.apply(&mut tree, &[], QdiscOp::Graft(class(1), Some(leaf)));
    let codes = [0, 1, 2, 3].map(|id| world.send(&mut tree, TestPkt::new(id, 5000)).code);
    assert_eq!(codes, [Xmit::Success, Xmit::Success, Xmit::Success, Xmit::Cn]);
    assert_eq!((cells.qlen.get(), cells.drops.get(), events(&cells)), (3, 1, [0, 0, 0, 0, 1]));
    assert_eq!(world.drops(), [(0, DropReason::QdiscOverlimit)]);

    let change = QdiscOp::Change(QdiscSpec::Prio(skiff_dataplane::sched::params::PrioParams {
        bands: 3,
        priomap: [0; 16],
        limit: 1,
    }));
    assert_eq!(world.apply(&mut tree, &[], change), Held::default(), "of another kind");
    assert!(tree.child(class(2)).is_none());
    let dropped = world.apply(&mut tree, &[class(1)], QdiscOp::Change(QdiscSpec::PfifoHeadDrop { limit: 1 }));
    assert_eq!(dropped, Held::default());
    world.run(|cx| tree.reset(cx, DropReason::DevReady));
    assert_eq!(world.drops(), [1, 2, 3].map(|id| (id, DropReason::DevReady)));
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (0, 0, 1));
    world.assert_no_packet_left();
}

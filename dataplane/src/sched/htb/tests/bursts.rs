//! What goes at once after a pause, and when the rest goes.

use super::*;

/// Departures of 60 packets, and what of them left within the first half a gap.
fn burst(mut sim: Sim, class: u16, gap: u64) -> (usize, Vec<u64>) {
    sim.link = None;
    sim.world.now = 100 * SECOND;
    sim.fill(class, FRAME, 60);
    let at = sim.departures();
    assert_eq!(at.len(), 60);
    let at_once = at.iter().filter(|&&at| at < 100 * SECOND + gap / 2).count();
    (at_once, at.windows(2).skip(at_once).map(|pair| pair[1] - pair[0]).collect())
}

/// Of a packet at 1 Mbit/s.
const GAP: u64 = 12_112_000;

#[test]
fn as_many_at_once_as_the_smaller_bucket_holds_and_one() {
    let mega = mbit(1.0);
    for (burst_bytes, cburst, expected) in
        [(15_140, 15_140, 11), (15_140, 1514, 2), (1514, 15_140, 2), (100, 100, 1), (1, 100_000, 1)]
    {
        let sim = Sim::new().class(0, 10, mega.bursts(burst_bytes, cburst));
        let (at_once, gaps) = burst(sim, 10, GAP);
        assert_eq!(at_once, expected, "{burst_bytes} {cburst}");
        assert!(gaps.iter().all(|gap| gap.abs_diff(GAP) <= 1), "{burst_bytes} {cburst}: {gaps:?}");
    }
}

#[test]
fn a_borrower_is_held_to_its_ceiling() {
    let child = mbit(1.0).ceil(2.0).bursts(30_280, 3028);
    let sim = Sim::new().class(0, 1, mbit(10.0)).class(1, 10, child);
    let (at_once, gaps) = burst(sim, 10, GAP / 2);
    assert_eq!(at_once, 3);
    assert!(gaps.iter().all(|gap| gap.abs_diff(GAP / 2) <= 1), "{gaps:?}");
}

#[test]
fn tokens_show_what_is_owed() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0).bursts(1600, 1600));
    assert_eq!((sim.cells(10).tokens.get(), sim.cells(10).ctokens.get()), (200_000, 200_000));
    sim.fill(10, 1600, 3);
    sim.take().unwrap();
    assert_eq!(sim.cells(10).tokens.get(), 0);
    sim.take().unwrap();
    assert_eq!(sim.take(), Err(Some(12_800_000)));
    assert_eq!((sim.cells(10).tokens.get(), sim.cells(10).ctokens.get()), (-200_000, -200_000));
    assert_eq!((sim.cells(10).overlimits.get(), sim.htb.cells().overlimits.get()), (1, 1));
    sim.world.now = 12_800_500;
    sim.take().unwrap();
    let Special::Htb(cells) = &sim.htb.cells().special else { panic!("cells of another") };
    let soonest = cells.event_lag.buckets().next().map(|(_, n)| n);
    assert_eq!((cells.events.get(), cells.event_lag.sum().as_nanos(), soonest), (1, 500, Some(1)));
}

#[test]
fn debts_and_savings_are_bounded_by_a_minute() {
    // A packet that costs 12112 s.
    let mut sim = Sim::new().class(0, 10, mbit(0.000001));
    sim.link = None;
    sim.fill(10, FRAME, 4);
    let at = sim.departures();
    assert_eq!(at.len(), 4);
    let gaps: Vec<u64> = at.windows(2).map(|pair| (pair[1] - pair[0]) / MS).collect();
    assert_eq!(gaps[1..], [60_000, 60_000]);
}

#[test]
fn a_long_pause_is_worth_no_more_than_the_buckets() {
    for pause in [1 << 46, 1 << 47, 1 << 48, 0x0012_3456_789a_bcde] {
        let mut sim = Sim::new().class(0, 10, mbit(1.0).bursts(3028, 3028));
        sim.link = None;
        sim.fill(10, FRAME, 1);
        sim.take().unwrap();
        sim.world.now = pause;
        sim.fill(10, FRAME, 5);
        let at: Vec<u64> = sim.departures().iter().map(|at| at - pause).collect();
        assert_eq!(at, [0, 0, 0, 12_112_000, 24_224_000]);
    }
}

#[test]
fn bursts_that_tc_fills_in() {
    assert_eq!(default_burst(125_000, 1600), 1725);
    assert_eq!(default_burst(8_000, 1600), 1600);
    assert_eq!(default_burst(63_999, 1600), 1600);
    assert_eq!(default_burst(64_000, 1600), 1664);
    assert_eq!(default_burst(125_000_000, 1600), 126_600);
    assert_eq!(default_burst(125_000, 2048), 2173);
}

#[test]
fn quanta_that_tc_fills_in() {
    use crate::sched::htb::params::OddQuantum;
    assert_eq!(default_quantum(8_000, 10), (1000, Some(OddQuantum::Small)));
    assert_eq!(default_quantum(2_500_000, 10), (200_000, Some(OddQuantum::Big)));
    assert_eq!(default_quantum(250_000, 10), (25_000, None));
    assert_eq!(default_quantum(10_000, 10), (1000, None));
    assert_eq!(default_quantum(2_000_000, 10), (200_000, None));
    assert_eq!(default_quantum(1, 0), (1000, Some(OddQuantum::Small)));
}

//! How long packets wait, by samples.

use super::*;

fn waits(sim: &Sim, class: u16) -> (u64, u128) {
    let histogram = &sim.cells(class).sojourn;
    (histogram.buckets().map(|(_, n)| n).sum(), histogram.sum().as_nanos())
}

/// Of a packet at 1 Mbit/s.
const GAP: u64 = 12_112_000;

#[test]
fn the_watched_packet_waits_for_those_before_it() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0).bursts(FRAME.into(), FRAME.into()));
    sim.link = None;
    sim.world.now = SECOND;
    sim.send_all([(10, FRAME); 3].into_iter());
    assert_eq!(sim.departures().len(), 3);
    // The last of the three: the bucket paid for one, and a second came with no token to spare.
    assert_eq!(waits(&sim, 10), (1, u128::from(sim.world.now - SECOND)));
    assert!(sim.world.now - SECOND >= GAP);
}

#[test]
fn one_packet_a_leaf_is_watched_at_a_time_and_a_change_of_the_tree_forgets_it() {
    let mut sim = Sim::new().class(0, 10, mbit(100.0)).class(0, 11, mbit(100.0));
    sim.send_all([(10, FRAME), (11, FRAME)].into_iter());
    sim.send_all([(10, FRAME), (11, FRAME)].into_iter());
    sim.add(0, 12, mbit(1.0));
    sim.departures();
    assert_eq!((waits(&sim, 10).0, waits(&sim, 11).0), (0, 0));
    for _ in 0..8 {
        sim.send_all([(10, FRAME), (11, FRAME)].into_iter());
    }
    sim.departures();
    assert_eq!((waits(&sim, 10).0, waits(&sim, 11).0), (1, 1));
}

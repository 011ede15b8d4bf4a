//! Who gets how much: rates, ceilings, priorities, quanta.

use super::*;

/// A parent of 100 Mbit/s.
fn below_100() -> Sim {
    Sim::new().class(0, 1, mbit(100.0))
}

#[test]
fn what_is_left_over_is_shared_by_quanta() {
    let sim = below_100().class(1, 10, mbit(20.0).ceil(100.0)).class(1, 20, mbit(60.0).ceil(100.0));
    near(&sim.rates(FRAME, &[10, 20]), &[30.0, 70.0], 1.0);

    let a = mbit(20.0).ceil(100.0).r2q(1000);
    let b = mbit(60.0).ceil(100.0).r2q(1000);
    near(&below_100().class(1, 10, a).class(1, 20, b).rates(FRAME, &[10, 20]), &[25.0, 75.0], 1.0);

    let class = mbit(0.001).ceil(100.0);
    let sim = below_100().class(1, 10, class.quantum(1514)).class(1, 20, class.quantum(4542));
    near(&sim.rates(FRAME, &[10, 20]), &[25.0, 75.0], 1.0);
}

#[test]
fn lower_priorities_borrow_first() {
    let sim = below_100().class(1, 10, mbit(10.0).ceil(100.0)).class(1, 20, mbit(10.0).ceil(100.0).prio(1));
    near(&sim.rates(FRAME, &[10, 20]), &[90.0, 10.0], 1.0);
}

#[test]
fn level_beats_priority() {
    let sim = below_100().class(1, 10, mbit(50.0).ceil(100.0).prio(7)).class(1, 20, mbit(0.001).ceil(100.0));
    near(&sim.rates(FRAME, &[10, 20]), &[50.0, 50.0], 1.0);
}

#[test]
fn nothing_to_borrow_at_the_top() {
    near(&[Sim::new().class(0, 10, mbit(10.0).ceil(30.0)).rate(FRAME, 10)], &[10.0], 0.2);
}

#[test]
fn a_ceiling_below_the_rate_wins() {
    near(&[below_100().class(1, 10, mbit(20.0).ceil(10.0)).rate(FRAME, 10)], &[10.0], 0.2);
}

#[test]
fn a_leaf_has_its_rate_whatever_its_parent_has() {
    let sim = Sim::new().class(0, 1, mbit(10.0)).class(1, 10, mbit(20.0).ceil(100.0));
    near(&[sim.rate(FRAME, 10)], &[20.0], 0.2);
    let sim = below_100().class(1, 10, mbit(80.0).ceil(100.0)).class(1, 20, mbit(80.0).ceil(100.0));
    near(&sim.rates(FRAME, &[10, 20]), &[80.0, 80.0], 0.2);
}

#[test]
fn a_ceiling_bounds_what_is_borrowed() {
    near(&[below_100().class(1, 10, mbit(10.0).ceil(30.0)).rate(FRAME, 10)], &[30.0], 0.2);
}

/// The tree of the user guide, a thousand times as fast.
fn guide(inner_ceil: f64, small_ceil: f64) -> Sim {
    below_100()
        .class(1, 2, mbit(40.0).ceil(inner_ceil))
        .class(2, 10, mbit(30.0).ceil(100.0).quantum(3750))
        .class(2, 11, mbit(10.0).ceil(small_ceil).quantum(1250))
        .class(1, 12, mbit(60.0).ceil(100.0))
}

#[test]
fn the_tree_of_the_user_guide() {
    near(&guide(100.0, 100.0).rates(FRAME, &[10, 11, 12]), &[30.0, 10.0, 60.0], 1.0);
    near(&guide(100.0, 100.0).rates(FRAME, &[11, 12]), &[40.0, 60.0], 1.0);
    near(&guide(100.0, 100.0).rates(FRAME, &[10, 12]), &[40.0, 60.0], 1.0);
    // A quantum smaller than a packet counts as a packet: 3750 to 1514 of the 60 Mbit/s left over.
    near(&guide(100.0, 100.0).rates(FRAME, &[10, 11]), &[72.74, 27.26], 0.5);
    near(&guide(60.0, 20.0).rates(FRAME, &[11, 12]), &[20.0, 80.0], 1.0);
    near(&guide(60.0, 20.0).rates(FRAME, &[10, 11]), &[44.25, 15.75], 0.5);
}

#[test]
fn classes_that_borrow_keep_their_turn_while_they_send_on_their_own() {
    // Each of them sends at its own rate between two turns, at very different rates.
    let rates = [1.0, 3.0, 7.0, 13.0];
    let mut sim = below_100();
    for (minor, rate) in (10..).zip(rates) {
        sim.add(1, minor, mbit(rate).ceil(100.0).quantum(20_000));
    }
    let expected = rates.map(|rate| rate + (100.0 - rates.iter().sum::<f64>()) / 4.0);
    near(&sim.rates(FRAME, &[10, 11, 12, 13]), &expected, 1.0);
}

#[test]
fn a_class_with_two_children_takes_turns_with_one_without() {
    // A round among the children of a class is its turn among its siblings.
    let tiny = mbit(0.001).ceil(100.0).quantum(3028);
    let sim = below_100().class(1, 2, tiny).class(2, 10, tiny).class(2, 11, tiny).class(1, 12, tiny);
    near(&sim.rates(FRAME, &[10, 11, 12]), &[100.0 / 3.0; 3], 1.0);
}

#[test]
fn classes_at_the_top_take_turns() {
    let tiny = mbit(0.001).ceil(100.0).quantum(3028);
    let mut sim = Sim::new().class(0, 1, mbit(100.0)).class(1, 10, tiny).class(1, 11, tiny);
    sim = sim.class(0, 2, mbit(100.0)).class(2, 20, tiny).class(2, 21, tiny);
    sim.link = Some(12_500_000);
    near(&sim.rates(FRAME, &[10, 11, 20, 21]), &[25.0; 4], 1.0);
}

#[test]
fn what_is_counted_of_a_class_adds_up() {
    let mut sim = guide(100.0, 100.0);
    [10, 11].into_iter().for_each(|class| sim.fill(class, FRAME, 20));
    sim.measure(0, SECOND, &[]);
    sim.check_counts();
    for leaf in [10, 11] {
        let cells = sim.cells(leaf);
        assert_eq!(cells.packets.get(), cells.lended.get() + cells.borrowed.get());
        assert_eq!(cells.bytes.get(), cells.packets.get() * u64::from(FRAME));
        assert!(cells.lended.get() > 100 && cells.borrowed.get() > 100);
    }
    let bytes = |class| sim.cells(class).bytes.get();
    assert_eq!(bytes(2), bytes(10) + bytes(11));
    assert_eq!(bytes(1), bytes(2));
    assert_eq!(sim.htb.cells().bytes.get(), bytes(1));
    let overlimits: u64 = sim.classes.values().map(|cells| cells.overlimits.get()).sum();
    assert_eq!(sim.htb.cells().overlimits.get(), overlimits);
    assert!(sim.cells(1).overlimits.get() > 1000, "its ceiling is its rate");
    // The root's tokens pay what neither its child nor its grandchildren have.
    let lended: u64 = [1, 2, 10, 11].iter().map(|&class| sim.cells(class).lended.get()).sum();
    assert_eq!(lended, sim.cells(1).packets.get());
    assert_eq!(sim.cells(2).borrowed.get(), sim.cells(1).lended.get());
}

#[test]
fn hysteresis_is_late_and_keeps_the_rates() {
    let mut params = HtbParams { default: 0, r2q: 10, direct_qlen: 1000, hysteresis: true };
    let tree = |params| {
        Sim::with(params).class(0, 1, mbit(100.0)).class(1, 10, mbit(20.0).ceil(100.0)).class(
            1,
            20,
            mbit(60.0).ceil(100.0),
        )
    };
    let mut late = tree(params);
    [10, 20].into_iter().for_each(|class| late.fill(class, FRAME, 20));
    near(&late.measure(2 * SECOND, 10 * SECOND, &[10, 20]), &[30.0, 70.0], 2.0);
    params.hysteresis = false;
    let mut exact = tree(params);
    [10, 20].into_iter().for_each(|class| exact.fill(class, FRAME, 20));
    exact.measure(2 * SECOND, 10 * SECOND, &[]);
    let changes = |sim: &Sim| sim.cells(1).overlimits.get();
    assert!(changes(&late) * 2 < changes(&exact), "{} {}", changes(&late), changes(&exact));
}

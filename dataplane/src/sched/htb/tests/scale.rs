//! Many classes.

use super::*;

#[test]
fn ten_thousand_classes_have_their_rates() {
    const LEAVES: u16 = 10_000;
    let mut sim = Sim::new().class(0, 1, mbit(10_000.0));
    sim.link = Some(5_000_000_000);
    for leaf in 10..10 + LEAVES {
        sim.add(1, leaf, mbit(1.0));
        sim.fill(leaf, FRAME, 2);
    }
    let leaves: Vec<u16> = (10..10 + LEAVES).collect();
    let rates = sim.measure(SECOND / 10, SECOND * 17 / 10, &leaves);
    near(&rates, &vec![1.0; rates.len()], 2.0);
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
    let jain = sum * sum / (squares * rates.len() as f64);
    assert!(jain >= 0.999, "{jain}");
}

#[test]
fn what_is_due_at_once_is_looked_at_in_parts() {
    let mut sim = Sim::new();
    sim.link = None;
    for leaf in 1..=1000 {
        sim.add(0, leaf, mbit(1.0).bursts(1, 1));
        sim.fill(leaf, FRAME, 2);
    }
    for _ in 0..1000 {
        sim.take().unwrap();
    }
    let due = sim.take().unwrap_err().unwrap();
    assert_eq!(due, 12_104_000);
    sim.world.now = 13_000_000;
    // Some of a call's work is to bring them down from the second level of the wheel: a call may come to nothing, and
    // then wants to be made again at once.
    let (mut packets, mut calls) = (0, 0);
    while packets < 1000 {
        let mut list = PktList::new();
        let mut cx = sim.world.cx();
        sim.htb.dequeue_list(&mut cx, 32, &mut list);
        let wake = cx.wake();
        packets += list.len();
        calls += 1;
        assert!(list.len() == 32 || packets == 1000 || wake == Some(Instant::from_nanos(13_000_000)));
    }
    assert!((1000 / 32..100).contains(&calls), "{calls} calls");
    assert!(sim.take().is_err());
}

#[test]
fn all_levels_and_no_more() {
    let mut sim = Sim::new();
    for depth in 1..=8 {
        sim.add(depth - 1, depth, mbit(f64::from(depth)).ceil(100.0));
    }
    assert_eq!(sim.htb.tree.classes[0].level, 7);
    assert_eq!(sim.htb.tree.classes[6].level, 1);
    sim.add(8, 9, mbit(1.0));
    assert!(sim.htb.find(id(9)).is_none());
    // The one at the bottom has 8 Mbit/s of its own, and none above has more.
    near(&[sim.rate(FRAME, 8)], &[8.0], 0.2);
}

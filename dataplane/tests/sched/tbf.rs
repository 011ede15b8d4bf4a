//! tbf.

use std::time::Duration;

use proptest::prelude::*;
use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{LinkLayer, QdiscSpec, TbfParams};
use skiff_dataplane::sched::qdisc::{Held, Xmit};
use skiff_dataplane::time::Instant;

use crate::rig::{TestPkt, Tree, World, class, made};

const MBIT: u64 = 125_000;

fn params(rate: u64, burst: u64, limit: u64) -> TbfParams {
    let (rate_layer, peak_layer) = (LinkLayer::default(), LinkLayer::default());
    TbfParams { rate, burst, limit, peak: None, rate_layer, peak_layer }
}

/// Takes packets at the times that the discipline names until `end`; when and how long.
fn drain(world: &mut World, tree: &mut Tree, end: Instant) -> Vec<(u64, u32)> {
    let mut departures = Vec::new();
    loop {
        while let Some(pkt) = world.take(tree) {
            departures.push((world.now.as_nanos(), pkt.len));
        }
        match world.wake {
            Some(wake) if wake <= end => {
                assert!(wake > world.now);
                world.now = wake;
            }
            _ => return departures,
        }
    }
}

/// The most that left in any time beyond what the rate allows in it, in bytes times 10^9.
fn beyond(rate: u64, departures: &[(u64, u32)], layer: LinkLayer) -> i128 {
    let (mut bytes, mut lowest, mut worst) = (0i128, i128::MAX, 0);
    for &(at, len) in departures {
        let allowed = i128::from(rate) * i128::from(at);
        lowest = lowest.min(bytes * 1_000_000_000 - allowed);
        bytes += i128::from(layer.charged(len));
        worst = worst.max(bytes * 1_000_000_000 - allowed - lowest);
    }
    worst
}

#[test]
fn sends_at_its_rate() {
    for (rate, burst) in [(10 * MBIT, 10 << 10), (400 * MBIT, 128 << 10), (MBIT, 1600)] {
        let mut world = World::new();
        let (mut tree, cells) = made(&QdiscSpec::Tbf(params(rate, burst, 1 << 20)));
        let mut sent = Vec::new();
        for ms in 1..=8000 {
            // Half as much again as may leave.
            for id in 0..rate * 3 / 2 / 1000 / 1000 + 1 {
                world.send(&mut tree, TestPkt::new(id, 1000));
            }
            sent.extend(drain(&mut world, &mut tree, Instant::from_millis(ms)));
            world.now = Instant::from_millis(ms);
        }
        let late: u64 =
            sent.iter().filter(|&&(at, _)| at >= 5_000_000_000).map(|&(_, len)| u64::from(len)).sum();
        let share = late as f64 / (rate * 3) as f64;
        assert!((share - 1.0).abs() < 0.003, "{rate}: {share}");
        assert!(beyond(rate, &sent, LinkLayer::default()) <= i128::from(burst) * 1_000_000_000);
        assert_eq!(cells.packets.get() as usize, sent.len());
        assert!(cells.overlimits.get() > 0 && cells.drops.get() > 0);
    }
}

#[test]
fn what_never_gets_its_tokens_is_dropped() {
    let mut world = World::new();
    let (mut tree, cells) = made(&QdiscSpec::Tbf(params(10 * MBIT, 1500, 1 << 20)));
    for id in 0..10 {
        assert_eq!(world.send(&mut tree, TestPkt::new(id, 1514)).code, Xmit::Drop);
    }
    assert_eq!(world.drops(), (0..10).map(|id| (id, DropReason::QdiscDrop)).collect::<Vec<_>>());
    assert_eq!((cells.drops.get(), cells.qlen.get()), (10, 0));
    assert_eq!(drain(&mut world, &mut tree, Instant::from_secs(10)), []);
    assert_eq!(world.send(&mut tree, TestPkt::new(10, 1500)).code, Xmit::Success);
    assert_eq!(drain(&mut world, &mut tree, Instant::from_secs(10)).len(), 1);

    let peak = TbfParams { peak: Some((20 * MBIT, 1540)), ..params(10 * MBIT, 10_000, 1 << 20) };
    let (mut tree, _) = made(&QdiscSpec::Tbf(peak));
    assert_eq!(world.send(&mut tree, TestPkt::new(0, 1541)).code, Xmit::Drop);
    assert_eq!(world.send(&mut tree, TestPkt::new(1, 1540)).code, Xmit::Success);
}

#[test]
fn the_wait_is_exact() {
    // 1000 bytes at 7 bytes a microsecond: 142857.14 ns.
    let mut world = World::new();
    let (mut tree, cells) = made(&QdiscSpec::Tbf(params(7_000_000, 1000, 10_000)));
    world.now = Instant::from_secs(1);
    world.send_list(&mut tree, (0..3).map(|id| TestPkt::new(id, 1000)));
    assert_eq!(world.take(&mut tree).unwrap().id, 0);
    assert_eq!(world.take(&mut tree), None);
    let wake = Instant::from_nanos(1_000_142_858);
    assert_eq!(world.wake, Some(wake));
    // It is asked again too early: the same answer, and no more of it counted.
    world.now = Instant::from_nanos(1_000_142_857);
    assert_eq!((world.take(&mut tree), world.wake, cells.overlimits.get()), (None, Some(wake), 1));
    world.now = wake;
    assert_eq!(world.take(&mut tree).unwrap().id, 1);
    assert_eq!((cells.qlen.get(), cells.backlog.get()), (1, 1000));
}

#[test]
fn a_peak_rate_bounds_bursts() {
    let peak = TbfParams { peak: Some((20 * MBIT, 1500)), ..params(10 * MBIT, 30_000, 1 << 20) };
    let mut world = World::new();
    let (mut tree, _) = made(&QdiscSpec::Tbf(peak));
    for id in 0..100 {
        world.send(&mut tree, TestPkt::new(id, 1500));
    }
    let sent = drain(&mut world, &mut tree, Instant::from_secs(10));
    assert_eq!(sent.len(), 100);
    assert_eq!(beyond(10 * MBIT, &sent, LinkLayer::default()), 30_000 * 1_000_000_000);
    assert_eq!(beyond(20 * MBIT, &sent, LinkLayer::default()), 1500 * 1_000_000_000);
    // 600 us each, until the burst is used up: then 1200 us.
    assert_eq!(sent[1].0 - sent[0].0, 600_000);
    assert_eq!(sent[99].0 - sent[98].0, 1_200_000);
}

#[test]
fn the_link_layer_counts() {
    let layer = LinkLayer { overhead: 10, mpu: 100, atm: true };
    let params = TbfParams { rate_layer: layer, ..params(53_000, 1600, 1 << 20) };
    let mut world = World::new();
    let (mut tree, _) = made(&QdiscSpec::Tbf(params));
    // 10 + 1600 bytes are 34 cells; 10 + 40 are 100, which is 3.
    world.send_list(&mut tree, [TestPkt::new(0, 1600), TestPkt::new(1, 40), TestPkt::new(2, 40)]);
    let sent = drain(&mut world, &mut tree, Instant::from_secs(10));
    assert_eq!(sent, [(0, 1600), (3_000_000, 40), (6_000_000, 40)]);
}

#[test]
fn change_keeps_what_waits_and_fills_the_bucket() {
    let mut world = World::new();
    let (mut tree, cells) = made(&QdiscSpec::Tbf(params(1000, 1000, 5000)));
    world.send_list(&mut tree, (0..6).map(|id| TestPkt::new(id, 1000)));
    assert_eq!((cells.qlen.get(), cells.drops.get()), (5, 1));
    assert_eq!(drain(&mut world, &mut tree, Instant::ZERO).len(), 1);
    let faster = QdiscOp::Change(QdiscSpec::Tbf(params(1000, 2000, 3000)));
    assert_eq!(world.apply(&mut tree, &[], faster), Held::default());
    assert_eq!(drain(&mut world, &mut tree, Instant::ZERO).len(), 2, "a full bucket");
    world.send_list(&mut tree, (6..9).map(|id| TestPkt::new(id, 1000)));
    assert_eq!((cells.qlen.get(), cells.drops.get()), (3, 3), "the new limit");
    // Longer than the new burst, but they were let in: they leave.
    world.apply(&mut tree, &[], QdiscOp::Change(QdiscSpec::Tbf(params(1000, 100, 3000))));
    assert_eq!(drain(&mut world, &mut tree, Instant::from_secs(10)).len(), 3);
}

#[test]
fn a_packet_looked_at_counts_until_it_leaves() {
    let mut world = World::new();
    let (mut tree, cells) = made(&QdiscSpec::Tbf(params(1000, 1000, 5000)));
    let (leaf, leaf_cells) = made(&QdiscSpec::Pfifo { limit: 3 });
    world.apply(&mut tree, &[], QdiscOp::Graft(class(1), Some(leaf)));
    world.send_list(&mut tree, (0..3).map(|id| TestPkt::new(id, 1000)));
    assert_eq!(world.take(&mut tree).unwrap().id, 0);
    assert_eq!(world.take(&mut tree), None);
    assert_eq!((cells.qlen.get(), cells.backlog.get(), leaf_cells.qlen.get()), (2, 2000, 1));
    // It goes with the discipline it came from.
    let dropped = world.apply(&mut tree, &[], QdiscOp::Graft(class(1), None));
    assert_eq!(dropped, Held { packets: 2, bytes: 2000 });
    assert_eq!(world.drops(), [(1, DropReason::QdiscDrop), (2, DropReason::QdiscDrop)]);
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (0, 0, 2));
    world.assert_no_packet_left();
}

/// When packets that came at these times may leave at the earliest.
fn earliest(params: &TbfParams, arrivals: &[(u64, u32)]) -> Vec<(u64, u32)> {
    let bucket = |(rate, burst): (u64, u64), layer: LinkLayer| {
        (u128::from(rate), u128::from(layer.charged(burst as u32)) * 1_000_000_000, layer)
    };
    let mut buckets = vec![bucket((params.rate, params.burst), params.rate_layer)];
    buckets.extend(params.peak.map(|peak| bucket(peak, params.peak_layer)));
    let mut tokens: Vec<u128> = buckets.iter().map(|&(_, size, _)| size).collect();
    let mut now = 0;
    let mut departures = Vec::new();
    for &(arrival, len) in arrivals {
        let costs: Vec<u128> =
            buckets.iter().map(|(.., layer)| u128::from(layer.charged(len)) * 1_000_000_000).collect();
        let wait = |(((rate, _, _), tokens), cost): ((&(u128, u128, LinkLayer), &u128), &u128)| {
            cost.saturating_sub(*tokens).div_ceil(*rate)
        };
        let after = buckets.iter().zip(&tokens).zip(&costs).map(wait).max().unwrap();
        let at = (now + after).max(u128::from(arrival));
        for (((rate, size, _), tokens), cost) in buckets.iter().zip(&mut tokens).zip(&costs) {
            *tokens = (*tokens + rate * (at - now)).min(*size) - cost;
        }
        now = at;
        departures.push((at as u64, len));
    }
    departures
}

proptest! {
    /// Never more than the buckets allow, and each packet as early as they do.
    #[test]
    fn conforms_exactly(
        rate in 1_000u64..20_000_000_000,
        burst in 1500u64..100_000,
        peak in prop::option::of((1_000u64..20_000_000_000, 1500u64..3000)),
        overhead in -20i16..40,
        arrivals in prop::collection::vec((0u64..3_000_000, 1u32..1500), 1..300),
    ) {
        let rate_layer = LinkLayer { overhead, ..LinkLayer::default() };
        let params = TbfParams { peak, rate_layer, ..params(rate, burst, 100_000) };
        let mut world = World::new();
        let (mut tree, cells) = made(&QdiscSpec::Tbf(params));
        let mut sent = Vec::new();
        let (mut at, mut accepted) = (Instant::ZERO, Vec::new());
        for (id, &(gap, len)) in arrivals.iter().enumerate() {
            at = at + Duration::from_nanos(gap);
            sent.extend(drain(&mut world, &mut tree, at));
            world.now = at;
            if world.send(&mut tree, TestPkt::new(id as u64, len)).code == Xmit::Success {
                accepted.push((at.as_nanos(), len));
            }
        }
        sent.extend(drain(&mut world, &mut tree, Instant::from_nanos(u64::MAX / 2)));
        prop_assert_eq!(&sent, &earliest(&params, &accepted));
        prop_assert_eq!(sent.len() as u64 + cells.drops.get(), arrivals.len() as u64);
        let size = |layer: LinkLayer, burst: u64| i128::from(layer.charged(burst as u32)) * 1_000_000_000;
        prop_assert!(beyond(rate, &sent, rate_layer) <= size(rate_layer, burst));
        if let Some((rate, burst)) = peak {
            prop_assert!(beyond(rate, &sent, LinkLayer::default()) <= size(LinkLayer::default(), burst));
        }
    }
}

//! Trees of all kinds under random traffic and changes: no packet is lost or doubled, and every level knows exactly what is
//! in it.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{LinkLayer, PrioParams, QdiscSpec, RedParams, TbfParams};
use skiff_dataplane::sched::qdisc::{Held, Qdisc};

use crate::rig::{TestPkt, Tree, World, class, made};

#[derive(Clone, Debug)]
enum Step {
    Send { len: u32, priority: u32, ecn: u8 },
    SendList(u32, usize),
    Take,
    TakeList(usize),
    Pass(u64),
    Change(Vec<u16>, QdiscSpec),
    Graft(Vec<u16>, u16, Option<QdiscSpec>),
    Reset,
}

fn spec() -> impl Strategy<Value = QdiscSpec> {
    let red = |(limit, min, wlog, flags, p): (u32, u32, u8, u8, u64)| {
        QdiscSpec::Red(RedParams {
            limit,
            min,
            max: 2 * min,
            wlog,
            avpkt: 1000,
            bandwidth: 1_250_000,
            max_p: p,
            ecn: flags & 1 != 0,
            harddrop: flags & 2 != 0,
            nodrop: flags & 4 != 0,
            adaptive: flags & 8 != 0,
            gentle: flags & 16 != 0,
        })
    };
    let tbf = |(rate, burst, limit, peak): (u64, u64, u64, Option<(u64, u64)>)| {
        let (rate_layer, peak_layer) = (LinkLayer::default(), LinkLayer::default());
        QdiscSpec::Tbf(TbfParams { rate, burst, limit, peak, rate_layer, peak_layer })
    };
    let bytes = 0u32..20_000;
    let peak = prop::option::of((1_000_000u64..1_000_000_000, 500u64..1600));
    prop_oneof![
        (0u32..20).prop_map(|limit| QdiscSpec::Pfifo { limit }),
        bytes.clone().prop_map(|limit| QdiscSpec::Bfifo { limit }),
        (0u32..20).prop_map(|limit| QdiscSpec::PfifoHeadDrop { limit }),
        (0u32..20).prop_map(|limit| QdiscSpec::PfifoFast { limit }),
        (2u8..=16, prop::array::uniform16(0u8..16), 0u32..20)
            .prop_map(|(bands, priomap, limit)| QdiscSpec::Prio(PrioParams { bands, priomap, limit })),
        (1_000_000u64..1_000_000_000, 500u64..10_000, 0u64..20_000, peak).prop_map(tbf),
        (bytes.clone(), bytes, 1u8..8, 0u8..32, 0u64..=1 << 32).prop_map(red),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let path = || prop::collection::vec(1u16..4, 0..3);
    let priority = || prop_oneof![0u32..32, (1u16..18).prop_map(|minor| class(minor).0)];
    prop_oneof![
        20 => (0u32..1600, priority(), 0u8..4)
            .prop_map(|(len, priority, ecn)| Step::Send { len, priority, ecn }),
        4 => (0u32..1600, 0usize..=32).prop_map(|(len, count)| Step::SendList(len, count)),
        6 => Just(Step::Take),
        2 => (0usize..=40).prop_map(Step::TakeList),
        6 => (0u64..3_000_000).prop_map(Step::Pass),
        1 => (0u64..3_000_000_000).prop_map(Step::Pass),
        2 => (path(), spec()).prop_map(|(path, spec)| Step::Change(path, spec)),
        3 => (path(), 1u16..6, prop::option::weighted(0.8, spec()))
            .prop_map(|(path, class, spec)| Step::Graft(path, class, spec)),
        1 => Just(Step::Reset),
    ]
}

/// Checks that a level holds what is below it. The packet that a tbf looks at is its own.
fn check(qdisc: &mut (dyn Qdisc<TestPkt> + 'static)) {
    let held = qdisc.held();
    let mut below = Held::default();
    let mut children = 0;
    for minor in 1..=16 {
        if let Some(child) = qdisc.child(class(minor)) {
            check(child);
            below += child.held();
            children += 1;
        }
    }
    let looked_at = held.packets.wrapping_sub(below.packets);
    match children {
        0 => assert!(held.packets > 0 || held.bytes == 0, "{held:?}"),
        1 => assert!(looked_at == 0 && held.bytes == below.bytes || looked_at == 1, "{held:?} {below:?}"),
        _ => assert_eq!(held, below),
    }
}

struct Traffic {
    world: World,
    tree: Tree,
    sent: u64,
    inside: HashSet<u64>,
    bytes: u64,
}

impl Traffic {
    fn pkt(&mut self, len: u32, priority: u32, ecn: u8) -> TestPkt {
        self.sent += 1;
        self.inside.insert(self.sent);
        self.bytes += u64::from(len);
        TestPkt::new(self.sent, len).priority(priority).ecn(ecn)
    }

    fn left(&mut self, pkts: impl IntoIterator<Item = TestPkt>) {
        for pkt in pkts {
            assert!(self.inside.remove(&pkt.id), "{pkt:?} twice");
            self.bytes -= u64::from(pkt.len);
        }
    }

    fn step(&mut self, step: Step) {
        let path = |path: Vec<u16>| path.into_iter().map(class).collect::<Vec<TcHandle>>();
        match step {
            Step::Send { len, priority, ecn } => {
                let (pkt, before) = (self.pkt(len, priority, ecn), self.tree.held());
                let enqueued = self.world.send(&mut self.tree, pkt);
                let after = self.tree.held();
                assert_eq!(after.packets as i64 - before.packets as i64, enqueued.packets.into());
                assert_eq!(after.bytes as i64 - before.bytes as i64, enqueued.bytes.into());
            }
            Step::SendList(len, count) => {
                let pkts: Vec<TestPkt> = (0..count).map(|i| self.pkt(len, i as u32, 2)).collect();
                self.world.send_list(&mut self.tree, pkts);
            }
            Step::Take => {
                let pkt = self.world.take(&mut self.tree);
                if pkt.is_none() && !self.inside.is_empty() {
                    assert!(
                        self.world.wake.is_some_and(|wake| wake > self.world.now),
                        "nobody would ask again"
                    );
                }
                self.left(pkt);
            }
            Step::TakeList(most) => {
                let pkts = self.world.take_list(&mut self.tree, most);
                assert!(pkts.len() <= most);
                self.left(pkts);
            }
            Step::Pass(nanos) => self.world.pass(Duration::from_nanos(nanos)),
            Step::Change(at, spec) => {
                self.changed(&path(at), QdiscOp::Change(spec));
            }
            Step::Graft(at, below, spec) => {
                let new = spec.map(|spec| made(&spec).0);
                self.changed(&path(at), QdiscOp::Graft(class(below), new));
            }
            Step::Reset => {
                let drops = self.tree.cells().drops.get();
                self.world.run(|cx| self.tree.reset(cx, DropReason::QdiscDrop));
                assert_eq!((self.tree.held(), self.tree.cells().drops.get()), (Held::default(), drops));
            }
        }
        let dropped = std::mem::take(&mut self.world.dropped.0);
        self.left(dropped.into_iter().map(|(pkt, _)| pkt));
        let inside = Held { packets: self.inside.len() as u64, bytes: self.bytes };
        assert_eq!(self.tree.held(), inside);
        check(self.tree.as_mut());
    }

    fn changed(&mut self, path: &[TcHandle], op: QdiscOp<TestPkt>) {
        let (held, drops) = (self.tree.held(), self.tree.cells().drops.get());
        let dropped = self.world.apply(&mut self.tree, path, op);
        assert_eq!(dropped.packets, self.world.dropped.0.len() as u64);
        let after = self.tree.held();
        assert_eq!(
            (held.packets - after.packets, held.bytes - after.bytes),
            (dropped.packets, dropped.bytes)
        );
        assert_eq!(self.tree.cells().drops.get() - drops, dropped.packets);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_level_is_exact(root in spec(), steps in prop::collection::vec(step(), 1..200), places in 20usize..200) {
        let (world, tree) = (World::with_places(places), made(&root).0);
        let mut traffic = Traffic { world, tree, sent: 0, inside: HashSet::new(), bytes: 0 };
        for step in steps {
            traffic.step(step);
        }
        traffic.step(Step::Reset);
        traffic.world.assert_no_packet_left();
    }
}

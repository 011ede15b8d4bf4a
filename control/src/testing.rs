//! A router of plain memory with known numbers in it, for the tests of metrics and shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use skiff_dataplane::core::counters::Mib;
use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::histogram::TimeHistogram;
use skiff_dataplane::core::qsbr::Qsbr;
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::fib::FibWriter;
use skiff_dataplane::neigh::cache::Counters;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::neigh::table::NeighTable;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};
use skiff_dataplane::netfilter::ip_tables::rule::RuleCounters;
use skiff_dataplane::netfilter::queue::NfQueue;
use skiff_dataplane::sched::cells::Special;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::time::Instant;
use skiff_pmd::{Link, PortId, PortStats};

use crate::facts::*;
use crate::tc::{Device, Devices, Picture, Tree};

/// A loopback and these devices, on ports 0 and up; `lcores` workers that have done nothing.
pub fn idle(lcores: usize, names: &[&str]) -> Arc<Shared> {
    let device = |(port, name): (u16, &&str)| NetDevice {
        ifindex: IfIndex(port + 2),
        name: (*name).to_owned(),
        kind: DeviceKind::Port(PortId(port)),
        up: true,
        carrier: true,
        ..NetDevice::loopback()
    };
    let devices = std::iter::once(NetDevice::loopback()).chain((0..).zip(names).map(device));
    let snapshot = Snapshot::new(7, devices, Sysctl::default(), false);
    let qsbr = Arc::new(Qsbr::new(lcores));
    let fib = FibWriter::new(1, Arc::clone(&qsbr)).unwrap();
    let (neigh, _writer) = NeighTable::with_writer(16);
    Arc::new(Shared::new(lcores, snapshot, qsbr, Arc::clone(fib.fib()), neigh, 0))
}

/// Two workers that moved 110 packets between `lan0` and `wan0`: 110 + 3 = 95 + 11 + 5 + 2 held.
pub fn busy() -> Arc<Shared> {
    let shared = idle(2, &["lan0", "wan0"]);
    let (a, b, control) = (shared.cells(0), shared.cells(1), shared.control_cells());
    a.rx.add(100);
    a.busy_cycles.add(50_000);
    a.idle_cycles.add(30_000);
    a.sleep_cycles.add(20_000);
    a.polls.add(40);
    a.empty_polls.add(34);
    a.interrupt_wakeups.add(3);
    a.last_quiescent_tsc.set(1_000_000);
    [32, 32, 32, 2, 1, 1].into_iter().for_each(|n| a.count_burst(n));
    a.tx.add(90);
    a.delivered.add(5);
    a.created.add(1);
    a.node(Node::IpForward).packets.add(90);
    a.node(Node::IpForward).batches.add(6);
    a.count_drop(Node::IpRcv, DropReason::IpCsum, 2, 120);
    a.count_drop(Node::IpForward, DropReason::IpInhdr, 1, 60);
    a.rx_queue(0, 0).packets.add(100);
    a.rx_queue(0, 0).set_used(5);
    a.loops.record(900);
    a.tx_queue(1, 0).packets.add(90);
    a.device(IfIndex(2)).rx_packets.add(100);
    a.device(IfIndex(2)).rx_bytes.add(6400);
    a.device(IfIndex(3)).tx_packets.add(90);
    a.mib(Mib::IpForwDatagrams).add(91);
    a.mib(Mib::IcmpOutRateLimitHost).add(4);
    a.icmp_out(11).add(1);
    a.icmp_out(40).add(2);
    b.rx.add(10);
    b.tx.add(5);
    b.count_burst(10);
    b.count_drop(Node::IpRcv, DropReason::IpCsum, 4, 240);
    // A pair no stage owns up to.
    b.count_drop(Node::Poll, DropReason::Nomem, 1, 64);
    b.rx_queue(0, 1).packets.add(10);
    b.device(IfIndex(2)).rx_packets.add(10);
    b.mib(Mib::IpForwDatagrams).add(9);
    a.hook(Hook::Forward, Fate::Accepted).add(80);
    b.hook(Hook::Forward, Fate::Accepted).add(9);
    shared.listener_cells().hook(Hook::Forward, Fate::Dropped).add(1);
    shared.set_nf_queues(BTreeMap::from([(7, Arc::new(queue()))]));
    control.created.add(2);
    control.count_drop(Node::NeighResolve, DropReason::NeighFailed, 3, 180);
    shared
}

/// Queue 7, whose listener has answered for all packets.
fn queue() -> NfQueue {
    let queue = NfQueue::new(7);
    queue.peer.store(4711, Relaxed);
    queue.copy_mode.store(2, Relaxed);
    queue.copy_range.store(65535, Relaxed);
    queue.queued.store(1 << 32 | 30, Relaxed);
    queue.dropped.store(4, Relaxed);
    queue.user_dropped.store(5, Relaxed);
    queue.failed_open.store(6, Relaxed);
    queue
}

/// A histogram of these durations, in nanoseconds.
fn histogram(nanos: &[u64]) -> Arc<TimeHistogram> {
    let histogram = TimeHistogram::default();
    nanos.iter().for_each(|&nanos| histogram.record(nanos));
    Arc::new(histogram)
}

/// Facts that go with [`busy`].
pub fn facts() -> Facts {
    let lan = InterfaceNeighbours {
        interface: "lan0".into(),
        entries: BTreeMap::from([(Nud::Reachable, 2), (Nud::Incomplete, 1)]),
        hold_packets: 2,
        failures: 3,
    };
    Facts {
        build: BuildFacts {
            version: "0.1.0".into(),
            revision: "abc".into(),
            rustc: "1.95.0".into(),
            dpdk: "22.11".into(),
        },
        start_time: 1_700_000_000.0,
        tsc: TscFacts { hertz: 1_000_000, now: 3_000_000, unix_now: 1_700_000_100.0 },
        config: ConfigFacts {
            applied_at: 1_700_000_001.5,
            last_ok: false,
            applied: 2,
            refused: 1,
            rolled_back: 0,
        },
        features: vec![("hugepages", true), ("rx_interrupt", false)],
        lcores: vec![LcoreFacts { cpu: Some(4), numa_node: Some(0) }, LcoreFacts::default()],
        bonds: vec![bond()],
        trees: vec![("wan0".into(), tree())],
        ports: vec![port(0, "lan0"), port(1, "wan0")],
        pools: vec![PoolFacts {
            name: "mbufs".into(),
            socket: Some(0),
            capacity: 16383,
            in_use: 1000,
            alloc_failures: 6,
            data_room: 2048,
        }],
        fib: FibFacts {
            routes: vec![("connected", 2), ("static", 3)],
            updates: vec![("add", 6), ("replace", 0), ("delete", 1)],
            update_time: histogram(&[300, 40_000]),
            tbl8_groups: 1,
            tbl8_limit: 1024,
            memory_bytes: 64 << 20,
            nexthop_groups: 1,
        },
        neighbours: NeighbourFacts {
            capacity: 1024,
            memory_bytes: 80 << 10,
            counters: Counters { res_failed: 3, unres_discards: 8, table_fulls: 9, ..Counters::default() },
            interfaces: vec![lan],
        },
        sets: vec![("blocked".into(), 12)],
        grace_period: histogram(&[2_000_000]),
        multicast: MulticastFacts {
            entries: vec![("static", 1), ("proxy", 2), ("unresolved", 0)],
            interfaces: vec![VifFacts { interface: "lan0".into(), packets_in: 5, ..VifFacts::default() }],
            upcalls: vec![("no_cache", 3), ("wrong_interface", 4)],
            queriers: vec![("lan0".into(), 2, true)],
            igmp_in: 7,
            igmp_out: 8,
            igmp_malformed: 1,
        },
        chains: vec![
            chain("FORWARD", Some("DROP"), &[("", 3), ("web \"shop\"", 5)]),
            chain("lan", None, &[("", 2)]),
        ],
        memory: MemoryFacts { eal_bytes: 256 << 20, hugepages: true },
    }
}

/// One device, for commands of tc.
struct OneDevice;

impl Devices for OneDevice {
    fn find(&self, name: &str) -> Option<Device> {
        self.all().into_iter().find(|dev| dev.name == name)
    }

    fn all(&self) -> Vec<Device> {
        vec![Device { index: IfIndex(2), name: "wan0".into(), mtu: 1500, speed: None }]
    }
}

/// A tree of disciplines: prio, one band of it htb with a class that has red below it.
fn tree() -> Arc<Tree> {
    let commands = "qdisc add dev wan0 root handle 1: prio\nqdisc add dev wan0 parent 1:2 handle 2: htb\n\
                    class add dev wan0 parent 2: classid 2:1 htb rate 8mbit ceil 16mbit\n\
                    class add dev wan0 parent 2:1 classid 2:10 htb rate 8mbit\n\
                    qdisc add dev wan0 parent 2:10 handle 3: red limit 400k avpkt 1000 bandwidth 10mbit ecn\n";
    let mut picture = Picture::default();
    crate::tc::load(commands, &mut picture, &OneDevice, Instant::ZERO).expect("good commands");
    let tree = picture.trees().next().map(|(_, tree)| Arc::clone(tree)).expect("a tree");
    let class = &tree.htb_class(TcHandle::new(2, 0x10)).expect("the class").cells;
    for (counter, n) in
        [(&class.packets, 5), (&class.lended, 3), (&class.borrowed, 2), (&class.drops, 10), (&class.qlen, 6)]
    {
        counter.add(n);
    }
    let qdisc = tree.qdisc(TcHandle::new(3, 0)).expect("red").cells();
    qdisc.bytes.add(4000);
    if let Special::Red(red) = &qdisc.special {
        for (counter, n) in [
            (&red.prob_drop, 1),
            (&red.forced_drop, 2),
            (&red.pdrop, 3),
            (&red.prob_mark, 4),
            (&red.average, 999),
        ] {
            counter.add(n);
        }
        red.max_p.set(1 << 31);
    }
    tree
}

/// A bond in mode 802.3ad with one member in step.
fn bond() -> BondFacts {
    let member = BondMemberFacts {
        name: "lan0".into(),
        active: true,
        up: true,
        link_failures: 2,
        lacp: Some((11, 12, 63, 15)),
        aggregator: Some(1),
    };
    BondFacts { name: "bond0".into(), failovers: 3, members: vec![member] }
}

/// A chain of the filter table whose policy, if it has one, has met a packet. All packets have 100 bytes.
pub fn chain(name: &str, policy: Option<&'static str>, rules: &[(&str, u64)]) -> ChainFacts {
    let counters = |packets| RuleCounters { packets, bytes: packets * 100 };
    ChainFacts {
        table: "filter",
        name: name.to_owned(),
        policy: policy.map(|policy| (policy, counters(1))),
        rules: rules.iter().map(|&(comment, packets)| (comment.to_owned(), counters(packets))).collect(),
    }
}

/// A port with two receive queues, of lcores 0 and 1, and one transmit queue of lcore 0.
pub fn port(id: u16, name: &str) -> PortFacts {
    let queue = |lcore| QueueFacts { lcore: Some(lcore), descriptors: 512 };
    PortFacts {
        id: PortId(id),
        name: name.to_owned(),
        driver: "net_e1000_igb".into(),
        device: format!("0000:00:0{id}.0"),
        mac: format!("02:00:00:00:00:0{id}"),
        numa_node: None,
        mtu: 1500,
        admin_up: true,
        link: Link { up: id == 0, speed_mbps: if id == 0 { 1000 } else { u32::MAX }, full_duplex: true },
        carrier_changes: 1,
        xstats: vec![("rx_good_packets".into(), 110)],
        stats: PortStats { ipackets: 110, ibytes: 7040, imissed: 12, ..PortStats::default() },
        rx_queues: vec![queue(0), queue(1)],
        tx_queues: vec![queue(0)],
    }
}

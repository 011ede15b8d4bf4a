//! A router with three ports, driven packet by packet under a virtual clock: frames in, and out come the frames it
//! sent, why it dropped the others, and what it counted. EAL starts once in a process, so every test needs a process
//! of its own: run them with `cargo nextest run`.
//!
//! | port | address     | neighbour        |
//! |------|-------------|------------------|
//! | r1   | 10.1.0.1/24 | 10.1.0.2 (host)  |
//! | r2   | 10.2.0.1/24 | 10.2.0.2 (host)  |
//! | r3   | 10.3.0.1/24 | 10.3.0.2 (host)  |
//!
//! When a [`Rig`] is dropped, the law of conservation must hold and every mbuf must be back in its pool.

#![allow(dead_code, unused_imports)]

pub mod bonds;
pub mod frames;
pub mod vlans;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use skiff_dataplane::core::capture::Captures;
use skiff_dataplane::core::counters::{LcoreCells, Mib};
use skiff_dataplane::core::drop_reason::{DropReason, Node, Node::*};
use skiff_dataplane::core::env::{Env, Hands};
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::core::qsbr::Qsbr;
use skiff_dataplane::core::shared::{RunState, Shared, ToControl, ToLcore};
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::core::trace::TraceArm;
use skiff_dataplane::core::xmit::{TxPath, TxTable};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
use skiff_dataplane::fib::next_hop::{NextHopSpec, NextHopWriter};
use skiff_dataplane::fib::{FibWriter, NextHopId};
use skiff_dataplane::ipv4::ip_frag;
use skiff_dataplane::neigh::cache::{GcParams, NeighCache, SetMode};
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::neigh::proxies::ProxyAddresses;
use skiff_dataplane::neigh::table::{NeighId, coarse};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookEntry, HookFn, Hooks};
use skiff_dataplane::netfilter::queue::Queued;
use skiff_dataplane::sched::tree;
use skiff_dataplane::skb::{Skb, SkbList};
use skiff_dataplane::time::Instant;
use skiff_pmd::{
    Eal, EalConfig, Hugepages, Pool, PoolConfig, Port, PortConfig, PortId, RxQueue, TxQueue, tsc_hz,
};

pub use frames::{Frame, Ip, Seen, mac};

/// The router's ports.
pub const R1: usize = 0;
pub const R2: usize = 1;
pub const R3: usize = 2;
/// Ports of the router.
pub const PORTS: usize = 3;

/// Device number of port `port`.
pub fn dev(port: usize) -> IfIndex {
    IfIndex(port as u16 + 2)
}

/// An address from its text.
pub fn ip(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().unwrap().to_bits()
}

/// What one [`Rig::send`] led to.
pub struct Out {
    /// Frames sent, by port, in order.
    pub wire: [Vec<Vec<u8>>; PORTS],
    /// Packets dropped.
    pub drops: BTreeMap<(Node, DropReason), u64>,
    /// Growth of the counters that grew.
    pub mib: BTreeMap<&'static str, u64>,
    /// Messages to the control thread but packets that wait for a neighbour, as text.
    pub control: Vec<String>,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (port, frames) in self.wire.iter().enumerate() {
            for frame in frames {
                let hex: String = frame.iter().take(80).map(|b| format!("{b:02x}")).collect();
                writeln!(f, "r{}: {} bytes {hex}", port + 1, frame.len())?;
            }
        }
        writeln!(f, "drops {:?}\nmib {:?}\ncontrol {:?}", self.drops, self.mib, self.control)
    }
}

impl Out {
    /// The one frame there is, on `port`, read.
    #[track_caller]
    pub fn only(&self, port: usize) -> Seen {
        let sent = self.sent();
        assert_eq!((sent, self.wire[port].len()), (1, 1), "one frame by port {port}: {self:?}");
        Seen::read(&self.wire[port][0])
    }

    /// Frames sent by `port`, read.
    #[track_caller]
    pub fn all(&self, port: usize) -> Vec<Seen> {
        self.wire[port].iter().map(|frame| Seen::read(frame)).collect()
    }

    /// Frames sent in all.
    pub fn sent(&self) -> usize {
        self.wire.iter().map(Vec::len).sum()
    }

    /// How much `mib` grew.
    pub fn grew(&self, mib: Mib) -> u64 {
        self.mib.get(mib.name()).copied().unwrap_or(0)
    }

    /// Asserts that exactly these packets were dropped.
    #[track_caller]
    pub fn dropped(&self, want: &[(Node, DropReason, u64)]) -> &Self {
        let want: BTreeMap<_, _> = want.iter().map(|&(node, reason, n)| ((node, reason), n)).collect();
        assert_eq!(self.drops, want, "{self:?}");
        self
    }

    /// Asserts that one packet was dropped, and how.
    #[track_caller]
    pub fn drop_of(&self, node: Node, reason: DropReason) -> &Self {
        self.dropped(&[(node, reason, 1)])
    }

    /// Asserts that nothing was dropped.
    #[track_caller]
    pub fn no_drops(&self) -> &Self {
        self.dropped(&[])
    }

    /// Asserts that nothing was sent.
    #[track_caller]
    pub fn silent(&self) -> &Self {
        assert_eq!(self.sent(), 0, "{self:?}");
        self
    }

    /// Asserts the growth of these counters; others may have grown.
    #[track_caller]
    pub fn counted(&self, want: &[(Mib, u64)]) -> &Self {
        for &(mib, n) in want {
            assert_eq!(self.grew(mib), n, "{mib}: {self:?}");
        }
        self
    }
}

/// Where a route goes.
pub enum To<'a> {
    /// Gateway and port.
    Via(&'a str, usize),
    /// The same with an MTU of its own.
    Narrow(&'a str, usize, u16),
    /// Several gateways with weights.
    Paths(&'a [(&'a str, usize, u16)]),
    /// The same, packet by packet.
    Turns(&'a [(&'a str, usize, u16)]),
    /// As it stands.
    Spec(NextHopSpec),
}

/// The router.
pub struct Rig {
    pub worker: Worker,
    pub shared: Arc<Shared>,
    pub snap: Arc<Snapshot>,
    pub devices: Vec<NetDevice>,
    pub sysctl: Sysctl,
    pub hooks: Hooks,
    /// Taken over by [`Rig::configure`].
    pub captures: Captures,
    /// Taken over by [`Rig::configure`].
    pub proxies: ProxyAddresses,
    /// The same. With `SKIFF_TRACE_ALL` in the environment every packet of every test is traced, and nothing may come
    /// out otherwise.
    pub trace: Option<Arc<TraceArm>>,
    pub fib: FibWriter,
    pub hops: NextHopWriter,
    pub neigh: NeighCache<Skb>,
    pub now: Instant,
    /// Packets waiting for a neighbour.
    pub held: Vec<(IfIndex, u32, Skb)>,
    /// Packets waiting for the listener of a queue.
    pub queued: Vec<Queued>,
    /// Packets a test took over from the control thread's queue.
    pub held_outside: Vec<Skb>,
    /// Where injected packets come from.
    pub rx_pool: Pool,
    /// Where the router's own packets come from.
    pub own_pool: Pool,
    pub feed: Vec<TxQueue>,
    pub wire: Vec<RxQueue>,
    _ports: Vec<Port>,
    pub eal: Eal,
}

impl Rig {
    /// The router with one worker.
    pub fn new() -> Rig {
        Rig::with(1, 2047)
    }

    /// The router for `lcores` workers of which this drives the first, with pools of `mbufs` each.
    pub fn with(lcores: usize, mbufs: u32) -> Rig {
        // Ports 0 to 2 bring the router's packets: what a test sends on them comes back to be received.
        // Ports 3 to 5 take what the router sends.
        let vdevs = (0..2 * PORTS).map(|i| format!("net_ring{i}")).collect();
        let eal = Eal::init(EalConfig {
            program: "test".into(),
            memory_mib: 64 + mbufs / 128,
            hugepages: Hugepages::Off,
            vdevs,
            ..EalConfig::default()
        })
        .unwrap();
        let pool = |name| {
            Pool::create(&eal, &PoolConfig { name, mbufs, cache: 32, data_room: 2048, socket: None }).unwrap()
        };
        let (rx_pool, own_pool) = (pool("rx"), pool("own"));
        let (mut ports, mut feed, mut wire, mut rx) = (vec![], vec![], vec![], vec![]);
        let mut table = TxTable::default();
        for i in 0..2 * PORTS as u16 {
            let (port, mut rxq, mut txq) =
                Port::open(&eal, PortId(i), &format!("p{i}"), &PortConfig::default(), &rx_pool).unwrap();
            let (rxq, txq) = (rxq.pop().unwrap(), txq.pop().unwrap());
            ports.push(port);
            if usize::from(i) < PORTS {
                feed.push(txq);
                rx.push(rxq);
            } else {
                table.set(i - PORTS as u16, TxPath::Queue(txq));
                wire.push(rxq);
            }
        }

        let qsbr = Arc::new(Qsbr::new(lcores));
        let fib = FibWriter::new(1024, Arc::clone(&qsbr)).unwrap();
        let neigh = NeighCache::new(1024, GcParams::default(), 1, Instant::ZERO);
        let devices: Vec<_> = std::iter::once(NetDevice::loopback()).chain((0..PORTS).map(device)).collect();
        let sysctl = Sysctl::default();
        let snap = Snapshot::new(1, devices.clone(), sysctl, false);
        let shared =
            Arc::new(Shared::new(lcores, snap, qsbr, Arc::clone(fib.fib()), Arc::clone(neigh.table()), 0));
        let worker = Worker {
            id: 0,
            cpu: None,
            shared: Arc::clone(&shared),
            rx,
            handoff: Vec::new(),
            hands: Hands::new(0, table, own_pool.clone(), 1),
            idle: Idle::Poll,
            clock: Clock::new(0),
        };
        let hops = NextHopWriter::new(Arc::clone(&shared.next_hops));
        let snap = shared.snapshot();
        let mut rig = Rig {
            worker,
            shared,
            snap,
            devices,
            sysctl,
            hooks: Hooks::default(),
            captures: Captures::default(),
            proxies: ProxyAddresses::default(),
            trace: std::env::var_os("SKIFF_TRACE_ALL").map(|_| Arc::new(TraceArm::new(None, None, u32::MAX))),
            fib,
            hops,
            neigh,
            now: Instant::from_secs(1000),
            held: Vec::new(),
            queued: Vec::new(),
            held_outside: Vec::new(),
            rx_pool,
            own_pool,
            feed,
            wire,
            _ports: ports,
            eal,
        };
        rig.connect();
        if rig.trace.is_some() {
            rig.shared.trace.open();
            rig.configure(|_, _| {});
        }
        rig
    }

    /// Connected networks, local and broadcast routes, and one permanent neighbour a port.
    fn connect(&mut self) {
        let lo = NextHopSpec::Local { oif: IfIndex::LOOPBACK, prefsrc: ip("127.0.0.1") };
        self.route("127.0.0.0/8", To::Spec(lo));
        for port in 0..PORTS {
            let net = self.devices[port + 1].addresses[0].net;
            let (oif, addr) = (dev(port), net.addr().to_bits());
            self.neigh.set_device(oif, self.devices[port + 1].mac, false, NeighParams::default());
            let link = NextHopSpec::Unicast { oif, gateway: None, mtu: 1500, prefsrc: addr };
            self.route(&net.trunc().to_string(), To::Spec(link));
            self.route(&format!("{}/32", net.addr()), To::Spec(NextHopSpec::Local { oif, prefsrc: addr }));
            let broadcast = NextHopSpec::Broadcast { oif, mtu: 1500, prefsrc: addr };
            self.route(&format!("{}/32", net.broadcast()), To::Spec(broadcast));
            self.neighbour(port, &format!("10.{}.0.2", port + 1), Nud::Permanent);
        }
    }

    /// A neighbour with the MAC address [`mac::of`] gives its IP address.
    pub fn neighbour(&mut self, port: usize, addr: &str, state: Nud) -> NeighId {
        let lladdr = state.is_valid().then(|| mac::of(ip(addr)));
        let mut actions = Vec::new();
        self.neigh.set(dev(port), ip(addr), lladdr, state, SetMode::Replace, self.now, &mut actions).unwrap()
    }

    /// Adds a route.
    pub fn route(&mut self, prefix: &str, to: To<'_>) {
        let id = match to {
            To::Via(gateway, port) => self.hop(gateway, port, self.devices[port + 1].mtu),
            To::Narrow(gateway, port, mtu) => self.hop(gateway, port, mtu),
            To::Paths(paths) => {
                let members =
                    paths.iter().map(|&(gw, port, weight)| (self.hop(gw, port, 1500), weight)).collect();
                self.hops.acquire(&NextHopSpec::Multipath(members), &self.shared.qsbr).unwrap().0
            }
            To::Turns(paths) => {
                let members =
                    paths.iter().map(|&(gw, port, weight)| (self.hop(gw, port, 1500), weight)).collect();
                self.hops.acquire(&NextHopSpec::Equalize(members), &self.shared.qsbr).unwrap().0
            }
            To::Spec(spec) => self.hops.acquire(&spec, &self.shared.qsbr).unwrap().0,
        };
        self.fib.add(prefix.parse::<Ipv4Net>().unwrap(), id).unwrap();
    }

    fn hop(&mut self, gateway: &str, port: usize, mtu: u16) -> NextHopId {
        let gw = ip(gateway);
        let known = self.neigh.get(dev(port), gw).map(|n| n.id);
        let id = known.unwrap_or_else(|| self.neighbour(port, gateway, Nud::Permanent));
        let prefsrc = self.devices[port + 1].addresses[0].net.addr().to_bits();
        let spec = NextHopSpec::Unicast { oif: dev(port), gateway: Some((gw, id)), mtu, prefsrc };
        self.hops.acquire(&spec, &self.shared.qsbr).unwrap().0
    }

    /// Changes the configuration from the next burst on.
    pub fn configure(&mut self, change: impl FnOnce(&mut [NetDevice], &mut Sysctl)) {
        change(&mut self.devices[1..], &mut self.sysctl);
        let next = self.snap.generation + 1;
        let mut snap = Snapshot::new(next, self.devices.clone(), self.sysctl, false)
            .with_hooks(self.hooks.clone())
            .with_captures(self.captures.clone())
            .with_trace(self.trace.clone());
        snap.proxies = self.proxies.clone();
        drop(self.shared.publish(snap));
        self.snap = self.shared.snapshot();
    }

    /// Registers a hook function, seen from the next burst on.
    pub fn hook(&mut self, hook: Hook, priority: i32, function: Arc<dyn HookFn>) {
        self.hooks.register(hook, HookEntry { priority, dev: None, function });
        self.configure(|_, _| {});
    }

    /// Lets time pass.
    pub fn after(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Turns every limit of ICMP off.
    pub fn without_limits(&mut self) {
        use std::sync::atomic::Ordering::Relaxed;
        let params = &self.shared.icmp_limit.params;
        params.ratemask.store(0, Relaxed);
        params.error_cost_ms.store(0, Relaxed);
    }

    /// One frame in by `port`.
    pub fn send(&mut self, port: usize, frame: impl Into<Frame>) -> Out {
        self.send_all(port, [frame.into()])
    }

    /// Frames in by `port`, in bursts of 32.
    pub fn send_all<F: Into<Frame>>(&mut self, port: usize, frames: impl IntoIterator<Item = F>) -> Out {
        let before = Sums::of(&self.shared);
        let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
        let mut burst = SkbList::new();
        for frame in frames {
            burst.push(self.skb(&frame.into())).unwrap();
            if burst.is_full() {
                self.feed_and_run(port, &mut burst, &mut wire);
            }
        }
        self.feed_and_run(port, &mut burst, &mut wire);
        self.report(&before, wire)
    }

    fn feed_and_run(&mut self, port: usize, burst: &mut SkbList, wire: &mut [Vec<Vec<u8>>; PORTS]) {
        let offered = burst.len();
        assert_eq!(self.feed[port].tx_burst(burst), offered);
        self.round();
        self.collect(wire);
    }

    /// Frames in by `port`; messages to the control thread stay in its queue.
    pub fn send_raw(&mut self, port: usize, frames: Vec<Vec<u8>>) {
        let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
        for chunk in frames.chunks(32) {
            let mut burst = SkbList::new();
            for frame in chunk {
                burst.push(self.skb(&Frame::from(frame.clone()))).unwrap();
            }
            self.feed_and_run(port, &mut burst, &mut wire);
        }
        assert!(wire.iter().all(Vec::is_empty), "nothing is sent");
    }

    /// Ends the life of packets a test took over.
    pub fn free_held_outside(&mut self) {
        self.shared.control_cells().delivered.add(self.held_outside.len() as u64);
        self.held_outside.clear();
    }

    /// A poll round without packets from outside: what control asked for, what came by rings.
    pub fn idle_round(&mut self) -> Out {
        let before = Sums::of(&self.shared);
        let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
        self.round();
        self.collect(&mut wire);
        self.report(&before, wire)
    }

    /// Hands the worker a message of the control thread and lets it serve it.
    pub fn tell(&mut self, message: ToLcore) -> Out {
        self.shared.send_to_lcore(0, message).unwrap();
        self.idle_round()
    }

    /// One poll round of the worker; nothing is collected.
    pub fn round(&mut self) {
        let (shared, snap) = (Arc::clone(&self.shared), Arc::clone(&self.snap));
        self.worker.round(&shared, &snap, shared.cells(0), tsc_at(self.now), RunState::Running);
    }

    /// Takes what was sent off the wires.
    pub fn collect(&mut self, wire: &mut [Vec<Vec<u8>>; PORTS]) {
        let mut list = SkbList::new();
        for (queue, frames) in self.wire.iter_mut().zip(wire) {
            while queue.rx_burst(&mut list) > 0 {
                frames.extend(list.drain().map(|skb| bytes(&skb)));
            }
        }
    }

    fn report(&mut self, before: &Sums, wire: [Vec<Vec<u8>>; PORTS]) -> Out {
        let control = self.take_messages();
        let after = Sums::of(&self.shared);
        let hands = &self.worker.hands;
        let held = self.held.len()
            + self.held_outside.len()
            + self.queued.len()
            + hands.frags.held()
            + hands.sched.held();
        assert_eq!(self.shared.ledger().held(), held as i64, "{:?}", self.shared.ledger());
        Out { wire, drops: grown(&before.drops, &after.drops), mib: grown(&before.mib, &after.mib), control }
    }

    /// What the worker told the control thread; packets go to [`Rig::held`] and [`Rig::queued`].
    pub fn take_messages(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        self.queued.extend(std::iter::from_fn(|| self.shared.receive_nf_queued()));
        while let Some(message) = self.shared.receive_control() {
            match message {
                ToControl::Resolve { dev, addr, skb } => self.held.push((dev, addr, skb)),
                ToControl::Igmp { .. } => {
                    texts.push("Igmp".to_owned());
                    self.shared.igmp_budget.give_back();
                    self.shared.control_cells().delivered.add(1);
                }
                ToControl::SlowProtocol { dev, skb } => {
                    texts.push(format!("SlowProtocol on {dev}: {:x?}", &skb.data()[12..15]));
                    self.shared.slow_budget.give_back();
                    self.shared.control_cells().delivered.add(1);
                }
                ToControl::McUnresolved { .. } => {
                    texts.push("McUnresolved".to_owned());
                    self.shared.unresolved_budget.give_back();
                    self.shared.control_cells().delivered.add(1);
                }
                other => texts.push(format!("{other:?}")),
            }
        }
        texts
    }

    /// An mbuf with these bytes in these segments.
    pub fn skb(&self, frame: &Frame) -> Skb {
        let mut parts = frame.0.iter().map(|part| {
            let mut skb = self.rx_pool.alloc().expect("an mbuf for every frame");
            skb.append(part.len()).expect("a segment fits an mbuf").copy_from_slice(part);
            skb
        });
        let mut skb = parts.next().expect("at least one segment");
        parts.for_each(|part| skb.chain(part).unwrap());
        skb
    }

    /// The world as the stages are given it, and the worker's hands.
    pub fn env<R>(&mut self, act: impl FnOnce(&Env<'_>, &mut Hands) -> R) -> R {
        let (shared, snap) = (Arc::clone(&self.shared), Arc::clone(&self.snap));
        let (now, cells) = (self.now, shared.cells(0));
        act(
            &Env { snap: &snap, shared: &shared, cells, now, now_coarse: coarse(now) },
            &mut self.worker.hands,
        )
    }

    /// What doing `act`, and a round after it, led to.
    pub fn acting(&mut self, act: impl FnOnce(&mut Rig)) -> Out {
        let before = Sums::of(&self.shared);
        act(self);
        let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
        self.round();
        self.collect(&mut wire);
        self.report(&before, wire)
    }

    /// Frees the fragments that wait for others.
    pub fn purge_fragments(&mut self) {
        self.env(ip_frag::purge);
    }

    /// Ends the waiting of packets without a neighbour.
    pub fn give_up_held(&mut self) -> Vec<Out> {
        let mut outs = Vec::new();
        while !self.held.is_empty() {
            let (_, _, skb) = self.held.remove(0);
            outs.push(self.tell(ToLcore::NeighFailed(skb)));
        }
        outs
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert!(self.held.is_empty(), "packets still wait for a neighbour");
        assert!(self.queued.is_empty(), "packets still wait for a listener");
        self.purge_fragments();
        self.env(tree::purge);
        let mut wire: [Vec<Vec<u8>>; PORTS] = Default::default();
        self.collect(&mut wire);
        let ledger = self.shared.ledger();
        assert_eq!(ledger.held(), 0, "{ledger:?}");
        assert_eq!(
            (self.rx_pool.in_use(), self.own_pool.in_use()),
            (0, 0),
            "mbufs of both pools still in use"
        );
    }
}

fn device(port: usize) -> NetDevice {
    let net = format!("10.{}.0.1/24", port + 1).parse().unwrap();
    NetDevice {
        ifindex: dev(port),
        name: format!("r{}", port + 1),
        kind: DeviceKind::Port(PortId(port as u16)),
        mac: mac::router(port),
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: vec![InterfaceAddress::new(net)],
        ..NetDevice::absent()
    }
}

/// All bytes of a packet, with the VLAN tag a driver would put in. Checks that its segments are what its length says.
pub fn bytes(skb: &Skb) -> Vec<u8> {
    let mut all = skb.segments().collect::<Vec<_>>().concat();
    assert_eq!(all.len(), skb.len(), "the length is the sum of the segments");
    if let Some(tci) = skb.tx_vlan() {
        let [a, b] = tci.to_be_bytes();
        all.splice(12..12, [0x81, 0, a, b]);
    }
    all
}

/// The TSC value the worker's clock reads as `now`, or a microsecond later.
pub fn tsc_at(now: Instant) -> u64 {
    (u128::from(now.as_nanos() + 1000) * u128::from(tsc_hz()) / 1_000_000_000) as u64
}

/// Counters of all lcores at one moment.
struct Sums {
    drops: BTreeMap<(Node, DropReason), u64>,
    mib: BTreeMap<&'static str, u64>,
}

impl Sums {
    fn of(shared: &Shared) -> Sums {
        let sum = |read: &dyn Fn(&LcoreCells) -> u64| shared.all_cells().iter().map(read).sum::<u64>();
        let pairs =
            Node::ALL.iter().flat_map(|&node| DropReason::ALL.iter().map(move |&reason| (node, reason)));
        Sums {
            drops: pairs.map(|(node, reason)| ((node, reason), sum(&|c| c.drops(node, reason).0))).collect(),
            mib: Mib::ALL.iter().map(|&mib| (mib.name(), sum(&|c| c.mib(mib).get()))).collect(),
        }
    }
}

fn grown<K: Ord + Copy>(before: &BTreeMap<K, u64>, after: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    after.iter().map(|(&key, &n)| (key, n - before[&key])).filter(|&(_, n)| n > 0).collect()
}

/// Where each reason of the input path is counted, for short tests.
pub fn node_of(reason: DropReason) -> Node {
    match reason {
        DropReason::IpCsum | DropReason::PktTooSmall | DropReason::OtherHost => IpRcv,
        DropReason::IpInnoroutes => IpError,
        _ => IpRcvFinish,
    }
}

//! Tests of the cache under a virtual clock: what goes in, what comes out, and when.

use proptest::prelude::*;

use super::super::machine::ProbeTo;
use super::*;

const DEV: IfIndex = IfIndex(2);
const DEV2: IfIndex = IfIndex(3);
const OURS: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const PEER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x11]);
const OTHER: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x22]);
const IP: u32 = 0x0a01_0009;
/// What a small packet takes in the kernel.
const SMALL: usize = 768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet(u32, usize);

impl TrueSize for Packet {
    fn truesize(&self) -> usize {
        self.1
    }
}

/// A cache with two devices, a clock, and everything that came out with its time in milliseconds.
struct World {
    cache: NeighCache<Packet>,
    now: Instant,
    log: Vec<(u64, Action<Packet>)>,
}

impl World {
    fn new() -> Self {
        World::with(GcParams::default())
    }

    fn with(gc: GcParams) -> Self {
        let mut cache = NeighCache::new(4096, gc, 42, Instant::ZERO);
        cache.set_device(DEV, OURS, false, NeighParams::default());
        cache.set_device(DEV2, OURS, false, NeighParams::default());
        World { cache, now: Instant::ZERO, log: Vec::new() }
    }

    /// Lets time pass, stopping at every deadline on the way.
    fn run_until(&mut self, millis: u64) {
        let end = Instant::from_millis(millis);
        while self.cache.next_deadline() <= end {
            self.now = self.now.max(self.cache.next_deadline());
            self.with_out(|cache, now, out| cache.tick(now, out));
        }
        self.now = end;
    }

    fn run_for(&mut self, millis: u64) {
        self.run_until(self.now.as_millis() + millis);
    }

    fn with_out<T>(
        &mut self,
        f: impl FnOnce(&mut NeighCache<Packet>, Instant, &mut Vec<Action<Packet>>) -> T,
    ) -> T {
        let mut out = Vec::new();
        let result = f(&mut self.cache, self.now, &mut out);
        self.log.extend(out.into_iter().map(|action| (self.now.as_millis(), action)));
        result
    }

    fn resolve(&mut self, ip: u32, packet: Packet) {
        self.with_out(|cache, now, out| cache.resolve(DEV, ip, packet, now, out));
    }

    fn learn(&mut self, mac: MacAddr, kind: ArpKind, create: bool) {
        self.with_out(|cache, now, out| {
            cache.arp_update(DEV, Learn { ip: IP, mac, kind, create }, now, out);
        });
    }

    fn reply(&mut self, mac: MacAddr) {
        self.learn(mac, ArpKind::Reply { unicast: true }, false);
    }

    fn set(
        &mut self,
        ip: u32,
        mac: Option<MacAddr>,
        state: Nud,
        mode: SetMode,
    ) -> Result<NeighId, NeighError> {
        self.with_out(|cache, now, out| cache.set(DEV, ip, mac, state, mode, now, out))
    }

    fn hold(&mut self, ip: u32) -> NeighId {
        self.with_out(|cache, now, out| cache.hold(DEV, ip, now, out)).unwrap()
    }

    fn state(&self) -> Option<(Nud, Option<MacAddr>)> {
        self.cache.get(DEV, IP).map(|n| (n.state, n.mac))
    }

    /// Everything since the last call, without `Changed` and `Deleted`.
    fn events(&mut self) -> Vec<(u64, Action<Packet>)> {
        let news = |action: &Action<_>| matches!(action, Action::Changed(_) | Action::Deleted { .. });
        self.log.drain(..).filter(|(_, action)| !news(action)).collect()
    }
}

fn request(to: ProbeTo) -> Action<Packet> {
    Action::SendRequest { dev: DEV, target: IP, to, source: None }
}

fn packets(range: std::ops::Range<u32>) -> Vec<Packet> {
    range.map(|n| Packet(n, SMALL)).collect()
}

#[test]
fn an_unanswered_neighbour_is_asked_three_times_and_fails_after_3_s() {
    let mut w = World::new();
    w.run_until(500);
    w.resolve(IP, Packet(0, SMALL));
    w.run_until(10_000);
    let ask = request(ProbeTo::Broadcast);
    let fail = Action::Fail { dev: DEV, target: IP, packets: packets(0..1) };
    assert_eq!(w.events(), [(500, ask.clone()), (1500, ask.clone()), (2500, ask.clone()), (3500, fail)]);
    assert_eq!(w.state(), Some((Nud::Failed, None)));
    assert_eq!(w.cache.counters().res_failed, 1);
    w.resolve(IP, Packet(1, SMALL));
    assert_eq!(w.events(), [(10_000, ask)]);
    assert_eq!(w.state(), Some((Nud::Incomplete, None)));
}

#[test]
fn a_hundred_and_fifty_small_packets_wait_and_fail_together() {
    let mut w = World::new();
    for packet in packets(0..150) {
        w.resolve(IP, packet);
    }
    assert_eq!(w.cache.get(DEV, IP).unwrap().queued, 150);
    w.run_until(2999);
    assert_eq!(w.events().len(), 3);
    w.run_until(3000);
    let fail = Action::Fail { dev: DEV, target: IP, packets: packets(0..150) };
    assert_eq!(w.events(), [(3000, fail)]);
}

#[test]
fn the_queue_is_bounded_in_bytes_and_gives_up_the_oldest() {
    let mut w = World::new();
    // 212992 = 277 * 768 + 256
    for packet in packets(0..279) {
        w.resolve(IP, packet);
    }
    let pushed_out = |n| (0, Action::QueueFull { packet: Packet(n, SMALL) });
    assert_eq!(w.events(), [(0, request(ProbeTo::Broadcast)), pushed_out(0), pushed_out(1)]);
    w.resolve(IP, Packet(300, 256));
    assert_eq!(w.events(), []);
    w.resolve(IP, Packet(301, 1000));
    assert_eq!(w.events(), [pushed_out(2), pushed_out(3)]);
    assert_eq!(w.cache.counters().unres_discards, 4);
    w.resolve(IP, Packet(302, 300_000));
    assert_eq!(w.events().len(), 277);
    assert_eq!(w.cache.get(DEV, IP).unwrap().queued, 1);
}

#[test]
fn a_reply_flushes_the_queue_in_order_with_the_header_ready() {
    let mut w = World::new();
    for packet in packets(0..5) {
        w.resolve(IP, packet);
    }
    w.run_until(1200);
    w.reply(PEER);
    let id = w.cache.table().lookup(DEV, IP).unwrap();
    let events = w.events();
    assert_eq!(events.last(), Some(&(1200, Action::Transmit { id, packets: packets(0..5) })));
    let header = w.cache.table().entry(id).header().unwrap();
    assert_eq!((&header[..6], &header[6..12]), (&PEER.0[..], &OURS.0[..]));
    assert_eq!(w.state(), Some((Nud::Reachable, Some(PEER))));
    w.resolve(IP, Packet(9, SMALL));
    let late = Action::Transmit { id, packets: vec![Packet(9, SMALL)] };
    assert_eq!(w.events(), [(1200, late)]);
}

#[test]
fn a_used_neighbour_is_rechecked_and_a_silent_one_fails() {
    let mut w = World::new();
    w.resolve(IP, Packet(0, SMALL));
    w.reply(PEER);
    let reachable = w.cache.reachable_time(DEV).unwrap();
    let id = w.cache.table().lookup(DEV, IP).unwrap();
    let table = Arc::clone(w.cache.table());
    let stale_at = (Instant::ZERO + reachable).as_nanos().div_ceil(1_000_000);
    w.run_until(stale_at - 1);
    assert_eq!(table.entry(id).state(), Nud::Reachable);
    assert!(!table.entry(id).needs_confirm());
    w.run_until(stale_at);
    assert_eq!(table.entry(id).state(), Nud::Stale);

    w.run_until(100_000);
    w.events();
    assert!(table.entry(id).needs_confirm());
    w.with_out(|cache, now, out| cache.used(id, now, out));
    assert_eq!(table.entry(id).state(), Nud::Delay);
    w.run_until(107_999);
    assert_eq!(table.entry(id).state(), Nud::Probe);
    assert!(table.entry(id).header().is_some());
    w.run_until(108_000);
    let probe = request(ProbeTo::Unicast(PEER));
    assert_eq!(w.events(), [(105_000, probe.clone()), (106_000, probe.clone()), (107_000, probe)]);
    assert_eq!(w.state(), Some((Nud::Failed, None)));
    assert_eq!(table.entry(id).header(), None);
}

#[test]
fn a_reply_to_a_unicast_probe_makes_it_reachable_again() {
    let mut w = World::new();
    w.set(IP, Some(PEER), Nud::Stale, SetMode::Add).unwrap();
    w.run_until(10_000);
    w.resolve(IP, Packet(0, SMALL));
    w.run_until(16_500);
    assert_eq!(w.state(), Some((Nud::Probe, Some(PEER))));
    w.reply(PEER);
    assert_eq!(w.state(), Some((Nud::Reachable, Some(PEER))));
    let probes = w.events().iter().filter(|(_, a)| matches!(a, Action::SendRequest { .. })).count();
    assert_eq!(probes, 2);
}

#[test]
fn a_use_an_lcore_noted_sends_reachable_to_delay() {
    for (noted, expect) in [(true, Nud::Delay), (false, Nud::Stale)] {
        let mut w = World::new();
        let id = w.set(IP, Some(PEER), Nud::Reachable, SetMode::Add).unwrap();
        let end = w.cache.reachable_time(DEV).unwrap();
        if noted {
            let used = Instant::ZERO + (end - Duration::from_secs(3));
            w.cache.table().entry(id).mark_used(super::super::table::coarse(used));
        }
        w.run_until(end.as_millis() as u64 + 1);
        assert_eq!(w.state(), Some((expect, Some(PEER))));
    }
}

#[test]
fn reachable_times_lie_around_the_base_and_are_drawn_anew_every_300_s() {
    let mut w = World::new();
    let mut last = w.cache.reachable_time(DEV).unwrap();
    for n in 1..50 {
        w.run_until(n * 300_000 - 1);
        assert_eq!(w.cache.reachable_time(DEV), Some(last));
        w.run_until(n * 300_000);
        let drawn = w.cache.reachable_time(DEV).unwrap();
        assert_ne!(drawn, last);
        assert!((Duration::from_secs(15)..Duration::from_secs(45)).contains(&drawn), "{drawn:?}");
        last = drawn;
    }
    assert_eq!(w.cache.counters().periodic_gc_runs, 49 * 20);
}

#[test]
fn a_request_from_a_peer_makes_it_stale_and_frees_what_waited() {
    let mut w = World::new();
    w.learn(PEER, ArpKind::Request, true);
    assert_eq!(w.state(), Some((Nud::Stale, Some(PEER))));
    let mut w = World::new();
    w.resolve(IP, Packet(0, SMALL));
    w.learn(PEER, ArpKind::Overheard, false);
    let id = w.cache.table().lookup(DEV, IP).unwrap();
    let events = w.events();
    assert_eq!(events[1], (0, Action::Transmit { id, packets: packets(0..1) }));
    assert_eq!(w.state(), Some((Nud::Stale, Some(PEER))));
}

#[test]
fn what_is_not_known_is_learned_only_when_it_may_be_created() {
    for kind in [
        ArpKind::Gratuitous { reply_to_us: true },
        ArpKind::Reply { unicast: true },
        ArpKind::Reply { unicast: false },
        ArpKind::Overheard,
    ] {
        let mut w = World::new();
        w.learn(PEER, kind, false);
        assert_eq!(w.state(), None, "{kind:?}");
        w.learn(PEER, kind, true);
        assert!(w.state().is_some(), "{kind:?}");
    }
}

/// The sequence measured on a kernel, with the states `ip neigh` showed after each packet.
#[test]
fn a_new_link_address_obeys_the_lock_time() {
    let mut w = World::new();
    let gratuitous = ArpKind::Gratuitous { reply_to_us: false };
    let reply = ArpKind::Reply { unicast: true };
    for (wait, mac, kind, expect) in [
        (0, PEER, ArpKind::Request, (Nud::Stale, PEER)),
        (100, OTHER, reply, (Nud::Stale, PEER)),
        (900, OTHER, reply, (Nud::Stale, PEER)),
        (1, OTHER, reply, (Nud::Reachable, OTHER)),
        (100, PEER, gratuitous, (Nud::Stale, PEER)),
        (100, OTHER, gratuitous, (Nud::Stale, OTHER)),
        (100, PEER, ArpKind::Request, (Nud::Stale, PEER)),
        (1200, PEER, reply, (Nud::Reachable, PEER)),
        (100, PEER, ArpKind::Request, (Nud::Reachable, PEER)),
        (1200, PEER, ArpKind::Overheard, (Nud::Reachable, PEER)),
        (100, OTHER, ArpKind::Overheard, (Nud::Stale, OTHER)),
    ] {
        w.run_for(wait);
        w.learn(mac, kind, kind == ArpKind::Request);
        assert_eq!(w.state(), Some((expect.0, Some(expect.1))), "{kind:?} after {wait} ms");
    }
}

#[test]
fn the_operator_adds_changes_and_deletes() {
    let mut w = World::new();
    let set = |w: &mut World, mac, state, mode| w.set(IP, mac, state, mode);
    assert_eq!(set(&mut w, None, Nud::Permanent, SetMode::Add), Err(NeighError::NoAddress));
    assert_eq!(set(&mut w, Some(PEER), Nud::Permanent, SetMode::Change), Err(NeighError::NotFound));
    assert_eq!(w.cache.len(), 0);
    let id = set(&mut w, Some(PEER), Nud::Permanent, SetMode::Add).unwrap();
    assert_eq!(set(&mut w, Some(PEER), Nud::Permanent, SetMode::Add), Err(NeighError::Exists));
    w.run_until(5000);
    w.learn(OTHER, ArpKind::Request, true);
    assert_eq!(w.state(), Some((Nud::Permanent, Some(PEER))));
    assert_eq!(set(&mut w, Some(OTHER), Nud::Noarp, SetMode::Replace), Ok(id));
    assert_eq!(w.state(), Some((Nud::Noarp, Some(OTHER))));
    assert_eq!(set(&mut w, None, Nud::Reachable, SetMode::Change), Ok(id));
    assert_eq!(w.state(), Some((Nud::Reachable, Some(OTHER))));
    w.with_out(|cache, now, out| cache.delete(DEV, IP, now, out)).unwrap();
    assert_eq!(w.state(), None);
    assert_eq!(w.with_out(|cache, now, out| cache.delete(DEV, IP, now, out)), Err(NeighError::NotFound));
    assert_eq!(
        w.with_out(|cache, now, out| cache.set(
            IfIndex(9),
            IP,
            Some(PEER),
            Nud::Permanent,
            SetMode::Add,
            now,
            out
        )),
        Err(NeighError::NoDevice)
    );
}

#[test]
fn the_operators_address_frees_and_his_failure_fails_what_waits() {
    let mut w = World::new();
    w.resolve(IP, Packet(0, SMALL));
    let id = w.set(IP, Some(PEER), Nud::Permanent, SetMode::Replace).unwrap();
    assert_eq!(w.events()[1], (0, Action::Transmit { id, packets: packets(0..1) }));

    let mut w = World::new();
    w.resolve(IP, Packet(0, SMALL));
    w.with_out(|cache, now, out| cache.delete(DEV, IP, now, out)).unwrap();
    assert_eq!(w.events()[1], (0, Action::Fail { dev: DEV, target: IP, packets: packets(0..1) }));

    let mut w = World::new();
    w.set(IP, None, Nud::Incomplete, SetMode::Add).unwrap();
    w.run_until(4000);
    assert_eq!(w.events().len(), 3);
    assert_eq!(w.state(), Some((Nud::Failed, None)));
}

#[test]
fn a_flush_forgets_and_purges_but_keeps_what_next_hops_hold() {
    let mut w = World::new();
    let held = w.hold(IP + 1);
    w.resolve(IP + 1, Packet(0, SMALL));
    w.resolve(IP + 2, Packet(1, SMALL));
    w.set(IP, Some(PEER), Nud::Permanent, SetMode::Add).unwrap();
    w.events();
    w.with_out(|cache, now, out| cache.carrier_down(DEV, now, out));
    let mut purged = w.events();
    purged.sort_by_key(|(_, action)| format!("{action:?}"));
    let purge = |n| (0, Action::Purge { packets: vec![Packet(n, SMALL)] });
    assert_eq!(purged, [purge(0), purge(1)]);
    assert_eq!(w.state(), Some((Nud::Permanent, Some(PEER))));
    assert_eq!(w.cache.get(DEV, IP + 1).map(|n| (n.id, n.state)), Some((held, Nud::None)));
    assert_eq!(w.cache.get(DEV, IP + 2), None);
    w.run_until(10_000);
    assert_eq!(w.events(), []);

    w.resolve(IP + 1, Packet(2, SMALL));
    assert!(matches!(w.events()[..], [(10_000, Action::SendRequest { .. })]));
    w.with_out(|cache, now, out| cache.flush_dev(DEV, now, out));
    assert_eq!(w.cache.len(), 1);
    w.with_out(|cache, now, out| cache.remove_device(DEV, now, out));
    w.resolve(IP + 1, Packet(3, SMALL));
    w.resolve(IP + 5, Packet(4, SMALL));
    assert!(w.events().iter().skip(1).all(|(_, a)| matches!(a, Action::CreateFail { .. })));
    w.with_out(|cache, now, out| cache.release(held, now, out));
    assert_eq!(w.cache.len(), 0);
    assert_eq!(w.cache.counters().allocs, w.cache.counters().destroys);
}

#[test]
fn our_own_new_address_goes_into_every_header() {
    let mut w = World::new();
    let id = w.set(IP, Some(PEER), Nud::Permanent, SetMode::Add).unwrap();
    w.cache.set_device(DEV, OTHER, false, NeighParams::default());
    let header = w.cache.table().entry(id).header().unwrap();
    assert_eq!((&header[..6], &header[6..12]), (&PEER.0[..], &OTHER.0[..]));
}

#[test]
fn a_device_without_arp_needs_no_answer() {
    let mut w = World::new();
    w.cache.set_device(DEV, OURS, true, NeighParams::default());
    let id = w.hold(IP);
    w.resolve(IP, Packet(0, SMALL));
    assert_eq!(w.events(), [(0, Action::Transmit { id, packets: packets(0..1) })]);
    w.with_out(|cache, now, out| cache.carrier_down(DEV, now, out));
    assert_eq!(w.state(), Some((Nud::Noarp, Some(OURS))));
}

#[test]
fn with_enough_entries_the_unused_and_the_failed_are_collected() {
    let mut w = World::new();
    for ip in 0..127 {
        w.set(ip, Some(PEER), Nud::Stale, SetMode::Add).unwrap();
    }
    w.run_until(90_000);
    assert_eq!(w.cache.len(), 127);
    w.hold(5);
    // Used by an lcore: the others are older than a minute, this one is not.
    w.cache.table().entry(w.cache.get(DEV, 6).unwrap().id).mark_used(800);
    w.set(7, None, Nud::Permanent, SetMode::Change).unwrap();
    w.set(8, None, Nud::Failed, SetMode::Change).unwrap();
    w.set(200, Some(PEER), Nud::Stale, SetMode::Add).unwrap();
    w.run_until(105_000);
    let mut left: Vec<_> = w.cache.iter().map(|n| n.ip).collect();
    left.sort_unstable();
    assert_eq!(left, [5, 6, 7, 200]);
    assert_eq!(w.cache.counters().forced_gc_runs, 0);
}

#[test]
fn a_full_table_refuses_until_something_is_old_enough_to_go() {
    let mut w = World::new();
    let permanent = 10_000;
    w.set(permanent, Some(PEER), Nud::Permanent, SetMode::Add).unwrap();
    for ip in 0..1025 {
        w.set(ip, Some(PEER), Nud::Stale, SetMode::Add).ok();
    }
    assert_eq!((w.cache.len(), w.cache.counters().table_fulls), (1025, 1));
    w.resolve(2000, Packet(0, SMALL));
    assert_eq!(w.events(), [(0, Action::CreateFail { packet: Packet(0, SMALL) })]);
    w.run_until(5000);
    w.resolve(2000, Packet(1, SMALL));
    assert_eq!(w.events(), [(5000, Action::CreateFail { packet: Packet(1, SMALL) })]);
    w.run_until(5001);
    w.resolve(2000, Packet(2, SMALL));
    assert!(matches!(w.events()[..], [(5001, Action::SendRequest { .. })]));
    // 1025 with the new one, down to gc_thresh2: the 513 oldest went.
    assert_eq!(w.cache.len(), 512 + 1);
    assert!(w.cache.get(DEV, 512).is_none() && w.cache.get(DEV, 513).is_some());
    assert!(w.cache.get(DEV, permanent).is_some());
    assert_eq!(w.cache.counters().table_fulls, 3);
}

#[test]
fn proxied_answers_wait_a_random_time_and_only_so_many_do() {
    let mut w = World::new();
    let frame = |n| ArpFrame::request(OURS, n, IP);
    let taken = (0..100).filter(|&n| w.cache.proxy_later(DEV, frame(n), Instant::ZERO)).count();
    assert_eq!(taken, 65, "proxy_qlen 64 lets one more in");
    assert!(w.cache.proxy_later(DEV2, frame(0), Instant::ZERO), "each device has its own limit");
    assert!(!w.cache.proxy_later(IfIndex(9), frame(0), Instant::ZERO));
    w.run_until(400);
    let early = w.events().len();
    w.run_until(800);
    let late = w.events();
    assert_eq!(early + late.len(), 66);
    assert!(early > 20 && late.len() > 20, "spread over the delay: {early} in the first half");
    assert!(late.iter().all(|(at, action)| *at < 800 && matches!(action, Action::ProxyReply { .. })));

    let none = NeighParams { proxy_delay: Duration::ZERO, proxy_qlen: 0, ..NeighParams::default() };
    w.cache.set_device(DEV, OURS, false, none);
    let now = w.now;
    assert!(w.cache.proxy_later(DEV, frame(1), now) && !w.cache.proxy_later(DEV, frame(2), now));
    w.with_out(|cache, now, out| cache.carrier_down(DEV, now, out));
    w.run_until(2000);
    assert_eq!(w.events(), [], "a device that is down answers for nobody");
}

#[test]
fn the_operator_has_an_address_asked_for() {
    let mut w = World::new();
    let probe = |w: &mut World, mode| w.with_out(|cache, now, out| cache.probe(DEV, IP, mode, now, out));
    assert_eq!(probe(&mut w, SetMode::Change), Err(NeighError::NotFound));
    assert!(probe(&mut w, SetMode::Add).is_ok());
    assert_eq!(w.events(), [(0, request(ProbeTo::Broadcast))]);
    assert_eq!(probe(&mut w, SetMode::Add), Err(NeighError::Exists));
    w.reply(PEER);
    assert!(probe(&mut w, SetMode::Replace).is_ok());
    assert_eq!(w.state(), Some((Nud::Reachable, Some(PEER))), "what is known stays");
    w.set(IP, None, Nud::Stale, SetMode::Change).unwrap();
    assert!(probe(&mut w, SetMode::Change).is_ok());
    assert_eq!(w.state(), Some((Nud::Delay, Some(PEER))));
}

#[test]
fn static_entries_need_no_room() {
    let mut w = World::with(GcParams { thresh1: 0, thresh2: 1, thresh3: 2, ..GcParams::default() });
    for ip in 0..2 {
        w.set(ip, Some(PEER), Nud::Stale, SetMode::Add).unwrap();
    }
    assert_eq!(w.set(2, Some(PEER), Nud::Stale, SetMode::Add), Err(NeighError::Full));
    assert!(w.set(3, Some(PEER), Nud::Permanent, SetMode::Add).is_ok());
}

#[test]
fn without_requests_a_packet_is_refused_in_silence() {
    let mut w = World::new();
    w.cache.set_device(DEV, OURS, false, NeighParams { mcast_solicit: 0, ..NeighParams::default() });
    w.resolve(IP, Packet(0, SMALL));
    assert_eq!(w.events(), [(0, Action::Refuse { packet: Packet(0, SMALL) })]);
    assert_eq!(w.state(), Some((Nud::Failed, None)));
}

#[derive(Clone, Debug)]
enum Step {
    Resolve(u8, u16),
    Used(u8),
    Learn(u8, u8, ArpKind, bool),
    Set(u8, u8, Nud, bool),
    Delete(u8),
    Hold(u8),
    Release(u8),
    Carrier,
    Down,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(ArpKind::Request),
        Just(ArpKind::Overheard),
        any::<bool>().prop_map(|unicast| ArpKind::Reply { unicast }),
        any::<bool>().prop_map(|reply_to_us| ArpKind::Gratuitous { reply_to_us }),
    ];
    let state = proptest::sample::select(&Nud::ALL[..]);
    let ip = 0u8..24;
    prop_oneof![
        8 => (ip.clone(), 1u16..40_000).prop_map(|(ip, size)| Step::Resolve(ip, size)),
        3 => ip.clone().prop_map(Step::Used),
        4 => (ip.clone(), 1u8..4, kind, any::<bool>()).prop_map(|(ip, mac, kind, c)| Step::Learn(ip, mac, kind, c)),
        2 => (ip.clone(), 1u8..4, state, any::<bool>()).prop_map(|(ip, mac, s, with)| Step::Set(ip, mac, s, with)),
        1 => ip.clone().prop_map(Step::Delete),
        1 => ip.clone().prop_map(Step::Hold),
        1 => ip.prop_map(Step::Release),
        1 => Just(Step::Carrier),
        1 => Just(Step::Down),
        6 => (0u32..8000).prop_map(Step::Wait),
    ]
}

fn play(w: &mut World, n: u32, step: Step) -> usize {
    let mac = |m: u8| MacAddr([2, 0, 0, 0, 0, m]);
    match step {
        Step::Resolve(ip, size) => {
            w.resolve(ip.into(), Packet(n, size.into()));
            return 1;
        }
        Step::Used(ip) => {
            if let Some(info) = w.cache.get(DEV, ip.into()) {
                w.with_out(|cache, now, out| cache.used(info.id, now, out));
            }
        }
        Step::Learn(ip, m, kind, create) => w.with_out(|cache, now, out| {
            cache.arp_update(DEV, Learn { ip: ip.into(), mac: mac(m), kind, create }, now, out);
        }),
        Step::Set(ip, m, state, with) => {
            let _ = w.set(ip.into(), with.then(|| mac(m)), state, SetMode::Replace);
        }
        Step::Delete(ip) => {
            let _ = w.with_out(|cache, now, out| cache.delete(DEV, ip.into(), now, out));
        }
        Step::Hold(ip) => {
            let _ = w.with_out(|cache, now, out| cache.hold(DEV, ip.into(), now, out));
        }
        Step::Release(ip) => {
            if let Some(info) = w.cache.get(DEV, ip.into()) {
                w.with_out(|cache, now, out| cache.release(info.id, now, out));
            }
        }
        Step::Carrier => w.with_out(|cache, now, out| cache.carrier_down(DEV, now, out)),
        Step::Down => w.with_out(|cache, now, out| cache.flush_dev(DEV, now, out)),
        Step::Wait(millis) => w.run_for(millis.into()),
    }
    0
}

/// What the lcores see is what the machines know, and every count adds up.
fn check_agreement(w: &World) {
    let table = w.cache.table();
    for info in w.cache.iter() {
        assert_eq!(table.lookup(info.dev, info.ip), Some(info.id));
        let entry = table.entry(info.id);
        assert_eq!(entry.state(), info.state);
        assert_eq!(entry.header().is_some(), info.state.is_valid());
        if let (Some(header), Some(mac)) = (entry.header(), info.mac) {
            assert_eq!((&header[..6], &header[6..12]), (&mac.0[..], &OURS.0[..]));
        }
        assert!(info.queued == 0 || info.state == Nud::Incomplete, "{info:?}");
    }
    for state in Nud::ALL {
        assert_eq!(w.cache.count(state), w.cache.iter().filter(|n| n.state == state).count());
    }
    let counters = w.cache.counters();
    assert_eq!(counters.allocs - counters.destroys, w.cache.len() as u64);
}

proptest! {
    #[test]
    fn every_packet_comes_out_exactly_once(steps in proptest::collection::vec(step(), 1..200)) {
        let gc = GcParams { thresh1: 4, thresh2: 8, thresh3: 12, ..GcParams::default() };
        let mut w = World::with(gc);
        let mut given = 0;
        for (n, step) in steps.into_iter().enumerate() {
            given += play(&mut w, n as u32, step);
            w.cache.reclaim_until(0);
            check_agreement(&w);
        }
        w.with_out(|cache, now, out| cache.flush_dev(DEV, now, out));
        let mut seen = Vec::new();
        for (_, action) in w.log {
            match action {
                Action::Transmit { packets, .. } | Action::Fail { packets, .. } | Action::Purge { packets } => {
                    prop_assert!(packets.is_sorted_by_key(|p| p.0), "out of order");
                    seen.extend(packets);
                }
                Action::QueueFull { packet } | Action::CreateFail { packet } | Action::Refuse { packet } => {
                    seen.push(packet);
                }
                Action::SendRequest { .. }
                | Action::ProxyReply { .. }
                | Action::Changed(_)
                | Action::Deleted { .. } => {}
            }
        }
        prop_assert_eq!(seen.len(), given);
        seen.sort_unstable_by_key(|p| p.0);
        prop_assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "a packet came out twice");
    }
}

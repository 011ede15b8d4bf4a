//! Hooks: every hook with every verdict, the order of functions, and what becomes of the packets.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use common::{Ip, Out, R1, R2, R3, Rig, dev};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::DropReason::NetfilterDrop;
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::netfilter::hooks::{
    Fate, Hook, HookCx, HookEntry, HookFn, MAX_REPEATS, Verdict, Verdicts, node_of,
};
use skiff_dataplane::netfilter::queue::{NfQueue, QueueVerdict, Reinject};
use skiff_dataplane::skb::{SkbExt, SkbList};

/// Gives every packet the same verdict, and remembers how often it was asked.
#[derive(Debug, Default)]
struct Fixed {
    verdict: Verdict,
    asked: AtomicUsize,
    /// After so many calls the verdict is ACCEPT.
    until: Option<usize>,
    /// Frees what it steals by itself, as a function that consumes packets does.
    consumes: bool,
}

impl HookFn for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn run(&self, _: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
        let calls = self.asked.fetch_add(1, Relaxed) + 1;
        if self.until.is_none_or(|until| calls <= until) {
            (0..list.len()).for_each(|i| verdicts.set(i, self.verdict));
        }
    }

    fn steal(&self, cx: &mut HookCx<'_, '_>, stolen: &mut SkbList) {
        if self.consumes {
            cx.env.cells.delivered.add(stolen.len() as u64);
            stolen.free_all();
        }
    }
}

/// Notes where it was called, with which devices known.
#[derive(Debug)]
struct Trace {
    id: &'static str,
    log: Arc<Mutex<Vec<String>>>,
}

impl HookFn for Trace {
    fn name(&self) -> &str {
        self.id
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, _: &mut Verdicts) {
        let mut log = self.log.lock().unwrap();
        for skb in list.iter() {
            log.push(format!("{}{} {}>{}", cx.hook, self.id, skb.fields().iif, skb.fields().oif));
        }
    }
}

/// A packet that passes `hook`.
fn through(rig: &mut Rig, hook: Hook) -> Out {
    let packet = match hook {
        Hook::LocalIn | Hook::LocalOut => Ip::echo("10.1.0.2", "10.1.0.1", 4),
        _ => Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40),
    };
    rig.send(R1, packet.to_port(R1))
}

/// What [`through`] leads to if nobody interferes: the port the one frame leaves by.
fn way_out(hook: Hook) -> usize {
    if matches!(hook, Hook::LocalIn | Hook::LocalOut) { R1 } else { R2 }
}

fn fixed(verdict: Verdict) -> Arc<Fixed> {
    Arc::new(Fixed { verdict, ..Fixed::default() })
}

fn fate(rig: &Rig, hook: Hook, fate: Fate) -> u64 {
    rig.shared.cells(0).hook(hook, fate).get()
}

/// Fates of the packets at `hook`: accept, drop, stolen, queue, repeat.
fn fates(rig: &Rig, hook: Hook) -> [u64; Fate::COUNT] {
    std::array::from_fn(|i| fate(rig, hook, Fate::ALL[i]))
}

/// In a rig a process: each hook has its own test.
fn matrix(hook: Hook) {
    let mut rig = Rig::new();
    let none = rig.hooks.clone();
    let node = node_of(hook);
    let mut seen = [0u64; Fate::COUNT];
    let mut check = |rig: &Rig, what: &str, growth: [u64; Fate::COUNT]| {
        let now = fates(rig, hook);
        let grown: Vec<u64> = now.iter().zip(seen).map(|(now, before)| now - before).collect();
        assert_eq!(grown, growth, "{hook} {what}: accept, drop, stolen, queue, repeat");
        seen = now;
    };

    let function = fixed(Verdict::Accept);
    rig.hook(hook, 0, function.clone());
    through(&mut rig, hook).no_drops().only(way_out(hook));
    assert_eq!(function.asked.load(Relaxed), 1, "{hook}");
    check(&rig, "accept", [1, 0, 0, 0, 0]);

    rig.hooks = none.clone();
    rig.hook(hook, 0, fixed(Verdict::Drop));
    let last = fixed(Verdict::Accept);
    rig.hook(hook, 1, last.clone());
    through(&mut rig, hook).drop_of(node, NetfilterDrop).silent();
    assert_eq!(last.asked.load(Relaxed), 0, "{hook}: a dropped packet is nobody else's");
    check(&rig, "drop", [0, 1, 0, 0, 0]);

    rig.hooks = none.clone();
    rig.hook(hook, 0, Arc::new(Fixed { verdict: Verdict::Stolen, consumes: true, ..Fixed::default() }));
    through(&mut rig, hook).no_drops().silent();
    check(&rig, "stolen", [0, 0, 1, 0, 0]);
    rig.hooks = none.clone();
    rig.hook(hook, 0, fixed(Verdict::Stolen));
    through(&mut rig, hook).drop_of(node, NetfilterDrop).silent();
    check(&rig, "stolen, then left lying", [0, 0, 1, 0, 0]);

    rig.hooks = none.clone();
    let twice = Arc::new(Fixed { verdict: Verdict::Repeat, until: Some(2), ..Fixed::default() });
    rig.hook(hook, 0, twice.clone());
    through(&mut rig, hook).no_drops().only(way_out(hook));
    assert_eq!(twice.asked.load(Relaxed), 3);
    check(&rig, "repeat", [1, 0, 0, 0, 2]);
    rig.hooks = none.clone();
    rig.hook(hook, 0, fixed(Verdict::Repeat));
    through(&mut rig, hook).drop_of(node, NetfilterDrop).silent();
    check(&rig, "repeat for ever", [0, 1, 0, 0, MAX_REPEATS as u64 + 1]);

    rig.hooks = none;
    rig.hook(hook, 0, fixed(Verdict::Queue { num: 7, bypass: false }));
    through(&mut rig, hook).drop_of(node, NetfilterDrop).silent();
    check(&rig, "queue without a listener", [0, 1, 0, 0, 0]);
    rig.shared.set_nf_queues([(7, Arc::new(NfQueue::new(7)))].into());
    through(&mut rig, hook).no_drops().silent();
    check(&rig, "queue", [0, 0, 0, 1, 0]);
    let queued = rig.queued.pop().unwrap();
    queued.queue.leave();
    let reinject = Reinject { skb: queued.skb, resume: queued.resume, verdict: QueueVerdict::Accept };
    rig.tell(ToLcore::NfReinject(reinject)).no_drops().only(way_out(hook));
    check(&rig, "queue, accepted", [1, 0, 0, 0, 0]);
}

#[test]
fn pre_routing() {
    matrix(Hook::PreRouting);
}

#[test]
fn local_in() {
    matrix(Hook::LocalIn);
}

#[test]
fn forward() {
    matrix(Hook::Forward);
}

#[test]
fn local_out() {
    matrix(Hook::LocalOut);
}

#[test]
fn post_routing() {
    matrix(Hook::PostRouting);
}

#[test]
fn l2_input() {
    matrix(Hook::L2Input);
}

#[test]
fn l2_enqueue() {
    matrix(Hook::L2Enqueue);
}

#[test]
fn l2_dequeue() {
    matrix(Hook::L2Dequeue);
}

#[test]
fn packets_meet_the_hooks_in_the_kernels_order() {
    let mut rig = Rig::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    for &hook in Hook::ALL {
        // Registered in the wrong order on purpose.
        for (priority, id) in [(100, " c"), (-300, " a"), (0, " b")] {
            rig.hook(hook, priority, Arc::new(Trace { id, log: Arc::clone(&log) }));
        }
    }
    let mut walk = |packet: Ip| {
        rig.send(R1, packet.to_port(R1));
        std::mem::take(&mut *log.lock().unwrap())
    };
    let thrice = |hook: &str, devs: &str| ["a", "b", "c"].map(|id| format!("{hook} {id} {devs}")).to_vec();
    let route = |stops: &[(&str, &str)]| stops.iter().flat_map(|(h, d)| thrice(h, d)).collect::<Vec<_>>();
    assert_eq!(
        walk(Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40)),
        route(&[
            ("L2_INPUT", "2>0"),
            ("PRE_ROUTING", "2>0"),
            ("FORWARD", "2>3"),
            ("POST_ROUTING", "2>3"),
            ("L2_ENQUEUE", "2>3"),
            ("L2_DEQUEUE", "2>3"),
        ])
    );
    // What the router makes of an echo request is its own packet: it came in by no device.
    let echo = walk(Ip::echo("10.1.0.2", "10.1.0.1", 1));
    let stops: Vec<&str> = echo.iter().step_by(3).map(|line| line.split(' ').next().unwrap()).collect();
    let order =
        ["L2_INPUT", "PRE_ROUTING", "LOCAL_IN", "LOCAL_OUT", "POST_ROUTING", "L2_ENQUEUE", "L2_DEQUEUE"];
    assert_eq!(stops, order);
    assert_eq!(echo.last().unwrap(), "L2_DEQUEUE c 0>2");
    // An error of the router's own passes LOCAL_OUT and POST_ROUTING; the packet it is about went no further.
    let error = walk(Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40).ttl(1));
    let stops: Vec<&str> = error.iter().step_by(3).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(stops, ["L2_INPUT", "PRE_ROUTING", "LOCAL_OUT", "POST_ROUTING", "L2_ENQUEUE", "L2_DEQUEUE"]);
}

/// A packet dropped in FORWARD has been counted as forwarded, and its sender hears nothing.
#[test]
fn a_drop_in_forward_is_silent_and_counted_as_forwarded() {
    let mut rig = Rig::new();
    rig.hook(Hook::Forward, 0, fixed(Verdict::Drop));
    let out = through(&mut rig, Hook::Forward);
    out.drop_of(node_of(Hook::Forward), NetfilterDrop).silent();
    out.counted(&[(IpForwDatagrams, 1), (IcmpOutMsgs, 0), (IpOutTransmits, 0)]);
}

/// A function of one device's hook sees the packets of that device only.
#[test]
fn device_hooks_see_their_device() {
    let mut rig = Rig::new();
    rig.hooks.register(
        Hook::L2Enqueue,
        HookEntry { priority: 0, dev: Some(dev(R2)), function: fixed(Verdict::Drop) },
    );
    rig.configure(|_, _| {});
    let to = |dst| Ip::udp("10.1.0.2", dst, (5, 6), 40).to_port(R1);
    let out = rig.send_all(R1, [to("10.2.0.2"), to("10.3.0.2"), to("10.2.0.2"), to("10.3.0.2")]);
    assert_eq!((out.wire[R2].len(), out.wire[R3].len()), (0, 2));
    out.dropped(&[(node_of(Hook::L2Enqueue), NetfilterDrop, 2)]);
}

/// Each packet of a burst has its own verdict, and those that go on keep their order.
#[test]
fn a_burst_is_split_by_its_verdicts_in_order() {
    #[derive(Debug)]
    struct ByPort;
    impl HookFn for ByPort {
        fn name(&self) -> &str {
            "by port"
        }
        fn run(&self, _: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
            for (i, skb) in list.iter().enumerate() {
                let verdict = match skb.network()[23] % 4 {
                    0 => Verdict::Drop,
                    1 => Verdict::Stolen,
                    2 => Verdict::Queue { num: 1, bypass: true },
                    _ => Verdict::Accept,
                };
                verdicts.set(i, verdict);
            }
        }
    }
    let mut rig = Rig::new();
    rig.hook(Hook::PreRouting, 0, Arc::new(ByPort));
    let frames = (0..32).map(|i| Ip::udp("10.1.0.2", "10.2.0.2", (5, i), 40).to_port(R1));
    let out = rig.send_all(R1, frames);
    let ports: Vec<u8> = out.all(R2).iter().map(|seen| seen.payload[3]).collect();
    assert_eq!(ports, (0..32).filter(|port| port % 4 >= 2).collect::<Vec<u8>>());
    out.dropped(&[(node_of(Hook::PreRouting), NetfilterDrop, 16)]);
}

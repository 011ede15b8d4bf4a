//! QUEUE verdicts, the lcore's side: packets leave the journey at a hook, wait, and go on as the listener says. The
//! listener is played by the tests; when a rig ends, all mbufs must be back and the ledger even.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use common::{Frame, Ip, Out, R1, R2, Rig, bytes};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::DropReason::NetfilterDrop;
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::netfilter::hooks::{Fate, Hook, HookCx, HookFn, Hooks, Verdict, Verdicts, node_of};
use skiff_dataplane::netfilter::mangle::{Insane, copy_payload, hw_protocol, replace_payload};
use skiff_dataplane::netfilter::queue::{NfQueue, QueueVerdict, Queued, Reinject};
use skiff_dataplane::skb::{SkbExt, SkbList};

const TO_7: Verdict = Verdict::Queue { num: 7, bypass: false };

type Log = Arc<Mutex<Vec<&'static str>>>;

/// Notes that it was called, once a packet, and gives the verdicts of its script, then Accept.
#[derive(Debug)]
struct Step {
    name: &'static str,
    log: Log,
    script: Mutex<VecDeque<Verdict>>,
}

impl HookFn for Step {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&self, _: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
        for at in 0..list.len() {
            self.log.lock().unwrap().push(self.name);
            if let Some(verdict) = self.script.lock().unwrap().pop_front() {
                verdicts.set(at, verdict);
            }
        }
    }
}

/// `before`, `queuing` with this script, and `after` at a hook that had other functions.
fn steps(rig: &mut Rig, hook: Hook, script: &[Verdict]) -> Log {
    let log = Log::default();
    rig.hooks = Hooks::default();
    for (name, priority, script) in [("before", -10, &[][..]), ("queuing", 0, script), ("after", 10, &[])] {
        let script = Mutex::new(script.iter().copied().collect());
        rig.hook(hook, priority, Arc::new(Step { name, log: Arc::clone(&log), script }));
    }
    log
}

fn taken(log: &Log) -> Vec<&'static str> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// Queues with a listener.
fn listen<const N: usize>(rig: &Rig, nums: [u16; N]) -> [Arc<NfQueue>; N] {
    let queues = nums.map(|num| Arc::new(NfQueue::new(num)));
    let by_number: BTreeMap<_, _> = queues.iter().map(|q| (q.num, Arc::clone(q))).collect();
    rig.shared.set_nf_queues(by_number);
    queues
}

/// Takes the oldest packet out of its queue.
#[track_caller]
fn take(rig: &mut Rig) -> Queued {
    assert!(!rig.queued.is_empty(), "a packet waits");
    let queued = rig.queued.remove(0);
    queued.queue.leave();
    queued
}

/// Decides about the oldest packet.
#[track_caller]
fn decide(rig: &mut Rig, verdict: QueueVerdict) -> Out {
    let Queued { skb, lcore, resume, .. } = take(rig);
    assert_eq!(lcore, 0);
    rig.tell(ToLcore::NfReinject(Reinject { skb, resume, verdict }))
}

fn transit() -> Ip {
    Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40)
}

/// A packet that passes the hook, and the port the router's answer or the packet itself leaves by.
fn through(hook: Hook) -> (Vec<u8>, usize) {
    match hook {
        Hook::LocalIn | Hook::LocalOut => (Ip::echo("10.1.0.2", "10.1.0.1", 40).to_port(R1), R1),
        _ => (transit().to_port(R1), R2),
    }
}

fn fates(rig: &Rig, hook: Hook) -> [u64; Fate::COUNT] {
    let cells = rig.shared.cells(0);
    std::array::from_fn(|i| cells.hook(hook, Fate::ALL[i]).get())
}

/// Sends a packet that is queued at `hook`: nothing leaves, nothing is dropped, and it waits.
#[track_caller]
fn queue_one(rig: &mut Rig, hook: Hook, queue: &NfQueue) {
    let (frame, _) = through(hook);
    rig.send(R1, frame).silent().no_drops();
    assert_eq!((rig.queued.len(), queue.waiting.load(Relaxed)), (1, 1), "{hook}");
    assert_eq!(rig.queued[0].resume.hook, hook);
    assert_eq!(rig.queued[0].at.as_millis(), rig.now.as_millis());
}

#[test]
fn accept_goes_on_with_the_next_function() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    for &hook in Hook::ALL {
        let log = steps(&mut rig, hook, &[TO_7]);
        let (_, port) = through(hook);
        queue_one(&mut rig, hook, &queue);
        assert_eq!(taken(&log), ["before", "queuing"], "{hook}");
        let out = decide(&mut rig, QueueVerdict::Accept);
        assert_eq!(taken(&log), ["after"], "{hook}");
        let seen = out.no_drops().only(port);
        match hook {
            Hook::LocalIn | Hook::LocalOut => assert_eq!(seen.icmp(), (0, 0)),
            _ => seen.is_forwarded(&transit()),
        }
        assert_eq!(fates(&rig, hook), [1, 0, 0, 1, 0], "{hook}: accept, drop, stolen, queue, repeat");
        assert_eq!(queue.waiting.load(Relaxed), 0);
    }
    // Nothing was counted twice for its pause.
    let cells = rig.shared.cells(0);
    assert_eq!((cells.mib(IpInReceives).get(), cells.mib(IpForwDatagrams).get()), (8, 6));
    assert_eq!((cells.mib(IpOutTransmits).get(), cells.ledger().tx), (8, 8));
}

#[test]
fn repeat_shows_it_to_the_same_function() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    for &hook in Hook::ALL {
        // Queued twice, then let go by the function itself.
        let log = steps(&mut rig, hook, &[TO_7, TO_7]);
        queue_one(&mut rig, hook, &queue);
        decide(&mut rig, QueueVerdict::Repeat).silent().no_drops();
        assert_eq!(queue.waiting.load(Relaxed), 1);
        let out = decide(&mut rig, QueueVerdict::Repeat);
        assert_eq!(taken(&log), ["before", "queuing", "queuing", "queuing", "after"], "{hook}");
        assert_eq!((out.no_drops().sent(), queue.waiting.load(Relaxed)), (1, 0), "{hook}");
        assert_eq!(fates(&rig, hook), [1, 0, 0, 2, 0], "{hook}");
    }
}

#[test]
fn queue_moves_it_to_another_queue() {
    let mut rig = Rig::new();
    let [seven, eight] = listen(&rig, [7, 8]);
    for &hook in Hook::ALL {
        let log = steps(&mut rig, hook, &[TO_7]);
        queue_one(&mut rig, hook, &seven);
        decide(&mut rig, QueueVerdict::Queue(8)).silent().no_drops();
        assert_eq!((seven.waiting.load(Relaxed), eight.waiting.load(Relaxed)), (0, 1), "{hook}");
        assert_eq!(decide(&mut rig, QueueVerdict::Accept).no_drops().sent(), 1, "{hook}");
        assert_eq!(taken(&log), ["before", "queuing", "after"], "{hook}");
        assert_eq!(fates(&rig, hook), [1, 0, 0, 2, 0], "{hook}");
    }
}

#[test]
fn queue_to_one_without_a_listener_drops() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    for &hook in Hook::ALL {
        // Bypass is the rule's word about the queue it names, not about this one.
        steps(&mut rig, hook, &[Verdict::Queue { num: 7, bypass: true }]);
        queue_one(&mut rig, hook, &queue);
        decide(&mut rig, QueueVerdict::Queue(9)).silent().drop_of(node_of(hook), NetfilterDrop);
        assert_eq!(fates(&rig, hook), [0, 1, 0, 1, 0], "{hook}");
    }
}

#[test]
fn drop_frees_it() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    for &hook in Hook::ALL {
        let log = steps(&mut rig, hook, &[TO_7]);
        queue_one(&mut rig, hook, &queue);
        decide(&mut rig, QueueVerdict::Drop).silent().drop_of(node_of(hook), NetfilterDrop);
        assert_eq!(taken(&log), ["before", "queuing"], "{hook}");
        assert_eq!(fates(&rig, hook), [0, 1, 0, 1, 0], "{hook}");
    }
}

#[test]
fn without_a_listener_it_is_dropped_or_passes_by() {
    let mut rig = Rig::new();
    for &hook in Hook::ALL {
        let (frame, _) = through(hook);
        steps(&mut rig, hook, &[TO_7]);
        rig.send(R1, frame.clone()).silent().drop_of(node_of(hook), NetfilterDrop);
        let log = steps(&mut rig, hook, &[Verdict::Queue { num: 7, bypass: true }]);
        assert_eq!(rig.send(R1, frame).no_drops().sent(), 1, "{hook}");
        assert_eq!(taken(&log), ["before", "queuing", "after"], "{hook}");
        assert_eq!(fates(&rig, hook), [1, 1, 0, 0, 0], "{hook}");
    }
}

#[test]
fn a_full_queue_drops_or_fails_open() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    queue.maxlen.store(4, Relaxed);
    let node = node_of(Hook::Forward);
    steps(&mut rig, Hook::Forward, &[TO_7; 12]);
    let six = || (0..6).map(|i| Ip::udp("10.1.0.2", "10.2.0.2", (i, 6), 40).to_port(R1));

    rig.send_all(R1, six()).silent().dropped(&[(node, NetfilterDrop, 2)]);
    assert_eq!((queue.waiting.load(Relaxed), queue.dropped.load(Relaxed)), (4, 2));

    queue.fail_open.store(true, Relaxed);
    let out = rig.send_all(R1, six());
    assert_eq!((out.no_drops().wire[R2].len(), queue.failed_open.load(Relaxed)), (6, 6));
    assert_eq!((queue.dropped.load(Relaxed), queue.user_dropped.load(Relaxed)), (2, 0));

    // Bypass is for queues without a listener, not for full ones.
    queue.fail_open.store(false, Relaxed);
    steps(&mut rig, Hook::Forward, &[Verdict::Queue { num: 7, bypass: true }]);
    rig.send(R1, transit().to_port(R1)).silent().drop_of(node, NetfilterDrop);
    assert_eq!(queue.dropped.load(Relaxed), 3);

    for i in 0..4 {
        let seen = decide(&mut rig, QueueVerdict::Accept).no_drops().only(R2);
        assert_eq!(seen.payload[..2], [0, i], "in order");
    }
    assert_eq!(queue.waiting.load(Relaxed), 0);
}

/// Packets on their way to a server that does not take them are bounded, whatever the queues' lengths.
#[test]
fn a_server_that_stands_still_loses_to_the_queue() {
    let mut rig = Rig::with(1, 8191);
    let [queue] = listen(&rig, [7]);
    queue.maxlen.store(u32::MAX, Relaxed);
    steps(&mut rig, Hook::PreRouting, &[TO_7; 5000]);
    let many = (0..4100).map(|i| Ip::udp("10.1.0.2", "10.2.0.2", (i, 6), 0).to_port(R1));
    rig.send_all(R1, many).silent().dropped(&[(node_of(Hook::PreRouting), NetfilterDrop, 4)]);
    assert_eq!((queue.waiting.load(Relaxed), queue.dropped.load(Relaxed)), (4096, 4));
    while !rig.queued.is_empty() {
        decide(&mut rig, QueueVerdict::Drop);
    }
    assert_eq!(queue.waiting.load(Relaxed), 0);
}

/// A packet keeps its place in the order of priorities when functions come and go while it waits.
#[test]
fn functions_may_change_while_it_waits() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    steps(&mut rig, Hook::Forward, &[TO_7]);
    queue_one(&mut rig, Hook::Forward, &queue);
    let log = Log::default();
    rig.hooks = Hooks::default();
    for (name, priority) in [("earlier", -5), ("later", 5)] {
        rig.hook(
            Hook::Forward,
            priority,
            Arc::new(Step { name, log: Arc::clone(&log), script: Mutex::default() }),
        );
    }
    assert_eq!(decide(&mut rig, QueueVerdict::Accept).no_drops().sent(), 1);
    assert_eq!(taken(&log), ["later"]);
}

/// A packet may queue, repeat into a drop, and so on: whatever the function says after REPEAT counts.
#[test]
fn a_repeated_packet_meets_the_functions_new_verdict() {
    let mut rig = Rig::new();
    let [queue] = listen(&rig, [7]);
    steps(&mut rig, Hook::LocalIn, &[TO_7, Verdict::Drop]);
    queue_one(&mut rig, Hook::LocalIn, &queue);
    decide(&mut rig, QueueVerdict::Repeat).silent().drop_of(node_of(Hook::LocalIn), NetfilterDrop);
}

/// The wake-up is called for the first packet after the server said it sleeps, and for no other.
#[test]
fn one_wake_up_a_sleep() {
    let mut rig = Rig::new();
    let _queue = listen(&rig, [7]);
    let wakes = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&wakes);
    rig.shared.wake_listeners_by(move || {
        counter.fetch_add(1, Relaxed);
    });
    steps(&mut rig, Hook::Forward, &[TO_7; 9]);
    rig.send(R1, transit().to_port(R1));
    assert_eq!(wakes.load(Relaxed), 0, "it is awake");
    for sleep in 1..=2 {
        assert!(rig.shared.listeners_may_sleep());
        rig.send_all(R1, [transit().to_port(R1), transit().to_port(R1)]);
        assert_eq!(wakes.load(Relaxed), sleep);
    }
    let (shared, snap) = (Arc::clone(&rig.shared), Arc::clone(&rig.snap));
    let skb = rig.skb(&transit().to_port(R1).into());
    let mut burst = SkbList::new();
    burst.push(skb).unwrap();
    rig.feed[R1].tx_burst(&mut burst);
    rig.worker.round(
        &shared,
        &snap,
        shared.cells(0),
        common::tsc_at(rig.now),
        skiff_dataplane::core::shared::RunState::Running,
    );
    assert!(!shared.listeners_may_sleep(), "a packet is there");
    rig.take_messages();
    while !rig.queued.is_empty() {
        decide(&mut rig, QueueVerdict::Drop);
    }
}

/// Queues a frame at `hook`, changes its payload, and lets it go on.
fn changed(rig: &mut Rig, hook: Hook, frame: impl Into<Frame>, payload: &[u8]) -> Out {
    let _queue = listen(rig, [7]);
    steps(rig, hook, &[TO_7]);
    rig.send(R1, frame.into()).silent().no_drops();
    let Queued { mut skb, resume, .. } = take(rig);
    replace_payload(hook, &mut skb, &rig.own_pool, payload, 1500).unwrap();
    let verdict = QueueVerdict::Accept;
    rig.tell(ToLcore::NfReinject(Reinject { skb, resume, verdict }))
}

#[test]
fn a_payload_may_stay_as_long_shrink_or_grow() {
    let mut rig = Rig::new();
    let udp = |len| Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), len);
    for hook in [Hook::L2Input, Hook::PreRouting, Hook::Forward, Hook::PostRouting] {
        for (from, to) in [(40, 40), (1000, 3), (0, 1472), (1472, 1471)] {
            // Behind FORWARD the TTL has been taken.
            let ttl = if matches!(hook, Hook::Forward | Hook::PostRouting) { 63 } else { 64 };
            let new = udp(to).ttl(ttl);
            let seen = changed(&mut rig, hook, udp(from).to_port(R1), &new.bytes()).no_drops().only(R2);
            seen.is_forwarded(&udp(to));
        }
    }
}

#[test]
fn options_may_come_and_go() {
    let mut rig = Rig::new();
    let plain = transit();
    let with = transit().options(&[1, 1, 1, 1]);
    let seen = changed(&mut rig, Hook::PreRouting, plain.to_port(R1), &with.bytes()).no_drops().only(R2);
    assert_eq!((seen.options.len(), &seen.payload), (4, &with.payload));
    let seen = changed(&mut rig, Hook::PreRouting, with.to_port(R1), &plain.bytes()).no_drops().only(R2);
    seen.is_forwarded(&plain);
}

#[test]
fn chained_packets_are_read_and_replaced() {
    let mut rig = Rig::new();
    let packet = Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), 1400);
    let frame = packet.to_port(R1);
    let _queue = listen(&rig, [7]);
    steps(&mut rig, Hook::PreRouting, &[TO_7]);
    rig.send(R1, Frame::cut(&frame, &[20, 50, 600])).silent().no_drops();
    let Queued { skb, resume, .. } = take(&mut rig);
    for max in [0, 19, 36, 590, 1428, 9999] {
        let mut copy = vec![0xee];
        copy_payload(Hook::PreRouting, &skb, max, &mut copy);
        assert_eq!(copy[1..], packet.bytes()[..max.min(1428)], "{max}");
    }
    let out = rig.tell(ToLcore::NfReinject(Reinject { skb, resume, verdict: QueueVerdict::Accept }));
    out.no_drops().only(R2).is_forwarded(&packet);

    let new = Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), 77);
    let out = changed(&mut rig, Hook::PreRouting, Frame::cut(&frame, &[20, 50, 600]), &new.bytes());
    out.no_drops().only(R2).is_forwarded(&new);
}

/// A payload larger than an mbuf becomes a chain, and is fragmented on its way out.
#[test]
fn a_payload_may_outgrow_its_mbuf() {
    let mut rig = Rig::new();
    let new = Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), 65_507);
    let out = changed(&mut rig, Hook::PreRouting, transit().to_port(R1), &new.bytes());
    let fragments = out.no_drops().all(R2);
    assert!(fragments.len() > 40, "{}", fragments.len());
    let whole: Vec<u8> = fragments.into_iter().flat_map(|f| f.payload).collect();
    assert_eq!(whole, new.payload);
}

#[test]
fn what_is_no_sound_packet_is_refused() {
    let mut rig = Rig::new();
    let good = transit().bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (vec![], "empty"),
        (good[..19].to_vec(), "shorter than a header"),
        (with(0, 0x65), "version 6"),
        (with(0, 0x44), "a header of 16 bytes"),
        (with(0, 0x4f)[..30].to_vec(), "a header longer than the packet"),
        (with(3, 19), "a total length below the header's"),
        (with(3, good.len() as u8 + 1), "a total length beyond the end"),
    ];
    for hook in [Hook::PreRouting, Hook::L2Input, Hook::L2Enqueue] {
        for (payload, what) in &cases {
            let mut skb = rig.skb(&transit().to_port(R1).into());
            skb.fields_mut().network_offset = 14;
            let refused = replace_payload(hook, &mut skb, &rig.own_pool, payload, 1500);
            assert_eq!(refused, Err(Insane::Header), "{hook}: {what}");
        }
    }
    // Bytes behind the total length are cut off, as ip_rcv does before the hooks of IPv4.
    let long = [&good[..], &[0; 9]].concat();
    changed(&mut rig, Hook::Forward, transit().to_port(R1), &Ip { ttl: 63, ..transit() }.bytes());
    let seen = changed(&mut rig, Hook::PreRouting, transit().to_port(R1), &long).no_drops().only(R2);
    seen.is_forwarded(&transit());
    // A frame the device cannot send.
    let large = Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), 1473).bytes();
    let mut skb = rig.skb(&transit().to_port(R1).into());
    skb.fields_mut().network_offset = 14;
    let refused = replace_payload(Hook::L2Enqueue, &mut skb, &rig.own_pool, &large, 1500);
    assert_eq!(refused, Err(Insane::TooLong));
    // No mbufs for the rest.
    let mut all: Vec<_> = std::iter::from_fn(|| rig.own_pool.alloc()).collect();
    let large = Ip::udp("10.1.0.2", "10.2.0.2", (8, 9), 5000).bytes();
    let refused = replace_payload(Hook::PreRouting, &mut skb, &rig.own_pool, &large, 1500);
    assert_eq!(refused, Err(Insane::Nomem));
    all.clear();
}

/// Frames that are none of IP may be anything behind their Ethernet header.
#[test]
fn an_arp_frame_is_shown_and_replaced_as_it_is() {
    let mut rig = Rig::new();
    let frame = common::frames::arp(
        skiff_dataplane::net::MacAddr([0xff; 6]),
        1,
        (common::mac::of(common::ip("10.1.0.2")), "10.1.0.2"),
        (skiff_dataplane::net::MacAddr([0; 6]), "10.1.0.77"),
    );
    let _queue = listen(&rig, [7]);
    steps(&mut rig, Hook::L2Input, &[TO_7]);
    rig.send(R1, frame.clone()).silent().no_drops();
    let Queued { mut skb, resume, .. } = take(&mut rig);
    assert_eq!(hw_protocol(resume.hook, &skb), 0x0806);
    let mut payload = Vec::new();
    copy_payload(resume.hook, &skb, 0xffff, &mut payload);
    assert_eq!(payload, frame[14..]);
    // Now it asks for the router.
    payload[24..28].copy_from_slice(&[10, 1, 0, 1]);
    replace_payload(resume.hook, &mut skb, &rig.own_pool, &payload, 1500).unwrap();
    assert_eq!(bytes(&skb)[14..], payload);
    let out = rig.tell(ToLcore::NfReinject(Reinject { skb, resume, verdict: QueueVerdict::Accept }));
    assert_eq!((out.wire[R1].len(), out.wire[R1][0][20..22].to_vec()), (1, vec![0, 2]), "an ARP reply");
}

//! `ip_defrag`: fragments for the router, put together or given up; and what is cut again behind it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::{DF, MF, Seen, checksum};
use common::{Frame, Ip, Out, R1, R2, Rig, To, dev, ip, tsc_at};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason, DropReason::*, Node::*};
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::core::shared::{RunState, ToLcore};
use skiff_dataplane::core::xmit::{TxPath, TxTable};
use skiff_dataplane::ipv4::ip_frag::{DefragUser, ip_defrag, truesize};
use skiff_dataplane::ipv4::route::ip_list_rcv_finish;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::MacAddr;
use skiff_dataplane::skb::{SkbExt, SkbFields, SkbList, flags};
use skiff_pmd::Ring;

const A: &str = "10.1.0.2";
const US: &str = "10.1.0.1";

/// The bytes `from..to` of a datagram's payload as a fragment.
fn part(whole: &Ip, from: usize, to: usize) -> Ip {
    let mut part = whole.clone();
    part.payload = whole.payload[from..to].to_vec();
    let more = if to < whole.payload.len() { MF } else { 0 };
    part.frag = whole.frag & DF | more | (from / 8) as u16;
    part
}

/// A datagram cut into fragments with `step` bytes each.
fn cut(whole: &Ip, step: usize) -> Vec<Ip> {
    let len = whole.payload.len();
    (0..len).step_by(step).map(|from| part(whole, from, len.min(from + step))).collect()
}

fn frames(parts: &[Ip]) -> Vec<Frame> {
    parts.iter().map(|part| part.to_port(R1).into()).collect()
}

/// The one datagram whose fragments these are, in order.
#[track_caller]
fn joined(pieces: &[Seen]) -> Seen {
    let mut whole = pieces[0].clone();
    whole.payload.clear();
    for (i, piece) in pieces.iter().enumerate() {
        assert_eq!((piece.src, piece.dst, piece.id), (whole.src, whole.dst, whole.id));
        assert_eq!(usize::from(piece.frag & 0x1fff) * 8, whole.payload.len());
        assert_eq!(piece.frag & MF != 0, i + 1 < pieces.len());
        whole.payload.extend(&piece.payload);
    }
    assert_eq!(checksum(&whole.payload), 0);
    whole
}

#[track_caller]
fn answered(out: &Out, echo: &Ip) {
    let reply = joined(&out.no_drops().all(R1));
    assert_eq!((reply.src, reply.dst, reply.icmp()), (echo.dst, echo.src, (0, 0)));
    assert_eq!(reply.payload[4..], echo.payload[4..]);
    out.counted(&[(IpReasmOKs, 1), (IpReasmFails, 0), (IpInDelivers, 1), (IcmpOutEchoReps, 1)]);
}

#[test]
fn a_large_echo_in_order_and_reversed() {
    let mut rig = Rig::new();
    for len in [1473, 4000, 20_000, 65_507] {
        let echo = Ip::echo(A, US, len);
        let mut parts = frames(&cut(&echo, 1480));
        let n = parts.len() as u64;
        let out = rig.send_all(R1, parts.clone());
        answered(&out, &echo);
        out.counted(&[(IpReasmReqds, n), (IpFragOKs, 1), (IpFragCreates, n)]);
        parts.reverse();
        answered(&rig.send_all(R1, parts), &echo);
    }
}

#[test]
fn segments_may_end_anywhere() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 100);
    for at in [vec![34], vec![35, 40], vec![14, 20, 34, 36]] {
        let parts = cut(&echo, 24).into_iter().map(|part| Frame::cut(&part.to_port(R1), &at));
        answered(&rig.send_all(R1, parts), &echo);
    }
}

/// Thousands of fragments of 8 bytes are more segments than a driver sends: they are copied together.
#[test]
fn many_small_fragments() {
    let mut rig = Rig::with(1, 8191);
    let echo = Ip::echo(A, US, 5000);
    answered(&rig.send_all(R1, frames(&cut(&echo, 8))), &echo);
    let short = Ip::echo(A, US, 1400);
    answered(&rig.send_all(R1, frames(&cut(&short, 8))), &short);
}

#[test]
fn options_of_the_first_fragment() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 2000);
    let mut parts = cut(&echo, 1000);
    parts[0].options = vec![1, 1, 1, 0];
    parts[1].options = vec![1; 40];
    answered(&rig.send_all(R1, frames(&parts)), &echo);
}

/// The UDP checksum covers all segments.
#[test]
fn udp_in_fragments() {
    let mut rig = Rig::new();
    let udp = Ip::udp(A, US, (1000, 53), 3001);
    let out = rig.send_all(R1, frames(&cut(&udp, 1480)));
    out.drop_of(IpLocalDeliver, NoSocket).counted(&[(UdpNoPorts, 1), (UdpInCsumErrors, 0), (IpReasmOKs, 1)]);
    let error = out.only(R1);
    assert_eq!((error.icmp(), error.payload.len()), ((3, 3), 556));
    // What it quotes is the whole datagram's header.
    assert_eq!(error.quote()[2..8], [&3029u16.to_be_bytes()[..], &0x1234u16.to_be_bytes(), &[0, 0]].concat());

    let mut bad = udp.clone();
    bad.payload[2900] ^= 1;
    let out = rig.send_all(R1, frames(&cut(&bad, 1480)));
    out.drop_of(IpLocalDeliver, UdpCsum).silent().counted(&[(UdpInCsumErrors, 1)]);
}

#[test]
fn duplicates_are_ignored() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 100);
    let parts = cut(&echo, 56);
    rig.send_all(R1, [parts[0].to_port(R1)]).no_drops().silent();
    let out = rig.send_all(R1, [parts[0].to_port(R1), part(&echo, 16, 32).to_port(R1)]);
    out.dropped(&[(IpDefrag, DupFrag, 2)]).silent().counted(&[(IpReasmReqds, 2), (IpReasmFails, 0)]);
    answered(&rig.send_all(R1, [parts[1].to_port(R1)]), &echo);
}

#[test]
fn contradicting_fragments_are_discarded_all() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 120);
    let two_ends = {
        let mut e = part(&echo, 64, 128);
        e.payload.truncate(32);
        e
    };
    let empty = {
        let mut e = part(&echo, 64, 72);
        e.payload.clear();
        e
    };
    let marked = part(&echo, 64, 128).tos(3);
    for (first, second, overlaps) in [
        (part(&echo, 0, 64), part(&echo, 56, 128), 1),
        (part(&echo, 64, 128), part(&echo, 0, 72), 1),
        (part(&echo, 64, 128), two_ends, 0),
        (part(&echo, 0, 64), empty, 0),
        (part(&echo, 0, 64), marked, 0),
    ] {
        let out = rig.send_all(R1, frames(&[first, second]));
        out.dropped(&[(IpDefrag, FragDiscard, 2)]).silent();
        out.counted(&[(IpReasmReqds, 2), (IpReasmFails, 1), (IpExtReasmOverlaps, overlaps), (IpReasmOKs, 0)]);
        assert_eq!(rig.shared.frags.memory.bytes(), 0);
    }
    // What comes after begins anew.
    answered(&rig.send_all(R1, frames(&cut(&echo, 64))), &echo);
}

/// Congestion experienced by a part was experienced by the whole (RFC 3168 section 5.3).
#[test]
fn congestion_marks() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 120).tos(0x2a);
    let parts = [part(&echo, 0, 64), part(&echo, 64, 128).tos(0x2b)];
    let out = rig.send_all(R1, frames(&parts));
    answered(&out, &echo);
    assert_eq!(out.only(R1).tos, 0x2b, "the echo reply has the TOS of the request");
}

#[test]
fn time_exceeded_if_the_first_fragment_is_there() {
    let mut rig = Rig::new();
    let echo = Ip::echo(A, US, 120);
    let (first, second) = (part(&echo, 0, 64), part(&echo, 64, 96));
    rig.send_all(R1, frames(&[second.clone(), first.clone()])).no_drops().silent();
    rig.after(Duration::from_millis(29_999));
    rig.idle_round().no_drops().silent();
    rig.after(Duration::from_millis(2));
    let out = rig.idle_round();
    out.dropped(&[(IpDefrag, FragReasmTimeout, 2)]);
    out.counted(&[(IpReasmTimeout, 1), (IpReasmFails, 1), (IcmpOutTimeExcds, 1)]);
    let error = out.only(R1);
    assert_eq!((error.src, error.dst, error.icmp(), error.tos), (ip(US), ip(A), (11, 1), 0xc0));
    assert_eq!(error.quote(), first.bytes());

    // Without the first there is nothing to quote.
    rig.send_all(R1, frames(std::slice::from_ref(&second))).no_drops();
    rig.after(Duration::from_millis(30_001));
    let out = rig.idle_round();
    out.dropped(&[(IpDefrag, FragReasmTimeout, 1)]).silent();
    out.counted(&[(IpReasmTimeout, 1), (IpReasmFails, 1), (IcmpOutTimeExcds, 0)]);

    // Nor is anything said about what went to everybody.
    let mut broadcast = first.clone();
    broadcast.dst = ip("10.1.0.255");
    rig.send(R1, broadcast.to_mac(MacAddr::BROADCAST)).no_drops();
    rig.after(Duration::from_millis(30_001));
    rig.idle_round().dropped(&[(IpDefrag, FragReasmTimeout, 1)]).silent();
}

#[test]
fn the_settings_act() {
    let mut rig = Rig::new();
    rig.without_limits();
    let echo = Ip::echo(A, US, 120);
    let (first, second) = (part(&echo, 0, 64), part(&echo, 64, 128));
    rig.configure(|_, sysctl| sysctl.ipfrag_time = 2);
    rig.send(R1, first.to_port(R1)).no_drops();
    rig.after(Duration::from_millis(2_001));
    assert_eq!(rig.idle_round().dropped(&[(IpDefrag, FragReasmTimeout, 1)]).only(R1).icmp(), (11, 1));

    rig.configure(|_, sysctl| sysctl.ipfrag_max_dist = 1);
    let mut other = first.clone();
    other.id = 77;
    rig.send_all(R1, frames(&[first.clone(), other])).no_drops();
    let out = rig.send(R1, second.to_port(R1));
    out.drop_of(IpDefrag, FragTooFar).silent().counted(&[(IpReasmFails, 1)]);
    rig.configure(|_, sysctl| sysctl.ipfrag_max_dist = 0);
    answered(&rig.send(R1, first.to_port(R1)), &echo);

    rig.configure(|_, sysctl| sysctl.ipfrag_high_thresh = 0);
    let out = rig.send(R1, first.to_port(R1));
    out.drop_of(IpDefrag, FragMemLimit).silent().counted(&[(IpReasmReqds, 1), (IpReasmFails, 1)]);
}

/// Fragments in transit are nobody's business but the destination's.
#[test]
fn fragments_in_transit_are_forwarded_as_they_are() {
    let mut rig = Rig::new();
    let udp = Ip::udp(A, "10.2.0.2", (1, 2), 3000);
    for part in cut(&udp, 1480) {
        rig.send(R1, part.to_port(R1)).no_drops().counted(&[(IpReasmReqds, 0)]).only(R2).is_forwarded(&part);
    }
}

/// A flood of halves, overlaps and duplicates: the memory keeps its bound, the rest of the traffic is forwarded, and
/// in the end every mbuf is back.
#[test]
fn a_flood_of_fragments_is_bounded() {
    let mut rig = Rig::new();
    rig.without_limits();
    let bound = truesize(&rig.own_pool, 2047 / 8);
    let transit = Ip::udp(A, "10.2.0.2", (1, 2), 100);
    let mut sent = 0;
    for round in 0..400u32 {
        let mut burst = Vec::new();
        for i in 0..8u32 {
            let mut echo = Ip::echo(A, US, 120);
            echo.src = ip("10.1.0.2") + (round * 8 + i) % 200;
            echo.id = (round * 8 + i) as u16;
            burst.push(part(&echo, 0, 64).to_port(R1));
            match i % 4 {
                0 => burst.push(part(&echo, 56, 96).to_port(R1)),
                1 => burst.push(part(&echo, 0, 64).to_port(R1)),
                _ => burst.push(part(&echo, 80, 128).to_port(R1)),
            }
            burst.push(transit.to_port(R1));
        }
        let out = rig.send_all(R1, burst);
        assert_eq!(out.wire[R2].len(), 8, "forwarding goes on: {out:?}");
        sent += out.drops.values().sum::<u64>();
        assert!(out.drops.keys().all(|&(node, _)| node == IpDefrag), "{out:?}");
        assert!(rig.shared.frags.memory.bytes() <= bound);
        rig.after(Duration::from_millis(1));
    }
    let held = rig.worker.hands.frags.held();
    assert!(held > 100 && held <= 2047 / 8, "{held}");
    assert_eq!(sent + held as u64, 400 * 16);
    let drops = |reason: DropReason| rig.shared.cells(0).drops(IpDefrag, reason).0;
    assert!(drops(FragMemLimit) > 0 && drops(FragDiscard) > 0 && drops(DupFrag) > 0);
    // All of it ends in time, a few in each round.
    rig.after(Duration::from_millis(30_001));
    let mut rounds = 0;
    while !rig.worker.hands.frags.is_empty() {
        let before = rig.worker.hands.frags.len();
        rig.round();
        assert!(before - rig.worker.hands.frags.len() <= 16);
        rounds += 1;
    }
    assert!(rounds > 1);
    assert_eq!((rig.shared.frags.memory.bytes(), rig.shared.frags.memory.queues()), (0, 0));
    rig.take_messages();
    for (_, _, skb) in std::mem::take(&mut rig.held) {
        // Errors towards sources nobody has resolved.
        rig.env(|env, _| env.kfree_skb(skb, NeighResolve, Shutdown));
    }
}

/// Two lcores receive a half each; the owner of the source puts them together and answers.
#[test]
fn the_halves_may_come_by_different_lcores() {
    let mut rig = Rig::with(2, 2047);
    let mut second = second_lcore(&mut rig);
    for host in 2..40u8 {
        let src = format!("10.1.0.{host}");
        if host != 2 {
            rig.neighbour(R1, &src, Nud::Permanent);
        }
        let echo = Ip::echo(&src, US, 2000);
        let parts = cut(&echo, 1480);
        let reply = rig.acting(|rig| {
            offer(rig, R1, &parts[0].to_port(R1));
            offer(rig, R2, &parts[1].to_port(R2));
            rig.round();
            run(rig, &mut second);
            // Who got its half before the owner asked has nothing more to do; the owner has.
            rig.round();
            run(rig, &mut second);
        });
        answered(&reply, &echo);
    }
    let oks: Vec<u64> = (0..2).map(|lcore| rig.shared.cells(lcore).mib(IpReasmOKs).get()).collect();
    assert_eq!(oks[0] + oks[1], 38);
    assert!(oks[0] > 0 && oks[1] > 0, "both own some sources: {oks:?}");
    assert!(second.hands.frags.is_empty());
}

/// An owner that does not keep up is handed no more than so many.
#[test]
fn an_owner_that_lags_is_not_buried() {
    let mut rig = Rig::with(2, 2047);
    rig.configure(|_, sysctl| sysctl.ipfrag_max_dist = 0);
    let src =
        (2..250).map(|n| format!("10.1.0.{n}")).find(|s| rig.shared.frags.owner(ip(s), 2) == 1).unwrap();
    let mut gone = 0;
    for id in 0..300 {
        let mut half = part(&Ip::echo(&src, US, 120), 0, 64);
        half.id = id;
        offer(&mut rig, R1, &half.to_port(R1));
        rig.round();
        gone = rig.shared.cells(0).drops(IpDefrag, HandoffFull).0;
    }
    assert_eq!(gone, 300 - 256);
    while let Some(message) = rig.shared.receive_lcore(1) {
        let ToLcore::Fragment(skb, _) = message else { panic!("{message:?}") };
        rig.env(|env, _| env.kfree_skb(skb, IpDefrag, Shutdown));
    }
}

/// What was put together on its way through is cut again to the largest fragment it came in.
#[test]
fn a_reassembled_packet_is_cut_to_its_largest_fragment() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Narrow("10.2.0.2", R2, 600));
    // Destination, MTU of the way, fragments sent, Don't Fragment; sizes of the pieces sent on.
    for (dst, step, df, want) in [
        ("10.2.0.2", 800, false, vec![800, 800, 408]),
        ("10.2.0.2", 1000, false, vec![1000, 1000, 8]),
        ("10.2.0.2", 800, true, vec![800, 800, 408]),
        ("20.0.0.1", 800, false, vec![576, 576, 576, 280]),
        ("20.0.0.1", 400, true, vec![400, 400, 400, 400, 400, 8]),
        ("20.0.0.1", 800, true, vec![]),
    ] {
        let whole = Ip::udp(A, dst, (1, 2), 2000).frag(if df { DF } else { 0 });
        let out = through(&mut rig, &cut(&whole, step));
        let pieces = out.all(R2);
        assert_eq!(pieces.iter().map(|p| p.payload.len()).collect::<Vec<_>>(), want, "{dst} {step} {df}");
        assert!(pieces.iter().all(|p| (p.frag & DF != 0, p.ttl) == (df, 63)));
        if pieces.is_empty() {
            let error = out.drop_of(IpForward, PktTooBig).only(R1);
            assert_eq!((error.icmp(), error.icmp_info()), ((3, 4), 600));
        } else {
            let bytes: Vec<u8> = pieces.into_iter().flat_map(|p| p.payload).collect();
            assert_eq!(bytes, whole.payload);
            out.no_drops().counted(&[(IpFragOKs, 1), (IpReasmOKs, 1)]);
        }
    }
    // Small enough for the way as a whole, and cut all the same; Don't Fragment is the largest fragment's.
    let whole = Ip::udp(A, "10.2.0.2", (1, 2), 64);
    let parts = [part(&whole, 0, 40).frag(MF | DF), part(&whole, 40, 72)];
    let pieces = through(&mut rig, &parts).all(R2);
    assert_eq!(
        pieces.iter().map(|p| (p.payload.len(), p.frag)).collect::<Vec<_>>(),
        [(40, MF | DF), (32, DF | 5)]
    );
    let parts = [part(&whole, 0, 40), part(&whole, 40, 72).frag(DF | 5)];
    let pieces = through(&mut rig, &parts).all(R2);
    assert_eq!(pieces.iter().map(|p| (p.payload.len(), p.frag)).collect::<Vec<_>>(), [(40, MF), (32, 5)]);
}

/// Takes fragments in transit together before their route is looked up, as a stage at PRE_ROUTING does.
fn through(rig: &mut Rig, parts: &[Ip]) -> Out {
    let skbs: Vec<_> = parts.iter().map(|part| rig.skb(&part.to_port(R1).into())).collect();
    let out = rig.acting(|rig| {
        let device = rig.devices[R1 + 1].clone();
        rig.env(|env, hands| {
            for mut skb in skbs {
                let (iif, header_len) = (dev(R1).0, 20);
                *skb.fields_mut() =
                    SkbFields { iif, network_offset: 14, ip_hdr_len: header_len, ..Default::default() };
                env.cells.rx.add(1);
                if let Some(whole) = ip_defrag(env, hands, skb, DefragUser::LocalDeliver) {
                    assert!(whole.fields().flags & flags::REASSEMBLED != 0);
                    let mut list = SkbList::new();
                    list.push(whole).unwrap();
                    ip_list_rcv_finish(env, hands, &device, &mut list);
                }
            }
        });
    });
    assert!(rig.worker.hands.frags.is_empty());
    out
}

/// A second worker: it receives what comes by r2, and sends through the first.
fn second_lcore(rig: &mut Rig) -> Worker {
    let ring = Arc::new(Ring::create(&rig.eal, "handoff", 64).unwrap());
    rig.worker.handoff.push(Arc::clone(&ring));
    let mut table = TxTable::default();
    table.set(R1 as u16, TxPath::Handoff(ring));
    Worker {
        id: 1,
        cpu: None,
        shared: Arc::clone(&rig.shared),
        rx: vec![rig.worker.rx.remove(R2)],
        handoff: Vec::new(),
        hands: Hands::new(1, table, rig.own_pool.clone(), 2),
        idle: Idle::Poll,
        clock: Clock::new(0),
    }
}

fn run(rig: &Rig, worker: &mut Worker) {
    worker.round(&rig.shared, &rig.snap, rig.shared.cells(worker.id), tsc_at(rig.now), RunState::Running);
}

/// Lets a frame wait to be received by `port`.
fn offer(rig: &mut Rig, port: usize, frame: &[u8]) {
    let mut list = SkbList::new();
    list.push(rig.skb(&frame.to_vec().into())).unwrap();
    assert_eq!(rig.feed[port].tx_burst(&mut list), 1);
}

//! Two systems back to back under a virtual clock.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::port::RxState;
use super::*;
use crate::bond::options::LacpRate;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn options(rate: LacpRate) -> BondOptions {
    let mode = skiff_dataplane::device::bond::BondMode::Lacp;
    BondOptions { mode, lacp_rate: rate, ..BondOptions::default() }
}

/// Two systems and the cables between ports of the same number.
struct Pair {
    ends: [Lacp; 2],
    /// Cables that carry PDUs.
    cables: BTreeMap<u16, bool>,
    now: Instant,
    /// When an end sent by a port.
    sent: Vec<(Instant, usize, u16)>,
    /// Silences what an end sends.
    mute: [bool; 2],
}

impl Pair {
    fn new(a: &BondOptions, b: &BondOptions, ports: u16) -> Pair {
        let mut pair = Pair {
            ends: [Lacp::new(a, A), Lacp::new(b, B)],
            cables: BTreeMap::new(),
            now: Instant::from_secs(1000),
            sent: Vec::new(),
            mute: [false; 2],
        };
        for port in 1..=ports {
            pair.ends.iter_mut().for_each(|end| end.add(IfIndex(port), pair.now));
            pair.plug(port, 10_000);
        }
        pair
    }

    fn plug(&mut self, port: u16, speed: u32) {
        let link = PortLink { up: true, speed, full_duplex: true };
        self.ends.iter_mut().for_each(|end| end.set_link(IfIndex(port), link, self.now));
        self.cables.insert(port, true);
    }

    fn unplug(&mut self, port: u16) {
        let link = PortLink { up: false, speed: 0, full_duplex: false };
        self.ends.iter_mut().for_each(|end| end.set_link(IfIndex(port), link, self.now));
        self.cables.insert(port, false);
    }

    fn tick(&mut self) {
        self.now = self.now + TICK;
        let mut due: Vec<(usize, LacpEvent)> = Vec::new();
        for end in 0..2 {
            due.extend(self.ends[end].turn(self.now).into_iter().map(|event| (end, event)));
        }
        while let Some((end, LacpEvent::Send(dev, pdu))) = due.pop() {
            self.sent.push((self.now, end, dev.0));
            if self.mute[end] || !self.cables[&dev.0] {
                continue;
            }
            let events = self.ends[1 - end].receive(dev, &pdu, self.now);
            due.extend(events.into_iter().map(|event| (1 - end, event)));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.tick();
        }
    }

    /// Seconds until `done`.
    fn until(&mut self, limit: f64, done: impl Fn(&Pair) -> bool) -> f64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now.since(start).as_secs_f64() <= limit, "not within {limit} s");
            self.tick();
        }
        self.now.since(start).as_secs_f64()
    }

    fn distributing(&self, end: usize) -> usize {
        self.cables.keys().filter(|&&port| self.ends[end].distributes(IfIndex(port))).count()
    }

    fn state(&self, end: usize, port: u16) -> u8 {
        self.ends[end].port(IfIndex(port)).unwrap().actor.state
    }
}

fn agreed(rate: LacpRate, ports: u16) -> Pair {
    let mut pair = Pair::new(&options(rate), &options(rate), ports);
    pair.run(Duration::from_secs(10));
    assert_eq!([pair.distributing(0), pair.distributing(1)], [usize::from(ports); 2]);
    pair
}

#[test]
fn two_systems_agree_after_the_wait() {
    for (rate, converged) in [(LacpRate::Fast, 0x3f), (LacpRate::Slow, 0x3d)] {
        let mut pair = Pair::new(&options(rate), &options(rate), 2);
        let took = pair.until(4.0, |p| {
            p.ends.iter().all(|end| end.port(IfIndex(2)).unwrap().mux == MuxState::Distributing)
        });
        assert!((2.0..=4.0).contains(&took), "{rate:?}: {took} s");
        pair.run(Duration::from_secs(2));
        for end in 0..2 {
            assert_eq!(pair.state(end, 1), converged);
            let info = pair.ends[end].info().unwrap();
            assert_eq!((info.num_ports, info.actor_key, info.partner_key), (2, 15, 15));
            assert_eq!(info.partner_mac, [B, A][end]);
        }
        pair.run(Duration::from_secs(300));
        assert_eq!([pair.distributing(0), pair.distributing(1)], [2, 2]);
        assert_eq!(pair.ends[0].port(IfIndex(1)).unwrap().actor_churn.state, port::Churn::None);
    }
}

#[test]
fn a_silent_partner_is_thrown_out() {
    for (rate, leave, made_up) in
        [(LacpRate::Fast, 2.0..=7.0, 5.0..=7.0), (LacpRate::Slow, 60.0..=100.0, 62.0..=100.0)]
    {
        let mut pair = agreed(rate, 1);
        pair.mute[1] = true;
        let start = pair.now;
        pair.until(101.0, |p| p.ends[0].port(IfIndex(1)).unwrap().rx == RxState::Expired);
        let left = pair.now.since(start).as_secs_f64();
        assert!(leave.contains(&left), "{rate:?}: {left} s");
        assert!(pair.state(0, 1) & state::EXPIRED != 0);
        assert!(pair.state(0, 1) & state::DISTRIBUTING == 0, "an old partner is not sent to");
        assert!(!pair.ends[0].distributes(IfIndex(1)));
        pair.until(4.0, |p| p.ends[0].port(IfIndex(1)).unwrap().rx == RxState::Defaulted);
        let defaulted = pair.now.since(start).as_secs_f64();
        assert!(made_up.contains(&defaulted) && (defaulted - left - 3.0).abs() < 0.11);
        assert_eq!(pair.state(0, 1) & (state::EXPIRED | state::DEFAULTED), state::DEFAULTED);
        pair.mute[1] = false;
        pair.until(60.0, |p| p.distributing(0) == 1 && p.distributing(1) == 1);
    }
}

#[test]
fn the_partner_decides_how_often_it_hears() {
    for (rate, every, tolerance) in [(LacpRate::Fast, 1.0, 0.2), (LacpRate::Slow, 30.0, 1.0)] {
        // End 0 asks for `rate`; what end 1 sends is looked at.
        let mut pair = Pair::new(&options(rate), &options(LacpRate::Slow), 1);
        pair.run(Duration::from_secs(40));
        pair.sent.clear();
        pair.run(Duration::from_secs(200));
        let times: Vec<f64> = pair
            .sent
            .iter()
            .filter(|(_, end, _)| *end == 1)
            .map(|(at, ..)| at.as_nanos() as f64 / 1e9)
            .collect();
        assert!(times.len() >= 6, "{}", times.len());
        for pair in times.windows(2) {
            assert!((pair[1] - pair[0] - every).abs() <= tolerance, "{rate:?}: {:?}", pair[1] - pair[0]);
        }
    }
}

#[test]
fn a_changed_rate_takes_effect() {
    let mut pair = agreed(LacpRate::Fast, 1);
    pair.ends[0].configure(&options(LacpRate::Slow), A);
    pair.run(Duration::from_secs(5));
    pair.sent.clear();
    pair.run(Duration::from_secs(100));
    let count = |pair: &Pair, end| pair.sent.iter().filter(|(_, e, _)| *e == end).count();
    assert!((3..=4).contains(&count(&pair, 1)), "{}", count(&pair, 1));
    assert!((99..=101).contains(&count(&pair, 0)), "the other way it is as it was");
    assert_eq!(pair.distributing(0), 1);
}

#[test]
fn a_cut_cable_leaves_and_comes_back() {
    let mut pair = agreed(LacpRate::Fast, 3);
    pair.unplug(2);
    pair.tick();
    assert_eq!([pair.distributing(0), pair.distributing(1)], [2, 2]);
    assert!(!pair.ends[0].distributes(IfIndex(2)));
    assert_eq!(pair.ends[0].info().unwrap().num_ports, 2);
    assert_ne!(pair.ends[0].member_info(IfIndex(2)).unwrap().aggregator_id, 1);
    pair.plug(2, 10_000);
    let took = pair.until(4.0, |p| p.distributing(0) == 3 && p.distributing(1) == 3);
    assert!(took >= 2.0, "{took}");
}

/// The port that the aggregator was made with.
#[test]
fn a_port_that_is_taken_out_says_so_and_holds_up_nobody() {
    let mut pair = agreed(LacpRate::Slow, 3);
    let number = pair.ends[0].info().unwrap().aggregator;
    let dev = IfIndex(number);
    let farewell = pair.ends[0].farewell(dev).unwrap();
    pair.ends[0].remove(dev);
    pair.ends[1].receive(dev, &farewell, pair.now);
    assert!(!pair.ends[1].distributes(dev), "the partner sends nothing more by it");
    pair.unplug(number);
    for _ in 0..100 {
        pair.tick();
        assert_eq!([pair.distributing(0), pair.distributing(1)], [2, 2]);
    }
    let info = pair.ends[0].info().unwrap();
    assert_eq!((info.num_ports, info.partner_mac), (2, B));
    assert_ne!(info.aggregator, number);
    // Whoever comes back joins them.
    pair.ends[0].add(dev, pair.now);
    pair.plug(number, 10_000);
    pair.until(4.0, |p| p.distributing(0) == 3 && p.distributing(1) == 3);
    assert_eq!(pair.ends[0].info(), Some(AdInfo { num_ports: 3, ..info }));
}

#[test]
fn ports_of_other_speeds_are_another_aggregator() {
    for (select, expected) in
        [(AdSelect::Count, [true, true, false]), (AdSelect::Bandwidth, [false, false, true])]
    {
        let both = BondOptions { ad_select: select, ..options(LacpRate::Fast) };
        let mut pair = Pair::new(&both, &both, 2);
        pair.ends.iter_mut().for_each(|end| end.add(IfIndex(3), pair.now));
        pair.plug(3, 25_000);
        pair.run(Duration::from_secs(15));
        for end in &pair.ends {
            assert_eq!([1, 2, 3].map(|dev| end.distributes(IfIndex(dev))), expected, "{select:?}");
        }
    }
}

#[test]
fn stable_keeps_what_it_has() {
    let mut pair = agreed(LacpRate::Fast, 1);
    pair.ends.iter_mut().for_each(|end| end.add(IfIndex(2), pair.now));
    pair.plug(2, 100_000);
    pair.run(Duration::from_secs(15));
    assert!(pair.ends[0].distributes(IfIndex(1)) && !pair.ends[0].distributes(IfIndex(2)));
    pair.unplug(1);
    pair.run(Duration::from_secs(5));
    assert!(pair.ends[0].distributes(IfIndex(2)));
}

#[test]
fn without_a_partner_one_port_works_alone() {
    let mut pair = Pair::new(&options(LacpRate::Fast), &options(LacpRate::Fast), 2);
    pair.mute = [true; 2];
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.distributing(0), 1);
    assert_eq!(pair.state(0, 1) & state::DEFAULTED, state::DEFAULTED);
    assert_eq!(pair.ends[0].info().unwrap().partner_mac, MacAddr::ZERO);
}

#[test]
fn own_pdus_do_not_count() {
    let mut lacp = Lacp::new(&options(LacpRate::Fast), A);
    lacp.add(IfIndex(1), Instant::ZERO);
    lacp.set_link(IfIndex(1), PortLink { up: true, speed: 1000, full_duplex: true }, Instant::ZERO);
    let pdu = lacp.turn(Instant::ZERO).into_iter().find_map(|event| match event {
        LacpEvent::Send(_, pdu) => Some(pdu),
        LacpEvent::Log(_) => None,
    });
    let events = lacp.receive(IfIndex(1), &pdu.unwrap(), Instant::from_millis(10));
    assert!(matches!(&events[0], LacpEvent::Log(line) if line.contains("illegal loopback")));
    assert_eq!(lacp.port(IfIndex(1)).unwrap().rx, RxState::Expired);
}

#[test]
fn half_duplex_is_alone_and_silent() {
    let mut pair = Pair::new(&options(LacpRate::Fast), &options(LacpRate::Fast), 1);
    let link = PortLink { up: true, speed: 100, full_duplex: false };
    pair.ends.iter_mut().for_each(|end| end.set_link(IfIndex(1), link, pair.now));
    pair.run(Duration::from_secs(10));
    assert!(pair.sent.is_empty());
    assert_eq!(pair.ends[0].port(IfIndex(1)).unwrap().rx, RxState::LacpDisabled);
    assert_eq!(pair.distributing(0), 1, "it still carries what a plain link would");
}

#[test]
fn a_passive_port_answers_an_active_one_and_two_passive_ones_are_silent() {
    let passive = BondOptions { lacp_active: false, ..options(LacpRate::Fast) };
    let mut pair = Pair::new(&passive, &options(LacpRate::Fast), 1);
    pair.run(Duration::from_secs(100));
    assert_eq!([pair.distributing(0), pair.distributing(1)], [1, 1]);
    assert_eq!(pair.state(0, 1), 0x3e);
    let mut pair = Pair::new(&passive, &passive, 1);
    pair.run(Duration::from_secs(100));
    assert!(pair.sent.is_empty());
}

#[test]
fn collecting_comes_first_where_control_is_independent() {
    let loose = BondOptions { coupled_control: false, ..options(LacpRate::Fast) };
    let mut pair = Pair::new(&loose, &options(LacpRate::Fast), 1);
    pair.until(5.0, |p| {
        p.ends[0].collects(IfIndex(1)) && p.ends[0].port(IfIndex(1)).unwrap().rx == RxState::Current
    });
    pair.run(Duration::from_secs(3));
    assert_eq!([pair.distributing(0), pair.distributing(1)], [1, 1]);
}

#[test]
fn churn_is_counted_after_a_minute() {
    let mut pair = Pair::new(&options(LacpRate::Fast), &options(LacpRate::Fast), 2);
    pair.mute[1] = true;
    pair.run(Duration::from_secs(59));
    let churn = |pair: &Pair| pair.ends[0].port(IfIndex(1)).unwrap().partner_churn;
    assert_eq!(churn(&pair).state, port::Churn::Monitoring);
    pair.run(Duration::from_secs(2));
    assert_eq!((churn(&pair).state, churn(&pair).count), (port::Churn::Churned, 1));
}

#[test]
fn keys_are_those_of_the_kernel() {
    assert_eq!([key(1000, true, 0), key(10_000, true, 0), key(25_000, true, 0)], [9, 15, 21]);
    assert_eq!(key(1000, false, 0), 8);
    assert_eq!(key(10_000, true, 1023), 0xffc0 | 15);
}

proptest! {
    #[test]
    fn whatever_happens_the_rate_holds_and_one_aggregator_is_used(
        steps in prop::collection::vec((0u8..6, 1u16..4, 0u32..4), 1..60),
    ) {
        let mut pair = Pair::new(&options(LacpRate::Fast), &options(LacpRate::Slow), 3);
        for (what, port, arg) in steps {
            match what {
                0 => pair.unplug(port),
                1 => pair.plug(port, [0, 1000, 10_000, 25_000][arg as usize]),
                2 => pair.mute[(arg & 1) as usize] ^= true,
                3 => pair.ends[(arg & 1) as usize].configure(&options(if arg & 2 == 0 { LacpRate::Fast } else { LacpRate::Slow }), [A, B][(arg & 1) as usize]),
                _ => pair.run(Duration::from_millis(u64::from(arg) * 1300 + 100)),
            }
            pair.tick();
            for end in &pair.ends {
                let used: Vec<_> = (1..4).filter(|&d| end.distributes(IfIndex(d))).map(|d| end.port(IfIndex(d)).unwrap().aggregator).collect();
                prop_assert!(used.windows(2).all(|w| w[0] == w[1]));
                for dev in (1..4).map(IfIndex) {
                    prop_assert!(!end.distributes(dev) || end.collects(dev));
                    prop_assert!(!end.distributes(dev) || end.port(dev).unwrap().is_enabled());
                }
            }
        }
        for end in 0..2 {
            for port in 1..4 {
                let times: Vec<Instant> = pair.sent.iter().filter(|s| s.1 == end && s.2 == port).map(|s| s.0).collect();
                for window in times.windows(4) {
                    prop_assert!(window[3].since(window[0]) >= Duration::from_secs(1));
                }
            }
        }
    }

    #[test]
    fn no_bytes_upset_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(pdu) = SlowPdu::parse(&bytes) {
            prop_assert_eq!(SlowPdu::parse(&pdu.emit(MacAddr::ZERO)), Ok(pdu));
        }
    }
}

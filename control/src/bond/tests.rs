//! Whole bonds under a virtual clock.

use std::time::Duration;

use proptest::prelude::*;
use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::options::{BondOptions, MiiStatus};
use super::*;

const BOND: IfIndex = IfIndex(100);

fn mac(dev: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, dev as u8])
}

/// A bond, a clock and what it wanted done when.
struct Rig {
    bond: BondMachine,
    now: Instant,
    done: Vec<(u64, BondEffect)>,
}

impl Rig {
    fn new(options: &[(&str, &str)], members: u16) -> Rig {
        let mut all = BondOptions::default();
        all.set_all(options.iter().copied(), false, false).unwrap();
        let now = Instant::from_secs(1);
        let mut rig = Rig { bond: BondMachine::new("bond0", BOND, all, None, 1, now), now, done: Vec::new() };
        rig.bond.set_up(true, now);
        (1..=members).for_each(|dev| rig.join(dev, true));
        rig
    }

    fn join(&mut self, dev: u16, carrier: bool) {
        let info = MemberInfo {
            name: format!("eth{}", dev - 1),
            mac: mac(dev),
            up: true,
            carrier,
            speed: 10_000,
            full_duplex: true,
        };
        self.bond.add_member(IfIndex(dev), info, self.now);
        self.note();
    }

    fn link(&mut self, dev: u16, carrier: bool) {
        self.bond.set_link(IfIndex(dev), carrier, if carrier { 10_000 } else { 0 }, true, self.now);
        self.note();
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let set = self.bond.set_option(name, value, self.now);
        self.note();
        set
    }

    fn note(&mut self) {
        let now = self.now.as_millis();
        self.done.extend(self.bond.take_effects().into_iter().map(|effect| (now, effect)));
    }

    /// Polls at every deadline, and does to every probe what `answer` says.
    fn run_with(&mut self, millis: u64, mut answer: impl FnMut(&mut Rig, &BondEffect)) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.bond.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let from = self.done.len();
            self.bond.poll(self.now);
            self.note();
            for (_, effect) in self.done.split_off(from) {
                answer(self, &effect);
                self.done.push((self.now.as_millis(), effect));
            }
        }
        self.now = end;
    }

    fn run(&mut self, millis: u64) {
        self.run_with(millis, |_, _| {});
    }

    fn active(&self) -> Option<u16> {
        self.bond.active().map(|dev| dev.0)
    }

    /// When effects that match happened, in milliseconds, and forgets all.
    fn times(&mut self, wanted: impl Fn(&BondEffect) -> bool) -> Vec<u64> {
        let done = std::mem::take(&mut self.done);
        done.into_iter().filter(|(_, effect)| wanted(effect)).map(|(at, _)| at).collect()
    }

    fn logs(&self) -> Vec<&str> {
        let mut lines = Vec::new();
        for (_, effect) in &self.done {
            if let BondEffect::Log(line) = effect {
                lines.push(line.as_str());
            }
        }
        lines
    }

    fn transmitting(&self) -> Vec<u16> {
        self.bond.view().members.iter().filter(|m| m.transmits).map(|m| m.dev.0).collect()
    }
}

#[test]
fn active_backup_fails_over_within_miimon_and_downdelay() {
    for (downdelay, low, high) in [("0", 0, 200), ("300", 300, 500)] {
        let mut rig = Rig::new(&[("mode", "active-backup"), ("miimon", "100"), ("downdelay", downdelay)], 2);
        rig.run(1030);
        assert_eq!(rig.active(), Some(1));
        let failed = rig.now.as_millis();
        rig.link(1, false);
        rig.run(1000);
        assert_eq!(rig.active(), Some(2));
        assert_eq!(rig.transmitting(), [2]);
        let moved = rig.times(|e| matches!(e, BondEffect::Failover { to: Some(IfIndex(2)), .. }));
        let outage = moved[0] - failed;
        assert!((low..=high).contains(&outage), "{downdelay}: {outage} ms");
        assert_eq!(rig.bond.member(IfIndex(1)).unwrap().link_failures(), 1);
    }
}

#[test]
fn every_failover_is_announced_exactly_as_often_as_asked() {
    for count in ["0", "1", "10", "20", "30", "50"] {
        let delay = [("mode", "1"), ("peer_notify_delay", "1000"), ("num_grat_arp", count)];
        let mut rig = Rig::new(&delay, 2);
        rig.run(60_000);
        rig.done.clear();
        rig.link(1, false);
        rig.run(60_000);
        let times = rig.times(|e| matches!(e, BondEffect::Announce { dev: IfIndex(2) }));
        assert_eq!(times.len().to_string(), count);
        assert!(times.windows(2).all(|w| w[1] - w[0] == 1000));
    }
}

#[test]
fn igmp_reports_are_repeated_every_200_ms() {
    for mode in ["balance-rr", "active-backup", "balance-tlb", "balance-alb"] {
        let mut rig = Rig::new(&[("mode", mode), ("resend_igmp", "4")], 2);
        rig.run(5000);
        rig.done.clear();
        rig.link(1, false);
        rig.run(5000);
        let times = rig.times(|e| *e == BondEffect::ResendIgmp);
        assert_eq!(times.len(), 4, "{mode}");
        assert!(times.windows(2).all(|w| w[1] - w[0] == 200));
    }
}

#[test]
fn primary_reselect_with_priorities() {
    for (reselect, expected) in
        [("always", [2, 3, 1, 3, 2]), ("better", [2, 3, 1, 1, 1]), ("failure", [2, 3, 1, 1, 1])]
    {
        let options = [("mode", "1"), ("primary", "eth1"), ("primary_reselect", reselect)];
        let mut rig = Rig::new(&options, 3);
        for (dev, prio) in [(1, "0"), (2, "10"), (3, "11")] {
            rig.bond.set_member_option(IfIndex(dev), "prio", prio, rig.now).unwrap();
        }
        let mut seen = vec![rig.active().unwrap()];
        for (dev, carrier) in [(2, false), (3, false), (3, true), (2, true)] {
            rig.link(dev, carrier);
            rig.run(300);
            seen.push(rig.active().unwrap());
        }
        assert_eq!(seen, expected, "{reselect}");
    }
}

#[test]
fn updelay_is_ignored_when_nothing_is_active() {
    for mode in ["active-backup", "balance-xor", "balance-rr"] {
        let mut rig = Rig::new(&[("mode", mode), ("miimon", "100"), ("updelay", "200")], 2);
        rig.run(1000);
        rig.link(1, false);
        rig.link(2, false);
        rig.run(1000);
        assert!(rig.transmitting().is_empty() && !rig.bond.has_carrier(), "{mode}");
        rig.link(2, true);
        rig.run(100);
        assert_eq!(rig.transmitting(), [2], "{mode}");
        // The next one has to wait: something works.
        rig.link(1, true);
        rig.run(250);
        assert_eq!(rig.bond.member_status(IfIndex(1)).unwrap().mii, MiiStatus::GoingBack);
        rig.run(100);
        assert_eq!(rig.bond.member_status(IfIndex(1)).unwrap().mii, MiiStatus::Up);
    }
}

#[test]
fn the_log_speaks_the_kernels_words() {
    let mut rig = Rig::new(&[("mode", "1"), ("miimon", "100"), ("downdelay", "100")], 2);
    rig.run(1000);
    rig.link(1, false);
    rig.run(1000);
    assert_eq!(
        rig.logs(),
        [
            "bond0: (slave eth0): making interface the new active one",
            "bond0: active interface up!",
            "bond0: (slave eth0): Enslaving as an active interface with an up link",
            "bond0: (slave eth1): Enslaving as a backup interface with an up link",
            "bond0: (slave eth0): link status down, disabling it in 100 ms",
            "bond0: (slave eth0): link status definitely down, disabling slave",
            "bond0: (slave eth1): making interface the new active one",
        ]
    );
}

#[test]
fn hardware_addresses_follow_the_policy() {
    let macs = |rig: &Rig| {
        let members = rig.bond.members().iter().map(Member::mac).collect::<Vec<_>>();
        (rig.bond.mac(), members)
    };
    let fail = |rig: &mut Rig| {
        rig.run(500);
        rig.link(1, false);
        rig.run(500);
    };
    let mut none = Rig::new(&[("mode", "1")], 2);
    fail(&mut none);
    assert_eq!(macs(&none), (mac(1), vec![mac(1), mac(1)]));
    let mut active = Rig::new(&[("mode", "1"), ("fail_over_mac", "active")], 2);
    fail(&mut active);
    assert_eq!(macs(&active), (mac(2), vec![mac(1), mac(2)]));
    for options in [&[("mode", "1"), ("fail_over_mac", "follow")][..], &[("mode", "6")], &[("mode", "5")]] {
        let mut swap = Rig::new(options, 2);
        fail(&mut swap);
        assert_eq!(macs(&swap), (mac(1), vec![mac(2), mac(1)]));
        swap.bond.remove_member(IfIndex(2), swap.now);
        assert!(swap.bond.take_effects().contains(&BondEffect::SetMac { dev: IfIndex(2), mac: mac(2) }));
    }
}

#[test]
fn a_new_active_member_can_be_asked_for() {
    let mut rig = Rig::new(&[("mode", "1")], 3);
    rig.link(3, false);
    rig.run(500);
    rig.set("active_slave", "eth1").unwrap();
    assert_eq!(rig.active(), Some(2));
    rig.run(1000);
    assert_eq!(rig.active(), Some(2));
    assert!(rig.set("active_slave", "eth2").unwrap_err().contains("link is down"));
    assert!(rig.set("active_slave", "eth9").is_err());
    rig.set("primary", "eth0").unwrap();
    assert_eq!(rig.active(), Some(1));
    assert!(rig.set("mode", "4").unwrap_err().contains("has slaves"));
}

#[test]
fn members_that_leave_are_forgotten() {
    let mut rig = Rig::new(&[("mode", "1")], 2);
    rig.run(300);
    rig.bond.remove_member(IfIndex(1), rig.now);
    assert_eq!((rig.active(), rig.transmitting()), (Some(2), vec![2]));
    assert_eq!(rig.bond.member(IfIndex(2)).unwrap().mac(), mac(1), "the bond keeps its address");
    rig.bond.remove_member(IfIndex(2), rig.now);
    assert_eq!((rig.active(), rig.bond.has_carrier(), rig.bond.deadline()), (None, false, None));
    rig.join(2, true);
    assert_eq!((rig.bond.mac(), rig.active()), (mac(2), Some(2)));
}

/// Answers each question of the ARP monitor like a host behind a switch: the answer comes by the member that asked,
/// and all others hear the question.
fn target_behind_switch(rig: &mut Rig, effect: &BondEffect, alive: bool) {
    let BondEffect::Probe { dev, target } = effect else { return };
    let ours = "10.0.0.1".parse().unwrap();
    let now = rig.now + Duration::from_millis(1);
    let devices: Vec<IfIndex> = rig.bond.members().iter().map(Member::dev).collect();
    for other in devices.into_iter().filter(|other| other != dev) {
        rig.bond.arp_seen(
            other,
            &ArpSeen { reply: false, sender: ours, sender_mac: mac(1), target: *target },
            now,
        );
    }
    if alive {
        rig.bond.arp_seen(
            *dev,
            &ArpSeen { reply: true, sender: *target, sender_mac: mac(99), target: ours },
            now,
        );
    }
}

fn arp_rig(options: &[(&str, &str)], members: u16) -> Rig {
    let mut all = vec![("arp_interval", "100"), ("arp_ip_target", "10.0.0.2")];
    all.extend_from_slice(options);
    let mut rig = Rig::new(&all, members);
    rig.bond.set_own_addresses(vec!["10.0.0.1".parse().unwrap()]);
    rig
}

#[test]
fn arp_validation_of_every_kind_keeps_members_of_a_living_target_up() {
    for validate in ["0", "1", "2", "3", "4", "5", "6"] {
        let mut rig = arp_rig(&[("mode", "1"), ("arp_validate", validate)], 2);
        rig.run_with(5000, |rig, effect| target_behind_switch(rig, effect, true));
        for dev in [1, 2] {
            let status = rig.bond.member_status(IfIndex(dev)).unwrap();
            assert_eq!((status.mii, status.link_failure_count), (MiiStatus::Up, 0), "{validate} {dev}");
        }
        assert_eq!(rig.active(), Some(1));
    }
}

#[test]
fn a_dead_target_is_noticed_after_the_intervals_that_may_be_missed() {
    for (missed, low, high) in [("2", 200, 350), ("5", 500, 650)] {
        let mut rig = arp_rig(&[("mode", "1"), ("arp_validate", "all"), ("arp_missed_max", missed)], 2);
        rig.run_with(5000, |rig, effect| target_behind_switch(rig, effect, true));
        rig.done.clear();
        let start = rig.now.as_millis();
        rig.run_with(5000, |rig, effect| target_behind_switch(rig, effect, false));
        let lost = rig.times(|e| matches!(e, BondEffect::Failover { from: Some(IfIndex(1)), .. }));
        assert!((low..=high).contains(&(lost[0] - start)), "{missed}: {} ms", lost[0] - start);
        assert!(!rig.bond.has_carrier());
        rig.run_with(1000, |rig, effect| target_behind_switch(rig, effect, true));
        assert!(rig.active().is_some() && rig.bond.has_carrier());
    }
}

#[test]
fn without_an_active_member_all_are_tried_in_turn() {
    let mut rig = arp_rig(&[("mode", "1"), ("arp_validate", "all")], 3);
    rig.run(2000);
    rig.done.clear();
    rig.run(600);
    let asked: Vec<u16> = rig
        .done
        .iter()
        .filter_map(|(_, effect)| match effect {
            BondEffect::Probe { dev, .. } => Some(dev.0),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 6);
    assert!(asked.windows(2).all(|w| w[1] == w[0] % 3 + 1), "{asked:?}");
}

#[test]
fn all_targets_must_answer_if_all_are_wanted() {
    for (all, active) in [("any", true), ("all", false)] {
        let options = [("mode", "1"), ("arp_validate", "all"), ("arp_all_targets", all)];
        let mut rig = arp_rig(&options, 1);
        rig.set("arp_ip_target", "10.0.0.2,10.0.0.3").unwrap();
        rig.run_with(3000, |rig, effect| {
            let one = matches!(effect, BondEffect::Probe { target, .. } if target.octets()[3] == 2);
            target_behind_switch(rig, effect, one);
        });
        assert_eq!(rig.active().is_some(), active, "{all}");
    }
}

#[test]
fn any_frame_is_a_sign_of_life_unless_arp_is_asked_for() {
    for (validate, up) in [("none", true), ("filter", false), ("all", false)] {
        let mut rig = arp_rig(&[("mode", "balance-xor"), ("arp_validate", validate)], 2);
        let mut frames = 0;
        rig.run_with(3000, |rig, effect| {
            if let BondEffect::Probe { dev, .. } = effect {
                frames += 1;
                rig.bond.rx_seen(*dev, frames, rig.now);
            }
        });
        assert_eq!(rig.transmitting().len() == 2, up, "{validate}");
    }
}

/// Two bonds in mode 802.3ad, port to port.
fn lacp_pair(options: &[(&str, &str)], members: u16) -> [Rig; 2] {
    let mut all = vec![("mode", "802.3ad"), ("lacp_rate", "fast")];
    all.extend_from_slice(options);
    let mut rigs = [Rig::new(&all, members), Rig::new(&all, 0)];
    for dev in 1..=members {
        let other = MemberInfo {
            name: format!("eth{}", dev - 1),
            mac: mac(100 + dev),
            up: true,
            carrier: true,
            speed: 10_000,
            full_duplex: true,
        };
        let now = rigs[1].now;
        rigs[1].bond.add_member(IfIndex(dev), other, now);
        rigs[1].note();
    }
    rigs
}

fn run_pair(rigs: &mut [Rig; 2], millis: u64) {
    for _ in 0..millis / 100 {
        for at in 0..2 {
            let from = rigs[at].done.len();
            rigs[at].run(100);
            let said = rigs[at].done[from..].to_vec();
            for (_, effect) in said {
                if let BondEffect::Send { dev, frame } = effect {
                    let now = rigs[1 - at].now;
                    assert!(rigs[1 - at].bond.receive(dev, &frame, now));
                    rigs[1 - at].note();
                }
            }
        }
    }
}

#[test]
fn min_links_decides_over_the_carrier() {
    let mut rigs = lacp_pair(&[("min_links", "2")], 3);
    run_pair(&mut rigs, 10_000);
    assert_eq!(rigs[0].transmitting(), [1, 2, 3]);
    rigs[0].link(1, false);
    run_pair(&mut rigs, 1000);
    assert!(rigs[0].bond.has_carrier() && rigs[0].transmitting() == [2, 3]);
    rigs[0].link(2, false);
    run_pair(&mut rigs, 1000);
    assert!(!rigs[0].bond.has_carrier());
    rigs[0].set("min_links", "1").unwrap();
    assert!(rigs[0].bond.has_carrier());
}

#[test]
fn the_proc_file_reads_as_the_kernels() {
    let mut rigs = lacp_pair(&[("xmit_hash_policy", "layer3+4")], 1);
    run_pair(&mut rigs, 10_000);
    let expected = format!(
        "Ethernet Channel Bonding Driver: v{}

Bonding Mode: IEEE 802.3ad Dynamic link aggregation
Transmit Hash Policy: layer3+4 (1)
MII Status: up
MII Polling Interval (ms): 100
Up Delay (ms): 0
Down Delay (ms): 0
Peer Notification Delay (ms): 0

802.3ad info
LACP active: on
LACP rate: fast
Min links: 0
Aggregator selection policy (ad_select): stable
System priority: 65535
System MAC address: 02:00:00:00:00:01
Active Aggregator Info:
\tAggregator ID: 1
\tNumber of ports: 1
\tActor Key: 15
\tPartner Key: 15
\tPartner Mac Address: 02:00:00:00:00:65

Slave Interface: eth0
MII Status: up
Speed: 10000 Mbps
Duplex: full
Link Failure Count: 0
Permanent HW addr: 02:00:00:00:00:01
Slave queue ID: 0
Aggregator ID: 1
Actor Churn State: none
Partner Churn State: none
Actor Churned Count: 0
Partner Churned Count: 0
details actor lacp pdu:
    system priority: 65535
    system mac address: 02:00:00:00:00:01
    port key: 15
    port priority: 255
    port number: 1
    port state: 63
details partner lacp pdu:
    system priority: 65535
    system mac address: 02:00:00:00:00:65
    oper key: 15
    port priority: 255
    port number: 1
    port state: 63
",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(rigs[0].bond.proc_text(), expected);
    let rig = Rig::new(&[("mode", "1"), ("primary", "eth1"), ("fail_over_mac", "1")], 2);
    let text = rig.bond.proc_text();
    assert!(text.contains(
        "Bonding Mode: fault-tolerance (active-backup) (fail_over_mac active)\n\
         Primary Slave: eth1 (primary_reselect always)\nCurrently Active Slave: eth1\nMII Status: up\n"
    ));
    assert!(!text.contains("Transmit Hash Policy") && !text.contains("Aggregator"));
}

#[test]
fn learning_packets_go_out_of_every_member() {
    let mut rig = Rig::new(&[("mode", "6"), ("lp_interval", "2")], 2);
    rig.done.clear();
    rig.run(10_000);
    assert_eq!(rig.times(|e| matches!(e, BondEffect::Send { dev: IfIndex(2), .. })).len(), 5);
}

proptest! {
    #[test]
    fn whatever_happens_the_view_holds_together(
        mode in 0u8..7,
        arp in any::<bool>(),
        steps in prop::collection::vec((0u8..9, 1u16..5, 0u64..3000), 1..80),
    ) {
        let mode = mode.to_string();
        let options = [("mode", mode.as_str()), ("updelay", "200"), ("downdelay", "100"), ("num_grat_arp", "3")];
        let mut rig = Rig::new(&options, 2);
        if arp && ["0", "1", "2", "3"].contains(&mode.as_str()) {
            rig.set("arp_interval", "100").unwrap();
            rig.set("arp_ip_target", "10.0.0.2").unwrap();
        }
        let mut shown = None;
        for (what, dev, arg) in steps {
            match what {
                0 => rig.join(dev, arg % 2 == 0),
                1 => rig.bond.remove_member(IfIndex(dev), rig.now),
                2 | 3 => rig.link(dev, what == 2),
                4 => rig.bond.member_admin(IfIndex(dev), arg % 2 == 0),
                5 => rig.bond.set_up(arg % 4 != 0, rig.now),
                6 => {
                    let choices = [("active_slave", "eth1"), ("primary", "eth0"), ("clear_active_slave", ""), ("miimon", "50"), ("min_links", "2"), ("lacp_rate", "fast"), ("primary_reselect", "2")];
                    let (name, value) = choices[arg as usize % choices.len()];
                    let _ = rig.set(name, value);
                }
                7 => { rig.bond.receive(IfIndex(dev), &arg.to_be_bytes().repeat(20), rig.now); }
                _ => rig.run_with(arg, |rig, effect| target_behind_switch(rig, effect, arg % 3 != 0)),
            }
            rig.note();
            for (_, effect) in std::mem::take(&mut rig.done) {
                if effect == BondEffect::ViewChanged {
                    shown = Some(rig.bond.view());
                }
            }
            let view = rig.bond.view();
            prop_assert_eq!(shown.as_ref(), Some(&view), "every change is told");
            let names: Vec<_> = view.members.iter().map(|m| m.dev).collect();
            prop_assert!(view.active.is_none_or(|active| names.contains(&active)));
            if view.mode == BondMode::ActiveBackup {
                prop_assert!(view.members.iter().filter(|m| m.transmits).count() <= 1);
                prop_assert!(view.members.iter().all(|m| !m.transmits || Some(m.dev) == view.active));
            }
            prop_assert!(view.members.iter().all(|m| !m.transmits || rig.bond.member(m.dev).unwrap().can_send()));
            prop_assert!(!rig.bond.has_carrier() || !names.is_empty());
            let _ = rig.bond.proc_text();
        }
    }
}

//! The ARP monitor: a member works if answers come back by it.

use std::net::Ipv4Addr;
use std::time::Duration;

use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::machine::{BondEffect, BondMachine};
use super::member::Member;
use super::options::{ArpAllTargets, BondOptions};

/// ARP that came in by a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpSeen {
    /// An answer; otherwise a question.
    pub reply: bool,
    /// Who sent it.
    pub sender: Ipv4Addr,
    /// Its hardware address.
    pub sender_mac: MacAddr,
    /// Whom it asks for or answers.
    pub target: Ipv4Addr,
}

/// What the monitor remembers of a member.
#[derive(Clone, Debug, Default)]
pub(super) struct ArpWatch {
    /// The last sign of life.
    last_rx: Option<Instant>,
    /// The last sign of life of each target.
    targets: Vec<(Ipv4Addr, Instant)>,
    /// The last question sent by it.
    last_tx: Option<Instant>,
    /// It was given a chance then.
    since: Instant,
    /// Frames it had received when last asked.
    frames: Option<u64>,
}

impl ArpWatch {
    pub(super) fn new(now: Instant) -> ArpWatch {
        ArpWatch { since: now, ..ArpWatch::default() }
    }

    pub(super) fn give_chance(&mut self, now: Instant) {
        self.since = now;
    }

    /// The sign of life that counts: with `arp_all_targets all` the oldest one of all targets.
    fn last_rx(&self, options: &BondOptions, validated: bool) -> Option<Instant> {
        if options.arp_all_targets == ArpAllTargets::Any || !validated {
            return self.last_rx;
        }
        let heard = |target: &Ipv4Addr| self.targets.iter().find(|(t, _)| t == target).map(|(_, at)| *at);
        let all: Option<Vec<Instant>> = options.arp_ip_targets.iter().map(heard).collect();
        all?.into_iter().min()
    }

    fn heard(&mut self, target: Ipv4Addr, now: Instant) {
        self.last_rx = Some(now);
        match self.targets.iter_mut().find(|(t, _)| *t == target) {
            Some((_, at)) => *at = now,
            None => self.targets.push((target, now)),
        }
    }
}

/// `last` was at most `intervals` and a half ago.
fn within(last: Option<Instant>, intervals: u32, options: &BondOptions, now: Instant) -> bool {
    let interval = Duration::from_millis(u64::from(options.arp_interval_ms));
    last.is_some_and(|last| now <= last + interval * intervals + interval / 2)
}

impl BondMachine {
    /// ARP came in by `dev`.
    pub fn arp_seen(&mut self, dev: IfIndex, arp: &ArpSeen, now: Instant) {
        let Some(at) = self.position(dev) else { return };
        if let Some(rlb) = self.balancer.rlb() {
            rlb.heard(arp.sender.to_bits(), arp.sender_mac, arp.target.to_bits(), arp.reply);
        }
        let active = self.is_active(dev);
        if !self.options.arp_validate.checks(active) {
            self.members[at].watch.last_rx = Some(now);
            return;
        }
        let current = self.active.and_then(|active| self.position(active));
        let current_lives =
            current.is_some_and(|at| within(self.last_rx(&self.members[at]), 1, &self.options, now));
        let probing = self.probing.and_then(|dev| self.position(dev));
        let asked = probing.is_some_and(|at| within(self.members[at].watch.last_tx, 1, &self.options, now));
        if active {
            self.validate(at, arp.sender, arp.target, now);
        } else if current_lives {
            // A backup hears the questions of the active member.
            self.validate(at, arp.target, arp.sender, now);
        } else if arp.reply && asked {
            self.validate(at, arp.sender, arp.target, now);
        }
    }

    /// `target` spoke to `ours`, if they are that.
    fn validate(&mut self, at: usize, target: Ipv4Addr, ours: Ipv4Addr, now: Instant) {
        if self.own_addresses.contains(&ours) && self.options.arp_ip_targets.contains(&target) {
            self.members[at].watch.heard(target, now);
        }
    }

    /// `dev` has received `frames` so far: where ARP is neither checked nor asked for alone, any frame counts.
    pub fn rx_seen(&mut self, dev: IfIndex, frames: u64, now: Instant) {
        let active = self.is_active(dev);
        let validate = self.options.arp_validate;
        let Some(at) = self.position(dev) else { return };
        let watch = &mut self.members[at].watch;
        let grown = watch.frames.is_some_and(|before| frames > before);
        watch.frames = Some(frames);
        if grown && !validate.checks(active) && !validate.filters() {
            watch.last_rx = Some(now);
        }
    }

    fn last_rx(&self, member: &Member) -> Option<Instant> {
        member.watch.last_rx(&self.options, self.options.arp_validate.checks(self.is_active(member.dev)))
    }

    /// One interval of the monitor.
    pub(super) fn arp_turn(&mut self, now: Instant) {
        if self.options.mode == BondMode::ActiveBackup {
            self.arp_inspect_backup(now);
            self.arp_probe(now);
        } else {
            self.arp_inspect_balanced(now);
        }
    }

    /// All members are asked by; one is up if it sends and hears.
    fn arp_inspect_balanced(&mut self, now: Instant) {
        let missed = u32::from(self.options.arp_missed_max);
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let (tx, rx, up) = (member.watch.last_tx, self.last_rx(member), member.link.is_up());
            let lives = |intervals| {
                within(tx, intervals, &self.options, now) && within(rx, intervals, &self.options, now)
            };
            if !up && lives(1) {
                self.link_found(at, now);
            } else if up && !lives(missed) && !within(Some(member.watch.since), 2, &self.options, now) {
                self.link_lost(at, now);
            }
            if self.members[at].has_carrier() {
                self.ask_by(at, now);
            }
        }
    }

    fn arp_inspect_backup(&mut self, now: Instant) {
        let missed = u32::from(self.options.arp_missed_max);
        let mut found = Vec::new();
        let mut lost = Vec::new();
        for (at, member) in self.members.iter().enumerate() {
            let rx = self.last_rx(member);
            let near = |last, intervals| within(last, intervals, &self.options, now);
            if !member.link.is_up() {
                if near(rx, 1) {
                    found.push(at);
                }
                continue;
            }
            if !member.has_carrier() {
                lost.push(at);
                continue;
            }
            // A member that only just joined or became active has had no time to hear anything.
            if near(Some(member.watch.since), 2) {
                continue;
            }
            let active = self.active == Some(member.dev);
            let silent = !near(rx, missed + u32::from(!active));
            let stuck = active && !near(member.watch.last_tx, missed);
            if stuck || (silent && (active || self.probing.is_none())) {
                lost.push(at);
            }
        }
        found.into_iter().for_each(|at| {
            self.probing = None;
            self.link_found(at, now);
        });
        lost.into_iter().for_each(|at| self.link_lost(at, now));
        self.select_active(now);
    }

    /// Asks by the active member; without one, by the others in turn.
    fn arp_probe(&mut self, now: Instant) {
        if let Some(at) = self.active.and_then(|active| self.position(active)) {
            self.probing = None;
            return self.ask_by(at, now);
        }
        let last = self.probing.and_then(|dev| self.position(dev));
        let count = self.members.len();
        let first = last.map_or(0, |at| at + 1);
        let next = (0..count).map(|step| (first + step) % count).find(|&at| self.members[at].has_carrier());
        let Some(at) = next else {
            self.probing = None;
            return;
        };
        self.probing = Some(self.members[at].dev);
        self.members[at].watch.give_chance(now);
        self.ask_by(at, now);
    }

    fn ask_by(&mut self, at: usize, now: Instant) {
        self.members[at].watch.last_tx = Some(now);
        let dev = self.members[at].dev;
        let targets = self.options.arp_ip_targets.clone();
        self.effects.extend(targets.into_iter().map(|target| BondEffect::Probe { dev, target }));
    }
}

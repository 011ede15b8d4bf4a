//! The active member of a bond: who it is, and what follows when it is another one.

use std::time::Duration;

use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::balance::balances;
use super::machine::{BondEffect, BondMachine};
use super::member::Member;
use super::notify::{IGMP_PERIOD, Repeats};
use super::options::{FailOverMac, uses_primary};
use super::select::{Candidate, Preference, select};

impl BondMachine {
    /// Chooses the active member, in modes that have one.
    pub(super) fn select_active(&mut self, now: Instant) {
        let members: Vec<Candidate> = self.members.iter().map(Member::candidate).collect();
        let mode = self.options.mode;
        let chosen = if uses_primary(mode) {
            let how = Preference {
                primary: self.primary(),
                reselect: self.options.primary_reselect,
                force_primary: std::mem::take(&mut self.force_primary),
            };
            select(&members, self.active, how)
        } else if self.in_turn() {
            // The one that matters for IGMP: the first that works, for as long as it does.
            select(&members, self.active, Preference::default())
        } else {
            None
        };
        if chosen != self.active {
            self.change_active(chosen, now);
        }
    }

    pub(super) fn change_active(&mut self, to: Option<IfIndex>, now: Instant) {
        let from = std::mem::replace(&mut self.active, to);
        if from == to {
            return;
        }
        self.effects.push(BondEffect::Failover { from, to });
        self.failovers += u64::from(to.is_some() && uses_primary(self.options.mode));
        let Some(at) = to.and_then(|dev| self.position(dev)) else {
            if uses_primary(self.options.mode) {
                self.log("now running without any active interface!");
            }
            return;
        };
        let member = &mut self.members[at];
        member.watch.give_chance(now);
        // A link that was coming back is good enough where there is no other.
        let hurried = member.link.left().is_some();
        if hurried {
            member.link.force(true);
            self.tell_lacp(at, now);
        }
        if uses_primary(self.options.mode) {
            let line = if hurried {
                "making interface the new active one early"
            } else {
                "making interface the new active one"
            };
            self.log_at(at, line);
            if from.is_none() {
                self.log("active interface up!");
            }
            self.move_mac(at);
            self.notify_peers(now);
        }
        let retransmits = uses_primary(self.options.mode) || self.options.mode == BondMode::BalanceRr;
        if self.up && retransmits {
            self.igmp = Repeats::new(u32::from(self.options.resend_igmp), IGMP_PERIOD, now);
        }
    }

    pub(super) fn notify_peers(&mut self, now: Instant) {
        if !self.up {
            return;
        }
        let period = self.monitor_period().unwrap_or(Duration::from_millis(100));
        let delay = Duration::from_millis(u64::from(self.options.peer_notif_delay()));
        self.garps = Repeats::new(u32::from(self.options.num_grat_arp), delay.max(period), now);
    }

    pub(super) fn move_mac(&mut self, at: usize) {
        let active_backup = self.options.mode == BondMode::ActiveBackup;
        match self.options.fail_over_mac {
            FailOverMac::Active if active_backup => self.set_bond_mac(self.members[at].mac),
            FailOverMac::None if active_backup => {}
            _ => self.give_bond_mac(self.members[at].dev),
        }
    }

    /// Every member has the bond's address.
    pub(super) fn shares_mac(&self) -> bool {
        match self.options.mode {
            BondMode::ActiveBackup => self.options.fail_over_mac == FailOverMac::None,
            _ => !balances(self.options.mode),
        }
    }

    /// Only the active member has it.
    pub(super) fn swaps_mac(&self) -> bool {
        balances(self.options.mode)
            || (self.options.mode == BondMode::ActiveBackup
                && self.options.fail_over_mac == FailOverMac::Follow)
    }

    pub(super) fn set_bond_mac(&mut self, mac: MacAddr) {
        if self.mac != mac {
            self.mac = mac;
            self.effects.push(BondEffect::SetMac { dev: self.dev, mac });
            self.configure_lacp();
        }
    }

    /// `dev` gets the bond's address, and who had it gets `dev`'s.
    pub(super) fn give_bond_mac(&mut self, dev: IfIndex) {
        let Some(at) = self.position(dev).filter(|&at| self.members[at].mac != self.mac) else { return };
        let other = self.members.iter().position(|member| member.mac == self.mac);
        if let Some(other) = other {
            self.give_mac(other, self.members[at].mac);
        }
        self.give_mac(at, self.mac);
    }

    pub(super) fn give_mac(&mut self, at: usize, mac: MacAddr) {
        let member = &mut self.members[at];
        if member.mac != mac {
            member.mac = mac;
            self.effects.push(BondEffect::SetMac { dev: member.dev, mac });
        }
    }

    /// Notices after a failover: none before the bond has a link.
    pub(super) fn repeat(&mut self, now: Instant) {
        let ready = self.can_notify();
        if self.garps.due(ready, now)
            && let Some(dev) = self.active
        {
            self.effects.push(BondEffect::Announce { dev });
        }
        if self.igmp.due(ready, now) {
            self.effects.push(BondEffect::ResendIgmp);
        }
    }

    pub(super) fn can_notify(&self) -> bool {
        self.carrier && self.active.is_some()
    }
}

//! The link monitor's turn over all members, and what is said of its findings.

use skiff_dataplane::time::Instant;

use super::machine::BondMachine;
use super::mii::{Delays, Look};
use super::options::uses_primary;

impl BondMachine {
    pub(super) fn mii_turn(&mut self, now: Instant) {
        let impatient = !self.members.iter().any(|member| self.transmits(member));
        let delays = Delays {
            up: self.options.updelay_ticks(),
            down: self.options.downdelay_ticks(),
            impatient: if uses_primary(self.options.mode) { self.active.is_none() } else { impatient },
        };
        for at in 0..self.members.len() {
            let carrier = self.members[at].has_carrier();
            let look = self.members[at].link.look(carrier, delays);
            self.heed(at, look, now);
        }
        self.select_active(now);
    }

    pub(super) fn heed(&mut self, at: usize, look: Look, now: Instant) {
        let ms = |looks: u32| u64::from(looks) * u64::from(self.options.miimon_ms);
        let line = match look {
            Look::Same => return,
            Look::Found => return self.found(at, now),
            Look::Lost => return self.lost(at, now),
            Look::Failing(looks) => format!("link status down, disabling it in {} ms", ms(looks)),
            Look::Recovered(looks) => format!("link status up again after {} ms", ms(looks)),
            Look::Returning(looks) => format!("link status up, enabling it in {} ms", ms(looks)),
            Look::Relapsed(looks) => format!("link status down again after {} ms", ms(looks)),
        };
        self.log_at(at, &line);
    }

    /// The ARP monitor found a member to work.
    pub(super) fn link_found(&mut self, at: usize, now: Instant) {
        self.members[at].link.force(true);
        self.found(at, now);
    }

    /// The ARP monitor gave a member up.
    pub(super) fn link_lost(&mut self, at: usize, now: Instant) {
        self.members[at].link.force(false);
        self.lost(at, now);
    }

    pub(super) fn found(&mut self, at: usize, now: Instant) {
        let member = &mut self.members[at];
        member.watch.give_chance(now);
        let duplex = if member.info.full_duplex { "full" } else { "half" };
        let line = format!("link status definitely up, {} Mbps {duplex} duplex", member.info.speed);
        self.log_at(at, &line);
        self.tell_lacp(at, now);
    }

    pub(super) fn lost(&mut self, at: usize, now: Instant) {
        self.log_at(at, "link status definitely down, disabling slave");
        self.tell_lacp(at, now);
    }
}

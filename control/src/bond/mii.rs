//! The link monitor of one member: what its carrier does, and what is made of it.

use super::options::MiiStatus;

/// How patient the monitor is, in looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// A link must be up this long before it is used.
    pub up: u32,
    /// A link must be down this long before it is given up.
    pub down: u32,
    /// There is nothing better: a link that came up is used at once.
    pub impatient: bool,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Same,
    /// Carrier is lost; the member is used for as many looks yet.
    Failing(u32),
    /// Carrier came back in time, after as many looks.
    Recovered(u32),
    /// The member is given up.
    Lost,
    /// Carrier is back; the member is not used for as many looks yet.
    Returning(u32),
    /// It went again, after as many looks.
    Relapsed(u32),
    /// The member is usable.
    Found,
}

/// The link of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MiiLink {
    status: MiiStatus,
    left: u32,
    failures: u32,
}

impl MiiLink {
    /// A link in a state that needs no waiting.
    pub fn new(up: bool) -> MiiLink {
        let status = if up { MiiStatus::Up } else { MiiStatus::Down };
        MiiLink { status, left: 0, failures: 0 }
    }

    /// A link that is up, but has to prove itself for `looks`.
    pub fn returning(looks: u32) -> MiiLink {
        MiiLink { status: MiiStatus::GoingBack, left: looks, failures: 0 }
    }

    /// Its state.
    pub fn status(&self) -> MiiStatus {
        self.status
    }

    /// Usable: a link that is going down still is.
    pub fn is_up(&self) -> bool {
        matches!(self.status, MiiStatus::Up | MiiStatus::GoingDown)
    }

    /// Looks to go until it is used, if it is coming back.
    pub fn left(&self) -> Option<u32> {
        (self.status == MiiStatus::GoingBack).then_some(self.left)
    }

    /// How often it was given up.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Another monitor, or need, says what it is. A usable one that is given up has failed.
    pub fn force(&mut self, up: bool) {
        if self.is_up() && !up {
            self.failures = self.failures.saturating_add(1);
        }
        (self.status, self.left) = (if up { MiiStatus::Up } else { MiiStatus::Down }, 0);
    }

    /// One look at the carrier.
    pub fn look(&mut self, carrier: bool, delays: Delays) -> Look {
        match (self.status, carrier) {
            (MiiStatus::Up, true) | (MiiStatus::Down, false) => Look::Same,
            (MiiStatus::Up, false) => self.fail(delays.down),
            (MiiStatus::GoingDown, true) => {
                self.status = MiiStatus::Up;
                Look::Recovered(delays.down.saturating_sub(self.left))
            }
            (MiiStatus::GoingDown, false) => self.count_down(false, Look::Same),
            (MiiStatus::Down, true) => self.come_back(delays),
            (MiiStatus::GoingBack, false) => {
                self.status = MiiStatus::Down;
                Look::Relapsed(delays.up.saturating_sub(self.left))
            }
            (MiiStatus::GoingBack, true) => {
                if delays.impatient {
                    self.left = 0;
                }
                self.count_down(true, Look::Same)
            }
        }
    }

    fn fail(&mut self, delay: u32) -> Look {
        (self.status, self.left) = (MiiStatus::GoingDown, delay);
        self.count_down(false, Look::Failing(delay))
    }

    fn come_back(&mut self, delays: Delays) -> Look {
        let delay = if delays.impatient { 0 } else { delays.up };
        (self.status, self.left) = (MiiStatus::GoingBack, delay);
        self.count_down(true, Look::Returning(delay))
    }

    /// One look less to go; the end of them all is the new state, before it `waiting` is said.
    fn count_down(&mut self, up: bool, waiting: Look) -> Look {
        if self.left > 0 {
            self.left -= 1;
            return waiting;
        }
        self.force(up);
        if up { Look::Found } else { Look::Lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Delays = Delays { up: 2, down: 3, impatient: false };

    #[test]
    fn without_delays_one_look_decides() {
        let mut link = MiiLink::new(true);
        assert_eq!(link.look(false, Delays::default()), Look::Lost);
        assert_eq!((link.status(), link.failures()), (MiiStatus::Down, 1));
        assert_eq!(link.look(true, Delays::default()), Look::Found);
        assert_eq!(link.look(true, Delays::default()), Look::Same);
    }

    #[test]
    fn delays_are_counted_in_looks_after_the_first() {
        let mut link = MiiLink::new(true);
        assert_eq!(link.look(false, PATIENT), Look::Failing(3));
        assert!(link.is_up(), "it is used until the delay is over");
        assert_eq!([link.look(false, PATIENT), link.look(false, PATIENT)], [Look::Same, Look::Same]);
        assert_eq!(link.look(false, PATIENT), Look::Lost);
        assert_eq!(link.look(true, PATIENT), Look::Returning(2));
        assert_eq!(link.look(true, PATIENT), Look::Same);
        assert!(!link.is_up());
        assert_eq!(link.look(true, PATIENT), Look::Found);
    }

    #[test]
    fn a_short_change_is_no_change() {
        let mut link = MiiLink::new(true);
        link.look(false, PATIENT);
        assert_eq!(link.look(true, PATIENT), Look::Recovered(1));
        assert_eq!((link.status(), link.failures()), (MiiStatus::Up, 0));
        link.force(false);
        link.look(true, PATIENT);
        assert_eq!(link.look(false, PATIENT), Look::Relapsed(1));
        assert_eq!(link.status(), MiiStatus::Down);
    }

    #[test]
    fn with_nothing_better_a_link_is_used_at_once() {
        let impatient = Delays { impatient: true, ..PATIENT };
        let mut link = MiiLink::new(false);
        assert_eq!(link.look(true, impatient), Look::Found);
        let mut link = MiiLink::returning(2);
        assert_eq!(link.look(true, impatient), Look::Found);
    }
}

//! Answers for others that wait for their time (kernel: `pneigh_enqueue`, `neigh_proxy_process`).

use std::collections::BTreeMap;

use super::super::arp::ArpFrame;
use crate::net::IfIndex;
use crate::time::Instant;

/// What waits, in the order of its time.
#[derive(Debug, Default)]
pub(super) struct ProxyQueue {
    /// The number keeps two of one instant apart, in the order they came.
    waiting: BTreeMap<(Instant, u64), (IfIndex, ArpFrame)>,
    serial: u64,
}

impl ProxyQueue {
    /// Adds an answer for `at`; false, and nothing added, if more than `limit` of the device wait.
    pub(super) fn push(&mut self, dev: IfIndex, frame: ArpFrame, at: Instant, limit: usize) -> bool {
        if self.waiting.values().filter(|(on, _)| *on == dev).count() > limit {
            return false;
        }
        self.serial += 1;
        self.waiting.insert((at, self.serial), (dev, frame));
        true
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Instant, mut send: impl FnMut(IfIndex, ArpFrame)) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let (dev, frame) = first.remove();
            send(dev, frame);
        }
    }

    /// When the next one is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Forgets what waits for a device that is down.
    pub(super) fn purge(&mut self, dev: IfIndex) {
        self.waiting.retain(|_, (on, _)| *on != dev);
    }
}

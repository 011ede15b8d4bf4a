//! Multicast packets that wait for an entry of the forwarding cache (kernel `ipmr_cache_unresolved`).

use std::time::Duration;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::time::Instant;

/// Source and group pairs that may wait.
const MAX_ENTRIES: usize = 10;
/// Packets of each that may wait.
const MAX_PACKETS: usize = 4;
/// How long they wait.
const LIFETIME: Duration = Duration::from_secs(10);

/// One that waits.
#[derive(Debug)]
pub struct Waiting<P> {
    /// Source, host byte order.
    pub source: u32,
    /// Group, host byte order.
    pub group: u32,
    /// The device its first packet came in by.
    pub iif: IfIndex,
    packets: Vec<P>,
    until: Instant,
}

/// All that wait.
#[derive(Debug)]
pub struct Unresolved<P>(Vec<Waiting<P>>);

impl<P> Default for Unresolved<P> {
    fn default() -> Self {
        Unresolved(Vec::new())
    }
}

impl<P> Unresolved<P> {
    /// Lets a packet wait. True if it is the first of its source and group.
    ///
    /// # Errors
    /// The packet, if there is no room for it.
    pub fn add(&mut self, source: u32, group: u32, iif: IfIndex, packet: P, now: Instant) -> Result<bool, P> {
        if let Some(entry) = self.0.iter_mut().find(|e| (e.source, e.group) == (source, group)) {
            if entry.packets.len() >= MAX_PACKETS {
                return Err(packet);
            }
            entry.packets.push(packet);
            return Ok(false);
        }
        if self.0.len() >= MAX_ENTRIES {
            return Err(packet);
        }
        self.0.push(Waiting { source, group, iif, packets: vec![packet], until: now + LIFETIME });
        Ok(true)
    }

    /// The packets of every entry `resolved` says is so, in their order.
    pub fn take(&mut self, resolved: impl Fn(&Waiting<P>) -> bool) -> Vec<P> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(resolved);
        self.0 = left;
        let taken: Vec<Waiting<P>> = taken;
        taken.into_iter().flat_map(|entry| entry.packets).collect()
    }

    /// The packets that waited too long.
    pub fn expire(&mut self, now: Instant) -> Vec<P> {
        self.take(|entry| now >= entry.until)
    }

    /// When the next has waited too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|entry| entry.until).min()
    }

    /// Those that wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<P>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_entries_of_four_packets_for_ten_seconds() {
        let mut queue = Unresolved::default();
        let (dev, now) = (IfIndex(2), Instant::from_secs(5));
        for group in 0..10 {
            assert_eq!(queue.add(1, group, dev, (group, 0), now), Ok(true));
            for n in 1..4 {
                assert_eq!(queue.add(1, group, dev, (group, n), now), Ok(false));
            }
            assert_eq!(queue.add(1, group, dev, (group, 4), now), Err((group, 4)));
        }
        assert_eq!(queue.add(1, 10, dev, (10, 0), now), Err((10, 0)));
        assert_eq!(queue.take(|e| e.group == 3), [(3, 0), (3, 1), (3, 2), (3, 3)]);
        assert_eq!(queue.add(1, 10, dev, (10, 0), Instant::from_secs(6)), Ok(true));
        assert!(queue.expire(Instant::from_millis(14_999)).is_empty());
        assert_eq!(queue.expire(Instant::from_secs(15)).len(), 36);
        assert_eq!(queue.deadline(), Some(Instant::from_secs(16)));
    }
}

//! What the operator and the link do to the cache: `ip neigh add / replace / change / del`, flush, next hops.

use super::super::machine::Authority;
use super::super::nud::Nud;
use super::super::table::NeighId;
use super::{Action, NeighCache, TrueSize};
use crate::net::{IfIndex, MacAddr};
use crate::time::Instant;

/// Which of `ip neigh`'s verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMode {
    /// `add`: it must not exist.
    Add,
    /// `replace`: make or change it.
    Replace,
    /// `change`: it must exist.
    Change,
}

/// Why the operator's wish was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeighError {
    /// `add` of an entry that is there.
    #[error("the neighbour exists already")]
    Exists,
    /// No such entry.
    #[error("no such neighbour")]
    NotFound,
    /// The device is not known.
    #[error("no such device")]
    NoDevice,
    /// The state needs a link address, and none is given or known.
    #[error("this state needs a link address (lladdr)")]
    NoAddress,
    /// No entry can be made.
    #[error("the neighbour table is full (net.ipv4.neigh.default.gc_thresh3)")]
    Full,
}

impl<P: TrueSize> NeighCache<P> {
    /// `ip neigh add|replace|change IP dev DEV [lladdr MAC] nud STATE`.
    ///
    /// INCOMPLETE starts a resolution; the kernel would leave such an entry without a timer.
    #[allow(clippy::too_many_arguments)] // the words of the command, one by one
    pub fn set(
        &mut self,
        dev: IfIndex,
        ip: u32,
        mac: Option<MacAddr>,
        state: Nud,
        mode: SetMode,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<NeighId, NeighError> {
        let known = self.get(dev, ip);
        check_mode(known.is_some(), mode)?;
        if state.is_valid() && mac.is_none() && known.is_none_or(|k| k.mac.is_none()) {
            return Err(NeighError::NoAddress);
        }
        let id = self.lookup_or_make(dev, ip, state == Nud::Permanent, now, out)?;
        if state == Nud::Incomplete {
            self.update(id, None, Nud::None, Authority::Admin, now, out);
            self.used(id, now, out);
        } else {
            self.update(id, mac, state, Authority::Admin, now, out);
        }
        Ok(id)
    }

    /// `ip neigh add|replace|change IP dev DEV use`: as if a packet wanted to go there.
    pub fn probe(
        &mut self,
        dev: IfIndex,
        ip: u32,
        mode: SetMode,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<NeighId, NeighError> {
        check_mode(self.table().lookup(dev, ip).is_some(), mode)?;
        let id = self.lookup_or_create(dev, ip, now, out)?;
        self.used(id, now, out);
        Ok(id)
    }

    /// `ip neigh del`. Waiting packets fail. An entry that a next hop holds stays, as FAILED, until it is used again.
    pub fn delete(
        &mut self,
        dev: IfIndex,
        ip: u32,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<(), NeighError> {
        let id = self.table().lookup(dev, ip).ok_or(NeighError::NotFound)?;
        self.update(id, None, Nud::Failed, Authority::Admin, now, out);
        if !self.writer.is_held(id) {
            self.destroy(id, now, out);
        }
        Ok(())
    }

    /// The device lost its carrier: its neighbours are forgotten, except the permanent ones
    /// (kernel: `neigh_carrier_down`, `arp_evict_nocarrier`).
    pub fn carrier_down(&mut self, dev: IfIndex, now: Instant, out: &mut Vec<Action<P>>) {
        self.flush(dev, true, now, out);
    }

    /// The device was set down: all its neighbours are forgotten (kernel: `neigh_ifdown`).
    ///
    /// In both cases waiting packets are purged, and entries that a next hop holds go back to NONE.
    pub fn flush_dev(&mut self, dev: IfIndex, now: Instant, out: &mut Vec<Action<P>>) {
        self.flush(dev, false, now, out);
    }

    /// The device is gone. Entries that a next hop still holds stay until it lets go and can no longer be used.
    pub fn remove_device(&mut self, dev: IfIndex, now: Instant, out: &mut Vec<Action<P>>) {
        self.flush(dev, false, now, out);
        self.devices.remove(&dev);
    }

    /// The entry for a next hop: made if need be, and neither collected nor renumbered until
    /// [`release`](Self::release). Each hold needs its release.
    pub fn hold(
        &mut self,
        dev: IfIndex,
        ip: u32,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<NeighId, NeighError> {
        let id = self.lookup_or_create(dev, ip, now, out)?;
        self.writer.hold(id);
        Ok(id)
    }

    /// The next hop is gone.
    pub fn release(&mut self, id: NeighId, now: Instant, out: &mut Vec<Action<P>>) {
        if self.neigh(id).is_none() {
            return;
        }
        self.writer.release(id);
        let orphaned = self.neigh(id).is_some_and(|n| !self.devices.contains_key(&n.dev));
        if orphaned && !self.writer.is_held(id) {
            self.destroy(id, now, out);
        }
    }

    fn flush(&mut self, dev: IfIndex, keep_permanent: bool, now: Instant, out: &mut Vec<Action<P>>) {
        for id in self.ids_of(dev) {
            let permanent = self.neigh(id).is_some_and(|n| n.machine.state() == Nud::Permanent);
            if !(keep_permanent && permanent) {
                self.destroy(id, now, out);
            }
        }
        self.proxy.purge(dev);
    }
}

/// What the verbs ask of an entry that is there, or is not.
fn check_mode(known: bool, mode: SetMode) -> Result<(), NeighError> {
    match (known, mode) {
        (true, SetMode::Add) => Err(NeighError::Exists),
        (false, SetMode::Change) => Err(NeighError::NotFound),
        _ => Ok(()),
    }
}

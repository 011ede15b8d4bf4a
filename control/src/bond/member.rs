//! A member of a bond.

use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::arp_monitor::ArpWatch;
use super::mii::MiiLink;
use super::options::BondSlaveOptions;
use super::select::Candidate;

/// A device that joins a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its name.
    pub name: String,
    /// Its own hardware address.
    pub mac: MacAddr,
    /// Administratively up.
    pub up: bool,
    /// The driver sees a link.
    pub carrier: bool,
    /// Bits per second in millions; 0 unknown.
    pub speed: u32,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) dev: IfIndex,
    pub(super) info: MemberInfo,
    /// The address it has now.
    pub(super) mac: MacAddr,
    pub(super) link: MiiLink,
    pub(super) options: BondSlaveOptions,
    pub(super) watch: ArpWatch,
}

impl Member {
    pub(super) fn new(dev: IfIndex, info: MemberInfo, link: MiiLink, now: Instant) -> Member {
        let (mac, watch) = (info.mac, ArpWatch::new(now));
        Member { dev, info, mac, link, options: BondSlaveOptions::default(), watch }
    }

    /// Its device.
    pub fn dev(&self) -> IfIndex {
        self.dev
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// The address it has now.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its own address, which it gets back when it leaves.
    pub fn permanent_mac(&self) -> MacAddr {
        self.info.mac
    }

    /// How often its link failed.
    pub fn link_failures(&self) -> u32 {
        self.link.failures()
    }

    /// Frames can leave by it at this moment.
    pub fn can_send(&self) -> bool {
        self.link.is_up() && self.has_carrier()
    }

    /// Up, and with a link.
    pub(super) fn has_carrier(&self) -> bool {
        self.info.up && self.info.carrier
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            dev: self.dev,
            up: self.link.is_up(),
            returning: self.link.left(),
            prio: self.options.prio,
            speed: self.info.speed,
            full_duplex: self.info.full_duplex,
        }
    }
}

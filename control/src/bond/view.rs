//! What others see of a bond: the data plane, and those who ask.

use skiff_dataplane::device::bond::{Bond, BondMember, BondMode};
use skiff_dataplane::net::IfIndex;

use super::lacp::Lacp;
use super::machine::{BondEffect, BondMachine};
use super::member::Member;
use super::options::{BondStatus, MemberStatus, uses_primary};

impl BondMachine {
    /// Says what has changed for the data plane.
    pub(super) fn finish(&mut self) {
        let carrier = self.computed_carrier();
        if carrier != self.carrier {
            self.carrier = carrier;
            self.effects.push(BondEffect::Carrier(carrier));
        }
        self.follow_balance();
        let view = self.view();
        if self.shown.as_ref() != Some(&view) {
            self.shown = Some(view);
            self.effects.push(BondEffect::ViewChanged);
        }
    }

    pub(super) fn computed_carrier(&self) -> bool {
        match self.options.mode {
            BondMode::Lacp => {
                let carrying = self.members.iter().filter(|member| self.transmits(member)).count();
                carrying >= usize::try_from(self.options.min_links.max(1)).unwrap_or(usize::MAX)
            }
            _ => self.members.iter().any(|member| member.link.is_up()),
        }
    }

    /// Frames may leave by `member`.
    pub(super) fn transmits(&self, member: &Member) -> bool {
        member.can_send()
            && match self.options.mode {
                BondMode::ActiveBackup => self.active == Some(member.dev),
                BondMode::Lacp => self.lacp.as_ref().is_some_and(|lacp| lacp.distributes(member.dev)),
                _ => true,
            }
    }

    pub(super) fn receives(&self, member: &Member) -> bool {
        match self.options.mode {
            BondMode::Lacp => self.lacp.as_ref().is_some_and(|lacp| lacp.collects(member.dev)),
            BondMode::ActiveBackup => self.is_active(member.dev),
            mode if uses_primary(mode) => self.active == Some(member.dev),
            _ => true,
        }
    }

    /// What the kernel shows as active: in use, or as good as the others.
    pub fn is_active(&self, dev: IfIndex) -> bool {
        match self.options.mode {
            BondMode::ActiveBackup => self.active.or(self.probing) == Some(dev),
            BondMode::Lacp => self.member(dev).is_some_and(|member| self.transmits(member)),
            _ => true,
        }
    }

    /// All members are used alike.
    pub(super) fn in_turn(&self) -> bool {
        matches!(self.options.mode, BondMode::BalanceRr | BondMode::BalanceXor | BondMode::Broadcast)
    }

    /// What the data plane needs to know.
    pub fn view(&self) -> Bond {
        let member = |member: &Member| BondMember {
            dev: member.dev,
            transmits: self.transmits(member),
            receives: self.receives(member),
        };
        Bond {
            policy: self.options.xmit_hash_policy,
            packets_per_slave: u32::from(self.options.packets_per_slave),
            all_slaves_active: self.options.all_slaves_active,
            members: self.members.iter().map(member).collect(),
            active: self.active,
            watch_arp: self.options.arp_interval_ms > 0 || self.options.mode == BondMode::BalanceAlb,
            tlb: self.balancer.tlb(),
            rlb: self.balancer.rlb(),
            ..Bond::new(self.options.mode)
        }
    }

    /// What `ip -d link show` says of the bond beside its options.
    pub fn info(&self) -> BondStatus {
        let active = self.active.filter(|_| uses_primary(self.options.mode));
        BondStatus {
            active: active.and_then(|dev| self.member(dev)).map(|member| member.name().to_owned()),
            ad: self.lacp.as_ref().and_then(Lacp::info),
        }
    }

    /// What `ip -d link show` says of a member.
    pub fn member_status(&self, dev: IfIndex) -> Option<MemberStatus> {
        let member = self.member(dev)?;
        Some(MemberStatus {
            active: self.is_active(dev),
            mii: member.link.status(),
            link_failure_count: member.link.failures(),
            perm_hwaddr: member.info.mac,
            options: member.options,
            ad: self.lacp.as_ref().and_then(|lacp| lacp.member_info(dev)),
        })
    }
}

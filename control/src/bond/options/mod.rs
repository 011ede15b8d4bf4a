//! Options of a bond and of its members: names, ranges, what goes with what, by the words of
//! `ip link set NAME type bond OPTION VALUE`.

mod rows;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use std::net::Ipv4Addr;

use skiff_dataplane::device::bond::{BondMode, XmitPolicy};
use skiff_dataplane::net::MacAddr;

pub use rows::{AdInfo, BondStatus, MemberAdInfo, MemberStatus, MiiStatus, OptionRow};
pub use rules::{OPTION_NAMES, OptionName};
pub use words::{AdSelect, ArpAllTargets, ArpValidate, FailOverMac, LacpRate, Named, PrimaryReselect};

use rules::{bad_value, in_range};

/// How often links are looked at unless configured otherwise, milliseconds.
pub const DEFAULT_MIIMON_MS: u32 = 100;
/// Addresses the ARP monitor can ask for.
pub const MAX_ARP_TARGETS: usize = 16;
/// Longest time between notices to the peers, milliseconds.
const MAX_PEER_NOTIF_DELAY_MS: u32 = 300_000;
/// Options hold signed 32-bit numbers in the kernel.
const INT_MAX: u32 = i32::MAX as u32;

/// Whether `mode` has one member in use at a time, or one that matters more than the rest.
pub fn uses_primary(mode: BondMode) -> bool {
    matches!(mode, BondMode::ActiveBackup | BondMode::BalanceTlb | BondMode::BalanceAlb)
}

/// Whether the ARP monitor works in `mode`.
pub fn uses_arp(mode: BondMode) -> bool {
    matches!(mode, BondMode::BalanceRr | BondMode::ActiveBackup | BondMode::BalanceXor | BondMode::Broadcast)
}

/// What may be set of a bond. Only [`set`](Self::set) and its like keep the fields in agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BondOptions {
    /// How members are used.
    pub mode: BondMode,
    /// How often links are looked at, milliseconds; 0 never.
    pub miimon_ms: u32,
    /// How long a link must be up before it is used, milliseconds, as it was asked for
    /// ([`updelay`](Self::updelay) is what is done).
    pub updelay_ms: u32,
    /// How long a link must be down before it is given up, milliseconds, as it was asked for.
    pub downdelay_ms: u32,
    /// Time between notices to the peers, milliseconds, as it was asked for.
    pub peer_notif_delay_ms: u32,
    /// Obsolete: the driver's link state is always used.
    pub use_carrier: bool,
    /// How often the targets are asked for, milliseconds; 0 never.
    pub arp_interval_ms: u32,
    /// Intervals without a sign of life before a member is given up.
    pub arp_missed_max: u8,
    /// Whom the ARP monitor asks for.
    pub arp_ip_targets: Vec<Ipv4Addr>,
    /// Whose ARP is checked.
    pub arp_validate: ArpValidate,
    /// How many targets must be heard of.
    pub arp_all_targets: ArpAllTargets,
    /// The member to prefer, by name: it need not have joined yet.
    pub primary: Option<String>,
    /// When a better member takes over.
    pub primary_reselect: PrimaryReselect,
    /// What becomes of hardware addresses.
    pub fail_over_mac: FailOverMac,
    /// What the hash covers.
    pub xmit_hash_policy: XmitPolicy,
    /// IGMP reports after a failover.
    pub resend_igmp: u8,
    /// Gratuitous ARPs after a failover.
    pub num_grat_arp: u8,
    /// Packets are taken from inactive members too.
    pub all_slaves_active: bool,
    /// Members the bond needs to have a carrier.
    pub min_links: u32,
    /// Seconds between learning packets.
    pub lp_interval_s: u32,
    /// Packets by one member before the next one's turn; 0 is random.
    pub packets_per_slave: u16,
    /// LACPDUs are sent unasked.
    pub lacp_active: bool,
    /// How often the partner is asked to send.
    pub lacp_rate: LacpRate,
    /// Collecting and distributing begin together.
    pub coupled_control: bool,
    /// Which aggregator is used.
    pub ad_select: AdSelect,
    /// Priority of this system.
    pub ad_actor_sys_prio: u16,
    /// The part of the key that is the user's, 10 bits.
    pub ad_user_port_key: u16,
    /// Address of this system; all zeros for the bond's.
    pub ad_actor_system: MacAddr,
    /// Flows are moved to less loaded members.
    pub tlb_dynamic_lb: bool,
}

impl Default for BondOptions {
    fn default() -> Self {
        BondOptions {
            mode: BondMode::BalanceRr,
            miimon_ms: DEFAULT_MIIMON_MS,
            updelay_ms: 0,
            downdelay_ms: 0,
            peer_notif_delay_ms: 0,
            use_carrier: true,
            arp_interval_ms: 0,
            arp_missed_max: 2,
            arp_ip_targets: Vec::new(),
            arp_validate: ArpValidate::None,
            arp_all_targets: ArpAllTargets::Any,
            primary: None,
            primary_reselect: PrimaryReselect::Always,
            fail_over_mac: FailOverMac::None,
            xmit_hash_policy: XmitPolicy::Layer2,
            resend_igmp: 1,
            num_grat_arp: 1,
            all_slaves_active: false,
            min_links: 0,
            lp_interval_s: 1,
            packets_per_slave: 1,
            lacp_active: true,
            lacp_rate: LacpRate::Slow,
            coupled_control: true,
            ad_select: AdSelect::Stable,
            ad_actor_sys_prio: u16::MAX,
            ad_user_port_key: 0,
            ad_actor_system: MacAddr::ZERO,
            tlb_dynamic_lb: true,
        }
    }
}

impl BondOptions {
    /// Sets option `name`, which may be abbreviated as `ip` allows, to `value`: a number, or a name where values have
    /// one. `active_slave` and `clear_active_slave` are checked and change nothing here: they are no options but
    /// commands to a bond with members.
    ///
    /// # Errors
    /// There is no such option, the value is out of its range, or the option has no meaning in the bond's mode; in the
    /// kernel's words.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let option = OptionName::resolve(name).ok_or_else(|| format!("bond: unknown command \"{name}\"?"))?;
        option.check_mode(self.mode)?;
        self.put(option, value)
    }

    /// [`set`](Self::set) on a bond that is there: some options need it to be down or without members.
    ///
    /// # Errors
    /// Those of [`set`](Self::set), and the bond is up or has members.
    pub fn set_live(&mut self, name: &str, value: &str, up: bool, has_members: bool) -> Result<(), String> {
        if let Some(option) = OptionName::resolve(name) {
            option.check_mode(self.mode)?;
            option.check_state(up, has_members)?;
        }
        self.set(name, value)
    }

    /// Sets the options of one command, in the kernel's order rather than the command's: the mode first. All or none.
    ///
    /// # Errors
    /// Those of [`set_live`](Self::set_live), and ARP and MII monitoring are asked for at once.
    pub fn set_all<'a>(
        &mut self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        up: bool,
        has_members: bool,
    ) -> Result<(), String> {
        let mut options: Vec<(&str, &str)> = options.into_iter().collect();
        options.sort_by_key(|(name, _)| OptionName::resolve(name).map_or(0, OptionName::order));
        let on = |wanted: &str| {
            options.iter().any(|(name, value)| {
                OptionName::resolve(name).is_some_and(|o| o.name() == wanted)
                    && value.parse::<u32>().is_ok_and(|v| v > 0)
            })
        };
        if on("miimon") && on("arp_interval") {
            return Err("ARP monitoring cannot be used with MII monitoring".to_owned());
        }
        let mut draft = self.clone();
        for (name, value) in options {
            draft.set_live(name, value, up, has_members)?;
        }
        *self = draft;
        Ok(())
    }

    fn put(&mut self, option: OptionName, value: &str) -> Result<(), String> {
        let name = option.name();
        match name {
            "mode" => self.put_mode(value)?,
            "miimon" => self.put_miimon(value)?,
            "updelay" => self.updelay_ms = self.delay(name, value)?,
            "downdelay" => self.downdelay_ms = self.delay(name, value)?,
            "peer_notify_delay" => {
                in_range(name, value, 0, MAX_PEER_NOTIF_DELAY_MS)?;
                self.peer_notif_delay_ms = self.delay(name, value)?;
            }
            "use_carrier" => self.use_carrier = flag(name, value)?,
            "arp_interval" => self.put_arp_interval(value)?,
            "arp_missed_max" => self.arp_missed_max = in_range(name, value, 1, 255)? as u8,
            "arp_ip_target" => self.arp_ip_targets = arp_targets(value)?,
            "ns_ip6_target" if value.is_empty() => {}
            "ns_ip6_target" => return Err(format!("option {name}: IPv6 is not supported yet")),
            "arp_validate" => self.arp_validate = named(name, value)?,
            "arp_all_targets" => self.arp_all_targets = named(name, value)?,
            "primary" => self.primary = (!value.is_empty()).then(|| value.to_owned()),
            "primary_reselect" => self.primary_reselect = named(name, value)?,
            "fail_over_mac" => self.fail_over_mac = named(name, value)?,
            "xmit_hash_policy" => self.xmit_hash_policy = named(name, value)?,
            "resend_igmp" => self.resend_igmp = in_range(name, value, 0, 255)? as u8,
            "num_grat_arp" => self.num_grat_arp = in_range(name, value, 0, 255)? as u8,
            "all_slaves_active" => self.all_slaves_active = flag(name, value)?,
            "min_links" => self.min_links = in_range(name, value, 0, INT_MAX)?,
            "lp_interval" => self.lp_interval_s = in_range(name, value, 1, INT_MAX)?,
            "packets_per_slave" => self.packets_per_slave = in_range(name, value, 0, 65535)? as u16,
            "lacp_active" => self.lacp_active = named(name, value)?,
            "lacp_rate" => self.lacp_rate = named(name, value)?,
            "coupled_control" => self.coupled_control = named(name, value)?,
            "ad_select" => self.ad_select = named(name, value)?,
            "ad_actor_sys_prio" => self.ad_actor_sys_prio = in_range(name, value, 1, 65535)? as u16,
            "ad_user_port_key" => self.ad_user_port_key = in_range(name, value, 0, 1023)? as u16,
            "ad_actor_system" => self.ad_actor_system = actor_system(value)?,
            "tlb_dynamic_lb" => self.tlb_dynamic_lb = flag(name, value)?,
            _ => {}
        }
        Ok(())
    }

    /// Another mode: what means nothing in it goes back to what it is by default.
    fn put_mode(&mut self, value: &str) -> Result<(), String> {
        let mode: BondMode = named("mode", value)?;
        if !uses_arp(mode) {
            self.arp_interval_ms = 0;
            if self.miimon_ms == 0 {
                self.miimon_ms = DEFAULT_MIIMON_MS;
            }
        }
        if mode == BondMode::BalanceAlb {
            self.tlb_dynamic_lb = true;
        }
        if mode != self.mode {
            self.arp_validate = ArpValidate::None;
        }
        self.mode = mode;
        Ok(())
    }

    fn put_miimon(&mut self, value: &str) -> Result<(), String> {
        let miimon = in_range("miimon", value, 0, INT_MAX)?;
        if miimon == 0 && !uses_arp(self.mode) {
            let mode = self.mode.word();
            return Err(format!("option miimon: mode {mode} needs it to detect link failures"));
        }
        if miimon > 0 {
            self.arp_interval_ms = 0;
        }
        self.miimon_ms = miimon;
        Ok(())
    }

    fn put_arp_interval(&mut self, value: &str) -> Result<(), String> {
        let interval = in_range("arp_interval", value, 0, INT_MAX)?;
        if interval > 0 {
            (self.miimon_ms, self.updelay_ms, self.downdelay_ms) = (0, 0, 0);
        }
        self.arp_interval_ms = interval;
        Ok(())
    }

    /// A delay counts looks at the link: without them there is none.
    fn delay(&self, name: &str, value: &str) -> Result<u32, String> {
        let delay = in_range(name, value, 0, INT_MAX)?;
        if delay > 0 && self.miimon_ms == 0 {
            return Err(format!("option {name}: unable to set because MII monitoring is disabled"));
        }
        Ok(delay)
    }

    /// Looks at a link that came up before it is used.
    pub fn updelay_ticks(&self) -> u32 {
        self.updelay_ms.checked_div(self.miimon_ms).unwrap_or(0)
    }

    /// Looks at a link that went down before it is given up.
    pub fn downdelay_ticks(&self) -> u32 {
        self.downdelay_ms.checked_div(self.miimon_ms).unwrap_or(0)
    }

    /// Looks at links between notices to the peers, less the one every notice takes.
    pub fn peer_notif_ticks(&self) -> u32 {
        self.peer_notif_delay_ms.checked_div(self.miimon_ms).unwrap_or(0)
    }

    /// What the up delay comes to: the multiple of `miimon` below what was asked for, milliseconds.
    pub fn updelay(&self) -> u32 {
        self.updelay_ticks() * self.miimon_ms
    }

    /// What the down delay comes to, milliseconds.
    pub fn downdelay(&self) -> u32 {
        self.downdelay_ticks() * self.miimon_ms
    }

    /// What the time between notices comes to, milliseconds.
    pub fn peer_notif_delay(&self) -> u32 {
        self.peer_notif_ticks() * self.miimon_ms
    }
}

/// What may be set of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BondSlaveOptions {
    /// Which member to prefer: the highest.
    pub prio: i32,
    /// The bond's transmit queue that is this member's; 0 none.
    pub queue_id: u16,
}

impl BondSlaveOptions {
    /// Transmit queues a bond has, as the kernel makes it.
    pub const QUEUES: u32 = 16;

    /// Sets option `name` (`prio` or `queue_id`, which may be abbreviated).
    ///
    /// # Errors
    /// There is no such option, or the value is out of its range.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("bond_slave: unknown option \"\"?".to_owned());
        }
        if "queue_id".starts_with(name) {
            self.queue_id = in_range("queue_id", value, 0, Self::QUEUES)? as u16;
        } else if "prio".starts_with(name) {
            self.prio = value.parse().map_err(|_| bad_value("prio", value))?;
        } else {
            return Err(format!("bond_slave: unknown option \"{name}\"?"));
        }
        Ok(())
    }
}

fn named<T: Named>(name: &str, value: &str) -> Result<T, String> {
    T::from_word(value).ok_or_else(|| bad_value(name, value))
}

/// On or off, by number.
fn flag(name: &str, value: &str) -> Result<bool, String> {
    in_range(name, value, 0, 1).map(|on| on != 0)
}

/// Addresses joined by commas.
fn arp_targets(value: &str) -> Result<Vec<Ipv4Addr>, String> {
    let mut targets = Vec::new();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let target: Ipv4Addr = word.parse().map_err(|_| bad_value("arp_ip_target", word))?;
        if target.is_unspecified() || target.is_broadcast() {
            return Err(format!("invalid ARP target {target} specified for addition"));
        }
        if targets.contains(&target) {
            return Err(format!("ARP target {target} is already present"));
        }
        if targets.len() == MAX_ARP_TARGETS {
            return Err("ARP target table is full!".to_owned());
        }
        targets.push(target);
    }
    Ok(targets)
}

fn actor_system(value: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = value.parse().map_err(|_| bad_value("ad_actor_system", value))?;
    if mac.is_multicast() { Err(bad_value("ad_actor_system", value)) } else { Ok(mac) }
}

//! The lines of `/proc/net/bonding/NAME`.

use std::fmt::{self, Write};

use skiff_dataplane::device::bond::BondMode;

use super::lacp::Lacp;
use super::lacp::wire::PortInfo;
use super::machine::BondMachine;
use super::member::Member;
use super::options::{BondOptions, FailOverMac, Named, uses_primary};

impl BondMachine {
    /// What the kernel would show in `/proc/net/bonding/NAME`.
    pub fn proc_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_bond(&mut text);
        for member in &self.members {
            let _ = write_member(&mut text, member, self.lacp.as_ref());
        }
        text
    }

    fn write_bond(&self, out: &mut String) -> fmt::Result {
        let options = &self.options;
        writeln!(out, "Ethernet Channel Bonding Driver: v{}\n", env!("CARGO_PKG_VERSION"))?;
        let mac = match options.fail_over_mac {
            FailOverMac::None => String::new(),
            _ if options.mode != BondMode::ActiveBackup => String::new(),
            other => format!(" (fail_over_mac {})", other.word()),
        };
        writeln!(out, "Bonding Mode: {}{mac}", mode_title(options.mode))?;
        if hashes(options) {
            let policy = options.xmit_hash_policy;
            writeln!(out, "Transmit Hash Policy: {} ({})", policy.word(), policy.number())?;
        }
        if uses_primary(options.mode) {
            self.write_primary(out)?;
        }
        writeln!(out, "MII Status: {}", if self.has_carrier() { "up" } else { "down" })?;
        writeln!(out, "MII Polling Interval (ms): {}", options.miimon_ms)?;
        writeln!(out, "Up Delay (ms): {}", options.updelay())?;
        writeln!(out, "Down Delay (ms): {}", options.downdelay())?;
        writeln!(out, "Peer Notification Delay (ms): {}", options.peer_notif_delay())?;
        if options.arp_interval_ms > 0 {
            let targets: Vec<String> = options.arp_ip_targets.iter().map(ToString::to_string).collect();
            writeln!(out, "ARP Polling Interval (ms): {}", options.arp_interval_ms)?;
            writeln!(out, "ARP Missed Max: {}", options.arp_missed_max)?;
            writeln!(out, "ARP IP target/s (n.n.n.n form): {}", targets.join(", "))?;
            writeln!(out, "NS IPv6 target/s (xx::xx form):")?;
        }
        match &self.lacp {
            Some(lacp) => self.write_lacp(out, lacp),
            None => Ok(()),
        }
    }

    fn write_primary(&self, out: &mut String) -> fmt::Result {
        let options = &self.options;
        let primary = self.primary().and_then(|dev| self.member(dev));
        match primary {
            Some(member) => {
                let reselect = options.primary_reselect.word();
                writeln!(out, "Primary Slave: {} (primary_reselect {reselect})", member.name())?;
            }
            None => writeln!(out, "Primary Slave: None")?,
        }
        let active = self.active().and_then(|dev| self.member(dev)).map_or("None", Member::name);
        writeln!(out, "Currently Active Slave: {active}")
    }

    fn write_lacp(&self, out: &mut String, lacp: &Lacp) -> fmt::Result {
        let options = &self.options;
        writeln!(out, "\n802.3ad info")?;
        writeln!(out, "LACP active: {}", options.lacp_active.word())?;
        writeln!(out, "LACP rate: {}", options.lacp_rate.word())?;
        writeln!(out, "Min links: {}", options.min_links)?;
        writeln!(out, "Aggregator selection policy (ad_select): {}", options.ad_select.word())?;
        writeln!(out, "System priority: {}", options.ad_actor_sys_prio)?;
        writeln!(out, "System MAC address: {}", lacp.system())?;
        let Some(info) = lacp.info() else {
            return writeln!(out, "bond {} has no active aggregator", self.name());
        };
        writeln!(out, "Active Aggregator Info:")?;
        writeln!(out, "\tAggregator ID: {}", info.aggregator)?;
        writeln!(out, "\tNumber of ports: {}", info.num_ports)?;
        writeln!(out, "\tActor Key: {}", info.actor_key)?;
        writeln!(out, "\tPartner Key: {}", info.partner_key)?;
        writeln!(out, "\tPartner Mac Address: {}", info.partner_mac)
    }
}

fn write_member(out: &mut String, member: &Member, lacp: Option<&Lacp>) -> fmt::Result {
    writeln!(out, "\nSlave Interface: {}", member.name())?;
    writeln!(out, "MII Status: {}", member.link.status().proc_word())?;
    match member.info.speed {
        0 => writeln!(out, "Speed: Unknown")?,
        speed => writeln!(out, "Speed: {speed} Mbps")?,
    }
    match (member.info.speed, member.info.full_duplex) {
        (0, _) => writeln!(out, "Duplex: Unknown")?,
        (_, full) => writeln!(out, "Duplex: {}", if full { "full" } else { "half" })?,
    }
    writeln!(out, "Link Failure Count: {}", member.link.failures())?;
    writeln!(out, "Permanent HW addr: {}", member.info.mac)?;
    writeln!(out, "Slave queue ID: {}", member.options.queue_id)?;
    let Some(lacp) = lacp else { return Ok(()) };
    let (Some(port), Some(info)) = (lacp.port(member.dev), lacp.member_info(member.dev)) else {
        return writeln!(out, "Aggregator ID: N/A");
    };
    writeln!(out, "Aggregator ID: {}", info.aggregator_id)?;
    writeln!(out, "Actor Churn State: {}", port.actor_churn.state.word())?;
    writeln!(out, "Partner Churn State: {}", port.partner_churn.state.word())?;
    writeln!(out, "Actor Churned Count: {}", port.actor_churn.count)?;
    writeln!(out, "Partner Churned Count: {}", port.partner_churn.count)?;
    write_end(out, "actor", "port key", &port.actor)?;
    write_end(out, "partner", "oper key", &port.partner)
}

fn write_end(out: &mut String, end: &str, key: &str, info: &PortInfo) -> fmt::Result {
    writeln!(out, "details {end} lacp pdu:")?;
    writeln!(out, "    system priority: {}", info.system_priority)?;
    writeln!(out, "    system mac address: {}", info.system)?;
    writeln!(out, "    {key}: {}", info.key)?;
    writeln!(out, "    port priority: {}", info.port_priority)?;
    writeln!(out, "    port number: {}", info.port)?;
    writeln!(out, "    port state: {}", info.state)
}

fn mode_title(mode: BondMode) -> &'static str {
    match mode {
        BondMode::BalanceRr => "load balancing (round-robin)",
        BondMode::ActiveBackup => "fault-tolerance (active-backup)",
        BondMode::BalanceXor => "load balancing (xor)",
        BondMode::Broadcast => "fault-tolerance (broadcast)",
        BondMode::Lacp => "IEEE 802.3ad Dynamic link aggregation",
        BondMode::BalanceTlb => "transmit load balancing",
        BondMode::BalanceAlb => "adaptive load balancing",
    }
}

/// The hash policy matters in these modes.
fn hashes(options: &BondOptions) -> bool {
    match options.mode {
        BondMode::BalanceXor | BondMode::Lacp => true,
        BondMode::BalanceTlb => !options.tlb_dynamic_lb,
        _ => false,
    }
}

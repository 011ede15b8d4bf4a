//! How options and states are shown by `ip -d link show`, as text and as JSON.

use serde_json::{Value, json};
use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::MacAddr;

use super::words::{ArpValidate, Named};
use super::{BondOptions, BondSlaveOptions};

/// One option as `ip` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionRow {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its words in text; empty where only JSON has it.
    pub text: String,
    /// Its value in JSON.
    pub json: Value,
}

/// What a bond is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondStatus {
    /// Name of the active member.
    pub active: Option<String>,
    /// The active aggregator, in mode 802.3ad.
    pub ad: Option<AdInfo>,
}

/// The aggregator in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdInfo {
    /// Its number.
    pub aggregator: u16,
    /// Ports in it.
    pub num_ports: u16,
    /// Our key.
    pub actor_key: u16,
    /// The partner's key.
    pub partner_key: u16,
    /// The partner.
    pub partner_mac: MacAddr,
}

/// What the link monitor says of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MiiStatus {
    /// Usable.
    Up,
    /// Carrier is lost, and the down delay is running.
    GoingDown,
    /// Not usable.
    #[default]
    Down,
    /// Carrier is back, and the up delay is running.
    GoingBack,
}

impl MiiStatus {
    /// As `ip` shows it.
    pub fn word(self) -> &'static str {
        match self {
            MiiStatus::Up => "UP",
            MiiStatus::GoingDown => "GOING_DOWN",
            MiiStatus::Down => "DOWN",
            MiiStatus::GoingBack => "GOING_BACK",
        }
    }

    /// As /proc/net/bonding shows it.
    pub fn proc_word(self) -> &'static str {
        match self {
            MiiStatus::Up => "up",
            MiiStatus::GoingDown => "going down",
            MiiStatus::Down => "down",
            MiiStatus::GoingBack => "going back",
        }
    }
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    /// It is in use.
    pub active: bool,
    /// Its link.
    pub mii: MiiStatus,
    /// How often its link failed.
    pub link_failure_count: u32,
    /// The address it was made with.
    pub perm_hwaddr: MacAddr,
    /// What is set of it.
    pub options: BondSlaveOptions,
    /// What LACP says of it, in mode 802.3ad.
    pub ad: Option<MemberAdInfo>,
}

/// What LACP says of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberAdInfo {
    /// Its aggregator.
    pub aggregator_id: u16,
    /// Our state, as LACPDUs carry it.
    pub actor_state: u8,
    /// The partner's.
    pub partner_state: u8,
}

impl BondOptions {
    /// All options and `status`, in iproute2's order.
    pub fn rows(&self, status: &BondStatus) -> Vec<OptionRow> {
        let mut rows = vec![word("mode", self.mode)];
        if let Some(active) = &status.active {
            rows.push(row("active_slave", active.clone()));
        }
        rows.extend([
            row("miimon", self.miimon_ms),
            row("updelay", self.updelay()),
            row("downdelay", self.downdelay()),
            row("peer_notify_delay", self.peer_notif_delay()),
            row("use_carrier", u8::from(self.use_carrier)),
            row("arp_interval", self.arp_interval_ms),
            row("arp_missed_max", self.arp_missed_max),
        ]);
        self.arp_rows(&mut rows);
        if let Some(primary) = &self.primary {
            rows.push(row("primary", primary.clone()));
        }
        rows.extend([
            word("primary_reselect", self.primary_reselect),
            word("fail_over_mac", self.fail_over_mac),
            word("xmit_hash_policy", self.xmit_hash_policy),
            row("resend_igmp", self.resend_igmp),
            as_key("num_peer_notif", row("num_grat_arp", self.num_grat_arp)),
            row("all_slaves_active", u8::from(self.all_slaves_active)),
            row("min_links", self.min_links),
            row("lp_interval", self.lp_interval_s),
            row("packets_per_slave", self.packets_per_slave),
            as_key("ad_lacp_active", word("lacp_active", self.lacp_active)),
            as_key("ad_lacp_rate", word("lacp_rate", self.lacp_rate)),
            OptionRow { json: self.coupled_control.into(), ..word("coupled_control", self.coupled_control) },
            word("ad_select", self.ad_select),
        ]);
        if self.mode == BondMode::Lacp {
            rows.extend(status.ad.map(ad_row));
            rows.extend([
                row("ad_actor_sys_prio", self.ad_actor_sys_prio),
                row("ad_user_port_key", self.ad_user_port_key),
                row("ad_actor_system", self.ad_actor_system.to_string()),
            ]);
        }
        rows.push(row("tlb_dynamic_lb", u8::from(self.tlb_dynamic_lb)));
        rows
    }

    fn arp_rows(&self, rows: &mut Vec<OptionRow>) {
        if !self.arp_ip_targets.is_empty() {
            let targets: Vec<String> = self.arp_ip_targets.iter().map(ToString::to_string).collect();
            let text = format!("arp_ip_target {}", targets.join(","));
            rows.push(OptionRow { key: "arp_ip_target", text, json: targets.into() });
        }
        let validate = word("arp_validate", self.arp_validate);
        // iproute2 writes "none" as null, in JSON alone.
        rows.push(match self.arp_validate {
            ArpValidate::None => OptionRow { json: Value::Null, ..validate },
            _ => validate,
        });
        rows.push(word("arp_all_targets", self.arp_all_targets));
    }
}

impl MemberStatus {
    /// All of it, in iproute2's order.
    pub fn rows(&self) -> Vec<OptionRow> {
        let mut rows = vec![
            row("state", if self.active { "ACTIVE" } else { "BACKUP" }),
            row("mii_status", self.mii.word()),
            row("link_failure_count", self.link_failure_count),
            row("perm_hwaddr", self.perm_hwaddr.to_string()),
            row("queue_id", self.options.queue_id),
            row("prio", self.options.prio),
        ];
        if let Some(ad) = self.ad {
            rows.push(row("ad_aggregator_id", ad.aggregator_id));
            rows.push(row("ad_actor_oper_port_state", ad.actor_state));
            rows.push(state_row("ad_actor_oper_port_state_str", ad.actor_state));
            rows.push(row("ad_partner_oper_port_state", ad.partner_state));
            rows.push(state_row("ad_partner_oper_port_state_str", ad.partner_state));
        }
        rows
    }
}

/// The names of the bits of a port's state, lowest first.
const STATE_BITS: [&str; 8] = [
    "active",
    "short_timeout",
    "aggregating",
    "in_sync",
    "collecting",
    "distributing",
    "defaulted",
    "expired",
];

fn state_row(key: &'static str, state: u8) -> OptionRow {
    let names: Vec<&str> =
        STATE_BITS.into_iter().enumerate().filter(|(bit, _)| state & 1 << bit != 0).map(|(_, n)| n).collect();
    OptionRow { key, text: format!("{key} <{}>", names.join(",")), json: names.into() }
}

fn ad_row(ad: AdInfo) -> OptionRow {
    let AdInfo { aggregator, num_ports, actor_key, partner_key, partner_mac } = ad;
    OptionRow {
        key: "ad_info",
        text: format!(
            "ad_aggregator {aggregator} ad_num_ports {num_ports} ad_actor_key {actor_key} \
             ad_partner_key {partner_key} ad_partner_mac {partner_mac}"
        ),
        json: json!({
            "aggregator": aggregator,
            "num_ports": num_ports,
            "actor_key": actor_key,
            "partner_key": partner_key,
            "partner_mac": partner_mac.to_string(),
        }),
    }
}

fn row(key: &'static str, value: impl Into<Value>) -> OptionRow {
    let json = value.into();
    let text = match &json {
        Value::String(word) => format!("{key} {word}"),
        other => format!("{key} {other}"),
    };
    OptionRow { key, text, json }
}

fn word<T: Named>(key: &'static str, value: T) -> OptionRow {
    row(key, value.word())
}

/// The same under another name in JSON.
fn as_key(key: &'static str, row: OptionRow) -> OptionRow {
    OptionRow { key, ..row }
}

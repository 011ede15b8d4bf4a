//! `[sysctl]`: the kernel's names, what values they take, and whether the router acts on them.

use toml::de::{DeTable, DeValue};

use super::diag::{At, Fault, Pos, Source, nearest, quote};
use super::section::{Value, in_file_order, integer, wrong_type};

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The name as it was written, nested tables joined by dots.
    pub name: At<String>,
    /// What it is set for.
    pub scope: Scope,
    /// The last part of the name, `rp_filter`; one of those the router acts on. Below `net.ipv4.route` and for
    /// the whole stack it is what follows `net.ipv4.`: `ip_forward`, `route.error_cost`.
    pub param: &'static str,
    /// The value, in the unit and the range of the kernel; `true` and `false` are 1 and 0.
    pub value: At<i64>,
}

/// What a setting is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `net.ipv4.PARAM`
    Ipv4,
    /// `net.ipv4.conf.DEV.PARAM`
    Conf(Target),
    /// `net.ipv4.neigh.DEV.PARAM`
    Neigh(Target),
}

impl Scope {
    /// The interface it names, if it names one.
    pub fn dev(&self) -> Option<&str> {
        match self {
            Scope::Conf(Target::Dev(dev)) | Scope::Neigh(Target::Dev(dev)) => Some(dev),
            _ => None,
        }
    }
}

/// The interfaces a setting is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `all`: combined with each interface's own value, or its override, as the kernel does for each setting.
    All,
    /// `default`: interfaces that do not say otherwise.
    Default,
    /// One interface.
    Dev(String),
}

struct Param {
    name: &'static str,
    min: i64,
    max: i64,
    /// Whether the router acts on it. What it would ignore is refused rather than taken in silence.
    supported: bool,
}

const fn acts(name: &'static str, min: i64, max: i64) -> Param {
    Param { name, min, max, supported: true }
}

const fn not_yet(name: &'static str, min: i64, max: i64) -> Param {
    Param { name, min, max, supported: false }
}

const INT: i64 = i32::MAX as i64;
const UINT: i64 = u32::MAX as i64;

/// `net.ipv4.*`
const IPV4: &[Param] = &[
    acts("ip_forward", 0, 1),
    acts("ip_default_ttl", 1, 255),
    acts("icmp_ratelimit", 0, INT),
    acts("icmp_ratemask", 0, UINT),
    acts("icmp_msgs_per_sec", 0, INT),
    acts("icmp_msgs_burst", 0, INT),
    acts("icmp_echo_ignore_all", 0, 1),
    acts("icmp_echo_ignore_broadcasts", 0, 1),
    acts("icmp_errors_use_inbound_ifaddr", 0, 1),
    acts("icmp_ignore_bogus_error_responses", 0, 1),
    acts("icmp_echo_enable_probe", 0, 1),
    acts("fib_multipath_hash_policy", 0, 3),
    acts("fib_multipath_use_neigh", 0, 1),
    acts("fib_multipath_hash_fields", 1, 0xfff),
    acts("fib_multipath_hash_seed", 0, UINT),
    acts("route.error_cost", 0, INT),
    acts("route.error_burst", 0, INT),
    not_yet("route.min_pmtu", 68, INT),
    not_yet("route.mtu_expires", 1, INT),
    acts("ip_forward_update_priority", 0, 1),
    acts("igmp_max_memberships", 0, INT),
    acts("igmp_qrv", 1, 7),
    not_yet("ip_forward_use_pmtu", 0, 1),
    not_yet("ip_no_pmtu_disc", 0, 3),
    acts("ipfrag_high_thresh", 0, INT),
    // A name the kernel keeps for old scripts; nothing depends on it there either.
    acts("ipfrag_low_thresh", 0, INT),
    acts("ipfrag_time", 1, INT),
    acts("ipfrag_max_dist", 0, INT),
];

/// `net.ipv4.conf.DEV.*`
const CONF: &[Param] = &[
    acts("forwarding", 0, 1),
    acts("rp_filter", 0, 2),
    acts("accept_local", 0, 1),
    acts("send_redirects", 0, 1),
    not_yet("accept_redirects", 0, 1),
    acts("accept_source_route", 0, 1),
    acts("arp_accept", 0, 2),
    acts("arp_announce", 0, 2),
    acts("arp_evict_nocarrier", 0, 1),
    acts("arp_filter", 0, 1),
    acts("arp_ignore", 0, 8),
    acts("arp_notify", 0, 1),
    acts("bc_forwarding", 0, 1),
    not_yet("disable_policy", 0, 1),
    not_yet("disable_xfrm", 0, 1),
    acts("drop_gratuitous_arp", 0, 1),
    acts("drop_unicast_in_l2_multicast", 0, 1),
    acts("force_igmp_version", 0, 3),
    acts("ignore_routes_with_linkdown", 0, 1),
    acts("log_martians", 0, 1),
    not_yet("mc_forwarding", 0, 1),
    acts("medium_id", -1, INT),
    not_yet("promote_secondaries", 0, 1),
    acts("proxy_arp", 0, 1),
    acts("proxy_arp_pvlan", 0, 1),
    acts("route_localnet", 0, 1),
    not_yet("secure_redirects", 0, 1),
    acts("shared_media", 0, 1),
    not_yet("src_valid_mark", 0, 1),
];

/// `net.ipv4.neigh.DEV.*`
const NEIGH: &[Param] = &[
    acts("base_reachable_time_ms", 1, INT),
    acts("retrans_time_ms", 1, INT),
    acts("delay_first_probe_time", 0, INT),
    acts("mcast_solicit", 0, INT),
    acts("mcast_resolicit", 0, INT),
    acts("ucast_solicit", 0, INT),
    acts("unres_qlen_bytes", 0, INT),
    acts("gc_stale_time", 0, INT),
    acts("locktime", 0, INT),
    // About IPv6 alone, in the kernel too.
    acts("anycast_delay", 0, INT),
    acts("app_solicit", 0, INT),
    acts("base_reachable_time", 1, INT),
    not_yet("interval_probe_time_ms", 1, INT),
    acts("proxy_delay", 0, INT),
    acts("proxy_qlen", 0, INT),
    acts("retrans_time", 1, INT),
    acts("unres_qlen", 0, INT / 2090),
];

/// `net.ipv4.neigh.default.*` alone: they are about the whole table.
const NEIGH_TABLE: &[Param] = &[
    acts("gc_thresh1", 0, INT),
    acts("gc_thresh2", 0, INT),
    acts("gc_thresh3", 0, INT),
    // The kernel takes it and collects every half base_reachable_time all the same; so do we.
    acts("gc_interval", 0, INT),
];

/// Reads `[sysctl]`. Names may be quoted whole or written as dotted keys, which TOML makes nested tables of.
pub(super) fn read<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Vec<Sysctl> {
    let mut settings = Vec::new();
    match value.get_ref() {
        DeValue::Table(table) => read_table(source, "", table, &mut settings),
        other => source.report(source.pos(value.span().start), wrong_type("sysctl", "a table", other)),
    }
    settings.sort_by_key(|setting: &Sysctl| setting.name.pos);
    settings
}

/// The recursion is as deep as the file nests tables, which the TOML parser limits.
fn read_table<'t>(source: &'t Source<'t>, above: &str, table: &'t DeTable<'t>, settings: &mut Vec<Sysctl>) {
    for (key, value) in in_file_order(table) {
        let name = match above {
            "" => key.get_ref().to_string(),
            above => format!("{above}.{}", key.get_ref()),
        };
        match value.get_ref() {
            DeValue::Table(inner) => read_table(source, &name, inner, settings),
            _ => settings.extend(setting(source, At::new(name, source.pos(key.span().start)), value)),
        }
    }
}

fn setting(source: &Source<'_>, name: At<String>, value: &Value<'_>) -> Option<Sysctl> {
    let (scope, param) = match resolve(&name.value) {
        Ok(found) => found,
        Err(fault) => {
            source.report(name.pos, fault);
            return None;
        }
    };
    if !param.supported {
        source.report(name.pos, format!("{} is not supported yet", quote(&name)));
        return None;
    }
    let value = param_value(source, &name, param, value)?;
    Some(Sysctl { name, scope, param: param.name, value })
}

fn param_value(source: &Source<'_>, name: &str, param: &Param, value: &Value<'_>) -> Option<At<i64>> {
    let pos: Pos = source.pos(value.span().start);
    let number = match value.get_ref() {
        DeValue::Boolean(on) if (param.min, param.max) == (0, 1) => i64::from(*on),
        _ => integer(source, name, value)?,
    };
    if !(param.min..=param.max).contains(&number) {
        let (low, high) = (param.min, param.max);
        source.report(pos, format!("{} must be between {low} and {high}, not {number}", quote(name)));
        return None;
    }
    Some(At::new(number, pos))
}

/// What a name stands for.
fn resolve(written: &str) -> Result<(Scope, &'static Param), Fault> {
    let name = dotted(written);
    let unknown = || Fault::from(format!("unknown sysctl {}", quote(written)));
    let Some(rest) = name.strip_prefix("net.ipv4.") else {
        let fault = unknown();
        let prefixed = IPV4.iter().any(|param| param.name == name)
            || ["conf.", "neigh."].iter().any(|p| name.starts_with(p));
        return Err(match prefixed {
            true => fault.help(format!("did you mean {}?", quote(&format!("net.ipv4.{name}")))),
            false if name.starts_with("net.ipv6.") => fault.help("IPv6 is not supported yet"),
            false => suggest(fault, &name),
        });
    };
    let per_dev = |rest: &str| rest.rsplit_once('.').map(|(dev, param)| (target(dev), param.to_owned()));
    if let Some((target, param)) = rest.strip_prefix("conf.").and_then(per_dev) {
        let known = CONF.iter().find(|known| known.name == param).ok_or_else(|| suggest(unknown(), &name))?;
        return Ok((Scope::Conf(target), known));
    }
    if let Some((target, param)) = rest.strip_prefix("neigh.").and_then(per_dev) {
        let about_the_table = NEIGH_TABLE.iter().any(|known| known.name == param);
        if target == Target::All || (about_the_table && target != Target::Default) {
            let fault = unknown();
            return Err(
                fault.help(format!("did you mean {}?", quote(&format!("net.ipv4.neigh.default.{param}"))))
            );
        }
        let mut known = NEIGH.iter().chain(NEIGH_TABLE);
        let known = known.find(|known| known.name == param).ok_or_else(|| suggest(unknown(), &name))?;
        return Ok((Scope::Neigh(target), known));
    }
    let known = IPV4.iter().find(|known| known.name == rest).ok_or_else(|| suggest(unknown(), &name))?;
    Ok((Scope::Ipv4, known))
}

/// The name with dots between its parts. sysctl(8) takes slashes too, as separators or for the dots inside a part:
/// `net.ipv4.conf.lan0/100.rp_filter`. With dots for both, the parts are still told apart from the two ends.
fn dotted(name: &str) -> String {
    name.replace('/', ".")
}

fn target(dev: &str) -> Target {
    match dev {
        "all" => Target::All,
        "default" => Target::Default,
        dev => Target::Dev(dev.to_owned()),
    }
}

/// Adds the nearest known name: only the last part is compared, if the parts before it are right.
fn suggest(fault: Fault, name: &str) -> Fault {
    let parts = name.strip_prefix("net.ipv4.");
    let of_dev = parts.filter(|rest| rest.starts_with("conf.") || rest.starts_with("neigh."));
    let (stem, params): (String, Vec<&Param>) = match of_dev.and_then(|_| name.rsplit_once('.')) {
        Some((stem, _)) if name.starts_with("net.ipv4.conf.") => (format!("{stem}."), CONF.iter().collect()),
        Some((stem, _)) => (format!("{stem}."), NEIGH.iter().chain(NEIGH_TABLE).collect()),
        None => ("net.ipv4.".to_owned(), IPV4.iter().collect()),
    };
    let written = name.strip_prefix(&stem).unwrap_or(name);
    match nearest(written, params.iter().map(|param| param.name)) {
        Some(param) => fault.help(format!("did you mean {}?", quote(&format!("{stem}{param}")))),
        None => fault,
    }
}

//! `[sysctl]` onto the settings the data plane reads, combined as the kernel combines `all`, `default` and a device's own.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skiff_dataplane::core::snapshot::Sysctl as RouterSysctl;
use skiff_dataplane::device::DeviceConf;
use skiff_dataplane::ipv4::icmp_limit::IcmpLimitParams;
use skiff_dataplane::neigh::arp_rcv::{ArpAccept, ArpIgnore};
use skiff_dataplane::neigh::cache::GcParams;
use skiff_dataplane::neigh::nud::NeighParams;

use crate::config::{Scope, Sysctl, Target};

/// The settings of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: HashMap<(Scope, &'static str), i64>,
}

impl Settings {
    /// The settings a file gives; a later one wins.
    pub fn new(sysctl: &[Sysctl]) -> Settings {
        let value = |s: &Sysctl| {
            let (param, factor) = other_unit(&s.scope, s.param);
            ((s.scope.clone(), param), s.value.value.saturating_mul(factor))
        };
        Settings { values: sysctl.iter().map(value).collect() }
    }

    /// What is router-wide.
    pub fn router(&self) -> RouterSysctl {
        let d = RouterSysctl::default();
        let flag = |name, default: bool| self.ipv4(name, i64::from(default)) != 0;
        RouterSysctl {
            ip_default_ttl: self.ipv4("ip_default_ttl", i64::from(d.ip_default_ttl)) as u8,
            icmp_echo_ignore_all: flag("icmp_echo_ignore_all", d.icmp_echo_ignore_all),
            icmp_echo_ignore_broadcasts: flag("icmp_echo_ignore_broadcasts", d.icmp_echo_ignore_broadcasts),
            icmp_errors_use_inbound_ifaddr: flag(
                "icmp_errors_use_inbound_ifaddr",
                d.icmp_errors_use_inbound_ifaddr,
            ),
            icmp_ignore_bogus_error_responses: flag(
                "icmp_ignore_bogus_error_responses",
                d.icmp_ignore_bogus_error_responses,
            ),
            icmp_echo_enable_probe: flag("icmp_echo_enable_probe", d.icmp_echo_enable_probe),
            fib_multipath_hash_policy: self.ipv4("fib_multipath_hash_policy", 0) as u8,
            fib_multipath_hash_fields: self
                .ipv4("fib_multipath_hash_fields", i64::from(d.fib_multipath_hash_fields))
                as u32,
            fib_multipath_use_neigh: flag("fib_multipath_use_neigh", d.fib_multipath_use_neigh),
            fib_multipath_hash_seed: self.ipv4("fib_multipath_hash_seed", 0) as u64,
            ip_forward_update_priority: flag("ip_forward_update_priority", d.ip_forward_update_priority),
            ipfrag_high_thresh: self.ipv4("ipfrag_high_thresh", i64::from(d.ipfrag_high_thresh)) as u32,
            ipfrag_time: self.ipv4("ipfrag_time", i64::from(d.ipfrag_time)) as u32,
            ipfrag_max_dist: self.ipv4("ipfrag_max_dist", i64::from(d.ipfrag_max_dist)) as u32,
        }
    }

    /// What is for one device.
    pub fn device(&self, name: &str) -> DeviceConf {
        let d = DeviceConf::default();
        // What the kernel takes from `all` or the device, whichever is larger; for flags that is "or".
        let max = |param, default: bool| {
            self.conf(Target::All, param, i64::from(default)).max(self.conf_of(
                name,
                param,
                i64::from(default),
            ))
        };
        let flag = |param, default| max(param, default) != 0;
        // What it takes from both: `all` starts at 0, the device's own value at `own`.
        let and = |param, own| self.conf(Target::All, param, 0) != 0 && self.conf_of(name, param, own) != 0;
        DeviceConf {
            forwarding: self.forwarding(name),
            rp_filter: max("rp_filter", false) as u8,
            accept_local: flag("accept_local", d.accept_local),
            send_redirects: flag("send_redirects", d.send_redirects),
            drop_unicast_in_l2_multicast: flag(
                "drop_unicast_in_l2_multicast",
                d.drop_unicast_in_l2_multicast,
            ),
            route_localnet: flag("route_localnet", d.route_localnet),
            accept_source_route: and("accept_source_route", 1),
            bc_forwarding: and("bc_forwarding", 0),
            shared_media: flag("shared_media", d.shared_media),
            log_martians: flag("log_martians", d.log_martians),
            arp_ignore: ArpIgnore::from_value(max("arp_ignore", false)),
            proxy_arp: flag("proxy_arp", d.proxy_arp),
            proxy_arp_pvlan: flag("proxy_arp_pvlan", d.proxy_arp_pvlan),
            proxy_delay: !self.neighbour(name).proxy_delay.is_zero(),
            medium_id: self.conf_of(name, "medium_id", 0) as i32,
            arp_accept: ArpAccept::from_value(max("arp_accept", false)),
            arp_filter: flag("arp_filter", d.arp_filter),
            arp_announce: max("arp_announce", false) as u8,
            drop_gratuitous_arp: flag("drop_gratuitous_arp", d.drop_gratuitous_arp),
        }
    }

    /// Announce a device's addresses by gratuitous ARP when it comes up.
    pub fn arp_notify(&self, name: &str) -> bool {
        self.conf(Target::All, "arp_notify", 0).max(self.conf_of(name, "arp_notify", 0)) != 0
    }

    /// How often changes of membership are reported, and how many groups a device may join.
    pub fn igmp(&self) -> (u8, usize) {
        let memberships = usize::try_from(self.ipv4("igmp_max_memberships", 20)).unwrap_or(usize::MAX);
        (self.ipv4("igmp_qrv", 2) as u8, memberships)
    }

    /// The IGMP version to keep to on a device, whatever its querier speaks: that of `all`, else its own; 0 is none.
    pub fn igmp_version(&self, name: &str) -> i64 {
        match self.conf(Target::All, "force_igmp_version", 0) {
            0 => self.conf_of(name, "force_igmp_version", 0),
            all => all,
        }
    }

    /// Neighbours stay when the device loses its carrier: `all` and the device's own must both be on to forget them.
    pub fn keeps_nocarrier(&self, name: &str) -> bool {
        let own = self.conf_of(name, "arp_evict_nocarrier", 1);
        self.conf(Target::All, "arp_evict_nocarrier", 1) == 0 || own == 0
    }

    /// Next hops on the device are not used while it has no carrier.
    pub fn ignores_linkdown(&self, name: &str) -> bool {
        let param = "ignore_routes_with_linkdown";
        self.conf(Target::All, param, 0).max(self.conf_of(name, param, 0)) != 0
    }

    /// The neighbour parameters of one device.
    pub fn neighbour(&self, name: &str) -> NeighParams {
        let d = NeighParams::default();
        let get = |param, default: u128| {
            let own = self.values.get(&(Scope::Neigh(Target::Dev(name.to_owned())), param));
            let value = own.or_else(|| self.values.get(&(Scope::Neigh(Target::Default), param)));
            value.map_or(default as u64, |v| *v as u64)
        };
        NeighParams {
            base_reachable: Duration::from_millis(get(
                "base_reachable_time_ms",
                d.base_reachable.as_millis(),
            )),
            retrans: Duration::from_millis(get("retrans_time_ms", d.retrans.as_millis())),
            delay_first_probe: Duration::from_secs(get(
                "delay_first_probe_time",
                d.delay_first_probe.as_secs().into(),
            )),
            mcast_solicit: get("mcast_solicit", d.mcast_solicit.into()) as u32,
            ucast_solicit: get("ucast_solicit", d.ucast_solicit.into()) as u32,
            mcast_resolicit: get("mcast_resolicit", d.mcast_resolicit.into()) as u32,
            gc_stale: Duration::from_secs(get("gc_stale_time", d.gc_stale.as_secs().into())),
            // In the kernel's hundredths of a second.
            locktime: Duration::from_millis(10 * get("locktime", d.locktime.as_millis() / 10)),
            unres_qlen_bytes: get("unres_qlen_bytes", d.unres_qlen_bytes as u128) as usize,
            app_solicit: get("app_solicit", d.app_solicit.into()) as u32,
            // Hundredths of a second, too.
            proxy_delay: Duration::from_millis(10 * get("proxy_delay", d.proxy_delay.as_millis() / 10)),
            proxy_qlen: get("proxy_qlen", d.proxy_qlen as u128) as usize,
        }
    }

    /// When neighbours are collected.
    pub fn gc(&self) -> GcParams {
        let d = GcParams::default();
        let get = |param, default: usize| {
            let value = self.values.get(&(Scope::Neigh(Target::Default), param));
            value.map_or(default, |v| usize::try_from(*v).unwrap_or(default))
        };
        GcParams {
            thresh1: get("gc_thresh1", d.thresh1),
            thresh2: get("gc_thresh2", d.thresh2),
            thresh3: get("gc_thresh3", d.thresh3),
            // As the kernel does, whatever gc_interval says.
            interval: self.neighbour("default").base_reachable / 2,
        }
    }

    /// Sets the limiters' parameters.
    pub fn limit_icmp(&self, params: &IcmpLimitParams) {
        let defaults = IcmpLimitParams::default();
        let pairs = [
            ("icmp_ratelimit", &params.ratelimit_ms, &defaults.ratelimit_ms),
            ("icmp_ratemask", &params.ratemask, &defaults.ratemask),
            ("icmp_msgs_per_sec", &params.msgs_per_sec, &defaults.msgs_per_sec),
            ("icmp_msgs_burst", &params.msgs_burst, &defaults.msgs_burst),
            ("route.error_cost", &params.error_cost_ms, &defaults.error_cost_ms),
            ("route.error_burst", &params.error_burst_ms, &defaults.error_burst_ms),
        ];
        for (name, param, default) in pairs {
            let value = self.ipv4(name, i64::from(default.load(Ordering::Relaxed)));
            param.store(u32::try_from(value).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    fn forwarding(&self, name: &str) -> bool {
        // `ip_forward` and `conf.all.forwarding` set every device at once; a device's own setting comes after.
        let all = self.ipv4("ip_forward", self.conf(Target::All, "forwarding", 1));
        self.conf_of(name, "forwarding", all) != 0
    }

    fn ipv4(&self, param: &'static str, default: i64) -> i64 {
        self.values.get(&(Scope::Ipv4, param)).copied().unwrap_or(default)
    }

    fn conf(&self, target: Target, param: &'static str, default: i64) -> i64 {
        self.values.get(&(Scope::Conf(target), param)).copied().unwrap_or(default)
    }

    fn conf_of(&self, name: &str, param: &'static str, default: i64) -> i64 {
        let fallback = self.conf(Target::Default, param, default);
        self.conf(Target::Dev(name.to_owned()), param, fallback)
    }
}

/// Settings that have two names: the newer name, and what a value of the older one is in its unit.
fn other_unit(scope: &Scope, param: &'static str) -> (&'static str, i64) {
    /// What the kernel takes for a packet where packets are counted: a full frame and its overhead.
    const PACKET_BYTES: i64 = 2090;
    match (scope, param) {
        (Scope::Neigh(_), "base_reachable_time") => ("base_reachable_time_ms", 1000),
        // In hundredths of a second.
        (Scope::Neigh(_), "retrans_time") => ("retrans_time_ms", 10),
        (Scope::Neigh(_), "unres_qlen") => ("unres_qlen_bytes", PACKET_BYTES),
        _ => (param, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{At, Pos};

    fn settings(values: &[(&str, Scope, &'static str, i64)]) -> Settings {
        let pos = Pos { line: 1, col: 1 };
        let sysctl: Vec<Sysctl> = values
            .iter()
            .map(|(name, scope, param, value)| Sysctl {
                name: At::new((*name).to_owned(), pos),
                scope: scope.clone(),
                param,
                value: At::new(*value, pos),
            })
            .collect();
        Settings::new(&sysctl)
    }

    fn conf(target: Target, param: &'static str, value: i64) -> Settings {
        settings(&[("", Scope::Conf(target), param, value)])
    }

    fn dev(name: &str) -> Target {
        Target::Dev(name.to_owned())
    }

    #[test]
    fn older_names_set_the_same_in_their_own_unit() {
        let neigh = |param, value| ("", Scope::Neigh(dev("r1")), param, value);
        let both = settings(&[
            neigh("base_reachable_time", 7),
            neigh("retrans_time_ms", 5),
            neigh("retrans_time", 250),
            neigh("unres_qlen", 3),
            neigh("proxy_delay", 20),
            neigh("proxy_qlen", 9),
            neigh("app_solicit", 2),
        ]);
        let params = both.neighbour("r1");
        assert_eq!((params.base_reachable.as_secs(), params.retrans.as_millis()), (7, 2500));
        assert_eq!((params.unres_qlen_bytes, params.proxy_qlen, params.app_solicit), (6270, 9, 2));
        assert_eq!(params.proxy_delay.as_millis(), 200);
        assert_eq!(both.neighbour("r2"), NeighParams::default());
        assert!(both.device("r1").proxy_delay);
        let at_once = settings(&[neigh("proxy_delay", 0)]);
        assert!(!at_once.device("r1").proxy_delay && at_once.device("r2").proxy_delay);
        let table = settings(&[("", Scope::Neigh(Target::Default), "base_reachable_time", 8)]);
        assert_eq!(table.gc().interval.as_secs(), 4);
    }

    #[test]
    fn all_and_the_device_combine_as_in_the_kernel() {
        for target in [Target::All, dev("r1")] {
            let with = |param, value| conf(target.clone(), param, value).device("r1");
            assert_eq!(with("arp_accept", 2).arp_accept, ArpAccept::SameSubnet);
            assert_eq!(with("arp_ignore", 3).arp_ignore, ArpIgnore::Public);
            assert_eq!(with("arp_ignore", 5).arp_ignore, ArpIgnore::AnyLocal);
            assert_eq!(with("arp_announce", 2).arp_announce, 2);
            assert!(with("arp_filter", 1).arp_filter && with("proxy_arp_pvlan", 1).proxy_arp_pvlan);
            assert!(conf(target.clone(), "ignore_routes_with_linkdown", 1).ignores_linkdown("r1"));
            assert!(conf(target.clone(), "arp_evict_nocarrier", 0).keeps_nocarrier("r1"));
        }
        assert!(!Settings::default().keeps_nocarrier("r1") && !Settings::default().ignores_linkdown("r1"));
        assert_eq!(conf(dev("r1"), "medium_id", -1).device("r1").medium_id, -1);
        assert_eq!(conf(Target::All, "medium_id", 3).device("r1").medium_id, 0);
        let multipath = |param, value| settings(&[("", Scope::Ipv4, param, value)]).router();
        assert_eq!(multipath("fib_multipath_hash_fields", 0x37).fib_multipath_hash_fields, 0x37);
        assert_eq!(multipath("fib_multipath_hash_policy", 3).fib_multipath_hash_policy, 3);
        assert!(multipath("fib_multipath_use_neigh", 1).fib_multipath_use_neigh);
        assert_eq!(Settings::default().router().fib_multipath_hash_fields, 7);
    }

    #[test]
    fn reassembly_has_the_kernels_defaults_and_takes_what_is_set() {
        let read = |settings: &Settings| {
            let router = settings.router();
            (router.ipfrag_high_thresh, router.ipfrag_time, router.ipfrag_max_dist)
        };
        assert_eq!(read(&Settings::default()), (4_194_304, 30, 64));
        let set = [("ipfrag_high_thresh", 1000), ("ipfrag_time", 5), ("ipfrag_max_dist", 0)];
        let values = set.into_iter().map(|(name, value)| ((Scope::Ipv4, name), value)).collect();
        assert_eq!(read(&Settings { values }), (1000, 5, 0));
    }

    fn confs(lines: &[(Target, &'static str, i64)]) -> Settings {
        let values =
            lines.iter().map(|(target, param, value)| ((Scope::Conf(target.clone()), *param), *value));
        Settings { values: values.collect() }
    }

    fn lan0() -> Target {
        Target::Dev("lan0".to_owned())
    }

    /// A device takes source routes by itself; `all` must let it. Directed broadcasts need both to say so.
    #[test]
    fn some_settings_need_all_and_the_device() {
        let conf = |lines: &[_]| {
            let conf = confs(lines).device("lan0");
            (conf.accept_source_route, conf.bc_forwarding)
        };
        assert_eq!(conf(&[]), (false, false));
        let all = [(Target::All, "accept_source_route", 1), (Target::All, "bc_forwarding", 1)];
        assert_eq!(conf(&all), (true, false));
        let own = |on| [(lan0(), "accept_source_route", on), (lan0(), "bc_forwarding", on)];
        assert_eq!(conf(&own(1)), (false, false));
        assert_eq!(conf(&[all.clone(), own(1)].concat()), (true, true));
        assert_eq!(conf(&[all, own(0)].concat()), (false, false));
    }

    #[test]
    fn some_settings_need_one_of_them() {
        let conf = |lines: &[_]| {
            let conf = confs(lines).device("lan0");
            (conf.shared_media, conf.log_martians)
        };
        assert_eq!(conf(&[]), (true, false));
        assert_eq!(conf(&[(Target::All, "shared_media", 0), (Target::All, "log_martians", 1)]), (true, true));
        assert_eq!(conf(&[(lan0(), "shared_media", 0), (lan0(), "log_martians", 1)]), (true, true));
        let both = [(Target::All, "shared_media", 0), (Target::Default, "shared_media", 0)];
        assert_eq!(conf(&both), (false, false));
    }

    #[test]
    fn icmp_settings_reach_the_router() {
        let of = |lines: &[(&'static str, i64)]| {
            let values = lines.iter().map(|&(param, value)| ((Scope::Ipv4, param), value));
            let router = Settings { values: values.collect() }.router();
            (router.icmp_ignore_bogus_error_responses, router.icmp_echo_enable_probe)
        };
        assert_eq!(of(&[]), (true, false));
        let changed = [("icmp_ignore_bogus_error_responses", 0), ("icmp_echo_enable_probe", 1)];
        assert_eq!(of(&changed), (false, true));
    }
}

//! `[sysctl]` onto the settings the data plane reads, combined as the kernel combines `all`, `default` and a device's own.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skiff_dataplane::core::snapshot::Sysctl as RouterSysctl;
use skiff_dataplane::device::DeviceConf;
use skiff_dataplane::ipv4::icmp_limit::IcmpLimitParams;
use skiff_dataplane::neigh::arp_rcv::ArpIgnore;
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
        Settings { values: sysctl.iter().map(|s| ((s.scope.clone(), s.param), s.value.value)).collect() }
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
            arp_ignore: match max("arp_ignore", false) {
                0 => ArpIgnore::AnyLocal,
                1 => ArpIgnore::OnDevice,
                2 => ArpIgnore::SameSubnet,
                _ => ArpIgnore::All,
            },
            proxy_arp: flag("proxy_arp", d.proxy_arp),
            arp_accept: flag("arp_accept", d.arp_accept),
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
            ..d
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn settings(lines: &[(Target, &'static str, i64)]) -> Settings {
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
            let conf = settings(lines).device("lan0");
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
            let conf = settings(lines).device("lan0");
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

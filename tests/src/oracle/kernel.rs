//! The reference: a router of the kernel's own, and the ends of the wires both routers have.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};

use super::probe::Multicast;
use super::shape::{Addr, IP_COMMANDS, Mac, Port};
use crate::frames::RawSocket;
use crate::netns::{Netns, veth};

/// Settings that may not be the kernel's defaults in a new namespace, because it takes them from the first one.
const DEFAULTS: [(&str, i64); 6] = [
    ("rp_filter", 0),
    ("accept_source_route", 0),
    ("send_redirects", 1),
    ("shared_media", 1),
    ("accept_redirects", 0),
    ("log_martians", 0),
];

/// Opens the hosts' ends of the cables. The kernel of their namespace has no part in what comes out of them.
pub fn open_ends(hosts: &Netns) -> [RawSocket; 3] {
    Port::ALL.map(|port| {
        hosts.hide_from_kernel(port.host_iface());
        RawSocket::open(hosts, port.host_iface())
    })
}

/// The kernel as a router.
#[derive(Debug)]
pub struct Kernel {
    /// The hosts' ends of its cables.
    pub ends: [RawSocket; 3],
    router: Netns,
    /// Kept for as long as the ends are needed.
    _hosts: Netns,
    mibs: [File; 2],
    /// Holds the sockets that memberships and multicast routes belong to.
    multicast: Option<Child>,
    saved: Vec<(String, String)>,
}

impl Kernel {
    /// Sets one up.
    pub fn new() -> Kernel {
        let (router, hosts) = (Netns::new("k"), Netns::new("kh"));
        let netns = &router;
        netns.run("sysctl -qw net.ipv4.ip_forward=1");
        for port in Port::ALL {
            let iface = port.router_iface();
            veth((netns, iface), (&hosts, port.host_iface()));
            netns.run(&format!("ip link set {iface} address {} mtu {}", text(port.router_mac()), port.mtu()));
            for (name, value) in DEFAULTS {
                netns.run(&format!("sysctl -qw net.ipv4.conf.all.{name}={value}"));
                netns.run(&format!("sysctl -qw net.ipv4.conf.{iface}.{name}={value}"));
            }
            netns.run(&format!("ethtool -K {iface} tx off"));
            for ([a, b, c, d], len) in port.addresses() {
                let brd = if *len < 31 { "brd +" } else { "" };
                netns.run(&format!("ip addr add {a}.{b}.{c}.{d}/{len} {brd} dev {iface}"));
            }
            netns.run(&format!("ip link set {iface} up"));
        }
        // A file of /proc/net keeps showing the namespace it was opened in.
        let open = |name: &str| {
            File::open(format!("/proc/thread-self/net/{name}")).unwrap_or_else(|why| panic!("{name}: {why}"))
        };
        let mibs = netns.enter(|| [open("snmp"), open("netstat")]);
        let kernel = Kernel {
            ends: open_ends(&hosts),
            router,
            _hosts: hosts,
            mibs,
            multicast: None,
            saved: Vec::new(),
        };
        IP_COMMANDS.iter().for_each(|command| kernel.ip(command));
        kernel
    }

    /// `ip` of the router.
    pub fn ip(&self, words: &str) {
        self.router.run(&format!("ip {words}"));
    }

    /// Changes settings below `net.ipv4`, back to what they were first.
    pub fn set(&mut self, sysctl: &[(&str, i64)]) {
        let back = std::mem::take(&mut self.saved);
        let path = |name: &str| format!("/proc/sys/net/ipv4/{}", name.replace('.', "/"));
        self.saved = self.router.enter(|| {
            for (path, value) in back.iter().rev() {
                fs::write(path, value).unwrap_or_else(|why| panic!("{path}: {why}"));
            }
            let mut saved = Vec::new();
            for (name, value) in sysctl {
                let path = path(name);
                let old = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
                fs::write(&path, value.to_string()).unwrap_or_else(|why| panic!("{path}: {why}"));
                saved.push((path, old));
            }
            saved
        });
    }

    /// Joins groups and routes multicast, instead of what it did before.
    pub fn set_multicast(&mut self, wanted: &Multicast) {
        if let Some(mut holder) = self.multicast.take() {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
        if wanted.is_empty() {
            return;
        }
        let mut words = Vec::new();
        for (port, group) in &wanted.joins {
            words.extend(["join".to_owned(), port.router_iface().to_owned(), dotted(*group)]);
        }
        for route in &wanted.routes {
            let ways = route.to.iter().map(|(port, ttl)| format!("{}:{ttl}", port.router_iface()));
            let ways = ways.collect::<Vec<_>>().join(",");
            let iif = route.from.router_iface().to_owned();
            words.extend(["route".to_owned(), dotted(route.group), dotted(route.source), iif, ways]);
        }
        let mut holder = self
            .router
            .command("python3 -c")
            .arg(include_str!("multicast.py"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut said = String::new();
        let read = holder.stdout.as_mut().map(|out| BufReader::new(out).read_line(&mut said));
        assert!(read.is_some_and(|read| read.is_ok()) && said == "ready\n", "multicast: {said:?}");
        self.multicast = Some(holder);
    }

    /// All MIB counters, by nstat's names.
    pub fn counters(&mut self) -> BTreeMap<String, i64> {
        let mut counters = BTreeMap::new();
        for file in &mut self.mibs {
            let mut text = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("a file of /proc/net");
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.chunks_exact(2) {
                let names = pair[0].split_whitespace();
                let group = pair[0].split(':').next().unwrap_or("");
                let rows = names.zip(pair[1].split_whitespace()).skip(1);
                counters
                    .extend(rows.map(|(name, value)| (format!("{group}{name}"), value.parse().unwrap_or(0))));
            }
        }
        counters
    }
}

/// An address as `ip` takes it.
pub fn dotted(addr: Addr) -> String {
    Ipv4Addr::from(addr).to_string()
}

/// A MAC as `ip` takes it.
pub fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.set_multicast(&Multicast::default());
    }
}

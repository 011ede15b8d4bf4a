//! skiff as the router under comparison.
//!
//! Its ports are taps: the hosts' ends are their kernel side. Over `af_packet` fragments would not come as they were sent,
//! because DPDK asks the kernel to put them together first (`PACKET_FANOUT_FLAG_DEFRAG`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::kernel::{dotted, open_ends, text};
use super::probe::Multicast;
use super::shape::{IP_COMMANDS, Port};
use crate::frames::RawSocket;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::skiff::Skiff;

/// How long a change of settings may take.
const RELOAD_LIMIT: Duration = Duration::from_secs(5);

/// A running router.
#[derive(Debug)]
pub struct Dut {
    /// The hosts' ends of its cables.
    pub ends: [RawSocket; 3],
    skiff: Skiff,
    /// Behind the router, which is stopped first.
    _netns: Netns,
}

/// What it has counted so far.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// MIB counters by name.
    pub mibs: BTreeMap<String, i64>,
    /// Drops by reason.
    pub drops: BTreeMap<String, i64>,
    /// Frames received.
    pub rx: i64,
}

impl Dut {
    /// Starts one.
    pub fn new() -> Dut {
        let netns = Netns::new("s");
        let skiff = Skiff::start(&netns, &config(&[]));
        let dut = Dut { ends: open_ends(&netns), skiff, _netns: netns };
        for command in IP_COMMANDS {
            assert_eq!(dut.ip(command), Ok(()), "ip {command}");
        }
        dut
    }

    /// `skiff ip`; `Err` with its words if it refuses.
    pub fn ip(&self, words: &str) -> Result<(), String> {
        let outcome = self.skiff.try_ctl(&format!("ip {words}"));
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    }

    /// Joins groups and routes multicast, or with `add` false no longer. `Err` with its words if it refuses.
    pub fn set_multicast(&self, wanted: &Multicast, add: bool) -> Result<(), String> {
        let verb = if add { "add" } else { "del" };
        for (port, group) in &wanted.joins {
            self.ip(&format!("maddr {verb} {} dev {}", dotted(*group), port.router_iface()))?;
        }
        for route in &wanted.routes {
            let mut words = format!("mroute {verb} {} from {}", dotted(route.group), dotted(route.source));
            if add {
                words += &format!(" iif {}", route.from.router_iface());
                for (port, ttl) in &route.to {
                    words += &format!(" oif {} ttl {ttl}", port.router_iface());
                }
            }
            self.ip(&words)?;
        }
        Ok(())
    }

    /// Changes settings below `net.ipv4`; the others are the defaults. `Err` with its words if it refuses.
    pub fn set(&self, sysctl: &[(&str, i64)]) -> Result<(), String> {
        let applied = |text: String| text.matches("skiff: applied").count();
        let (before, complaints) = (applied(self.skiff.stdout()), self.skiff.stderr());
        let path = self.skiff.config_path();
        fs::write(&path, config(sysctl)).unwrap_or_else(|why| panic!("{path}: {why}"));
        self.skiff.signal(Signal::SIGHUP);
        let deadline = Instant::now() + RELOAD_LIMIT;
        while applied(self.skiff.stdout()) == before {
            let words = self.skiff.stderr();
            if words.len() > complaints.len() {
                return Err(words[complaints.len()..].to_owned());
            }
            assert!(Instant::now() < deadline, "not reloaded within {RELOAD_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Everything it counts.
    pub fn counted(&self) -> Counted {
        let nstat = self.get("/v1/nstat?json=1&zeros=1");
        let drops = self.get("/v1/drops?json=1");
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        let mibs = nstat["kernel"].as_object().into_iter().flatten();
        let mut counted =
            Counted { mibs: mibs.map(|(name, n)| (name.clone(), number(n))).collect(), ..Counted::default() };
        for row in drops["drops"].as_array().into_iter().flatten() {
            let reason = row["reason"].as_str().unwrap_or("?").to_owned();
            *counted.drops.entry(reason).or_default() += number(&row["packets"]);
        }
        counted.rx = number(&drops["ledger"]["rx"]);
        counted
    }

    /// Frames received so far, and the rest of its balance: created, sent, dropped, delivered.
    pub fn balance(&self) -> (i64, [i64; 4]) {
        let drops = self.get("/v1/drops?json=1");
        let number = |name: &str| drops["ledger"][name].as_i64().unwrap_or(0);
        (number("rx"), ["created", "tx", "dropped", "delivered"].map(number))
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.skiff.socket()).expect("the API's socket");
        let request = format!("GET {path} HTTP/1.1\r\nHost: skiff\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the API listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the API answers");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let reply: Value =
            serde_json::from_str(body).unwrap_or_else(|why| panic!("{path}: {why} in {answer}"));
        let text = reply["stdout"].as_str().unwrap_or("");
        serde_json::from_str(text).unwrap_or_else(|why| panic!("{path}: {why} in {text}"))
    }
}

fn config(sysctl: &[(&str, i64)]) -> String {
    let mut config = Lab::system();
    for port in Port::ALL {
        let (iface, mtu) = (port.router_iface(), port.mtu());
        let addresses =
            port.addresses().iter().map(|([a, b, c, d], len)| format!("\"{a}.{b}.{c}.{d}/{len}\""));
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let (tap, mac) = (port.host_iface(), text(port.router_mac()));
        config += &format!(
            "\n[interface.{iface}]\ndevice = \"vdev:net_tap{},iface={tap}\"\nmac = \"{mac}\"\nmtu = {mtu}\n\
             addresses = [{addresses}]\n",
            port.index()
        );
    }
    config += "\n[sysctl]\n";
    for (name, value) in sysctl {
        config += &format!("\"net.ipv4.{name}\" = {value}\n");
    }
    config
}

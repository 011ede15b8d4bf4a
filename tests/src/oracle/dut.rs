//! skiff as the router under comparison.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::kernel::Wires;
use super::shape::{IP_COMMANDS, Port};
use crate::lab::Lab;
use crate::skiff::Skiff;

/// How long a change of settings may take.
const RELOAD_LIMIT: Duration = Duration::from_secs(5);

/// A running router.
#[derive(Debug)]
pub struct Dut {
    /// Its cables.
    pub wires: Wires,
    skiff: Skiff,
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
    /// The rest of the balance: created, sent, dropped, delivered.
    pub balance: [i64; 4],
}

impl Dut {
    /// Starts one.
    pub fn new() -> Dut {
        let wires = Wires::new("s");
        Port::ALL.iter().for_each(|port| wires.router.hide_from_kernel(port.router_iface()));
        let skiff = Skiff::start(&wires.router, &config(&[]));
        let dut = Dut { wires, skiff };
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
        let ledger = &drops["ledger"];
        counted.rx = number(&ledger["rx"]);
        counted.balance = ["created", "tx", "dropped", "delivered"].map(|name| number(&ledger[name]));
        counted
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
        config += &format!(
            "\n[interface.{iface}]\ndevice = \"vdev:net_af_packet,iface={iface}\"\nmtu = {mtu}\n\
             addresses = [{addresses}]\n"
        );
    }
    config += "\n[sysctl]\n";
    for (name, value) in sysctl {
        config += &format!("\"net.ipv4.{name}\" = {value}\n");
    }
    config
}

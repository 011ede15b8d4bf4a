//! Network namespaces: a host each.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::command::{Outcome, run};

/// Where `ip netns` keeps the namespaces it knows by name.
const NETNS_DIR: &str = "/run/netns";
/// Names start with this and the process that made them, so that leftovers of a killed test can be told.
const PREFIX: &str = "skt";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// # Panics
/// If the test does not run as root.
#[track_caller]
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "needs root: run `make test` as root or with sudo");
}

/// A network namespace with a name of its own, deleted with all that is in it on drop.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A namespace with loopback up, whose kernel neither forwards nor speaks IPv6.
    ///
    /// # Panics
    /// If not root, or if `ip netns add` refuses.
    #[track_caller]
    pub fn new(label: &str) -> Self {
        need_root();
        delete_leftovers();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let netns = Netns { name: format!("{PREFIX}-{}-{count}-{label}", std::process::id()) };
        run(Command::new("ip").args(["netns", "add", &netns.name])).ok();
        netns.run("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        netns.run("ip link set lo up");
        netns
    }

    /// The name `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command to be run inside, given as it would be typed: split at blanks, no quotes.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(line.split_whitespace());
        command
    }

    /// Runs a command inside.
    #[track_caller]
    pub fn try_run(&self, line: &str) -> Outcome {
        run(&mut self.command(line))
    }

    /// Runs a command inside that has to succeed, and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let outcome = self.try_run(line);
        assert_eq!(
            outcome.code, 0,
            "{}: {line}\nstdout: {}\nstderr: {}",
            self.name, outcome.out, outcome.err
        );
        outcome.out
    }

    /// Runs `work` on a thread of this process that has moved inside.
    ///
    /// # Panics
    /// If the thread cannot enter, or if `work` panics.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        in_netns(&self.name, work)
    }

    /// Gives an end host's interface its address and brings it up. Checksums are finished in software: a
    /// receiver behind a raw packet socket never sees what a virtual wire leaves unfinished.
    #[track_caller]
    pub fn address(&self, iface: &str, address: &str) {
        self.run(&format!("ip addr add {address} dev {iface}"));
        self.run(&format!("ip link set {iface} up"));
        self.run(&format!("ethtool -K {iface} tx off"));
    }

    /// Brings up a router's interface and keeps its frames from the kernel, which would answer them too. A packet
    /// socket sees them before this rule does.
    #[track_caller]
    pub fn hide_from_kernel(&self, iface: &str) {
        self.run(&format!("ip link set {iface} up"));
        self.run("nft add table netdev hidden");
        let chain = format!("nft add chain netdev hidden {iface} {{ type filter hook ingress device");
        self.run(&format!("{chain} {iface} priority -500 ; policy drop ; }}"));
    }

    /// One of the kernel's counters of an interface, such as `rx_packets`.
    #[track_caller]
    pub fn iface_stat(&self, iface: &str, name: &str) -> u64 {
        let text = self.run(&format!("cat /sys/class/net/{iface}/statistics/{name}"));
        text.trim().parse().unwrap_or_else(|why| panic!("{iface} {name}: {text:?}: {why}"))
    }

    /// The MAC address of an interface.
    #[track_caller]
    pub fn mac(&self, iface: &str) -> [u8; 6] {
        let text = self.run(&format!("cat /sys/class/net/{iface}/address"));
        let mut bytes = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC"));
        std::array::from_fn(|_| bytes.next().expect("six bytes"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// [`Netns::enter`] by name.
pub(crate) fn in_netns<R: Send>(name: &str, work: impl FnOnce() -> R + Send) -> R {
    let path = format!("{NETNS_DIR}/{name}");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
            setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|why| panic!("setns {path}: {why}"));
            work()
        });
        thread.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    })
}

/// A cable between two interfaces, each named as `(namespace, name)`.
///
/// # Panics
/// If the kernel refuses.
#[track_caller]
pub fn veth(one: (&Netns, &str), other: (&Netns, &str)) {
    let ends = format!("link add {} netns {} type veth peer name", one.1, one.0.name);
    let line = format!("{ends} {} netns {}", other.1, other.0.name);
    run(Command::new("ip").args(line.split_whitespace())).ok();
}

/// Deletes namespaces whose test was killed before it could.
fn delete_leftovers() {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let mut parts = name.split('-');
        if let (Some(PREFIX), Some(pid)) = (parts.next(), parts.next())
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

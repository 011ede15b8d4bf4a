//! Two hosts and a router of network namespaces.
//!
//! ```text
//! A eth0 10.0.0.2 ---- 10.0.0.1 lan0 [router] wan0 10.0.1.1 ---- 10.0.1.2 eth0 B
//! ```

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::job;

/// Where `ip netns` keeps the namespaces it knows by name.
const NETNS_DIR: &str = "/run/netns";

/// Host A's address.
pub(super) const A: &str = "10.0.0.2";
/// Host B's address.
pub(super) const B: &str = "10.0.1.2";

/// The configuration of the router between them.
pub(super) const CONFIG: &str = r#"[system]
hugepages = "off"

[metrics]
listen = "127.0.0.1:9477"

[interface.lan0]
device = "netdev:lan0"        # any kernel interface, through an AF_PACKET socket
addresses = ["10.0.0.1/24"]

[interface.wan0]
device = "netdev:wan0"
addresses = ["10.0.1.1/24"]
"#;

/// The namespaces. Dropping it deletes them, and with them the cables.
pub(super) struct Lab {
    pub(super) a: Netns,
    pub(super) b: Netns,
    pub(super) router: Netns,
}

impl Lab {
    /// Makes the hosts and the cables.
    ///
    /// # Errors
    /// If the kernel refuses; nothing is left behind then.
    pub(super) fn new() -> Result<Lab> {
        let lab = Lab { a: Netns::new("a")?, b: Netns::new("b")?, router: Netns::new("r")? };
        for (host, address, gateway, port) in
            [(&lab.a, A, "10.0.0.1", "lan0"), (&lab.b, B, "10.0.1.1", "wan0")]
        {
            let (name, router) = (&host.name, &lab.router.name);
            job::run(&format!("ip link add eth0 netns {name} type veth peer name {port} netns {router}"))?;
            job::run(&format!("ip -n {router} link set {port} up"))?;
            job::run(&format!("ip -n {name} addr add {address}/24 dev eth0"))?;
            job::run(&format!("ip -n {name} link set eth0 up"))?;
            job::run(&format!("ip -n {name} route add default via {gateway}"))?;
            // veth leaves checksums to a NIC that is not there: without this TCP and UDP arrive broken.
            job::run(&format!("ip netns exec {name} ethtool -K eth0 tx off"))?;
        }
        Ok(lab)
    }
}

/// A network namespace that `ip netns` knows by name. Dropping it deletes it.
pub(super) struct Netns {
    pub(super) name: String,
}

impl Netns {
    /// One with loopback up and without IPv6, which would only mix packets nobody asked for into the counters.
    fn new(label: &str) -> Result<Netns> {
        let name = format!("skiff-demo-{}-{label}", std::process::id());
        job::run(&format!("ip netns add {name}"))
            .context("cannot make network namespaces (`skiff demo --no-hosts` needs none)")?;
        let netns = Netns { name };
        netns.enter(no_ipv6)??;
        job::run(&format!("ip -n {} link set lo up", netns.name))?;
        Ok(netns)
    }

    /// The words that run `words` inside.
    pub(super) fn exec(&self, words: &[&str]) -> Vec<String> {
        let prefix = ["ip", "netns", "exec", &self.name];
        prefix.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// Runs `work` on a thread inside.
    pub(super) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new(NETNS_DIR).join(&self.name);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        // A thread of its own: that is what setns(2) moves.
        thread::scope(|scope| {
            let inside = scope.spawn(|| setns(file, CloneFlags::CLONE_NEWNET).map(|()| work()));
            inside
                .join()
                .map_err(|_| anyhow!("a thread panicked"))?
                .with_context(|| format!("setns {}", self.name))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = job::run(&format!("ip netns del {}", self.name)) {
            eprint!("{}", crate::cli::error_line("demo", format!("{error:#}")));
        }
    }
}

fn no_ipv6() -> Result<()> {
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        match fs::write(&path, "1") {
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.context(path)?,
        }
    }
    Ok(())
}

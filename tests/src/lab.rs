//! The lab most tests work in: two hosts with a router between them.

use crate::netns::{Netns, veth};
use crate::skiff::Skiff;

/// Host A's address.
pub const A_ADDR: &str = "10.0.0.2";
/// Host B's address.
pub const B_ADDR: &str = "10.0.1.2";
/// The router's address towards A.
pub const LAN_ADDR: &str = "10.0.0.1";
/// The router's address towards B.
pub const WAN_ADDR: &str = "10.0.1.1";
/// Where the router serves its metrics, inside its own namespace.
pub const METRICS_ADDR: &str = "127.0.0.1:9477";

/// ```text
/// A eth0 10.0.0.2/24 ---- lan [router] wan ---- 10.0.1.2/24 eth0 B
/// ```
/// `lan` and `wan` are the router's ends of the cables, hidden from the kernel of its namespace. Both hosts have a
/// default route to the router.
#[derive(Debug)]
pub struct Lab {
    /// Host A.
    pub a: Netns,
    /// Host B.
    pub b: Netns,
    /// Where the router runs.
    pub router: Netns,
}

impl Lab {
    /// Sets up the hosts and the cables; no router yet.
    ///
    /// # Panics
    /// If not root.
    #[allow(clippy::new_without_default)]
    #[track_caller]
    pub fn new() -> Self {
        let lab = Lab { a: Netns::new("a"), b: Netns::new("b"), router: Netns::new("r") };
        for (host, address, port, router) in
            [(&lab.a, A_ADDR, "lan", LAN_ADDR), (&lab.b, B_ADDR, "wan", WAN_ADDR)]
        {
            veth((host, "eth0"), (&lab.router, port));
            lab.router.hide_from_kernel(port);
            host.address("eth0", &format!("{address}/24"));
            host.run(&format!("ip route add default via {router}"));
        }
        lab
    }

    /// The router's configuration: both ports over packet sockets, one worker, no hugepages, metrics on.
    pub fn config() -> String {
        format!(
            r#"{}
[interface.lan]
device = "vdev:net_af_packet,iface=lan"
addresses = ["{LAN_ADDR}/24"]

[interface.wan]
device = "vdev:net_af_packet,iface=wan"
addresses = ["{WAN_ADDR}/24"]
"#,
            Self::system()
        )
    }

    /// The part of a configuration that every router here shares.
    pub fn system() -> String {
        format!(
            r#"[system]
lcores = "{}"
memory = "256M"
hugepages = "off"

[metrics]
listen = "{METRICS_ADDR}"
"#,
            Self::router_cpu()
        )
    }

    /// The CPU the router's worker has; peers that poll as well stay on [`Self::peer_cpu`].
    pub fn router_cpu() -> usize {
        std::thread::available_parallelism().map_or(0, |cpus| (cpus.get() - 1).min(1))
    }

    /// The CPU for polling peers.
    pub fn peer_cpu() -> usize {
        0
    }

    /// Starts the router with [`Self::config`] and `more` behind it.
    #[track_caller]
    pub fn start(&self, more: &str) -> Skiff {
        Skiff::start(&self.router, &format!("{}{more}", Self::config()))
    }
}

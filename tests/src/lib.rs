//! The harness of the black-box tests: hosts in network namespaces, the built `skiff` between them, and real
//! peers (ping, iperf3, traceroute, dpdk-testpmd, promtool) as referees.
//!
//! A test reads as a user would work: it sets up hosts, starts the router with a configuration, types commands,
//! sends traffic and looks at what arrived. Everything a test makes has a name of its own and is gone when the
//! test ends, also when it panics.

mod api;
mod capture;
mod command;
mod flow;
mod frames;
mod lab;
mod load;
mod metrics;
mod netns;
pub mod oracle;
mod ovs;
mod peers;
mod prometheus;
mod rules;
mod skiff;
mod tempdir;
mod testpmd;
mod trunk;
mod vm;

pub use api::Api;
pub use capture::{Capture, Seen};
pub use command::{Outcome, run};
pub use flow::{Flow, FlowReport};
pub use frames::{Frame, RawSocket, Rng, pcap, random_frame, udp_frame};
pub use lab::{A_ADDR, B_ADDR, LAN_ADDR, Lab, METRICS_ADDR, WAN_ADDR};
pub use load::{Load, LoadFlow};
pub use metrics::{Ledger, Metrics, http_get};
pub use netns::{Netns, need_root, veth};
pub use ovs::OpenVswitch;
pub use peers::{
    IperfReport, PingReport, UdpReport, iperf3, iperf3_udp, ping, promtool_check_metrics, traceroute,
    transfer,
};
pub use prometheus::Prometheus;
pub use rules::{random_packet, random_ruleset};
pub use skiff::{Skiff, Stopped, skiff_binary, skiff_binary_for_anybody};
pub use tempdir::TempDir;
pub use testpmd::{PortStats, Testpmd};
pub use trunk::{AccessPort, Tag, Trunk, tagged, untagged};
pub use vm::{Hardware, Vm};

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it holds.
///
/// # Panics
/// If it does not within `limit`, saying `what` was waited for.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !ready() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

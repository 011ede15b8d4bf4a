//! skiff as the virtio side of a vhost-user socket, as inside a virtual machine's host switch; testpmd is the
//! other side.

use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, LAN_ADDR, Lab, Skiff, TempDir, Testpmd, WAN_ADDR};
use skiff_tests::{eventually, ping, transfer};

/// A --veth-- [skiff net_virtio_user] ==vhost-user== [net_vhost testpmd] --veth-- B
#[test]
fn hosts_meet_over_vhost_user_and_both_ends_count_the_same() {
    let lab = Lab::new();
    let dir = TempDir::new();
    let socket = dir.file("vhost.sock");
    // The vhost side makes the socket.
    let vdevs = [&format!("net_vhost0,iface={socket},queues=1"), "net_af_packet0,iface=wan"];
    let mut testpmd = Testpmd::start(&lab.router, &vdevs, "--forward-mode=io --auto-start");
    let config = format!(
        r#"{}
[interface.lan]
device = "vdev:net_af_packet,iface=lan"
addresses = ["{LAN_ADDR}/24"]
[interface.wan]
device = "vdev:net_virtio_user,path={socket},queues=1,queue_size=1024"
addresses = ["{WAN_ADDR}/24"]
"#,
        Lab::system()
    );
    let skiff = Skiff::start(&lab.router, &config);

    let reachable = || ping(&lab.a, &format!("-q -c 1 -W 1 {B_ADDR}")).received == 1;
    eventually("the rings are set up", Duration::from_secs(15), reachable);
    ping(&lab.a, &format!("-q -c 500 -i 0.002 -W 5 {B_ADDR}")).expect_all(500);
    transfer(&lab.a, &lab.b, B_ADDR, 8 << 20);
    transfer(&lab.b, &lab.a, A_ADDR, 8 << 20);

    eventually("both ends agree", Duration::from_secs(5), || {
        let metrics = skiff.metrics();
        let ours =
            |family: &str| metrics.sum(&format!("skiff_port_{family}_packets_total"), &[("port", "wan")]);
        let theirs = testpmd.stats(0);
        theirs.rx_packets == ours("transmit") && theirs.tx_packets == ours("receive")
    });
    skiff.stop_cleanly();
}

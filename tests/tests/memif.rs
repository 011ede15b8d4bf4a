//! skiff and another DPDK program on the two ends of a memif, as between containers of one host.

use std::time::Duration;

use skiff_tests::{B_ADDR, LAN_ADDR, Lab, Skiff, TempDir, Testpmd, WAN_ADDR, eventually, ping, transfer};

/// A --veth-- [skiff] ==memif== [testpmd] --veth-- B
fn config(socket: &str) -> String {
    format!(
        r#"{}
[interface.lan]
device = "vdev:net_af_packet,iface=lan"
addresses = ["{LAN_ADDR}/24"]
[interface.wan]
device = "vdev:net_memif,role=server,id=0,socket={socket},socket-abstract=no,rsize=11"
addresses = ["{WAN_ADDR}/24"]
"#,
        Lab::system()
    )
}

fn far_end(lab: &Lab, socket: &str) -> Testpmd {
    let memif = format!("net_memif0,role=client,id=0,socket={socket},socket-abstract=no,rsize=11");
    let vdevs = [memif.as_str(), "net_af_packet0,iface=wan"];
    Testpmd::start(&lab.router, &vdevs, "--forward-mode=io --auto-start")
}

#[test]
fn hosts_meet_over_a_memif_and_both_ends_count_the_same() {
    let lab = Lab::new();
    let dir = TempDir::new();
    let socket = dir.file("memif.sock");
    let skiff = Skiff::start(&lab.router, &config(&socket));
    let mut testpmd = far_end(&lab, &socket);

    ping(&lab.a, &format!("-q -c 5 -i 0.2 -W 2 {B_ADDR}"));
    ping(&lab.a, &format!("-q -c 500 -i 0.002 -W 5 {B_ADDR}")).expect_all(500);
    transfer(&lab.a, &lab.b, B_ADDR, 8 << 20);
    transfer(&lab.b, &lab.a, "10.0.0.2", 8 << 20);

    eventually("both ends agree", Duration::from_secs(5), || {
        let metrics = skiff.metrics();
        let ours =
            |family: &str| metrics.sum(&format!("skiff_port_{family}_packets_total"), &[("port", "wan")]);
        let theirs = testpmd.stats(0);
        theirs.rx_packets == ours("transmit") && theirs.tx_packets == ours("receive")
    });
    skiff.stop_cleanly();
}

#[test]
fn the_far_end_may_leave_and_come_back() {
    let lab = Lab::new();
    let dir = TempDir::new();
    let socket = dir.file("memif.sock");
    let skiff = Skiff::start(&lab.router, &config(&socket));
    let reachable = || ping(&lab.a, &format!("-q -c 1 -W 1 {B_ADDR}")).received == 1;

    let testpmd = far_end(&lab, &socket);
    eventually("first connection", Duration::from_secs(15), reachable);
    drop(testpmd);
    assert!(!reachable());
    let _testpmd = far_end(&lab, &socket);
    eventually("second connection", Duration::from_secs(15), reachable);
    ping(&lab.a, &format!("-q -c 100 -i 0.002 -W 5 {B_ADDR}")).expect_all(100);
    skiff.stop_cleanly();
}

//! Bonds of a running router: two routers agree by LACP, and a switch hears of a failover.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_tests::{Lab, Netns, Skiff, ping, veth};

/// Waits until `done` holds, and says how long that took.
fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// A router with a bond of eth1 and eth2.
fn start(netns: &Netns, bond: &str, address: &str) -> Skiff {
    netns.hide_from_kernel("eth1");
    netns.hide_from_kernel("eth2");
    let config = format!(
        "{}
[interface.p1]
device = \"vdev:net_af_packet,iface=eth1\"
[interface.p2]
device = \"vdev:net_af_packet,iface=eth2\"
[interface.bond0]
bond = {{ members = [\"p1\", \"p2\"], miimon = 100, {bond} }}
addresses = [\"{address}\"]
",
        Lab::system()
    );
    Skiff::start(netns, &config)
}

fn bond(skiff: &Skiff) -> Value {
    skiff.json("bond show bond0 -j")[0].clone()
}

fn in_step(bond: &Value) -> usize {
    let states = bond["members"].as_array().expect("members").iter();
    states.filter(|member| member["ad_actor_oper_port_state"] == 63).count()
}

#[test]
fn two_routers_agree_by_lacp_and_part_with_a_dead_link() {
    let (one, other) = (Netns::new("one"), Netns::new("other"));
    veth((&one, "eth1"), (&other, "eth1"));
    veth((&one, "eth2"), (&other, "eth2"));
    let lacp = "mode = \"802.3ad\", lacp-rate = \"fast\"";
    let skiffs = [start(&one, lacp, "10.0.0.1/24"), start(&other, lacp, "10.0.0.2/24")];
    for skiff in &skiffs {
        wait_for("both ports in step", Duration::from_secs(15), || in_step(&bond(skiff)) == 2);
        assert_eq!(bond(skiff)["ad_info"]["num_ports"], 2);
        assert!(skiff.ctl("bond show bond0").contains("Number of ports: 2\n"));
    }

    other.run("ip link set eth1 down");
    wait_for("one port left", Duration::from_secs(5), || in_step(&bond(&skiffs[0])) == 1);
    assert_eq!(bond(&skiffs[0])["mii_status"], "UP");
    other.run("ip link set eth1 up");
    wait_for("both ports again", Duration::from_secs(15), || in_step(&bond(&skiffs[0])) == 2);
    for skiff in skiffs {
        skiff.stop_cleanly();
    }
}

#[test]
fn a_failover_is_announced_and_the_addresses_come_back_at_the_end() {
    let (router, switch) = (Netns::new("router"), Netns::new("switch"));
    veth((&router, "eth1"), (&switch, "eth1"));
    veth((&router, "eth2"), (&switch, "eth2"));
    switch.run("ip link add br0 type bridge");
    for port in ["eth1", "eth2"] {
        switch.run(&format!("ip link set {port} master br0 up"));
    }
    switch.run("ip link set br0 up");
    switch.address("br0", "10.0.0.2/24");
    let macs = [router.mac("eth1"), router.mac("eth2")];
    let skiff = start(&router, "mode = \"active-backup\", num-grat-arp = 3", "10.0.0.1/24");
    ping(&switch, "-q -c 3 -i 0.2 -W 5 10.0.0.1").expect_all(3);
    assert_eq!(bond(&skiff)["active_slave"], "p1");
    // The kernel may be late to say that the cables are plugged in.
    let failovers = || bond(&skiff)["failovers"].as_u64().expect("a number");
    let before = failovers();

    switch.run("ip link set eth1 down");
    wait_for("another member", Duration::from_secs(5), || bond(&skiff)["active_slave"] == "p2");
    ping(&switch, "-q -c 3 -i 0.2 -W 5 10.0.0.1").expect_all(3);
    assert_eq!(failovers(), before + 1);
    skiff.ctl("ip link set bond0 type bond clear_active_slave");
    assert_eq!(bond(&skiff)["active_slave"], "p2");
    skiff.stop_cleanly();
    assert_eq!([router.mac("eth1"), router.mac("eth2")], macs);
}

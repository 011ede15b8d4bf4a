//! Neighbours and multipath routes of the running router, beside what a Linux router shows and does.

use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, Lab, RawSocket, eventually, ping, udp_frame};

/// Every setting that has to do with neighbours, by its kernel name, at the kernel's default or beside it.
const SETTINGS: &str = r#"
[sysctl]
"net.ipv4.fib_multipath_hash_policy" = 3
"net.ipv4.fib_multipath_hash_fields" = 0x37
"net.ipv4.fib_multipath_use_neigh" = 1
"net.ipv4.conf.wan.ignore_routes_with_linkdown" = 1
"net.ipv4.conf.all.arp_announce" = 2
"net.ipv4.conf.all.arp_evict_nocarrier" = 1
"net.ipv4.conf.all.arp_filter" = 1
"net.ipv4.conf.lan.arp_accept" = 2
"net.ipv4.conf.lan.arp_ignore" = 3
"net.ipv4.conf.lan.medium_id" = 1
"net.ipv4.conf.wan.medium_id" = 2
"net.ipv4.conf.lan.proxy_arp_pvlan" = 0
"net.ipv4.neigh.default.gc_interval" = 30
"net.ipv4.neigh.default.anycast_delay" = 100
"net.ipv4.neigh.lan.app_solicit" = 0
"net.ipv4.neigh.lan.proxy_delay" = 20
"net.ipv4.neigh.lan.proxy_qlen" = 8
"net.ipv4.neigh.lan.retrans_time" = 100
"net.ipv4.neigh.lan.base_reachable_time" = 30
"net.ipv4.neigh.lan.unres_qlen" = 101
"#;

#[test]
fn a_next_hop_without_carrier_is_left_out_and_comes_back() {
    let lab = Lab::new();
    let skiff = lab.start(SETTINGS);
    skiff.ctl(&format!("ip route add 172.30.0.0/24 nexthop via {A_ADDR} nexthop via {B_ADDR} weight 3"));
    ping(&lab.a, &format!("-q -c 2 -i 0.1 -W 5 {B_ADDR}")).expect_all(2);
    skiff.ctl("ip neigh add 10.0.1.77 lladdr 02:00:00:00:00:77 dev wan");
    let both = format!(
        "172.30.0.0/24 \n\tnexthop via {A_ADDR} dev lan weight 1 \n\tnexthop via {B_ADDR} dev wan weight 3 \n"
    );
    let route = || skiff.ctl("ip route show 172.30.0.0/24");
    assert_eq!(route(), both);

    lab.b.run("ip link set eth0 down");
    let without = both.replace("weight 3 \n", "weight 3 dead linkdown \n");
    eventually("the next hop is dead", Duration::from_secs(5), || route() == without);
    assert_eq!(skiff.ctl("ip route show 10.0.1.0/24").matches("dead linkdown").count(), 1);
    let left = skiff.ctl("ip neigh show dev wan");
    assert_eq!(left, "10.0.1.77 lladdr 02:00:00:00:00:77 PERMANENT \n", "only what was set by hand stays");
    assert!(skiff.try_ctl("ip route get 10.0.1.2").err.contains("unreachable"), "no way without the link");

    lab.b.run("ip link set eth0 up");
    eventually("the next hop lives", Duration::from_secs(5), || route() == both);
    lab.b.run("ip route replace default via 10.0.1.1");
    ping(&lab.a, &format!("-q -c 3 -i 0.1 -W 5 {B_ADDR}")).expect_all(3);
    skiff.stop_cleanly();
}

#[test]
fn the_router_answers_for_an_address_it_was_given() {
    let lab = Lab::new();
    lab.b.run("ip addr add 10.0.1.99/32 dev eth0");
    lab.a.run("ip route add 10.0.1.99/32 dev eth0");
    let skiff = lab.start("");
    ping(&lab.a, "-q -c 1 -W 2 10.0.1.99").expect_none();

    skiff.ctl("ip neigh add proxy 10.0.1.99 dev lan");
    skiff.ctl("ip neigh add proxy 10.0.1.99 dev lan");
    assert_eq!(skiff.ctl("ip neigh show proxy"), "10.0.1.99 dev lan proxy \n");
    // The answer takes up to 0.8 s, so that the station itself would come first.
    ping(&lab.a, "-q -c 3 -i 0.2 -W 5 10.0.1.99").expect_all(3);

    skiff.ctl("ip neigh del proxy 10.0.1.99 dev lan");
    let again = skiff.try_ctl("ip neigh del proxy 10.0.1.99 dev lan");
    assert_eq!((again.code, again.err.contains("No such file or directory")), (1, true), "{again:?}");
    assert_eq!(skiff.ctl("ip neigh show proxy"), "");
    lab.a.run("ip neigh flush dev eth0");
    ping(&lab.a, "-q -c 1 -W 2 10.0.1.99").expect_none();

    // As in the kernel a device that goes down takes its proxied addresses along.
    skiff.ctl("ip neigh add proxy 10.0.1.99 dev lan");
    skiff.ctl("ip link set lan down");
    assert_eq!(skiff.ctl("ip neigh show proxy"), "");
    skiff.stop_cleanly();
}

/// 256 frames of 60 bytes are what a Linux 6.18 router holds for one neighbour by default.
#[test]
fn as_many_packets_wait_for_a_neighbour_as_in_the_kernel() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, "-q -c 1 -W 5 10.0.0.1").expect_all(1);
    let (own, mac) = (lab.a.mac("eth0"), lab.router.mac("lan"));
    let frame = udp_frame(mac, own, [10, 0, 0, 2], [10, 0, 1, 200], 60);
    let socket = RawSocket::open(&lab.a, "eth0");
    for _ in 0..300 {
        socket.send(&frame);
    }
    let drops = |reason: &str| skiff.metrics().sum("skiff_drop_packets_total", &[("reason", reason)]);
    eventually("the neighbour fails", Duration::from_secs(10), || drops("neigh_failed") > 0);
    assert_eq!((drops("neigh_queuefull"), drops("neigh_failed")), (44, 256));
    skiff.stop_cleanly();
}

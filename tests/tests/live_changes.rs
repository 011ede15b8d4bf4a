//! Changing a running router: nobody else's packets are lost.

use std::thread;

use skiff_tests::{A_ADDR, B_ADDR, Lab, PingReport, ping};

/// Pings from A to B for about four seconds while `change` runs.
fn ping_during(lab: &Lab, change: impl FnOnce()) -> PingReport {
    thread::scope(|scope| {
        let pings = scope.spawn(|| ping(&lab.a, &format!("-q -c 2000 -i 0.002 -W 2 {B_ADDR}")));
        change();
        pings.join().expect("ping ends")
    })
}

#[test]
fn unrelated_routes_come_and_go() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let report = ping_during(&lab, || {
        for i in 0..100 {
            let prefix = format!("172.16.{i}.0/24");
            skiff.ctl(&format!("ip route add {prefix} via {B_ADDR}"));
            skiff.ctl(&format!("ip route replace {prefix} via {A_ADDR}"));
            if i % 2 == 0 {
                skiff.ctl(&format!("ip route del {prefix}"));
            }
        }
    });
    report.expect_all(2000);

    let routes = skiff.json("ip -j route");
    let left = routes.as_array().expect("a list").iter();
    let left = left.filter(|route| route["dst"].as_str().is_some_and(|dst| dst.starts_with("172.16.")));
    assert_eq!(left.count(), 50);
    skiff.stop_cleanly();
}

#[test]
fn unrelated_addresses_and_neighbours_come_and_go() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let report = ping_during(&lab, || {
        for i in 1..30 {
            skiff.ctl(&format!("ip addr add 172.20.{i}.1/24 dev wan"));
            skiff.ctl(&format!("ip neigh add 172.20.{i}.2 lladdr 02:00:00:00:01:{i:02x} dev wan"));
            skiff.ctl(&format!("ip neigh replace 172.20.{i}.2 lladdr 02:00:00:00:02:{i:02x} dev wan"));
            skiff.ctl(&format!("ip neigh del 172.20.{i}.2 dev wan"));
            skiff.ctl(&format!("ip addr del 172.20.{i}.1/24 dev wan"));
        }
    });
    report.expect_all(2000);
    skiff.stop_cleanly();
}

#[test]
fn the_route_in_use_is_replaced_without_a_gap() {
    let lab = Lab::new();
    // A second network behind B, reached by a route.
    lab.b.run("ip addr add 172.30.0.1/32 dev lo");
    lab.b.run("ip addr add 10.0.1.3/24 dev eth0");
    let skiff = lab.start("[[route]]\nto = \"172.30.0.0/24\"\nvia = \"10.0.1.2\"\n");
    ping(&lab.a, "-q -c 2 -i 0.1 -W 5 172.30.0.1").expect_all(2);

    let report = thread::scope(|scope| {
        let pings = scope.spawn(|| ping(&lab.a, "-q -c 2000 -i 0.002 -W 2 172.30.0.1"));
        for i in 0..100 {
            skiff.ctl(&format!("ip route replace 172.30.0.0/24 via 10.0.1.{}", 2 + i % 2));
        }
        pings.join().expect("ping ends")
    });
    report.expect_all(2000);
    skiff.stop_cleanly();
}

#[test]
fn a_deleted_route_stops_its_traffic_and_a_mistake_changes_nothing() {
    let lab = Lab::new();
    lab.b.run("ip addr add 172.30.0.1/32 dev lo");
    let skiff = lab.start("");
    ping(&lab.a, "-q -c 1 -W 1 172.30.0.1").expect_none();

    skiff.ctl(&format!("ip route add 172.30.0.0/24 via {B_ADDR}"));
    ping(&lab.a, "-q -c 3 -i 0.01 -W 5 172.30.0.1").expect_all(3);

    // The kernel's words for the kernel's mistakes.
    let twice = skiff.try_ctl(&format!("ip route add 172.30.0.0/24 via {B_ADDR}"));
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(twice.err.contains("File exists"), "{}", twice.err);
    let nowhere = skiff.try_ctl("ip route add 172.31.0.0/24 via 192.0.2.9");
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert_eq!(skiff.try_ctl("ip route add 172.31.0.0/24 via").code, 2);
    ping(&lab.a, "-q -c 3 -i 0.01 -W 5 172.30.0.1").expect_all(3);

    skiff.ctl("ip route del 172.30.0.0/24");
    ping(&lab.a, "-q -c 1 -W 1 172.30.0.1").expect_none();
    let missing = skiff.try_ctl("ip route del 172.30.0.0/24");
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.err.contains("No such process"), "{}", missing.err);
    skiff.stop_cleanly();
}

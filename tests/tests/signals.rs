//! What an init system does to a router.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use skiff_tests::{B_ADDR, Lab, RawSocket, eventually, ping, udp_frame};

#[test]
fn sighup_applies_the_file_again() {
    let lab = Lab::new();
    lab.b.run("ip addr add 172.30.0.1/32 dev lo");
    let mut skiff = lab.start("");
    ping(&lab.a, "-q -c 1 -W 1 172.30.0.1").expect_none();

    let with_route = format!("{}\n[[route]]\nto = \"172.30.0.0/24\"\nvia = \"{B_ADDR}\"\n", Lab::config());
    fs::write(skiff.config_path(), with_route).expect("our own file");
    skiff.signal(Signal::SIGHUP);
    let applied = || ping(&lab.a, "-q -c 1 -W 1 172.30.0.1").received == 1;
    eventually("the new route", Duration::from_secs(10), applied);

    // A file with a mistake changes nothing and ends nothing.
    fs::write(skiff.config_path(), "[system]\nlcors = \"1\"\n").expect("our own file");
    skiff.signal(Signal::SIGHUP);
    eventually("the refusal", Duration::from_secs(10), || skiff.stderr().contains("skiff.toml:2:1"));
    assert!(skiff.is_running());
    ping(&lab.a, "-q -c 3 -i 0.01 -W 5 172.30.0.1").expect_all(3);

    // And the route goes with the line that made it.
    fs::write(skiff.config_path(), Lab::config()).expect("our own file");
    skiff.signal(Signal::SIGHUP);
    let gone = || ping(&lab.a, "-q -c 1 -W 1 172.30.0.1").received == 0;
    eventually("the old route gone", Duration::from_secs(10), gone);
    skiff.stop_cleanly();
}

#[test]
fn sigterm_drains_under_load() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 {B_ADDR}")).expect_all(3);

    let (a_mac, lan_mac) = (lab.a.mac("eth0"), lab.router.mac("lan"));
    let frame = udp_frame(lan_mac, a_mac, [10, 0, 0, 2], [10, 0, 1, 2], 60);
    let socket = RawSocket::open(&lab.a, "eth0");
    let closing = std::thread::scope(|scope| {
        let flood = scope.spawn(|| (0..500_000).for_each(|_| socket.send(&frame)));
        eventually("load", Duration::from_secs(10), || lab.b.iface_stat("eth0", "rx_packets") > 10_000);
        let closing = skiff.stop_cleanly();
        flood.join().expect("the flood ends");
        closing
    });
    assert!(closing.tx > 10_000, "{closing:?}");
}

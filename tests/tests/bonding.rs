//! Bonds with partners that know nothing of skiff: Open vSwitch, DPDK's own bond, a plain switch. What matters is how
//! long traffic stops when a member fails, so times are measured and printed; limits leave room for a busy machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_tests::{
    Capture, Flow, FlowReport, Lab, Netns, OpenVswitch, RawSocket, Seen, Skiff, Testpmd, iperf3, ping,
    udp_frame, veth,
};

/// The cables of the bond: the same names at both ends.
const CABLES: [&str; 2] = ["eth1", "eth2"];
const FAR: &str = "10.0.1.2";
const MILLISECOND: Duration = Duration::from_millis(1);
/// Bits of a port's state (IEEE 802.1AX).
const DISTRIBUTING: u64 = 0x20;
const DEFAULTED: u64 = 0x40;
const EXPIRED: u64 = 0x80;

/// ```text
/// A eth0 10.0.0.2 ---- lan [router] bond0 10.0.1.1 ==eth1,eth2== [partner] 10.0.1.2
/// ```
struct Site {
    a: Netns,
    router: Netns,
    partner: Netns,
}

impl Site {
    fn new() -> Site {
        let site = Site { a: Netns::new("a"), router: Netns::new("r"), partner: Netns::new("p") };
        veth((&site.a, "eth0"), (&site.router, "lan"));
        site.a.address("eth0", "10.0.0.2/24");
        site.a.run("ip route add default via 10.0.0.1");
        site.router.hide_from_kernel("lan");
        for cable in CABLES {
            veth((&site.router, cable), (&site.partner, cable));
            site.router.hide_from_kernel(cable);
        }
        site
    }

    fn start(&self, bond: &str, more: &str) -> Skiff {
        let config = format!(
            "{}
[interface.lan]
device = \"vdev:net_af_packet,iface=lan\"
addresses = [\"10.0.0.1/24\"]
[interface.eth1]
device = \"vdev:net_af_packet,iface=eth1\"
[interface.eth2]
device = \"vdev:net_af_packet,iface=eth2\"
[interface.bond0]
bond = {{ members = [\"eth1\", \"eth2\"], miimon = 100, {bond} }}
addresses = [\"10.0.1.1/24\"]
{more}",
            Lab::system()
        );
        Skiff::start(&self.router, &config)
    }

    fn plug(&self, cable: &str, what: &str) {
        self.partner.run(&format!("ip link set {cable} {what}"));
    }

    /// Which cable what A sends to the partner goes by.
    fn busy(&self) -> &'static str {
        let sent = |cable| self.router.iface_stat(cable, "tx_packets");
        let before = CABLES.map(sent);
        thread::sleep(Duration::from_millis(500));
        let moved = [0, 1].map(|at| sent(CABLES[at]) - before[at]);
        assert!(moved[0].max(moved[1]) > 20 + 5 * moved[0].min(moved[1]), "one of both: {moved:?}");
        CABLES[usize::from(moved[1] > moved[0])]
    }

    fn flow(&self, interval: Duration) -> Flow {
        Flow::start(&self.a, &self.partner, FAR, interval)
    }
}

/// Waits until `done` holds, and says how long that took.
#[track_caller]
fn wait_for(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

/// Fifty pings in a row get through: at once, unless something else has the processor.
#[track_caller]
fn reach(site: &Site) {
    wait_for("fifty pings without a loss", 30, || {
        let report = ping(&site.a, &format!("-q -c 50 -i 0.01 -W 1 {FAR}"));
        assert_eq!(report.duplicates, 0, "{}", report.text);
        report.received == 50
    });
}

fn bond(skiff: &Skiff) -> Value {
    skiff.json("bond show bond0 -j")[0].clone()
}

/// The state of a member's LACP port.
fn port_state(bond: &Value, member: &str) -> u64 {
    state_of(bond, member, "ad_actor_oper_port_state")
}

fn state_of(bond: &Value, member: &str, whose: &str) -> u64 {
    let member = bond["members"].as_array().and_then(|all| all.iter().find(|one| one["ifname"] == member));
    member.and_then(|member| member[whose].as_u64()).unwrap_or_else(|| panic!("{bond}"))
}

/// Ports that send and receive; 3d with slow timers, 3f with fast ones.
fn in_step(skiff: &Skiff) -> usize {
    in_step_says(skiff, "ad_actor_oper_port_state")
}

fn in_step_says(skiff: &Skiff, whose: &str) -> usize {
    let bond = bond(skiff);
    CABLES.iter().filter(|cable| matches!(state_of(&bond, cable, whose), 0x3d | 0x3f)).count()
}

/// An Open vSwitch with a bond.
fn open_vswitch(site: &Site, lacp: &str) -> OpenVswitch {
    CABLES.iter().for_each(|cable| site.partner.hide_from_kernel(cable));
    let ovs = OpenVswitch::start(&site.partner);
    ovs.vsctl("add-br br0 -- set bridge br0 datapath_type=netdev");
    ovs.vsctl(&format!("add-bond br0 bond0 eth1 eth2 bond_mode=balance-tcp {lacp}"));
    site.partner.address("br0", &format!("{FAR}/24"));
    site.partner.run("ip route add default via 10.0.1.1");
    ovs
}

/// Members that Open vSwitch agrees about and uses.
fn enabled(ovs: &OpenVswitch) -> usize {
    let count = |command, word| ovs.appctl(command).out.matches(word).count();
    count("lacp/show bond0", ": current attached").min(count("bond/show bond0", ": enabled"))
}

/// Both sides have all members; returns what both took from the moment the cables were plugged in.
fn agree(site: &Site, skiff: &Skiff, ovs: &OpenVswitch) -> Duration {
    CABLES.iter().for_each(|cable| site.plug(cable, "down"));
    wait_for("no cable", 20, || enabled(ovs) == 0 && in_step(skiff) == 0);
    let start = Instant::now();
    CABLES.iter().for_each(|cable| site.plug(cable, "up"));
    wait_for("all members, in skiff's eyes", 20, || in_step(skiff) == 2);
    let ours = start.elapsed();
    wait_for("all members, in Open vSwitch's eyes", 20, || enabled(ovs) == 2);
    println!("agreed with Open vSwitch after {ours:?}, it with us after {:?}", start.elapsed());
    start.elapsed()
}

const ACTIVE_FAST: &str = "lacp=active other_config:lacp-time=fast";
const FAST_LACP: &str = "mode = \"802.3ad\", lacp-rate = \"fast\", xmit-hash-policy = \"layer3+4\"";

#[test]
fn open_vswitch_agrees_by_lacp_and_carries_on_by_the_other_cable() {
    let site = Site::new();
    let ovs = open_vswitch(&site, ACTIVE_FAST);
    let skiff = site.start(FAST_LACP, "");
    let took = agree(&site, &skiff, &ovs);
    // Two seconds are the wait for other ports.
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(8), "{took:?}");
    let shown = bond(&skiff);
    assert_eq!(shown["ad_info"]["num_ports"], 2, "{shown}");
    reach(&site);

    // A cable is pulled while four TCP connections and a numbered flow run.
    let flow = site.flow(MILLISECOND);
    let busy = site.busy();
    let tcp = thread::scope(|scope| {
        let tcp = scope.spawn(|| iperf3(&site.a, &site.partner, FAR, "-t 4 -P 4 -b 4M -l 4K"));
        thread::sleep(Duration::from_secs(1));
        site.plug(busy, "down");
        let noticed = wait_for("one member left", 10, || in_step(&skiff) == 1);
        println!("lost carrier noticed after {noticed:?}");
        tcp.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    });
    let report = flow.stop();
    println!("{busy} unplugged: {report:?}, lost {}, {tcp:?}", report.lost());
    // As much as four connections of 4 Mbit/s carry in three of the four seconds.
    assert!(tcp.bytes > 3 * 2_000_000, "{tcp:?}");
    expect_outage(&report, 1500);
    assert_eq!(bond(&skiff)["mii_status"], "UP");
    reach(&site);

    // One member is enough, unless two are asked for.
    skiff.ctl("ip link set bond0 type bond min_links 2");
    assert_eq!(bond(&skiff)["mii_status"], "DOWN");
    site.plug(busy, "up");
    wait_for("the second member", 20, || bond(&skiff)["mii_status"] == "UP");
    assert_eq!(in_step(&skiff), 2);
    skiff.stop_cleanly();
}

#[test]
fn a_passive_open_vswitch_with_slow_timers_agrees_as_fast_and_is_told_of_a_member_that_leaves() {
    let site = Site::new();
    let ovs = open_vswitch(&site, "lacp=passive other_config:lacp-time=slow");
    let skiff = site.start("mode = \"802.3ad\", lacp-rate = \"slow\"", "");
    let took = agree(&site, &skiff, &ovs);
    assert!(took < Duration::from_secs(8), "{took:?}");
    let shown = bond(&skiff);
    assert_eq!(CABLES.map(|cable| port_state(&shown, cable)), [0x3d; 2], "{shown}");
    reach(&site);

    // It would take the partner a minute and a half to find out.
    let flow = site.flow(MILLISECOND);
    let busy = site.busy();
    skiff.ctl(&format!("ip link set {busy} nomaster"));
    let told = wait_for("Open vSwitch to leave the member too", 10, || enabled(&ovs) == 1);
    reach(&site);
    let report = flow.stop();
    println!("{busy} taken out: Open vSwitch knows after {told:?}, {report:?}");
    expect_outage(&report, 1500);
    skiff.stop_cleanly();
}

/// A flow at one datagram a millisecond was interrupted for less than `limit` milliseconds, and nothing was doubled.
#[track_caller]
fn expect_outage(report: &FlowReport, limit: u64) {
    assert!(report.longest_loss <= limit && report.longest_gap <= MILLISECOND * limit as u32, "{report:?}");
    assert_eq!(report.duplicates, 0, "{report:?}");
}

/// From now on nothing leaves by `iface`, though it is up.
fn mute(netns: &Netns, iface: &str) {
    netns.run("nft add table netdev mute");
    let chain = format!("nft add chain netdev mute {iface} {{ type filter hook egress device");
    netns.run(&format!("{chain} {iface} priority 0 ; policy drop ; }}"));
}

#[test]
fn a_member_of_open_vswitch_that_falls_silent_is_left_within_the_standards_time() {
    let site = Site::new();
    let ovs = open_vswitch(&site, ACTIVE_FAST);
    let skiff = site.start(FAST_LACP, "");
    agree(&site, &skiff, &ovs);

    let flow = site.flow(MILLISECOND);
    let busy = site.busy();
    let start = Instant::now();
    mute(&site.partner, busy);
    mute(&site.router, busy);
    wait_for("no sending to the silent", 20, || port_state(&bond(&skiff), busy) & DISTRIBUTING == 0);
    let left = start.elapsed();
    assert!(port_state(&bond(&skiff), busy) & EXPIRED != 0);
    wait_for("made-up partner", 20, || port_state(&bond(&skiff), busy) & (EXPIRED | DEFAULTED) == DEFAULTED);
    let made_up = start.elapsed();
    let report = flow.stop();
    println!("{busy} silent: left after {left:?}, defaulted after {made_up:?}, {report:?}");

    // The last frame may be a second old, and its three seconds are counted in tenths.
    assert!(left >= Duration::from_millis(1900) && left < Duration::from_secs(8), "{left:?}");
    assert!(made_up - left > Duration::from_millis(2500), "{left:?} {made_up:?}");
    assert!(report.longest_gap >= Duration::from_millis(1900), "the cable was dead: {report:?}");
    expect_outage(&report, 8000);
    // The cable has carrier all the time: nobody else could have known.
    assert_eq!(skiff.ctl("bond show bond0").matches("MII Status: up").count(), 3);
    assert_eq!(in_step(&skiff), 1);
    reach(&site);
    skiff.stop_cleanly();
}

#[test]
fn dpdks_bond_agrees_by_lacp() {
    let site = Site::new();
    let b = Netns::new("b");
    veth((&b, "eth0"), (&site.partner, "edge"));
    b.address("eth0", &format!("{FAR}/24"));
    b.run("ip route add default via 10.0.1.1");
    ["edge", "eth1", "eth2"].into_iter().for_each(|iface| site.partner.hide_from_kernel(iface));
    let vdevs = ["net_af_packet0,iface=eth1", "net_af_packet1,iface=eth2", "net_af_packet2,iface=edge"];
    let mut testpmd = Testpmd::start(&site.partner, &vdevs, "--forward-mode=io");
    for command in [
        "port stop all",
        "create bonded device 4 0",
        "add bonding slave 0 3",
        "add bonding slave 1 3",
        "set bonding agg_mode 3 bandwidth",
        "set bonding lacp dedicated_queues 3 disable",
        "port start 3",
        "port start 2",
        "set promisc 3 on",
        "set portlist 2,3",
        "start",
    ] {
        testpmd.tell(command);
    }
    let start = Instant::now();
    let skiff = site.start(FAST_LACP, "");
    // It only sends when it has something to forward.
    let flow = Flow::start(&b, &site.a, "10.0.0.2", Duration::from_millis(5));
    wait_for("both members", 60, || in_step(&skiff) == 2);
    println!("agreed with DPDK's bond after {:?}", start.elapsed());
    let partner = || in_step_says(&skiff, "ad_partner_oper_port_state");
    wait_for("both members of the partner", 60, || partner() == 2);
    println!("DPDK's bond agreed with us after {:?}", start.elapsed());
    flow.stop();
    let shown = bond(&skiff);
    assert_eq!(shown["ad_info"]["num_ports"], 2, "{shown}");

    reach(&site);
    let tcp = iperf3(&site.a, &b, FAR, "-t 2 -P 4 -b 4M -l 4K");
    println!("{tcp:?}");
    assert!(tcp.bytes > 0);
    assert_eq!(in_step(&skiff), 2);
    skiff.stop_cleanly();
}

const VLANS: &str = "[interface.\"bond0.10\"]
vlan = { parent = \"bond0\", id = 10 }
addresses = [\"10.0.10.1/24\"]
[interface.\"bond0.20\"]
vlan = { parent = \"bond0\", id = 20 }
addresses = [\"10.0.20.1/24\", \"10.0.21.1/24\"]
";

/// When gratuitous ARPs for `address` were seen, with the tag of `vlan`, if any.
fn announcements(seen: &[Seen], vlan: Option<u16>, address: &str) -> Vec<f64> {
    let tagged = |text: &str| match vlan {
        Some(vid) => text.contains(&format!(" vlan {vid},")),
        None => !text.contains(" vlan "),
    };
    let who = [format!("Request who-has {address} "), format!("Announcement {address},")];
    let tell = [format!("tell {address},"), "Announcement".to_owned()];
    let is_one = |text: &str| {
        tagged(text)
            && text.contains(" > ff:ff:ff:ff:ff:ff,")
            && who.iter().any(|who| text.contains(who))
            && tell.iter().any(|tell| text.contains(tell))
    };
    seen.iter().filter(|seen| is_one(&seen.text)).map(|seen| seen.at).collect()
}

fn datagrams(seen: &[Seen]) -> impl DoubleEndedIterator<Item = f64> {
    seen.iter().filter(|seen| seen.text.contains(".4242: UDP")).map(|seen| seen.at)
}

/// The active member loses its carrier while a datagram flows every millisecond; seconds from its last one to the
/// first one by the other, and what that one has carried.
fn fail_over(site: &Site, skiff: &Skiff, from: &str, to: &str) -> (f64, Vec<Seen>) {
    assert_eq!(bond(skiff)["active_slave"], from);
    let (old, new) = (Capture::start(&site.partner, from, ""), Capture::start(&site.partner, to, ""));
    let flow = site.flow(MILLISECOND);
    thread::sleep(Duration::from_millis(500));
    site.plug(from, "down");
    wait_for("the backup", 10, || bond(skiff)["active_slave"] == to);
    // The announcements take half a second.
    thread::sleep(Duration::from_millis(1200));
    let report = flow.stop();
    let (old, new) = (old.stop(), new.stop());
    let (last, first) = (datagrams(&old).next_back(), datagrams(&new).next());
    let outage = first.expect("datagrams by the new member") - last.expect("datagrams by the old member");
    println!("{from} to {to}: outage {outage:.3} s, {report:?}, lost {}", report.lost());
    // Lost is what was sent while nobody knew, and nothing came twice.
    expect_outage(&report, 1500);
    (outage, new)
}

/// The partner is a switch without bonds, and a host on it.
fn bridge(site: &Site) {
    site.partner.run("ip link add br0 type bridge");
    for cable in CABLES {
        site.partner.run(&format!("ip link set {cable} master br0"));
        site.plug(cable, "up");
    }
    site.partner.address("br0", &format!("{FAR}/24"));
    site.partner.run("ip route add default via 10.0.1.1");
}

#[test]
fn a_backup_takes_over_and_says_so_as_often_as_asked() {
    let site = Site::new();
    bridge(&site);
    let bond = "mode = \"active-backup\", num-grat-arp = 3, peer-notify-delay = 200";
    let skiff = site.start(bond, VLANS);
    reach(&site);

    for (downdelay, from, to) in [(0, "eth1", "eth2"), (300, "eth2", "eth1")] {
        skiff.ctl(&format!("ip link set bond0 type bond downdelay {downdelay}"));
        let (outage, seen) = fail_over(&site, &skiff, from, to);
        let least = f64::from(downdelay) / 1000.0 - 0.005;
        assert!((least..least + 0.7).contains(&outage), "downdelay {downdelay}: {outage} s");
        for (vlan, address) in
            [(None, "10.0.1.1"), (Some(10), "10.0.10.1"), (Some(20), "10.0.20.1"), (Some(20), "10.0.21.1")]
        {
            let times = announcements(&seen, vlan, address);
            println!("announced {address} {vlan:?}: {times:?}");
            assert_eq!(times.len(), 3, "{address} {vlan:?}: {seen:?}");
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| (0.1..0.5).contains(gap)), "{gaps:?}");
        }
        // The bridge has learnt from them where we are.
        ping(&site.partner, "-q -c 20 -i 0.02 -W 5 10.0.1.1").expect_all(20);
        site.plug(from, "up");
        wait_for("the old member, as a backup", 10, || up_members(&skiff) == 2);
    }
    skiff.stop_cleanly();
}

/// As fast as it goes: the rings of the member that fails are full when it does.
#[test]
fn a_member_that_fails_under_full_load_holds_nothing_up() {
    let site = Site::new();
    bridge(&site);
    let skiff = site.start("mode = \"active-backup\"", "");
    reach(&site);
    let frame = udp_frame(site.router.mac("lan"), site.a.mac("eth0"), [10, 0, 0, 2], [10, 0, 1, 2], 60);
    let socket = RawSocket::open(&site.a, "eth0");
    let arrived = |cable| site.partner.iface_stat(cable, "rx_packets");

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let offered = scope.spawn(|| {
            let mut offered = 0u64;
            while !stop.load(Ordering::Relaxed) {
                socket.send(&frame);
                offered += 1;
            }
            offered
        });
        for (downdelay, from, to) in [(0, "eth1", "eth2"), (300, "eth2", "eth1")] {
            skiff.ctl(&format!("ip link set bond0 type bond downdelay {downdelay}"));
            thread::sleep(Duration::from_millis(500));
            let before = arrived(to);
            site.plug(from, "down");
            let took = wait_for("load on the other member", 10, || arrived(to) > before + 2000);
            println!("downdelay {downdelay}: load on {to} after {took:?}");
            assert_eq!(bond(&skiff)["active_slave"], to);
            site.plug(from, "up");
            wait_for("the old member, as a backup", 10, || up_members(&skiff) == 2);
        }
        stop.store(true, Ordering::Relaxed);
        let offered = offered.join().expect("the sender");
        thread::sleep(Duration::from_millis(500));
        let arrived = CABLES.map(arrived);
        let metrics = skiff.metrics();
        let sent = CABLES.map(|cable| metrics.sum("skiff_port_transmit_packets_total", &[("port", cable)]));
        println!("offered {offered}, sent {sent:?}, arrived {arrived:?}, dropped {:?}", metrics.drops());
        assert!(arrived[0] <= sent[0] && arrived[1] <= sent[1], "nothing is doubled");
    });
    skiff.stop_cleanly();
}

fn up_members(skiff: &Skiff) -> usize {
    let bond = bond(skiff);
    let members = bond["members"].as_array().expect("members");
    members.iter().filter(|member| member["mii_status"] == "UP").count()
}

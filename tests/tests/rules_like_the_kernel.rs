//! The rule tables against the kernel's: the same random rules, the same packets, and then the same counter on every
//! rule and policy, and the same frames out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skiff_tests::{Frame, Lab, Netns, RawSocket, Rng, Skiff, TempDir, random_packet, random_ruleset, veth};

const RULE_SETS: usize = 50;
const PACKETS: usize = 10_000;
/// Frames sent before anything is read again.
const BATCH: usize = 128;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const PEERS: [[u8; 6]; 2] = [[2, 0xaa, 0, 0, 0, 1], [2, 0xaa, 0, 0, 0, 2]];

/// A router with the ports r1 and r2, and the far ends of their cables, p1 and p2.
struct Site {
    router: Netns,
    ends: [RawSocket; 2],
    _far: Option<Netns>,
}

impl Site {
    /// Sends all packets, in turns by either end; what came out at both.
    fn pass(&self, packets: &[Vec<Frame>; 2]) -> [Frames; 2] {
        let mut seen = [Frames::new(), Frames::new()];
        for (one, two) in packets[0].chunks(BATCH).zip(packets[1].chunks(BATCH)) {
            for (at, batch) in [one, two].into_iter().enumerate() {
                batch.iter().for_each(|frame| self.ends[at].send(frame));
                self.wait_for_fence(at, &mut seen);
            }
        }
        self.receive_for(Duration::from_millis(30), &mut seen);
        seen
    }

    /// Returns when the router has taken all that the end `at` sent: it has answered an ARP request behind it, which no
    /// rule touches. So both routers meet the packets in one order, as counting matches (`nth`) want it.
    fn wait_for_fence(&self, at: usize, seen: &mut [Frames; 2]) {
        self.ends[at].send(&who_has_the_router(at));
        let mut answered = false;
        let deadline = Instant::now() + Duration::from_secs(5);
        while !answered {
            assert!(Instant::now() < deadline, "no answer to an ARP request at port {at}");
            answered = self.receive(seen);
            std::thread::yield_now();
        }
    }

    fn receive_for(&self, patience: Duration, seen: &mut [Frames; 2]) {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            self.receive(seen);
            std::thread::yield_now();
        }
    }

    /// Takes what lies there; whether an ARP reply was among it.
    fn receive(&self, seen: &mut [Frames; 2]) -> bool {
        let mut answered = false;
        for (end, seen) in self.ends.iter().zip(seen) {
            while let Some(frame) = end.receive() {
                if frame[12..14] == [8, 6] {
                    answered = true;
                } else {
                    *seen.entry(comparable(frame)).or_default() += 1;
                }
            }
        }
        answered
    }
}

/// The ARP request of the neighbour at the end `at` for the router's address there.
fn who_has_the_router(at: usize) -> Frame {
    let port = at as u8 + 1;
    let mut frame = vec![0xff; 6];
    frame.extend(PEERS[at]);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(PEERS[at]);
    frame.extend([10, port, 0, 2, 0, 0, 0, 0, 0, 0, 10, port, 0, 1]);
    frame
}

/// Frames and how many of each.
type Frames = BTreeMap<Frame, u32>;

/// A frame without what a router chooses as it likes: the identification of its own packets.
fn comparable(mut frame: Frame) -> Frame {
    if frame.len() >= 34 && matches!(frame[26..30], [10, 1 | 2, 0, 1]) {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
    }
    frame
}

/// The rules with their counters; comments and the order of tables are free.
fn tables(save: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables = BTreeMap::new();
    let mut table = String::new();
    for line in save.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        }
        tables.entry(table.clone()).or_insert_with(Vec::new).push(line.to_owned());
    }
    tables
}

/// Makes an interface carry frames and nothing of the kernel's own.
fn silence(netns: &Netns, iface: &str) {
    netns.run(&format!("sysctl -qw net.ipv6.conf.{iface}.disable_ipv6=1"));
    netns.run(&format!("ip link set {iface} up"));
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn start_kernel() -> Site {
    let (router, far) = (Netns::new("k"), Netns::new("kp"));
    for (i, (port, end)) in [("r1", "p1"), ("r2", "p2")].into_iter().enumerate() {
        veth((&router, port), (&far, end));
        router.run(&format!("ip link set {port} address {}", text(MACS[i])));
        far.run(&format!("ip link set {end} address {}", text(PEERS[i])));
        silence(&router, port);
        silence(&far, end);
    }
    for line in [
        "sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv4.icmp_ratemask=0",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0",
        "sysctl -qw net.ipv4.conf.default.rp_filter=0",
        "ip addr add 10.1.0.1/24 dev r1",
        "ip addr add 10.2.0.1/24 dev r2",
        "ip neigh replace 10.1.0.2 lladdr 02:aa:00:00:00:01 nud permanent dev r1",
        "ip neigh replace 10.2.0.2 lladdr 02:aa:00:00:00:02 nud permanent dev r2",
        "ip route add 20.0.0.0/8 via 10.1.0.2",
        "ip route add 30.0.0.0/8 via 10.2.0.2",
    ] {
        router.run(line);
    }
    let ends = ["p1", "p2"].map(|end| RawSocket::open(&far, end));
    Site { router, ends, _far: Some(far) }
}

/// Its ports are taps, which bring fragments as they are; the far ends are their kernel sides.
fn start_skiff() -> (Site, Skiff) {
    let mut config = Lab::system() + "\n[sysctl]\n\"net.ipv4.icmp_ratemask\" = 0\n";
    for (i, (port, end)) in [("r1", "p1"), ("r2", "p2")].into_iter().enumerate() {
        let (mac, peer, n) = (text(MACS[i]), text(PEERS[i]), i + 1);
        config += &format!(
            r#"
[interface.{port}]
device = "vdev:net_tap{i},iface={end}"
mac = "{mac}"
addresses = ["10.{n}.0.1/24"]
[[route]]
to = "{}0.0.0.0/8"
via = "10.{n}.0.2"
[[neighbour]]
address = "10.{n}.0.2"
mac = "{peer}"
dev = "{port}"
"#,
            n + 1
        );
    }
    let router = Netns::new("s");
    let skiff = Skiff::start(&router, &config);
    for end in ["p1", "p2"] {
        silence(&router, end);
    }
    let ends = ["p1", "p2"].map(|end| RawSocket::open(&router, end));
    (Site { router, ends, _far: None }, skiff)
}

#[test]
fn random_rules_filter_as_the_kernel_does() {
    let kernel = start_kernel();
    let (site, skiff) = start_skiff();
    let dir = TempDir::new();
    // A fixed seed: what fails once fails again. SKIFF_SEED=N tries others.
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let mut decided = 0;
    for set in 0..RULE_SETS {
        let rules = random_ruleset(&mut rng);
        let file = dir.write("rules", &rules);
        kernel.router.run(&format!("iptables-legacy-restore {file}"));
        skiff.ctl(&format!("iptables-restore {file}"));
        let packets = [false, true].map(|back| {
            let (to, from) = (MACS[usize::from(back)], PEERS[usize::from(back)]);
            (0..PACKETS / 2).map(|_| random_packet(&mut rng, to, from, back)).collect::<Vec<_>>()
        });

        let (theirs, ours) = (kernel.pass(&packets), site.pass(&packets));
        let expected = tables(&kernel.router.run("iptables-legacy-save -c"));
        let found = tables(&skiff.ctl("iptables-save -c"));
        let mut differences = Vec::new();
        for (table, expected) in &expected {
            let found = found.get(table).unwrap_or_else(|| panic!("no table {table}"));
            assert_eq!(expected.len(), found.len(), "seed {seed}, rule set {set}, table {table}");
            let differ = expected.iter().zip(found).filter(|(theirs, ours)| theirs != ours);
            differences
                .extend(differ.map(|(theirs, ours)| format!("{table}: kernel {theirs}, skiff {ours}")));
        }
        for (at, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            let missing = theirs.iter().filter(|(frame, n)| ours.get(*frame) != Some(n));
            let surplus = ours.iter().filter(|(frame, n)| theirs.get(*frame) != Some(n));
            differences
                .extend(missing.take(3).map(|(frame, n)| format!("port {at}: kernel {n} of {frame:02x?}")));
            differences
                .extend(surplus.take(3).map(|(frame, n)| format!("port {at}: skiff {n} of {frame:02x?}")));
            decided += theirs.values().sum::<u32>();
        }
        assert!(differences.is_empty(), "seed {seed}, rule set {set}: {differences:#?}\n{rules}");
    }
    // Most rule sets let a good part through: the comparison was about something.
    assert!(decided as usize > RULE_SETS * PACKETS / 10, "{decided}");
    skiff.stop_cleanly();
}

//! The model against the kernel: the same `ip` commands to both must be taken or refused alike, in the same words, and
//! leave the same addresses and routes behind.
//!
//! Runs in a network namespace of its own, with the real `ip`: needs root and iproute2.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use skiff_control::ip::{
    self, AddrFilter, Command as IpCommand, LinkFilter, Options, RouteFilter, TableFilter,
};
use skiff_control::rtnl::{LinkInit, LinkKind, Rtnl};
use skiff_dataplane::net::MacAddr;

/// How long the kernel may take to notice that a link lost its carrier.
const CARRIER_PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn addresses_make_and_take_their_routes() {
    Pair::new("addr").run(
        "address add 10.0.0.1/24 dev r0
         address add 10.0.0.2/24 dev r0 label r0:1
         address add 10.0.0.3/25 dev r0
         link set r0 up
         address add 10.0.0.3/25 dev r0
         address add 10.1.0.1/24 brd + dev r0
         address add 10.2.0.1/31 brd + dev r0
         address add 10.3.0.1/32 dev r0
         address add 10.4.0.1/30 brd - dev r0
         address add 10.5.0.1/24 brd 10.5.0.77 dev r0
         address add 127.0.0.5/8 dev r0
         address add 10.1.0.9/24 scope link dev r0
         address add 10.6.0.9/24 scope link dev r0
         address add 10.6.0.9/24 dev r1
         address add 0.1.2.3/24 dev r0
         address add 224.1.2.3/24 dev r0
         address add 0.0.0.0/8 dev r0
         address change 10.7.0.1/24 dev r0
         address replace 10.7.0.1/24 brd + dev r0
         route add 20.0.0.0/8 via 10.0.0.9 src 10.0.0.2
         route add 21.0.0.0/8 dev r0 src 10.6.0.9
         link set r1 up
         route add 22.0.0.0/8 dev r1 src 10.0.0.2
         address del 10.0.0.1/24 dev r0
         address del 10.0.0.1/24 dev r0
         address del 10.6.0.9/24 dev r0
         address del 10.6.0.9/24 dev r1
         link set r0 down
         address add 10.8.0.1/24 dev r0
         address del 10.7.0.1/24 dev r0
         link set r0 up
         address flush dev r0 to 10.4.0.0/14
         address flush dev r0
         address add 10.0.0.1/24 dev nope",
    );
}

#[test]
fn the_loopback_device_is_local_throughout() {
    Pair::new("lo").run(
        "address add 10.0.0.1/24 dev lo
         address add 10.0.1.1/32 dev lo
         link set lo down
         link set lo up
         address del 127.0.0.1/8 dev lo
         address del 10.0.0.1/24 dev lo
         address flush dev lo
         link set lo down
         link set lo up
         route add 61.0.0.0/8 dev lo
         route add local 62.0.0.0/8 dev lo
         route add throw 20.0.0.0/8
         link set r0 up
         address add 10.0.0.1/24 dev r0
         route add default via 10.0.0.9
         route get 20.0.0.1
         route get 62.1.1.1",
    );
}

#[test]
fn verbs_find_add_and_replace_what_the_kernel_would() {
    Pair::new("verbs").run(
        "link set r0 up
         link set r1 up
         address add 10.0.0.1/24 dev r0
         address add 10.1.0.1/24 dev r1
         route add 20.0.0.0/8 via 10.0.0.9
         route add 20.0.0.0/8 via 10.0.0.8
         route append 20.0.0.0/8 via 10.0.0.7
         route append 20.0.0.0/8 via 10.0.0.7
         route replace 20.0.0.0/8 via 10.0.0.7
         route replace 20.0.0.0/8 via 10.0.0.9
         route replace 20.0.0.0/8 via 10.0.0.6
         route change 20.0.0.0/8 via 10.0.0.5 metric 5
         route replace 20.0.0.0/8 via 10.0.0.5 metric 5
         route change 20.0.0.0/8 via 10.0.0.5 metric 5 mtu 1400
         route append 20.0.0.0/8 via 10.0.0.5 metric 3
         route add 20.0.0.0/8 via 10.0.0.5 metric 3 proto static
         route add 20.0.0.0/8 via 10.0.0.5 metric 4 proto static
         route del 20.0.0.0/8 metric 4 proto boot
         route del 20.0.0.0/8 proto static
         route del 20.0.0.0/8 mtu 1400
         route del 20.0.0.0/8 via 10.0.0.7
         route del 20.0.0.0/8
         route del 20.0.0.0/8 dev r1
         route del 20.0.0.0/9
         route del 20.0.0.1/8
         route add 21.0.0.0/8 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9
         route add 21.0.0.0/8 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9
         route append 21.0.0.0/8 nexthop via 10.0.0.9 weight 2 nexthop via 10.1.0.9
         route del 21.0.0.0/8 via 10.1.0.9
         route del 21.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.8
         route del 21.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.9 nexthop via 10.1.0.8
         route del 21.0.0.0/8 dev r0
         route add blackhole 22.0.0.0/8
         route add unreachable 22.0.0.0/8 metric 4
         route del blackhole 22.0.0.0/8
         route del unreachable 22.0.0.0/8
         route add local 23.0.0.1 dev r0
         route add broadcast 23.0.0.255 dev r0
         route del local 23.0.0.1
         route del broadcast 23.0.0.255 dev r0
         route add 24.0.0.0/8 dev r0 scope host
         route del 24.0.0.0/8 scope link
         route del 24.0.0.0/8 scope host
         route add default via 10.0.0.9 proto static
         route add default via 10.1.0.9 metric 10
         route flush proto static
         route flush dev r0
         route add 25.0.0.0/8 via 10.1.0.9
         route add 25.1.0.0/16 via 10.1.0.9
         route flush root 25.0.0.0/8
         route flush 10.1.0.0/24",
    );
}

#[test]
fn next_hops_are_checked_as_the_kernel_checks_them() {
    Pair::new("hops").run(
        "link set r0 up
         address add 10.0.0.1/24 dev r0
         address add 10.1.0.1/24 dev r1
         route add 30.0.0.0/8
         route add 30.0.0.0/8 dev r1
         route add 30.0.0.0/8 dev nope
         route add 30.0.0.0/8 via 99.0.0.1
         route add 30.0.0.0/8 via 10.0.0.9 dev r1
         route add 30.0.0.0/8 via 10.1.0.9
         route add 30.0.0.0/8 via 10.1.0.1
         route add 30.0.0.0/8 via 10.0.0.255
         route add 30.0.0.1/8 via 10.0.0.9
         route add 30.0.0.0/8 via 99.0.0.1 onlink
         route add 30.0.0.0/8 via 99.0.0.1 dev r1 onlink
         route add 30.0.0.0/8 via 10.0.0.1 dev r0 onlink
         route add 30.0.0.0/8 via 99.0.0.1 dev r0 onlink src 1.2.3.4
         route add 30.0.0.0/8 via 99.0.0.1 dev r0 onlink src 10.1.0.1
         route add 31.0.0.0/8 via 10.0.0.1
         route add 32.0.0.0/8 dev r0 onlink
         route add 32.0.0.0/8 dev r0 scope host
         route add 33.0.0.0/8 dev r0 scope global
         route add 34.0.0.0/8 via 33.0.0.1
         route add 34.0.0.0/8 via 10.0.0.9 scope link
         route add 34.0.0.0/8 via 10.0.0.1 scope link
         route add 34.1.0.0/16 via 10.0.0.1 scope host
         route add 34.2.0.0/16 dev r0 scope nowhere
         route add local 34.3.0.0/16 dev r0 scope link
         route add local 34.3.0.0/16 dev r0 src 34.3.0.0
         route add local 34.4.0.0/32 dev r0 src 34.4.0.0
         route add 35.0.0.0/8 via 0.0.0.0 dev r0
         route add 36.0.0.0/8 dev r0 mtu 99999
         route add 37.0.0.0/8 dev r0 mtu lock 1300
         route add 38.0.0.0/8 dev r0
         route add 39.0.0.0/8 via 38.0.0.1
         route add 39.0.0.0/8 via 37.0.0.1
         route add blackhole 40.0.0.0/8 via 10.0.0.9
         route add blackhole 40.0.0.0/8 dev r0
         route add prohibit 40.0.0.0/8 metric 7
         route add 41.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.9
         route add 41.0.0.0/8 nexthop via 10.0.0.9 nexthop dev r0
         route add 42.0.0.0/8 nexthop via 10.0.0.9 nexthop via 77.0.0.1 dev r0 onlink weight 256
         route add local 43.0.0.0/8 nexthop dev r0 nexthop dev r1
         route add 10.0.0.9/32 via 10.0.0.8
         route add 44.0.0.0/8 via 10.0.0.9
         route add unreachable 10.0.0.10/32 scope link
         route add 45.0.0.0/8 via 10.0.0.10
         route get 10.0.0.1
         route get 10.0.0.77
         route get 10.0.0.255
         route get 30.1.1.1
         route get 31.1.1.1
         route get 34.1.1.1
         route get 36.1.1.1
         route get 37.1.1.1
         route get 44.1.1.1
         route get 38.1.1.1 from 10.0.0.1
         route get 38.1.1.1 from 77.0.0.1
         route get 40.1.1.1
         route get 99.1.1.1
         route get 99.1.1.1 oif r0
         route get 99.1.1.1 oif r1
         route get 0.0.0.0
         route get 255.255.255.255
         route get 255.255.255.255 oif r0
         route get 224.0.0.5
         route get 224.0.0.5 oif r0
         route get 31.1.1.1 iif r1
         route get 31.1.1.1 from 77.0.0.1 iif r0
         route get 10.0.0.1 from 77.0.0.1 iif r0
         route get 10.0.0.255 from 77.0.0.1 iif r0
         route get 30.1.1.1 from 10.0.0.1 iif r0
         route get 40.1.1.1 from 77.0.0.1 iif r0",
    );
}

#[test]
fn next_hops_die_and_come_back_with_their_devices() {
    Pair::new("down").run(
        "link set r0 up
         link set r1 up
         address add 10.0.0.1/24 dev r0
         address add 10.1.0.1/24 dev r1
         route add 20.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.9
         route add 21.0.0.0/8 via 10.0.0.9
         route add 21.0.0.0/8 via 10.1.0.9 metric 9
         route add 22.0.0.0/8 dev r0 scope host
         link set r0 down
         route get 20.1.1.1
         route get 21.1.1.1
         link set r0 up
         address flush dev r1
         address add 10.5.0.1/24 dev r1
         address flush dev r1
         link set r1 down
         link set r1 up
         link set r0 down
         link set r1 down
         link set r0 mtu 1400
         link set r0 mtu 60
         link set r0 mtu 70000
         link set r0 name r1
         link set r0 up
         address add 10.0.0.2/24 dev r0 label r0:7
         address add 10.9.0.1/24 dev r0
         link set r0 name verylongname012
         link set verylongname012 name r0
         link set r0 address 01:00:00:00:00:01
         link set r0 address 00:00:00:00:00:00
         link set r0 address 02:00:00:00:00:01
         link set nope up",
    );
}

#[test]
fn carrier_loss_only_marks_routes() {
    let mut pair = Pair::new("carrier");
    pair.run(
        "link set r0 up
         link set r1 up
         address add 10.0.0.1/24 dev r0
         address add 10.1.0.1/24 dev r1
         route add 20.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.9
         route add 21.0.0.0/8 via 10.0.0.9",
    );
    pair.carrier("r0", false);
    pair.run(
        "route add 22.0.0.0/8 via 10.0.0.8
         route add 24.0.0.0/8 via 10.0.0.8 dev r0 onlink
         address add 10.7.0.1/24 dev r0
         route get 21.1.1.1",
    );
    pair.carrier("r0", true);
    pair.carrier("r1", false);
    pair.run("route add 23.0.0.0/8 dev r1");
    pair.carrier("r1", true);
}

#[test]
fn random_commands_leave_the_same_state() {
    for seed in 1..=24 {
        let mut pair = Pair::new(&format!("rand{seed}"));
        let mut random = Random(seed);
        pair.run(
            "link set r0 up\nlink set r1 up\naddress add 10.0.0.1/24 dev r0\naddress add 10.1.0.1/24 dev r1",
        );
        for _ in 0..60 {
            let command = random.command();
            pair.step(&command);
        }
        // Which of several next hops answers is for a hash to say.
        if pair.kernel_state().contains("nexthop") {
            continue;
        }
        for to in ["10.0.0.1", "10.0.0.77", "10.1.0.9", "10.0.0.255", "20.1.1.1", "20.9.1.1", "30.0.0.1"] {
            pair.step(&format!("route get {to}"));
        }
    }
}

/// A kernel namespace and a model that were told the same.
struct Pair {
    netns: String,
    model: Rtnl,
    told: String,
}

impl Pair {
    /// Two links r0 and r1, down, whose other ends are up.
    fn new(name: &str) -> Pair {
        let netns = format!("skiff-rtnl-{}-{name}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &netns]).output();
        let made = made.expect("this test needs iproute2's ip in the path");
        let complaint = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "this test needs root, to make a network namespace: {complaint}");
        let mut pair = Pair { netns, model: Rtnl::new().0, told: String::new() };
        pair.kernel("link set lo up").expect("lo comes up");
        Command::new("ip")
            .args(["netns", "exec", &pair.netns, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
            .status()
            .expect("sysctl runs");
        for port in ["r0", "r1"] {
            pair.kernel(&format!("link add {port} type veth peer name {port}p")).expect("veth is there");
            pair.kernel(&format!("link set {port}p up")).expect("the peer comes up");
            pair.model.add_link(veth(port)).expect("the model takes the port");
        }
        pair
    }

    fn run(&mut self, commands: &str) {
        for command in commands.lines().map(str::trim) {
            self.step(command);
        }
    }

    /// Tells both, and compares what they say and what they are.
    fn step(&mut self, command: &str) {
        let _ = writeln!(self.told, "ip {command}");
        let kernel = self.kernel(command);
        let model = self.model(command);
        let shown = command.starts_with("route get");
        let agree = match (&kernel, &model) {
            (Ok(kernel), Ok(model)) => !shown || kernel == model,
            (Err(kernel), Err(model)) => kernel == model,
            _ => false,
        };
        assert!(agree, "{}kernel: {kernel:?}\nmodel: {model:?}", self.told);
        let (kernel, model) = (self.kernel_state(), self.model_state());
        assert!(kernel == model, "{}kernel:\n{kernel}\nmodel:\n{model}", self.told);
    }

    fn carrier(&mut self, port: &str, up: bool) {
        let word = if up { "up" } else { "down" };
        let _ = writeln!(self.told, "ip link set {port}p {word}");
        self.kernel(&format!("link set {port}p {word}")).expect("the peer is there");
        let dev = self.model.find(port).expect("the port is there");
        self.model.set_carrier(dev, up);
        let deadline = Instant::now() + CARRIER_PATIENCE;
        while self.kernel_state() != self.model_state() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let (kernel, model) = (self.kernel_state(), self.model_state());
        assert!(kernel == model, "{}kernel:\n{kernel}\nmodel:\n{model}", self.told);
    }

    /// What the kernel prints, or its refusal in its own words.
    fn kernel(&self, command: &str) -> Result<String, String> {
        let netns = self.netns.as_str();
        let args = ["-n", netns, "-4", "-d"].into_iter().chain(command.split_whitespace());
        let output = Command::new("ip").args(args).output().expect("ip runs");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout)
                .replace(" uid 0", "")
                // What the installed ip makes of a flag it takes for another.
                .replace(" rt_offload_failed", ""));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let line = complaint.lines().next().unwrap_or_default();
        let why = line.trim_start_matches("RTNETLINK answers: ").trim_start_matches("Error: ");
        Err(why.to_owned())
    }

    fn kernel_state(&self) -> String {
        let routes = self.kernel("route show table all").expect("routes can be shown");
        let addrs = self.kernel("-o address show").expect("addresses can be shown");
        routes + &unnumbered(&addrs)
    }

    fn model(&mut self, command: &str) -> Result<String, String> {
        let words: Vec<String> =
            "-d".split(' ').chain(command.split_whitespace()).map(str::to_owned).collect();
        let request = ip::parse(&words).unwrap_or_else(|error| panic!("ip {command}: {error}"));
        let done = match &request.command {
            IpCommand::LinkSet(set) => self.model.link_set(set).map(|_| String::new()),
            IpCommand::AddrModify(verb, spec) => self.model.addr_modify(*verb, spec).map(|_| String::new()),
            IpCommand::AddrFlush(filter) => self.model.addr_flush(filter).map(|_| String::new()),
            IpCommand::RouteModify(verb, spec) => self.model.route_modify(*verb, spec).map(|_| String::new()),
            IpCommand::RouteFlush(filter) => self.model.route_flush(filter).map(|_| String::new()),
            IpCommand::RouteGet(get) => {
                self.model.route_get(get).map(|row| ip::show_route_get(&row, &request.options))
            }
            other => panic!("no test for {other:?}"),
        };
        done.map_err(|refusal| refusal.to_string())
    }

    fn model_state(&self) -> String {
        let details = Options { details: true, ..Options::default() };
        let filter = RouteFilter { table: TableFilter::All, ..RouteFilter::default() };
        let rows = self.model.route_rows(&filter).expect("all routes can be shown");
        let routes = ip::show_routes(&rows, &filter, &details);
        let filter = AddrFilter { link: LinkFilter::default(), ..AddrFilter::default() };
        let rows = self.model.addr_rows(&filter).expect("all addresses can be shown");
        let oneline = Options { oneline: true, details: true, ..Options::default() };
        let addrs = ip::show_addrs(&rows, &filter, &oneline).expect("all addresses can be shown");
        routes + &unnumbered(&addrs)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
    }
}

fn veth(name: &str) -> LinkInit {
    LinkInit {
        name: name.to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        mtu: 1500,
        min_mtu: 68,
        max_mtu: 65535,
        kind: LinkKind::Port,
        carrier: true,
        rx_queues: 1,
        tx_queues: 1,
    }
}

/// Lines of `address show` in name order, without device numbers, which differ.
fn unnumbered(addrs: &str) -> String {
    let mut lines: Vec<&str> =
        addrs.lines().filter_map(|line| line.split_once(": ").map(|(_, rest)| rest)).collect();
    lines.sort_by_key(|line| line.split_whitespace().next().map(str::to_owned));
    lines.into_iter().fold(String::new(), |out, line| out + line + "\n")
}

/// A small reproducible source of commands (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn command(&mut self) -> String {
        match self.below(20) {
            0..7 => self.address(),
            7..16 => self.route(),
            16 | 17 => format!("link set {} {}", self.pick(&["r0", "r1"]), self.pick(&["up", "down", "up"])),
            18 => self
                .pick(&["address flush dev r0", "address flush dev r1", "link set r0 mtu 1400"])
                .to_owned(),
            _ => self
                .pick(&["route flush dev r0", "route flush proto static", "route flush root 20.0.0.0/8"])
                .to_owned(),
        }
    }

    fn address(&mut self) -> String {
        let verb = self.pick(&["add", "add", "add", "del", "replace", "change"]);
        let addr = self.pick(&[
            "10.0.0.1/24",
            "10.0.0.2/24",
            "10.0.0.1/25",
            "10.0.0.130/25",
            "10.1.0.1/24",
            "10.0.0.1/32",
            "10.2.0.0/31",
            "10.2.0.1/31",
            "10.0.0.255/24",
            "10.0.0.5/16",
            "127.0.0.5/8",
            "0.1.2.3/24",
            "20.0.0.1/8",
        ]);
        let brd = if verb == "del" {
            ""
        } else {
            self.pick(&[
                "",
                "",
                "brd +",
                "brd -",
                "brd 10.0.0.255",
                "brd 255.255.255.255",
                "scope link",
                "scope host",
            ])
        };
        format!("address {verb} {addr} {brd} dev {}", self.pick(&["r0", "r0", "r1"]))
    }

    fn route(&mut self) -> String {
        let verb = self.pick(&["add", "add", "append", "replace", "change", "del", "del"]);
        let prefix = self.pick(&[
            "20.0.0.0/8",
            "20.1.0.0/16",
            "10.0.0.0/24",
            "10.0.0.0/25",
            "0.0.0.0/0",
            "10.0.0.1",
            "10.0.0.255",
            "20.0.0.1/8",
        ]);
        let kind =
            self.pick(&["", "", "", "", "", "blackhole", "unreachable", "throw", "local", "broadcast"]);
        let target = if matches!(kind, "" | "local" | "broadcast") { self.target() } else { String::new() };
        let metric = self.pick(&["", "", "metric 5", "metric 10", "mtu 1300", "mtu lock 1200"]);
        let rest = self.pick(&[
            "",
            "",
            "",
            "src 10.0.0.1",
            "src 10.0.0.2",
            "proto static",
            "scope link",
            "scope host",
            "scope global",
            "table local",
        ]);
        format!("route {verb} {kind} {prefix} {metric} {rest} {target}")
    }

    fn target(&mut self) -> String {
        let gateways =
            ["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.1.0.9", "10.2.0.0", "20.0.0.9", "10.0.0.255", "0.0.0.0"];
        let devs = ["dev r0", "dev r1"];
        match self.below(6) {
            0 => self.pick(&devs).to_owned(),
            1 | 2 => format!("via {}", self.pick(&gateways)),
            3 => format!("via {} {}", self.pick(&gateways), self.pick(&devs)),
            4 => format!("via {} {} onlink", self.pick(&gateways), self.pick(&devs)),
            _ => {
                let weight = self.below(3) + 1;
                let (one, two) = (self.pick(&gateways), self.pick(&gateways));
                format!("nexthop via {one} weight {weight} nexthop via {two} {}", self.pick(&["", "dev r1"]))
            }
        }
    }
}

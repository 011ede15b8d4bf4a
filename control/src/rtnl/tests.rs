//! What changes ask of the data plane. That the tables themselves are the kernel's is for `tests/rtnl_kernel.rs`.

mod links;
mod show;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use proptest::prelude::*;
use skiff_dataplane::net::{IfIndex, MacAddr};

use super::*;
use crate::ip::{self, Command, LinkFilter, OperState, Protocol, Scope, Table};

const R0: IfIndex = IfIndex(2);
const R1: IfIndex = IfIndex(3);
/// What bonds start with.
const BOND_MAC: MacAddr = MacAddr([2, 0xb0, 0, 0, 0, 1]);

/// A model, and the map its changes make.
struct Bench {
    rtnl: Rtnl,
    fib: BTreeMap<Ipv4Net, FibRoute>,
}

impl Bench {
    fn new() -> Bench {
        let (rtnl, effects) = Rtnl::new();
        let mut bench = Bench { rtnl, fib: BTreeMap::new() };
        bench.apply(&effects);
        for name in ["r0", "r1"] {
            bench.rtnl.add_link(port(name)).unwrap();
        }
        bench
    }

    /// r0 with 10.0.0.1/24 and r1 with 10.1.0.1/24, both up.
    fn routed() -> Bench {
        let mut bench = Bench::new();
        for command in ["link set r0 up", "link set r1 up"] {
            bench.run(command).unwrap();
        }
        bench.run("address add 10.0.0.1/24 dev r0").unwrap();
        bench.run("address add 10.1.0.1/24 dev r1").unwrap();
        bench
    }

    fn run(&mut self, command: &str) -> Result<Effects, Refusal> {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let request = ip::parse(&words).unwrap_or_else(|error| panic!("ip {command}: {error}"));
        let effects = match &request.command {
            Command::LinkSet(set) => self.rtnl.link_set(set),
            Command::LinkAdd(add) => self.rtnl.link_add(add, BOND_MAC).map(|(_, effects)| effects),
            Command::LinkDel(name) => self.rtnl.link_del(name),
            Command::AddrModify(verb, spec) => self.rtnl.addr_modify(*verb, spec),
            Command::AddrFlush(filter) => self.rtnl.addr_flush(filter),
            Command::RouteModify(verb, spec) => self.rtnl.route_modify(*verb, spec),
            Command::RouteFlush(filter) => self.rtnl.route_flush(filter),
            other => panic!("no test for {other:?}"),
        }?;
        self.apply(&effects);
        Ok(effects)
    }

    fn apply(&mut self, effects: &Effects) {
        for change in &effects.fib {
            match &change.route {
                Some(route) => self.fib.insert(change.prefix, route.clone()),
                None => self.fib.remove(&change.prefix),
            };
        }
    }

    fn at(&self, prefix: &str) -> Option<&FibRoute> {
        self.fib.get(&prefix.parse::<Ipv4Net>().unwrap())
    }

    /// The map as the tables alone make it.
    fn rebuilt(&self) -> BTreeMap<Ipv4Net, FibRoute> {
        let fresh = |id| info::forwarding(self.rtnl.routes.infos.get(id), &self.rtnl.links).0;
        self.rtnl.routes.chains().map(|(prefix, chain)| (prefix, fresh(chain[0]))).collect()
    }
}

fn port(name: &str) -> LinkInit {
    LinkInit {
        name: name.to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        min_mtu: 68,
        max_mtu: 9000,
        kind: LinkKind::Port,
        carrier: true,
        rx_queues: 1,
        tx_queues: 1,
    }
}

fn ip4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn hop(dev: IfIndex, gateway: Option<&str>, weight: u16, mtu: u16, prefsrc: &str) -> FibHop {
    FibHop { dev, gateway: gateway.map(ip4), weight, mtu, prefsrc: Some(ip4(prefsrc)) }
}

fn unicast(hops: &[FibHop]) -> Option<FibRoute> {
    Some(FibRoute::Unicast(Arc::from(hops)))
}

#[test]
fn a_new_router_has_its_loopback() {
    let (rtnl, effects) = Rtnl::new();
    let local = FibRoute::Local { dev: IfIndex::LOOPBACK, src: Ipv4Addr::LOCALHOST };
    let broadcast = FibRoute::Broadcast { dev: IfIndex::LOOPBACK, src: Ipv4Addr::LOCALHOST, mtu: u16::MAX };
    let mut fib = effects.fib;
    fib.sort_by_key(|change| change.prefix);
    let expect = [("127.0.0.0/8", &local), ("127.0.0.1/32", &local), ("127.255.255.255/32", &broadcast)];
    assert_eq!(fib.len(), expect.len());
    for (change, (prefix, route)) in fib.iter().zip(expect) {
        assert_eq!((change.prefix.to_string().as_str(), change.route.as_ref()), (prefix, Some(route)));
    }
    assert_eq!((effects.devices, effects.driver), ([IfIndex::LOOPBACK].into(), vec![]));
    assert!(effects.announce.is_empty());
    let rows = rtnl.link_rows(&LinkFilter::default()).unwrap();
    assert_eq!((rows[0].name.as_str(), rows[0].mtu, rows[0].state), ("lo", 65536, OperState::Unknown));
}

#[test]
fn an_address_is_local_at_once_and_its_subnet_when_the_link_is_up() {
    let mut bench = Bench::new();
    let effects = bench.run("address add 10.0.0.1/24 dev r0").unwrap();
    let local = FibRoute::Local { dev: R0, src: ip4("10.0.0.1") };
    assert_eq!(effects.fib, [FibChange { prefix: "10.0.0.1/32".parse().unwrap(), route: Some(local) }]);
    assert_eq!(effects.devices, [R0].into());
    let effects = bench.run("link set r0 up").unwrap();
    assert_eq!(effects.driver, [DriverOp::SetUp(R0, true)]);
    assert_eq!(effects.announce, [(R0, ip4("10.0.0.1"))]);
    assert_eq!(bench.at("10.0.0.0/24").cloned(), unicast(&[hop(R0, None, 1, 1500, "10.0.0.1")]));
    let broadcast = FibRoute::Broadcast { dev: R0, src: ip4("10.0.0.1"), mtu: 1500 };
    assert_eq!(bench.at("10.0.0.255/32"), Some(&broadcast));
    assert_eq!(bench.at("10.0.0.0/32"), None);
    let effects = bench.run("link set r0 up").unwrap();
    assert!(effects.is_empty(), "it is up already: {effects:?}");
}

#[test]
fn the_local_table_wins_and_then_the_smallest_metric() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 via 10.0.0.9 metric 20").unwrap();
    bench.run("route add 20.0.0.0/8 via 10.1.0.9 metric 10").unwrap();
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[hop(R1, Some("10.1.0.9"), 1, 1500, "10.1.0.1")]));
    let effects = bench.run("route add blackhole 20.0.0.0/8 metric 30").unwrap();
    assert!(effects.is_empty(), "a worse route changes nothing: {effects:?}");
    bench.run("route add throw 20.0.0.0/8 table local metric 99").unwrap();
    assert_eq!(bench.at("20.0.0.0/8"), Some(&FibRoute::Throw));
    bench.run("route del 20.0.0.0/8 table local").unwrap();
    bench.run("link set r1 down").unwrap();
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[hop(R0, Some("10.0.0.9"), 1, 1500, "10.0.0.1")]));
    bench.run("route flush dev r0").unwrap();
    assert_eq!(bench.at("20.0.0.0/8"), Some(&FibRoute::Blackhole));
}

#[test]
fn multipath_leaves_out_dead_next_hops() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9").unwrap();
    let (one, two) =
        (hop(R0, Some("10.0.0.9"), 3, 1500, "10.0.0.1"), hop(R1, Some("10.1.0.9"), 1, 1500, "10.1.0.1"));
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[one, two]));
    let effects = bench.run("link set r0 down").unwrap();
    assert_eq!(effects.flush_neighbours, [R0]);
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[two]));
    bench.run("link set r0 up").unwrap();
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[one, two]));
    bench.run("link set r0 down").unwrap();
    bench.run("link set r1 down").unwrap();
    assert_eq!(bench.at("20.0.0.0/8"), None);
}

#[test]
fn next_hops_without_carrier_are_ignored_where_told() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9").unwrap();
    bench.run("route add 30.0.0.0/8 via 10.0.0.9").unwrap();
    bench.run("route add 30.0.0.0/8 via 10.1.0.9 metric 7").unwrap();
    bench.run("route add 30.1.0.0/16 via 10.0.0.9").unwrap();
    let (one, two) =
        (hop(R0, Some("10.0.0.9"), 3, 1500, "10.0.0.1"), hop(R1, Some("10.1.0.9"), 1, 1500, "10.1.0.1"));
    let effects = bench.rtnl.set_carrier(R0, false);
    assert_eq!(effects.fib, [], "used on, as long as nothing says otherwise");
    let effects = bench.rtnl.set_ignore_linkdown(R0, true);
    bench.apply(&effects);
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[two]));
    assert_eq!(bench.at("30.0.0.0/8").cloned(), unicast(&[two]), "the next metric");
    assert_eq!((bench.at("30.1.0.0/16"), bench.at("10.0.0.0/24")), (None, None), "the next prefix, or none");
    assert!(bench.at("10.0.0.1/32").is_some(), "our own address stays");
    assert_eq!(bench.rtnl.set_ignore_linkdown(R0, true), Effects::default());
    // A better route may come whose next hop cannot be used, and go again.
    bench.run("route add 30.0.0.0/8 via 10.0.0.8 metric 3").unwrap();
    assert_eq!(bench.at("30.0.0.0/8").cloned(), unicast(&[two]));
    bench.run("route del 30.0.0.0/8 metric 7").unwrap();
    assert_eq!(bench.at("30.0.0.0/8"), None);
    bench.run("route add 30.0.0.0/8 via 10.1.0.9 metric 7").unwrap();
    assert_eq!(bench.at("30.0.0.0/8").cloned(), unicast(&[two]));
    bench.run("route del 30.0.0.0/8 metric 3").unwrap();

    let effects = bench.rtnl.set_carrier(R0, true);
    bench.apply(&effects);
    assert_eq!(bench.at("20.0.0.0/8").cloned(), unicast(&[one, two]));
    let alone = hop(R0, Some("10.0.0.9"), 1, 1500, "10.0.0.1");
    assert_eq!(bench.at("30.0.0.0/8").cloned(), unicast(&[alone]));
    assert_eq!(bench.at("30.1.0.0/16").cloned(), unicast(&[alone]));
}

#[test]
fn carrier_loss_keeps_routes_and_forgets_neighbours() {
    let mut bench = Bench::routed();
    let effects = bench.rtnl.set_carrier(R0, false);
    let expect = Effects { devices: [R0].into(), carrier_lost: vec![R0], ..Effects::default() };
    assert_eq!(effects, expect);
    assert!(bench.rtnl.set_carrier(R0, false).is_empty());
    let effects = bench.rtnl.set_carrier(R0, true);
    assert_eq!(effects, Effects { devices: [R0].into(), ..Effects::default() });
}

#[test]
fn the_smaller_mtu_counts() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 via 10.0.0.9 mtu 1300").unwrap();
    bench.run("route add 21.0.0.0/8 via 10.0.0.9 mtu 4000").unwrap();
    bench.run("route add 22.0.0.0/8 via 10.1.0.9").unwrap();
    let mtu = |bench: &Bench, prefix| match bench.at(prefix) {
        Some(FibRoute::Unicast(hops)) => hops[0].mtu,
        other => panic!("{other:?}"),
    };
    assert_eq!((mtu(&bench, "20.0.0.0/8"), mtu(&bench, "21.0.0.0/8")), (1300, 1500));
    let effects = bench.run("link set r0 mtu 9000").unwrap();
    assert_eq!((effects.driver, effects.devices), (vec![DriverOp::SetMtu(R0, 9000)], [R0].into()));
    let mut changed: Vec<String> = effects.fib.iter().map(|change| change.prefix.to_string()).collect();
    changed.sort();
    assert_eq!(changed, ["10.0.0.0/24", "10.0.0.255/32", "21.0.0.0/8"]);
    assert_eq!(mtu(&bench, "21.0.0.0/8"), 4000);
    assert_eq!(
        bench.run("link set r0 mtu 9001"),
        Err(Refusal::Invalid("mtu greater than device maximum.".into()))
    );
}

#[test]
fn equalize_is_of_the_route() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 equalize nexthop via 10.0.0.2 nexthop via 10.1.0.2 weight 2").unwrap();
    assert!(matches!(bench.at("20.0.0.0/8"), Some(FibRoute::Equalize(hops)) if hops.len() == 2));
    bench.run("route replace 20.0.0.0/8 nexthop via 10.0.0.2 nexthop via 10.1.0.2 weight 2").unwrap();
    assert!(matches!(bench.at("20.0.0.0/8"), Some(FibRoute::Unicast(hops)) if hops.len() == 2));
}

#[test]
fn sources_follow_addresses() {
    let mut bench = Bench::routed();
    let src = |bench: &Bench, prefix| match bench.at(prefix) {
        Some(FibRoute::Unicast(hops)) => hops[0].prefsrc.map(|src| src.to_string()),
        other => panic!("{other:?}"),
    };
    bench.run("route add 20.0.0.0/8 dev r0").unwrap();
    assert_eq!(src(&bench, "20.0.0.0/8").as_deref(), Some("10.0.0.1"));
    bench.run("route add 21.0.0.0/8 via 10.9.0.9 dev r0 onlink").unwrap();
    assert_eq!(src(&bench, "21.0.0.0/8").as_deref(), Some("10.0.0.1"));
    bench.run("address add 10.9.0.1/24 dev r0").unwrap();
    assert_eq!(src(&bench, "21.0.0.0/8").as_deref(), Some("10.9.0.1"), "the gateway's subnet goes first");
    assert_eq!(src(&bench, "20.0.0.0/8").as_deref(), Some("10.0.0.1"));
    bench.run("address del 10.0.0.1/24 dev r0").unwrap();
    assert_eq!(src(&bench, "20.0.0.0/8").as_deref(), Some("10.9.0.1"));
    bench.run("address flush dev r0").unwrap();
    bench.run("route add 22.0.0.0/8 dev r0").unwrap();
    assert_eq!(src(&bench, "22.0.0.0/8").as_deref(), Some("10.1.0.1"), "another device lends one");
    bench.run("address del 10.1.0.1/24 dev r1").unwrap();
    assert_eq!(src(&bench, "22.0.0.0/8"), None);
}

#[test]
fn link_set_is_all_or_nothing() {
    let mut bench = Bench::routed();
    let refused = bench.run("link set r0 mtu 1400 address 01:00:00:00:00:01 down");
    assert_eq!(refused, Err(Refusal::Invalid("Cannot assign requested address".into())));
    assert_eq!(bench.run("link set r0 name r1 down"), Err(Refusal::Exists));
    let link = bench.rtnl.link(R0).unwrap();
    assert_eq!((link.mtu(), link.is_up(), link.name()), (1500, true, "r0"));
    let effects = bench.run("link set r0 name wan address 02:00:00:00:00:07 promisc on").unwrap();
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    assert_eq!(effects.driver, [DriverOp::SetMac(R0, mac), DriverOp::SetPromisc(R0, true)]);
    assert_eq!((effects.announce, effects.flush_neighbours), (vec![(R0, ip4("10.0.0.1"))], vec![R0]));
    assert_eq!(bench.rtnl.find("wan"), Ok(R0));
    assert_eq!(bench.rtnl.find("r0"), Err(Refusal::NoDevice("r0".into())));
    for name in ["", ".", "a/b", "a b", "sixteen-letters-", "r1"] {
        assert!(
            bench.rtnl.add_link(LinkInit { name: name.into(), ..port("x") }).is_err(),
            "{name:?} was taken"
        );
    }
}

#[test]
fn a_removed_link_takes_everything_along() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 nexthop via 10.0.0.9 nexthop via 10.1.0.9").unwrap();
    bench.run("route add 21.0.0.0/8 dev r0 scope host").unwrap();
    bench.run("route add 22.0.0.0/8 dev r1 src 10.0.0.1").unwrap();
    let effects = bench.rtnl.remove_link(R0);
    bench.apply(&effects);
    let left: Vec<String> = bench.fib.keys().map(Ipv4Net::to_string).collect();
    // The multipath route goes, though its other device is there: so it is when a device is unregistered.
    let expect =
        ["10.1.0.0/24", "10.1.0.1/32", "10.1.0.255/32", "127.0.0.0/8", "127.0.0.1/32", "127.255.255.255/32"];
    assert_eq!(left, expect);
    assert!(bench.rtnl.link(R0).is_none());
    assert_eq!(bench.rtnl.add_link(port("r9")).unwrap().0, IfIndex(4), "its number is not taken at once");
}

#[test]
fn routes_are_counted_by_table_and_protocol() {
    let mut bench = Bench::routed();
    bench.run("route add 20.0.0.0/8 via 10.0.0.9 proto static").unwrap();
    bench.run("route add 21.0.0.0/8 via 10.1.0.9 proto static").unwrap();
    let count = |table, protocol, routes| RouteCount { table, protocol, routes };
    let expect = [
        count(Table::MAIN, Protocol::KERNEL, 2),
        count(Table::MAIN, Protocol::STATIC, 2),
        count(Table::LOCAL, Protocol::KERNEL, 7),
    ];
    assert_eq!(bench.rtnl.route_count(), expect);
    bench.run("route flush proto static").unwrap();
    assert_eq!(bench.rtnl.route_count(), [expect[0], expect[2]]);
}

#[test]
fn many_routes_of_one_gateway_go_with_it() {
    let mut bench = Bench::routed();
    for i in 0..300 {
        bench.run(&format!("route add 30.{}.{}.0/24 via 10.0.0.9", i / 256, i % 256)).unwrap();
    }
    bench.run("route add 30.0.0.0/24 via 10.1.0.9 metric 5").unwrap();
    let effects = bench.run("link set r0 down").unwrap();
    assert_eq!(effects.fib.iter().filter(|change| change.prefix.prefix_len() == 24).count(), 301);
    assert_eq!(bench.fib.keys().filter(|prefix| prefix.addr().octets()[0] == 30).count(), 1);
    assert_eq!(bench.fib, bench.rebuilt());
}

#[test]
fn other_tables_and_multicast_are_refused() {
    let mut bench = Bench::routed();
    let unsupported = |what: &str| Err(Refusal::NotSupported(what.to_owned()));
    assert_eq!(bench.run("route add 20.0.0.0/8 dev r0 table 7"), unsupported("routing table 7"));
    assert_eq!(bench.run("route add multicast 239.0.0.0/8 dev r0"), unsupported("a multicast route"));
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn command() -> impl Strategy<Value = String> {
    let dev = || one_of(&["r0", "r1"]);
    let link = (dev(), one_of(&["up", "down", "up", "mtu 1400", "mtu 1500"]))
        .prop_map(|(dev, change)| format!("link set {dev} {change}"));
    let addr = (
        one_of(&["add", "add", "del", "replace"]),
        one_of(&["10.0.0.1/24", "10.0.0.2/24", "10.0.0.1/25", "10.1.0.1/24", "10.0.0.1/32", "20.0.0.1/8"]),
        one_of(&["", "brd +", "scope link"]),
        dev(),
    )
        .prop_map(|(verb, addr, option, dev)| match verb {
            "del" => format!("address del {addr} dev {dev}"),
            _ => format!("address {verb} {addr} {option} dev {dev}"),
        });
    let target = one_of(&[
        "dev r0",
        "via 10.0.0.9",
        "via 10.1.0.9",
        "via 10.0.0.1",
        "via 9.9.9.9 dev r1 onlink",
        "nexthop via 10.0.0.9 weight 2 nexthop via 10.1.0.9",
        "nexthop dev r0 nexthop dev r1",
    ]);
    let route = (
        one_of(&["add", "append", "replace", "change", "del"]),
        one_of(&["20.0.0.0/8", "20.1.0.0/16", "10.0.0.0/24", "0.0.0.0/0", "10.0.0.1", "10.0.0.255"]),
        one_of(&["", "metric 5", "mtu 1300", "src 10.0.0.1", "scope host", "table local"]),
        target,
    )
        .prop_map(|(verb, prefix, option, target)| format!("route {verb} {prefix} {option} {target}"));
    let reject = (one_of(&["add", "append", "del"]), one_of(&["20.0.0.0/8", "0.0.0.0/0"]))
        .prop_map(|(verb, prefix)| format!("route {verb} blackhole {prefix}"));
    let flush = one_of(&["address flush dev r0", "address flush dev r1", "route flush dev r0"]);
    prop_oneof![2 => link, 4 => addr, 6 => route, 1 => reject, 1 => flush.prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However it came about, the map the changes made is the one the tables mean.
    #[test]
    fn changes_add_up_to_the_tables(commands in prop::collection::vec(command(), 1..60), cut in any::<u64>()) {
        let mut bench = Bench::new();
        for (i, command) in commands.iter().enumerate() {
            let before = (bench.rtnl.route_count(), bench.fib.clone());
            if bench.run(command).is_err() {
                prop_assert_eq!(&before, &(bench.rtnl.route_count(), bench.fib.clone()), "refused: {}", command);
            }
            if cut >> (i % 64) & 1 == 1 {
                let carrier = bench.rtnl.link(R1).is_some_and(Link::has_carrier);
                let effects = bench.rtnl.set_carrier(R1, !carrier);
                bench.apply(&effects);
            }
            prop_assert_eq!(&bench.fib, &bench.rebuilt(), "after {}", command);
        }
        for dev in [R0, R1, IfIndex::LOOPBACK] {
            let effects = bench.rtnl.remove_link(dev);
            bench.apply(&effects);
            prop_assert_eq!(&bench.fib, &bench.rebuilt());
        }
        // Nothing but routes without a device may be left, and nothing of their records.
        prop_assert!(bench.fib.values().all(|route| *route == FibRoute::Blackhole));
        bench.run("route flush table all").unwrap();
        prop_assert!(bench.fib.is_empty());
        prop_assert_eq!(bench.rtnl.routes.infos.iter().count(), 0);
        prop_assert_eq!(bench.rtnl.routes.lengths(Scope::GLOBAL).count(), 0);
        prop_assert_eq!(bench.rtnl.routes.lengths(Scope::LINK).count(), 0);
    }
}

use proptest::prelude::*;

use super::*;
use crate::ip::request::*;
use crate::ip::words::*;
use crate::ip::{NudSet, RouteType};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn request(line: &str) -> Request {
    parse(&words(line)).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn command(line: &str) -> Command {
    request(line).command
}

#[test]
fn objects_and_verbs_abbreviate_as_in_iproute2() {
    for line in ["a", "addr", "address show", "addr ls", "a s", "ad l", "add li"] {
        assert_eq!(command(line), Command::AddrShow(AddrFilter::default()), "{line}");
    }
    for line in ["r", "ro sh", "route", "rou ls", "route l", "r s"] {
        assert_eq!(command(line), Command::RouteShow(RouteFilter::default()), "{line}");
    }
    for line in ["n", "ne", "neighbor show", "neighbour", "neigh l"] {
        assert_eq!(command(line), Command::NeighShow(NeighFilter::default()), "{line}");
    }
    for line in ["l", "link ls", "li sh", "link lst"] {
        assert_eq!(command(line), Command::LinkShow(LinkFilter::default()), "{line}");
    }
    assert!(matches!(command("l s v0 up"), Command::LinkSet(_)), "\"s\" is set for links");
}

#[test]
fn options_stand_before_the_object() {
    let o = request("-j -p -s -s -d -br -o -4 -c -color=auto link").options;
    assert!(o.json && o.pretty && o.details && o.brief && o.oneline);
    assert_eq!((o.stats, o.family), (2, Some(Family::Inet)));
    assert_eq!(request("--json -statistics -f inet6 a").options.family, Some(Family::Inet6));
}

#[test]
fn link_set_reads_every_property() {
    let expected = LinkSet {
        dev: "v0".into(),
        up: Some(true),
        mtu: Some(1400),
        address: Some("02:00:00:00:00:01".parse().unwrap()),
        promisc: Some(false),
        name: Some("w0".into()),
        ..LinkSet::default()
    };
    let line = "link set dev v0 up mtu 1400 address 02:00:00:00:00:01 promisc off name w0";
    assert_eq!(command(line), Command::LinkSet(expected));
    assert_eq!(request("l set v0 down").what, "ip link set v0");
}

#[test]
fn address_to_add() {
    let expected = AddrSpec {
        local: "10.0.0.1/24".parse().unwrap(),
        dev: "v0".into(),
        broadcast: Some(Broadcast::Ones),
        label: Some("v0:x".into()),
        scope: Some(Scope::LINK),
    };
    let r = request("a a 10.0.0.1/24 brd + dev v0 label v0:x scope link");
    assert_eq!(r.command, Command::AddrModify(AddrVerb::Add, expected));
    assert_eq!(r.what, "ip address add 10.0.0.1/24");
}

#[test]
fn route_to_add() {
    let Command::RouteModify(verb, spec) = command(
        "r rep 10/8 via 10.0.0.9 dev v0 metric 0x10 src 10.0.0.1 mtu lock 1300 proto bgp scope 5 t 7 onlink",
    ) else {
        panic!("not a route");
    };
    let hop = |via: &str, dev: &str, weight, onlink| NextHopSpec {
        via: Some(via.parse().unwrap()),
        dev: Some(dev.into()),
        weight,
        onlink,
    };
    assert_eq!(verb, RouteVerb::Replace);
    assert_eq!(spec.to, "10.0.0.0/8".parse().unwrap());
    assert_eq!(spec.nexthops, [hop("10.0.0.9", "v0", 1, true)]);
    assert_eq!((spec.metric, spec.table), (Some(16), Some(Table(7))));
    assert_eq!(spec.metrics, Metrics { mtu: Some(1300), mtu_lock: true });
    assert_eq!((spec.protocol, spec.scope), (Some(Protocol(186)), Some(Scope(5))));

    let multipath = "r a to default nexthop via 10.0.0.1 dev a weight 3 nexthop dev b via 10.0.0.2 onlink";
    let Command::RouteModify(RouteVerb::Add, spec) = command(multipath) else { panic!("not a route") };
    assert_eq!(spec.to.prefix_len(), 0);
    assert_eq!(spec.nexthops, [hop("10.0.0.1", "a", 3, false), hop("10.0.0.2", "b", 1, true)]);

    let Command::RouteModify(_, spec) = command("r a blackhole 192.0.2.0/24") else { panic!("not a route") };
    assert_eq!((spec.kind, spec.nexthops.len()), (Some(RouteType::Blackhole), 0));
}

#[test]
fn prefixes_in_every_spelling() {
    for (word, expected) in [
        ("10/8", "10.0.0.0/8"),
        ("10.1/16", "10.1.0.0/16"),
        ("10", "10.0.0.0/32"),
        ("1.2.3", "1.2.3.0/32"),
        ("0/0", "0.0.0.0/0"),
        ("default", "0.0.0.0/0"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("10.2/255.255", "10.2.0.0/16"),
        ("10.0.0.5/24", "10.0.0.5/24"),
    ] {
        let filter = RouteFilter {
            prefix: Some(PrefixFilter::Exact(expected.parse().unwrap())),
            ..Default::default()
        };
        assert_eq!(command(&format!("route show {word}")), Command::RouteShow(filter), "{word}");
    }
    for word in [
        "10.",
        "256",
        "1.2.3.4/",
        "1.2.3.4/33",
        "10/-1",
        "1.2.3.4.5",
        "10/8/8",
        "10/255.0.255.0",
        "def",
        "010/8",
    ] {
        assert!(parse(&words(&format!("route show {word}"))).is_err(), "{word} was accepted");
    }
}

#[test]
fn selectors() {
    let expected = RouteFilter {
        table: TableFilter::All,
        dev: Some("v0".into()),
        prefix: Some(PrefixFilter::Root("10.0.0.0/8".parse().unwrap())),
        kind: Some(RouteType::Unicast),
        ..Default::default()
    };
    assert_eq!(command("r s table all dev v0 root 10/8 type unicast"), Command::RouteShow(expected));
    let expected = NeighFilter {
        dev: Some("v0".into()),
        states: NudSet::EMPTY.with(NudState::Stale).with(NudState::Permanent),
        states_given: true,
        to: Some("10.0.0.9/32".parse().unwrap()),
    };
    assert_eq!(command("n s 10.0.0.9 dev v0 nud stale nud perm"), Command::NeighShow(expected));
    let get = RouteGet {
        to: [8, 8, 8, 8].into(),
        from: Some([1, 2, 3, 4].into()),
        iif: Some("v1".into()),
        oif: None,
    };
    assert_eq!(command("ro get 8.8.8.8 from 1.2.3.4 iif v1"), Command::RouteGet(get));
}

#[test]
fn neighbour_to_add() {
    let expected = NeighSpec {
        address: [10, 0, 0, 9].into(),
        dev: "v0".into(),
        lladdr: Some("02:00:00:00:00:09".parse().unwrap()),
        state: NudState::Reachable,
        router: true,
        probe: false,
    };
    let line = "n change 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0 nud reachable router";
    assert_eq!(command(line), Command::NeighModify(NeighVerb::Change, expected));
    let used = command("n add 10.0.0.9 dev v0 use");
    assert!(matches!(used, Command::NeighModify(NeighVerb::Add, NeighSpec { probe: true, .. })), "{used:?}");
}

#[test]
fn proxied_addresses() {
    let proxy = |dev: Option<&str>| ProxySpec { address: [10, 0, 0, 9].into(), dev: dev.map(str::to_owned) };
    for (line, add, dev) in [
        ("n add proxy 10.0.0.9 dev v0", true, Some("v0")),
        ("n add proxy 10.0.0.9", true, None),
        ("n change proxy 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0", true, Some("v0")),
        ("n add 10.0.0.9 dev v0 proxy", true, Some("v0")),
        ("n del proxy 10.0.0.9 dev v0", false, Some("v0")),
    ] {
        assert_eq!(command(line), Command::ProxyModify(add, proxy(dev)), "{line}");
    }
    let on = |dev: Option<&str>| NeighFilter { dev: dev.map(str::to_owned), ..NeighFilter::default() };
    assert_eq!(command("n show proxy"), Command::ProxyShow(on(None)));
    assert_eq!(command("n show proxy dev v0"), Command::ProxyShow(on(Some("v0"))));
    assert_eq!(command("n flush dev v0 proxy"), Command::ProxyFlush(on(Some("v0"))));
}

#[test]
fn mistakes_are_named_in_one_line() {
    for (line, exit, message) in [
        ("bogus", 2, "skiff: ip: object \"bogus\" is unknown, try \"ip help\""),
        ("-x link", 2, "skiff: ip: option \"-x\" is unknown, try \"ip help\""),
        ("route bogus", 2, "skiff: ip route: command \"bogus\" is unknown, try \"ip route help\""),
        ("ru", 1, "skiff: ip: \"ip rule\" is not supported yet"),
        ("link add v type dummy", 1, "skiff: ip link add: a link of type \"dummy\" is not supported yet"),
        ("link set", 2, "skiff: ip link set: not enough information: \"dev\" argument is required"),
        ("link set v0 mtu x", 2, "skiff: ip link set: argument \"x\" is wrong: \"mtu\" value is invalid"),
        (
            "link set v0 promisc maybe",
            2,
            "skiff: ip link set: argument of \"promisc\" must be \"on\" or \"off\", not \"maybe\"",
        ),
        ("link show a b", 2, "skiff: ip link show: either \"dev\" is duplicate, or \"b\" is a garbage"),
        (
            "a a 10.0.0.1/24",
            2,
            "skiff: ip address add 10.0.0.1/24: not enough information: \"dev\" argument is required",
        ),
        (
            "a a 10.0.0.1 peer 10.0.0.2 dev v0",
            1,
            "skiff: ip address add 10.0.0.1: a \"peer\" address is not supported yet",
        ),
        ("a flush", 2, "skiff: ip address flush: flush requires arguments"),
        ("r a 10/8 via", 2, "skiff: ip route add 10/8: command line is not complete: \"via\" takes a value"),
        (
            "r a 10/8 via 1.2.3.4 via 1.2.3.5",
            2,
            "skiff: ip route add 10/8: argument \"via\" is wrong: use nexthop syntax to specify multiple via",
        ),
        (
            "r a 10/8 11/8",
            2,
            "skiff: ip route add 10/8: either \"to\" is duplicate, or \"11/8\" is a garbage",
        ),
        (
            "r a 10/8 nexthop via 1.1.1.1 weight 257",
            2,
            "skiff: ip route add 10/8: argument \"257\" is wrong: \"weight\" value is invalid",
        ),
        ("r a ::/0 dev v0", 1, "skiff: ip route add: IPv6 (\"::/0\") is not supported yet"),
        ("r get", 2, "skiff: ip route get: need at least a destination address"),
        ("n a 10.0.0.1", 2, "skiff: ip neigh add 10.0.0.1: device and destination are required arguments"),
        ("n s nud x", 2, "skiff: ip neigh show: argument \"x\" is wrong: nud state is bad"),
    ] {
        let error = parse(&words(line)).expect_err(line);
        assert_eq!((error.line(), error.exit()), (format!("{message}\n"), exit), "{line}");
    }
}

#[test]
fn help_is_a_command() {
    assert_eq!(command(""), Command::Help(Topic::Ip));
    assert_eq!(command("-help"), Command::Help(Topic::Ip));
    assert_eq!(command("r help"), Command::Help(Topic::Route));
}

/// Words of the grammar mixed with anything, so that random lines get past the first word.
fn word() -> impl Strategy<Value = String> {
    let known: Vec<&str> = "link addr route neigh show add del set get flush replace dev via nexthop weight metric \
        mtu lock src proto scope table all up down address promisc on to root match exact nud lladdr label brd + - \
        type vlan id protocol gvrp egress-qos-map 1:2 bond mode miimon bond_slave queue_id prio master nomaster \
        10/8 10.0.0.1 default v0 02:00:00:00:00:01 -j -4 -f 1 4294967296 0x type blackhole from iif onlink"
        .split_whitespace()
        .collect();
    prop_oneof![6 => proptest::sample::select(known).prop_map(str::to_owned), 1 => ".*"]
}

proptest! {
    #[test]
    fn no_words_make_it_panic(args in proptest::collection::vec(word(), 0..12)) {
        if let Err(error) = parse(&args) {
            prop_assert!(error.line().starts_with("skiff: ip"));
        }
    }
}

#[test]
fn mroutes_are_added_deleted_and_shown() {
    use crate::ip::{MaddrSpec, MrouteKey, MrouteSpec};
    let parsed = |line: &str| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&args).map(|request| request.command)
    };
    let key = |source: &str, iif: Option<&str>| MrouteKey {
        group: "239.1.1.1".parse().unwrap(),
        source: source.parse().unwrap(),
        iif: iif.map(str::to_owned),
    };
    let oifs = vec![("rp2".to_owned(), 1), ("rp3".to_owned(), 16)];
    assert_eq!(
        parsed("mroute add 239.1.1.1 from 10.0.0.1 iif rp1 oif rp2 oif rp3 ttl 16"),
        Ok(Command::MrouteAdd(MrouteSpec { key: key("10.0.0.1", Some("rp1")), oifs }))
    );
    assert_eq!(parsed("mr del 239.1.1.1"), Ok(Command::MrouteDel(key("0.0.0.0", None))));
    let spec = MaddrSpec { group: "239.1.1.1".parse().unwrap(), dev: "rp1".to_owned() };
    assert_eq!(parsed("maddr add 239.1.1.1 dev rp1"), Ok(Command::MaddrAdd(spec)));
    assert_eq!(parsed("maddr show dev rp1"), Ok(Command::MaddrShow(Some("rp1".to_owned()))));
    for bad in [
        "mroute add",
        "mroute add 239.1.1.1",
        "mroute add 10.0.0.1 iif rp1",
        "mroute add any from 10.0.0.1 iif rp1",
        "mroute add 239.1.1.1 iif rp1 oif rp2 ttl 255",
        "mroute add 239.1.1.1 239.1.1.2 iif rp1",
        "maddr add 10.0.0.1 dev rp1",
        "maddr add 239.1.1.1",
    ] {
        assert!(parsed(bad).is_err(), "{bad}");
    }
}

//! VLANs and bonds as `ip -d link show` prints them.

use super::*;
use crate::ip::{LinkRow, Options};

fn bench() -> Bench {
    let mut bench = Bench::new();
    for command in [
        "link set r0 up",
        "link add link r0 name r0.10 type vlan id 10 gvrp on ingress-qos-map 1:5 egress-qos-map 5:1 21:2",
        "link add link r0.10 name inner type vlan id 7 protocol 802.1ad reorder_hdr off",
        "link set r0.10 up",
        "link add bond0 type bond mode 802.3ad lacp_rate fast",
        "link set r1 master bond0",
        "link set r1 type bond_slave prio -3 queue_id 2",
    ] {
        bench.run(command).unwrap_or_else(|refusal| panic!("{command}: {refusal}"));
    }
    bench
}

fn show(words: &str, options: Options) -> String {
    let rows: Vec<LinkRow> = bench().rtnl.link_rows(&LinkFilter::default()).unwrap();
    let words: Vec<String> = format!("link show {words}").split_whitespace().map(str::to_owned).collect();
    let Command::LinkShow(filter) = ip::parse(&words).unwrap().command else { panic!("{words:?}") };
    ip::show_links(&rows, &filter, &options).unwrap()
}

#[test]
fn a_vlan_in_detail() {
    let details = Options { details: true, ..Options::default() };
    assert_eq!(
        show("r0.10", details),
        "4: r0.10@r0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default \
         qlen 1000\n    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 0 maxmtu \
         65535 \n    vlan protocol 802.1Q id 10 <REORDER_HDR,GVRP> \n      ingress-qos-map { 1:5 } \n      \
         egress-qos-map { 21:2 5:1 } numtxqueues 1 numrxqueues 1 \n"
    );
    assert!(show("inner", details).contains("\n    vlan protocol 802.1ad id 7 <> numtxqueues 1"));
    let json = show("r0.10", Options { json: true, ..details });
    assert!(
        json.contains(
            "\"linkinfo\":{\"info_kind\":\"vlan\",\"info_data\":{\"protocol\":\"802.1Q\",\"id\":10,\"flags\":\
             [\"REORDER_HDR\",\"GVRP\"],\"ingress_qos\":[{\"from\":1,\"to\":5}],\"egress_qos\":[{\"from\":21,\"to\":2},\
             {\"from\":5,\"to\":1}]}}"
        ),
        "{json}"
    );
    assert!(json.contains("\"link\":\"r0\",\"ifname\":\"r0.10\""), "{json}");
}

#[test]
fn a_bond_and_its_member_in_detail() {
    let details = Options { details: true, ..Options::default() };
    let bond = show("bond0", details);
    assert!(
        bond.starts_with("6: bond0: <BROADCAST,MULTICAST,MASTER> mtu 1500 qdisc noqueue state DOWN "),
        "{bond}"
    );
    assert!(
        bond.contains("\n    bond mode 802.3ad miimon 100 updelay 0 downdelay 0 peer_notify_delay 0 "),
        "{bond}"
    );
    assert!(bond.contains("lacp_active on lacp_rate fast "), "{bond}");
    let member = show("r1", details);
    assert!(
        member.starts_with(
            "3: r1: <BROADCAST,MULTICAST,SLAVE,UP,LOWER_UP> mtu 1500 qdisc noqueue master bond0 state UP "
        ),
        "{member}"
    );
    assert!(
        member.contains(
            "\n    bond_slave state BACKUP mii_status DOWN link_failure_count 0 perm_hwaddr 02:00:00:00:00:01 queue_id 2 \
             prio -3 numtxqueues 1"
        ),
        "{member}"
    );
    let json = show("r1", Options { json: true, ..details });
    assert!(
        json.contains(
            "\"linkinfo\":{\"info_slave_kind\":\"bond_slave\",\"info_slave_data\":{\"state\":\"BACKUP\","
        ),
        "{json}"
    );
}

#[test]
fn kinds_and_masters_select() {
    let names = |words: &str| {
        let brief = show(words, Options { brief: true, ..Options::default() });
        brief.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("type vlan"), ["r0.10@r0", "inner@r0.10"]);
    assert_eq!(names("type bond"), ["bond0"]);
    assert_eq!(names("type bond_slave"), ["r1"]);
    assert_eq!(names("master bond0"), ["r1"]);
    assert_eq!(names("type vlan up"), ["r0.10@r0"]);
}

//! Printed forms that no kernel here could show us, and statistics.

use skiff_dataplane::sched::cells::Special;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::time::Instant;

use super::*;

const RED: &str = "red limit 1M min 30000 max 30001 avpkt 1400 burst 38 bandwidth 10mbit";

#[test]
fn red_and_its_flags_and_numbers() {
    let mut lab = Lab::default();
    for (options, text) in [
        ("", ""),
        ("ecn", "ecn "),
        ("adaptative harddrop ecn nodrop", "ecn harddrop adaptive nodrop "),
        ("adaptive gentle", "adaptive gentle "),
    ] {
        lab.ok(&format!("qdisc replace dev d0 root handle 11: {RED} probability 0.02 {options}"));
        let expected = format!("qdisc red 11: root refcnt 2 limit 1Mb min 30000b max 30001b {text}");
        assert_eq!(lab.ok("qdisc show dev d0"), format!("{expected}\n"));
        let detailed = format!("{expected}ewma 5 probability 0.02 Scell_log 16\n");
        assert_eq!(lab.ok("-d qdisc show dev d0"), detailed);
    }
    let json = "[{\"kind\":\"red\",\"handle\":\"11:\",\"root\":true,\"refcnt\":2,\"options\":{\"limit\":1048576,\
                \"min\":30000,\"max\":30001,\"ecn\":false,\"harddrop\":false,\"adaptive\":true,\"nodrop\":false,\
                \"gentle\":true,\"ewma\":5,\"probability\":0.02,\"Scell_log\":16}}]\n";
    assert_eq!(lab.ok("-d -j qdisc show dev d0"), json);

    let cells = lab.picture.tree(IfIndex(1)).unwrap().root().unwrap().cells();
    cells.packets.add(7);
    cells.drops.add(3);
    let Special::Red(red) = &cells.special else { panic!("not red") };
    red.prob_mark.add(1);
    red.forced_mark.add(2);
    red.prob_drop.add(4);
    red.forced_drop.add(8);
    red.pdrop.add(16);
    let stats = lab.ok("-s qdisc show dev d0").split_once('\n').unwrap().1.to_owned();
    let expected = " Sent 0 bytes 7 pkt (dropped 3, overlimits 0 requeues 0) \n backlog 0b 0p requeues 0\n  \
                    marked 3 early 12 pdrop 16 other 0 \n";
    assert_eq!(stats, expected);
    assert!(
        lab.ok("-j -s qdisc show dev d0").ends_with("\"marked\":3,\"early\":12,\"pdrop\":16,\"other\":0}]\n")
    );
}

#[test]
fn red_says_what_tc_says_of_its_words() {
    let mut lab = Lab::default();
    let bandwidth = "RED: set bandwidth to 10Mbit\n";
    for (words, exit, text) in [
        ("", 1, "RED: Required parameter (limit, avpkt) is missing\n".to_owned()),
        ("limit 1", 1, "RED: Required parameter (limit, avpkt) is missing\n".to_owned()),
        ("limit x", 1, "Illegal \"limit\"\n".to_owned()),
        ("limit 400000 avpkt 1000 probability x", 1, "Illegal \"probability\"\n".to_owned()),
        (
            "limit 100K min 20K max 60K avpkt 1000 burst 5",
            1,
            format!(
                "{bandwidth}tc_red_eval_ewma() burst 5 is too small ? Try burst 21\nRED: failed to calculate EWMA constant.\n"
            ),
        ),
        ("limit 10k avpkt 1k", 1, format!("{bandwidth}RED: failed to calculate EWMA constant.\n")),
        (
            "limit 1M avpkt 1000 nodrop",
            2,
            format!("{bandwidth}Error: sch_red: nodrop mode is only meaningful with ECN.\n"),
        ),
        (
            "limit 1M avpkt 1000 qevent early_drop block 10",
            2,
            "Error: Qevents are not supported.\n".to_owned(),
        ),
        ("limit 400000 avpkt 1000", 0, bandwidth.to_owned()),
    ] {
        let reply = lab.tc(&format!("qdisc add dev d0 root red {words}"));
        assert_eq!((reply.exit, reply.stderr), (exit, text), "{words}");
    }
    let reply = lab.tc("qdisc add dev d0 root red foo");
    assert!(reply.exit == 1 && reply.stderr.starts_with("What is \"foo\"?\nUsage: ... red "));
}

#[test]
fn prio_its_words_and_classes() {
    let mut lab = Lab::default();
    for (words, text) in [
        ("bands x", "Illegal \"bands\"\n"),
        ("bands 3 priomap 1 2 3", "\"priomap\" element is out of bands\n"),
        ("bands 3 priomap 0 1 2 x", "Illegal \"priomap\" element\n"),
        ("bands 3 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", "\"priomap\" index > TC_PRIO_MAX=15\n"),
        ("bands 17", "RTNETLINK answers: Invalid argument\n"),
        ("bands 1", "RTNETLINK answers: Invalid argument\n"),
        ("bands 2", "RTNETLINK answers: Invalid argument\n"),
    ] {
        assert_eq!(lab.tc(&format!("qdisc add dev d0 root prio {words}")).stderr, text, "{words}");
    }
    lab.ok("qdisc add dev d0 root handle 1: prio");
    let text = "qdisc prio 1: root refcnt 2 bands 3 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1\n";
    assert_eq!(lab.ok("qdisc show dev d0"), text);
    lab.ok("qdisc add dev d0 parent 1:2 handle 2: pfifo limit 5");
    assert_eq!(
        lab.ok("class show dev d0"),
        "class prio 1:1 parent 1: \nclass prio 1:2 parent 1: leaf 2: \nclass prio 1:3 parent 1: \n"
    );
    let below = lab.picture.tree(IfIndex(1)).unwrap().qdisc(TcHandle::new(2, 0)).unwrap();
    below.cells().packets.add(9);
    assert_eq!(
        lab.ok("-s class show dev d0 classid 1:2"),
        "class prio 1:2 parent 1: leaf 2: \n Sent 0 bytes 9 pkt (dropped 0, overlimits 0 requeues 0) \n \
         backlog 0b 0p requeues 0\n"
    );
    let missing = lab.tc("qdisc add dev d0 parent 1:4 pfifo");
    assert_eq!(missing.stderr, "Error: Specified class not found.\n");
    assert_eq!(lab.tc("class del dev d0 classid 1:2").stderr, "RTNETLINK answers: Operation not supported\n");
}

#[test]
fn classes_of_htb_with_numbers_and_as_json() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: htb hysteresis");
    lab.ok("class add dev d0 parent 1: classid 1:1 htb rate 80mbit burst 10k cburst 20k");
    lab.ok(
        "class add dev d0 parent 1:1 classid 1:10 htb rate 8mbit burst 10k overhead 24 mpu 84 quantum 1500",
    );
    assert!(lab.ok("qdisc show dev d0").ends_with(" direct_qlen 1000 hysteresis\n"));
    let class = lab.picture.tree(IfIndex(1)).unwrap().htb_class(TcHandle::new(1, 0x10)).unwrap();
    class.cells.bytes.add(1514);
    class.cells.packets.add(1);
    class.cells.backlog.add(175_624);
    class.cells.qlen.add(116);
    class.cells.lended.add(4997);
    class.cells.borrowed.add(2873);
    class.cells.overlimits.add(2201);
    class.cells.tokens.set(-18759);
    class.cells.ctokens.set(-2321);
    assert_eq!(
        lab.ok("-s -d class show dev d0 classid 1:10"),
        "class htb 1:10 parent 1:1 prio 0 quantum 1500 rate 8Mbit overhead 24 ceil 8Mbit linklayer ethernet burst 10Kb/1 \
         mpu 84b cburst 2600b/1 mpu 84b level 0 \n Sent 1514 bytes 1 pkt (dropped 0, overlimits 2201 requeues 0) \n \
         backlog 175624b 116p requeues 0\n lended: 4997 borrowed: 2873 giants: 0\n tokens: -18759 ctokens: -2321\n\n"
    );
    assert_eq!(
        lab.ok("-j -s class show dev d0 classid 1:10"),
        "[{\"class\":\"htb\",\"handle\":\"1:10\",\"parent\":\"1:1\",\"prio\":0,\"rate\":1000000,\"overhead\":24,\
         \"ceil\":1000000,\"burst\":10240,\"cburst\":2600,\"bytes\":1514,\"packets\":1,\"drops\":0,\"overlimits\":2201,\
         \"requeues\":0,\"backlog\":175624,\"qlen\":116,\"lended\":4997,\"borrowed\":2873,\"giants\":0,\
         \"tokens\":-18759,\"ctokens\":-2321}]\n"
    );
    let all = lab.ok("class show");
    assert!(all.starts_with("class htb 1:1 dev d0 root rate 80Mbit "), "{all}");
    assert_eq!(
        lab.ok("-o -s qdisc show dev d1"),
        "qdisc noqueue 0: root refcnt 2 \\ Sent 0 bytes 0 pkt (dropped 0, \
                                                   overlimits 0 requeues 0) \\ backlog 0b 0p requeues 0\\"
    );
}

#[test]
fn what_is_fast_enough_gets_more_than_a_packet_at_once() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: htb");
    for (rate, burst) in
        [("64kbit", "1600b"), ("1mbit", "1725b"), ("1gbit", "126600b"), ("1mbit mtu 2048", "2173b")]
    {
        lab.ok(&format!("class replace dev d0 parent 1: classid 1:1 htb rate {rate}"));
        assert!(
            lab.ok("class show dev d0").ends_with(&format!(" burst {burst} cburst {burst} \n")),
            "{rate}"
        );
    }
}

#[test]
fn tbf_as_json_names_its_peak() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: tbf rate 1mbit burst 10k latency 10ms peakrate 2mbit minburst 1540 mpu 64");
    assert_eq!(
        lab.ok("-j -d qdisc show dev d0"),
        "[{\"kind\":\"tbf\",\"handle\":\"1:\",\"root\":true,\"refcnt\":2,\"options\":{\"rate\":125000,\
         \"burst\":\"10Kb/1\",\"mpu\":64,\"peakrate\":250000,\"mtu\":\"1540b/1\",\"lat\":10000,\
         \"linklayer\":\"ethernet\"}}]\n"
    );
}

#[test]
fn a_measured_rate_stands_before_the_backlog() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: estimator 250ms 500ms pfifo");
    let at = |ms: u64| Instant::from_nanos(1_000_000_000 + ms * 1_000_000);
    lab.picture.measure(at(0));
    lab.picture.tree(IfIndex(1)).unwrap().root().unwrap().cells().bytes.add(1_000_000);
    lab.picture.measure(at(100));
    lab.picture.measure(at(1000));
    let shown = lab.ok("-s qdisc show dev d0");
    assert!(shown.ends_with("\n rate 4Mbit 0pps backlog 0b 0p requeues 0\n"), "{shown}");
}

#[test]
fn words_may_be_short() {
    let mut lab = Lab::default();
    for line in [
        "q a dev d0 root handle 1: htb d 10 r 5 h",
        "cl add dev d0 parent 1: classid 1:1 htb rate 1mbit b 5k c 5k p 1 q 1500 m 2000 o 4 l ethernet",
        "qd cha dev d0 handle 1:",
        "-st -de q l dev d0 root",
        "qdisc ls",
        "c help",
    ] {
        let reply = lab.tc(line);
        assert!(reply.exit != 255 || line == "q l", "{line}: {}", reply.stderr);
    }
    assert_eq!(lab.tc("-n lab qdisc").exit, 255);
    assert!(lab.ok("-V").starts_with("tc utility, skiff-"));
    assert!(lab.ok("help").starts_with("Usage: skiff tc "));
    assert_eq!(input(&["-b".to_owned(), "f".to_owned()]), Some(1));
    assert_eq!(input(&["-s".to_owned(), "-batch".to_owned(), "-".to_owned()]), Some(2));
    assert_eq!(input(&["-s".to_owned(), "qdisc".to_owned()]), None);
    assert_eq!(lab.tc("qdisc add dev d0 root stab overhead 10 linklayer atm pfifo").exit, 2);
}

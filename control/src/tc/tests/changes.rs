//! What owners of trees hear, and that batches are all or nothing.

use std::fmt::Write as _;

use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::skb::Skb;

use super::*;

/// A change in short: the device, the way down, what.
fn brief((dev, op): &(IfIndex, TreeOp<Skb>)) -> String {
    let dev = dev.0 - 1;
    match op {
        TreeOp::Root(root) => format!("d{dev} root {}", root.is_some()),
        TreeOp::At(path, op) => {
            let path: Vec<String> = path.iter().map(TcHandle::to_string).collect();
            let what = match op {
                QdiscOp::Change(spec) => format!("change {}", spec.kind()),
                QdiscOp::Graft(class, new) => format!("graft {class} {}", new.is_some()),
                QdiscOp::ClassAdd { class, parent, params, limit, .. } => {
                    format!("class {class} below {parent}, {} B/s, {limit} packets", params.rate)
                }
                QdiscOp::ClassChange(class, params) => format!("class {class}, {} B/s", params.rate),
                QdiscOp::ClassDelete(class) => format!("no class {class}"),
                QdiscOp::Filters(handle, _) => format!("filters {handle}"),
            };
            format!("d{dev} [{}] {what}", path.join(" "))
        }
    }
}

impl Lab {
    /// What `tc LINE` makes the owners do.
    fn heard(&mut self, line: &str) -> Vec<String> {
        self.ops.clear();
        self.ok(line);
        self.ops.iter().map(brief).collect()
    }
}

#[test]
fn owners_hear_where_and_what() {
    let mut lab = Lab::default();
    for (line, heard) in [
        ("qdisc add dev d1 root handle 1: htb default 10", &["d1 root true"][..]),
        (
            "class add dev d1 parent 1: classid 1:1 htb rate 8mbit",
            &["d1 [] class 1:1 below 1:, 1000000 B/s, 1000 packets"],
        ),
        (
            "class add dev d1 parent 1:1 classid 1:10 htb rate 4mbit",
            &["d1 [] class 1:10 below 1:1, 500000 B/s, 1000 packets"],
        ),
        ("class change dev d1 classid 1:10 htb rate 2mbit", &["d1 [] class 1:10, 250000 B/s"]),
        ("qdisc add dev d1 parent 1:10 handle 2: prio", &["d1 [] graft 1:10 true"]),
        (
            "qdisc add dev d1 parent 2:3 handle 3: tbf rate 1mbit burst 5k limit 9k",
            &["d1 [1:10] graft 2:3 true"],
        ),
        ("qdisc add dev d1 parent 3:1 handle 4: pfifo limit 5", &["d1 [1:10 2:3] graft 3:1 true"]),
        ("qdisc change dev d1 handle 4: pfifo limit 6", &["d1 [1:10 2:3 3:1] change pfifo"]),
        (
            "qdisc change dev d1 handle 3: tbf rate 1mbit burst 5k limit 8k",
            &["d1 [1:10 2:3] change tbf", "d1 [1:10 2:3 3:1] change pfifo"],
        ),
        ("qdisc change dev d1 handle 4: pfifo", &[]),
        (
            "qdisc change dev d1 handle 2: prio bands 2 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            &["d1 [1:10] change prio"],
        ),
    ] {
        assert_eq!(lab.heard(line), heard, "{line}");
    }
    assert_eq!(lab.ok("qdisc show dev d1 handle 3:"), "", "went with its band");
    for (line, heard) in [
        ("qdisc del dev d1 parent 1:10", &["d1 [] graft 1:10 false"][..]),
        ("class del dev d1 classid 1:10", &["d1 [] no class 1:10"]),
        (
            "qdisc replace dev d1 root handle 5: red limit 400000 avpkt 1000 bandwidth 10mbit",
            &["d1 root true"],
        ),
        ("qdisc add dev d1 parent 5:7 handle 6: pfifo", &["d1 [] graft 5:1 true"]),
        ("qdisc change dev d1 root red limit 300000 avpkt 1000 bandwidth 10mbit", &["d1 [] change red"]),
        ("qdisc replace dev d1 root handle 7: noqueue", &["d1 root false"]),
        ("qdisc del dev d1 root", &["d1 root false"]),
        ("qdisc add dev d1 clsact", &[]),
    ] {
        assert_eq!(lab.heard(line), heard, "{line}");
    }
    assert_eq!(lab.ok("qdisc show dev d1 handle 6:"), "", "red begins again with a queue of its own");
}

#[test]
fn a_class_with_filters_stays() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: htb");
    lab.ok("class add dev d0 parent 1: classid 1:1 htb rate 1mbit");
    let dev = TwoDevices.find("d0").unwrap();
    let class = TcHandle::new(1, 1);
    let bind = |lab: &mut Lab, by: i32| {
        let work = |change: &mut tree::Change<'_>| {
            if by > 0 {
                change.tree.bind(class, 1)
            } else {
                change.tree.unbind(class, 1)
            }
            Ok(())
        };
        lab.picture.change(&dev, &mut Ops::new(), work).unwrap();
    };
    bind(&mut lab, 1);
    let reply = lab.tc("class del dev d0 classid 1:1");
    assert_eq!((reply.exit, reply.stderr.as_str()), (2, "Error: HTB class in use.\n"));
    bind(&mut lab, -1);
    lab.ok("class del dev d0 classid 1:1");
}

#[test]
fn disciplines_nest_so_deep_and_no_deeper() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d0 root handle 1: prio");
    for major in 1..16 {
        lab.ok(&format!("qdisc add dev d0 parent {major:x}:1 handle {:x}: prio", major + 1));
    }
    let reply = lab.tc("qdisc add dev d0 parent 10:1 handle 11: pfifo");
    assert_eq!((reply.exit, reply.stderr.as_str()), (2, "Error: Too many disciplines below each other.\n"));
    assert_eq!(lab.heard("qdisc del dev d0 parent f:1").len(), 1);
    lab.ok("qdisc del dev d0 root");
    assert_eq!(lab.ok("qdisc show dev d0"), "qdisc noqueue 0: root refcnt 2 \n");
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut lab = Lab::default();
    lab.ok("qdisc add dev d1 root handle 9: pfifo limit 3");
    lab.ops.clear();
    let before = lab.ok("-d qdisc show");
    let text = "# all of it\nqdisc replace dev d1 root handle 1: htb \\\n default 5\nqdisc add dev d0 root pfifo\n\
                class add dev d1 parent 1: classid 1:5 htb rate 8mbit\nqdisc show dev d1\n\
                class add dev d1 parent 1: classid 1:5 htb rate 5mbit\nqdisc del dev d0 root\n";
    let reply = lab.batch("-b trees", text);
    assert_eq!(
        reply.stderr,
        "Warning: sch_htb: quantum of class 10005 is big. Consider r2q change.\n\
                              RTNETLINK answers: File exists\nCommand failed trees:7\n"
            .replace("Warning: sch_htb: quantum of class 10005 is big. Consider r2q change.\n", "")
    );
    assert_eq!((reply.exit, lab.ops.len()), (1, 0));
    assert_eq!(lab.ok("-d qdisc show"), before);
    let good = text.replace("classid 1:5 htb rate 5mbit", "classid 1:6 htb rate 5mbit");
    let reply = lab.batch("-batch -", &good);
    assert_eq!((reply.exit, reply.stderr.as_str()), (0, ""));
    assert_eq!(
        reply.stdout,
        "qdisc htb 1: root refcnt 2 r2q 10 default 0x5 direct_packets_stat 0 direct_qlen 1000\n"
    );
    assert_eq!(lab.ops.len(), 5);
    // A number that nobody chose is not used up by a batch that failed.
    let failed = lab.batch("-b -", "qdisc add dev d0 root pfifo\nfoo\n");
    assert_eq!(failed.stderr, "Object \"foo\" is unknown, try \"tc help\".\nCommand failed -:2\n");
    lab.ok("qdisc add dev d0 root pfifo");
    assert_eq!(lab.ok("qdisc show dev d0"), "qdisc pfifo 8002: root refcnt 2 limit 1000p\n");
}

#[test]
fn ten_thousand_commands_are_one_batch() {
    let mut text = String::from("qdisc add dev d0 root handle 1: htb\n");
    for minor in 1..=5000u32 {
        let _ = writeln!(text, "class add dev d0 parent 1: classid 1:{minor:x} htb rate 1mbit quantum 1500");
        let _ = writeln!(text, "qdisc add dev d0 parent 1:{minor:x} handle {:x}: pfifo limit 9", minor + 1);
    }
    let mut lab = Lab::default();
    assert_eq!(lab.batch("-b -", &text), Reply::ok(""));
    assert_eq!(lab.ops.len(), 10_001);
    assert_eq!(lab.ok("class show dev d0").lines().count(), 5000);
    assert_eq!(lab.batch("-b -", &format!("{text}foo\n")).exit, 1);
    assert_eq!(lab.ok("qdisc show dev d0").lines().count(), 5001);
}

#[test]
fn a_file_of_commands_is_checked_whole() {
    let text =
        "qdisc add dev d0 root handle 1: htb\n  class add dev d0 parent 2: classid 2:1 htb rate 1mbit\n";
    let mut picture = Picture::default();
    let faults = load(text, &mut picture, &TwoDevices, Instant::ZERO).unwrap_err();
    assert_eq!(faults, [Fault { start: 38, why: "No such file or directory".to_owned() }]);
    assert_eq!(picture.trees().count(), 0);
    let ops = load(&text.replace("2:", "1:"), &mut picture, &TwoDevices, Instant::ZERO).unwrap().ops;
    assert_eq!((ops.len(), picture.trees().count()), (2, 1));
    assert_eq!(picture.clear().ops.iter().map(brief).collect::<Vec<_>>(), ["d0 root false"]);
}

#[test]
fn what_only_prints_is_no_configuration() {
    for line in [
        "qdisc show dev d0",
        "class ls dev d0",
        "filter show dev d0",
        "filter",
        "filter help",
        "filter get dev d0 parent 1: protocol ip pref 1 handle 1 fw",
        "actions ls action gact",
        "actions get action gact index 1",
        "actions",
    ] {
        let faults = load(line, &mut Picture::default(), &TwoDevices, Instant::ZERO).unwrap_err();
        assert_eq!(faults, [Fault { start: 0, why: "changes nothing".to_owned() }], "{line}");
    }
}

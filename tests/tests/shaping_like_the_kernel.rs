//! The same trees of classes on this machine's kernel and on skiff, at the same time: htb divides the line alike.
//!
//! What a class gets is measured where it arrives. Both are compared with what the parameters promise; the kernel's
//! error is printed beside ours.

use std::fs;
use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, Lab, Load, LoadFlow, Netns, Skiff, veth};

/// How long each is watched, unless `$SKIFF_SECONDS` says.
const SECONDS: f64 = 2.0;
/// Most that a class may be off what its parameters promise, of that.
const TOLERANCE: f64 = 0.02;
/// How often a tree is looked at if others took the worker's CPU meanwhile.
const ATTEMPTS: usize = 5;
/// What each sender offers, Mbit/s.
const OFFERED: f64 = 120.0;
/// The port of the first class; the others follow.
const FIRST_PORT: u16 = 5001;

/// A tree and what its classes get, in the order of their ports.
struct Row {
    name: &'static str,
    /// Lines of tc, without device.
    classes: &'static str,
    /// Class of each port.
    leaves: &'static [&'static str],
    /// Mbit/s; none where nothing is sent.
    expected: &'static [Option<f64>],
    frame: usize,
}

const GUIDE: &str = "qdisc add root handle 1: htb default 99
class add parent 1: classid 1:1 htb rate 100mbit ceil 100mbit
class add parent 1:1 classid 1:2 htb rate 40mbit ceil 100mbit
class add parent 1:2 classid 1:10 htb rate 30mbit ceil 100mbit quantum 3750
class add parent 1:2 classid 1:11 htb rate 10mbit ceil 100mbit quantum 1250
class add parent 1:1 classid 1:12 htb rate 60mbit ceil 100mbit";

const ROWS: [Row; 8] = [
    Row {
        name: "H2 shares by quantum",
        classes: "qdisc add root handle 1: htb r2q 1000
class add parent 1: classid 1:1 htb rate 100mbit ceil 100mbit
class add parent 1:1 classid 1:10 htb rate 20mbit ceil 100mbit
class add parent 1:1 classid 1:11 htb rate 60mbit ceil 100mbit",
        leaves: &["1:10", "1:11"],
        expected: &[Some(25.0), Some(75.0)],
        frame: 1514,
    },
    Row {
        name: "H4 priority of what is borrowed",
        classes: "qdisc add root handle 1: htb
class add parent 1: classid 1:1 htb rate 100mbit ceil 100mbit
class add parent 1:1 classid 1:10 htb rate 10mbit ceil 100mbit prio 0
class add parent 1:1 classid 1:11 htb rate 10mbit ceil 100mbit prio 1",
        leaves: &["1:10", "1:11"],
        // The second's own rate is sure; the first borrows all that is left.
        expected: &[Some(90.0), Some(10.0)],
        frame: 1514,
    },
    Row {
        name: "H5 a ceiling",
        classes: "qdisc add root handle 1: htb
class add parent 1: classid 1:1 htb rate 100mbit ceil 100mbit
class add parent 1:1 classid 1:10 htb rate 10mbit ceil 30mbit",
        leaves: &["1:10"],
        expected: &[Some(30.0)],
        frame: 1514,
    },
    Row {
        name: "H7 the user guide's tree",
        classes: GUIDE,
        leaves: &["1:10", "1:11", "1:12"],
        expected: &[Some(30.0), Some(10.0), Some(60.0)],
        frame: 1514,
    },
    Row {
        name: "H8 the same without 1:10",
        classes: GUIDE,
        leaves: &["1:10", "1:11", "1:12"],
        expected: &[None, Some(40.0), Some(60.0)],
        frame: 1514,
    },
    Row {
        name: "H10 the same without 1:12",
        classes: GUIDE,
        leaves: &["1:10", "1:11", "1:12"],
        expected: &[Some(72.7), Some(27.3), None],
        frame: 1514,
    },
    Row {
        name: "H13 small frames",
        classes: "qdisc add root handle 1: htb
class add parent 1: classid 1:10 htb rate 10mbit",
        leaves: &["1:10"],
        expected: &[Some(10.0)],
        frame: 64,
    },
    Row {
        name: "H15 the line's overhead",
        classes: "qdisc add root handle 1: htb
class add parent 1: classid 1:10 htb rate 10mbit overhead 24 mpu 84",
        leaves: &["1:10"],
        expected: &[Some(9.844)],
        frame: 1514,
    },
];

impl Row {
    /// The lines of tc for this device: classes, short queues (a long one would stop the sender's socket), filters.
    fn lines(&self, dev: &str) -> String {
        let mut lines = String::new();
        for line in self.classes.lines() {
            let (object, rest) = line.split_once(" add ").expect("only additions");
            lines += &format!("{object} add dev {dev} {rest}\n");
        }
        for (at, leaf) in self.leaves.iter().enumerate() {
            lines += &format!("qdisc add dev {dev} parent {leaf} pfifo limit 50\n");
            lines += &format!(
                "filter add dev {dev} parent 1: protocol ip prio 1 u32 match ip dport {} 0xffff flowid {leaf}\n",
                FIRST_PORT + at as u16
            );
        }
        lines
    }

    /// Prints what came and tells what should not have.
    fn judge(&self, ours: &[f64], kernels: &[f64], waited: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        let error = |got: f64, want: f64| (got / want - 1.0) * 100.0;
        for ((want, ours), kernels) in self.expected.iter().flatten().zip(ours).zip(kernels) {
            println!(
                "{:<32} {want:>7.3} Mbit/s: skiff {ours:>8.3} ({:+.2} %), kernel {kernels:>8.3} ({:+.2} %); \
                 the worker waited {waited:?} for its CPU",
                self.name,
                error(*ours, *want),
                error(*kernels, *want)
            );
            // The senders may have been late too.
            let allowed = TOLERANCE.max((kernels / want - 1.0).abs() * 1.5);
            if (ours / want - 1.0).abs() > allowed {
                faults.push(format!("{}: {want} Mbit/s expected, {ours} came", self.name));
            }
        }
        faults
    }

    fn flows(&self) -> Vec<LoadFlow> {
        let sent = self.expected.iter().enumerate().filter(|(_, rate)| rate.is_some());
        sent.map(|(at, _)| LoadFlow {
            frame: self.frame,
            mbit: if self.frame < 1000 { 15.0 } else { OFFERED },
            port: FIRST_PORT + at as u16,
        })
        .collect()
    }
}

#[test]
fn classes_get_what_they_are_promised_here_and_there() {
    let seconds = std::env::var("SKIFF_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let lab = Lab::new();
    let skiff = lab.start("");
    let kernel = [Netns::new("k0"), Netns::new("k1")];
    veth((&kernel[0], "eth0"), (&kernel[1], "eth0"));
    kernel[0].address("eth0", &format!("{A_ADDR}/8"));
    kernel[1].address("eth0", &format!("{B_ADDR}/8"));
    let over = Duration::from_secs_f64(seconds);
    let mut wrong = Vec::new();
    for row in &ROWS {
        shape(&skiff, &kernel[0], row);
        let flows = row.flows();
        let ours = Load::start(&lab.a, &lab.b, B_ADDR, &flows);
        let kernels = Load::start(&kernel[0], &kernel[1], B_ADDR, &flows);
        std::thread::sleep(Duration::from_secs(1));
        let mut faults = Vec::new();
        for _ in 0..ATTEMPTS {
            let waited = waited_for_a_cpu(skiff.pid());
            let (got, there) = std::thread::scope(|scope| {
                let there = scope.spawn(|| kernels.rates(over));
                (ours.rates(over), there.join().expect("rates"))
            });
            let waited = waited_for_a_cpu(skiff.pid()) - waited;
            faults = row.judge(&got, &there, waited);
            // What others took of the worker's CPU is no fault of its scheduler.
            if faults.is_empty() || waited < over / 500 {
                break;
            }
        }
        wrong.extend(faults);
        [ours, kernels].into_iter().for_each(Load::stop);
        skiff.ctl("tc qdisc del dev wan root");
        kernel[0].run("tc qdisc del dev eth0 root");
    }
    assert_eq!(wrong, [""; 0]);
    skiff.stop_cleanly();
}

/// How long the router's worker was ready to run and did not, since it began: what its burst has to cover.
fn waited_for_a_cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the router runs");
    let worker = tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "skiff-lcore0"));
    let text = fs::read_to_string(worker.expect("a worker").join("schedstat")).expect("its times");
    let waited = text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(waited.unwrap_or_else(|| panic!("schedstat: {text}")))
}

fn shape(skiff: &Skiff, kernel: &Netns, row: &Row) {
    for line in row.lines("wan").lines() {
        skiff.ctl(&format!("tc {line}"));
    }
    for line in row.lines("eth0").lines() {
        kernel.run(&format!("tc {line}"));
    }
}

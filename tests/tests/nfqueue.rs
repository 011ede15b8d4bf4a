//! Packets for user space: rules that queue, and a listener in Python that decides.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, Lab, Skiff, eventually, ping};

const LIMIT: Duration = Duration::from_secs(20);

/// The example, listening to queue 7; ended by drop.
struct Listener(Child);

impl Listener {
    fn start(skiff: &Skiff, drop_to: &str) -> Listener {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/nfqueue.py");
        let socket = skiff.socket().replace("skiff.sock", "nfqueue.sock");
        let child = Command::new("python3")
            .args([script, "--socket", &socket, "--queue", "7", "--drop-to", drop_to])
            .stdout(Stdio::null())
            .spawn()
            .expect("this test runs python3");
        let listener = Listener(child);
        eventually("the listener has its queue", LIMIT, || skiff.json("nfqueue -j")[0]["queue_number"] == 7);
        listener
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The one queue's row.
fn queue(skiff: &Skiff, column: &str) -> u64 {
    skiff.json("nfqueue -j")[0][column].as_u64().unwrap_or_else(|| panic!("no column {column}"))
}

fn rules(options: &str) -> String {
    format!("[netfilter]\nrules = '''\n*filter\n-A FORWARD -j NFQUEUE --queue-num 7{options}\nCOMMIT\n'''\n")
}

#[test]
fn a_queue_is_there_as_long_as_its_listener() {
    let lab = Lab::new();
    let skiff = lab.start("");
    assert_eq!((skiff.ctl("nfqueue").as_str(), skiff.ctl("nfqueue -j").as_str()), ("", "[]\n"));
    let listener = Listener::start(&skiff, "192.0.2.1");
    let pid = listener.0.id();
    assert_eq!(skiff.ctl("nfqueue"), format!("    7 {pid:6}     0 2 65535     0     0        0  1\n"));
    assert_eq!(skiff.metrics().sum("skiff_nfqueue_waiting", &[("queue", "7")]), 0);
    drop(listener);
    eventually("the queue has ended with its listener", LIMIT, || skiff.ctl("nfqueue").is_empty());
    let hooks = skiff.json("hooks -j");
    assert_eq!((&hooks[2]["hook"], &hooks[2]["packets"]["queue"]), (&"FORWARD".into(), &0.into()));
    let _left_behind = Listener::start(&skiff, "192.0.2.1");
    skiff.stop_cleanly();
}

#[test]
fn a_listener_decides_about_every_packet() {
    let lab = Lab::new();
    let skiff = lab.start(&rules(""));

    // Nobody listens: nothing passes.
    ping(&lab.a, &format!("-c 3 -i 0.01 -W 1 {B_ADDR}")).expect_none();
    assert_eq!(skiff.ctl("nfqueue"), "");

    let listener = Listener::start(&skiff, "192.0.2.1");
    ping(&lab.a, &format!("-q -c 50 -i 0.01 -W 5 {B_ADDR}")).expect_all(50);
    assert_eq!((queue(&skiff, "id_sequence"), queue(&skiff, "queue_total")), (100, 0));
    drop(listener);
    eventually("the queue has ended with its listener", LIMIT, || skiff.ctl("nfqueue").is_empty());
    ping(&lab.a, &format!("-c 3 -i 0.01 -W 1 {B_ADDR}")).expect_none();

    // A listener that does not want the replies.
    let _listener = Listener::start(&skiff, A_ADDR);
    ping(&lab.a, &format!("-c 3 -i 0.01 -W 1 {B_ADDR}")).expect_none();
    assert_eq!(queue(&skiff, "id_sequence"), 6);
    let metrics = skiff.metrics();
    assert_eq!(metrics.sum("skiff_nfqueue_queued_total", &[("queue", "7")]), 6);
    // Three without a listener, three after its end, three replies.
    let dropped = [("hook", "FORWARD"), ("verdict", "drop")];
    assert_eq!(metrics.sum("skiff_hook_packets_total", &dropped), 9, "{}", metrics.text);
    skiff.stop_cleanly();
}

#[test]
fn bypass_lets_packets_by_while_nobody_listens() {
    let lab = Lab::new();
    let skiff = lab.start(&rules(" --queue-bypass"));
    ping(&lab.a, &format!("-q -c 20 -i 0.01 -W 5 {B_ADDR}")).expect_all(20);
    let _listener = Listener::start(&skiff, B_ADDR);
    ping(&lab.a, &format!("-c 3 -i 0.01 -W 1 {B_ADDR}")).expect_none();
    skiff.stop_cleanly();
}

/// A listener that stands still holds its packets; at the end none is lost.
#[test]
fn packets_that_wait_at_the_end_are_freed() {
    let lab = Lab::new();
    let skiff = lab.start(&rules(""));
    let listener = Listener::start(&skiff, "192.0.2.1");
    let pid = nix::unistd::Pid::from_raw(listener.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("our own child");
    ping(&lab.a, &format!("-c 5 -i 0.01 -W 1 {B_ADDR}")).expect_none();
    eventually("they wait", LIMIT, || queue(&skiff, "queue_total") == 5);
    let ledger = skiff.stop_cleanly();
    assert_eq!(ledger.held, 0);
}

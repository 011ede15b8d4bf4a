//! `skiff capture` as its users have it: piped into tcpdump, into files, for what is dropped and why.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_tests::{
    A_ADDR, B_ADDR, Lab, RawSocket, Skiff, TempDir, eventually, ping, run, skiff_binary, transfer,
};

const SOON: Duration = Duration::from_secs(10);

/// A running `skiff capture`. Killed on drop.
struct Capturing {
    child: Child,
    dir: TempDir,
}

impl Capturing {
    /// Starts it with `args`, its output into a file, and waits until it looks.
    #[track_caller]
    fn start(skiff: &Skiff, args: &str) -> Capturing {
        let dir = TempDir::new();
        let out = File::create(dir.path().join("out")).unwrap();
        Capturing::spawn(skiff, args, out.into(), dir)
    }

    #[track_caller]
    fn spawn(skiff: &Skiff, args: &str, out: Stdio, dir: TempDir) -> Capturing {
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(skiff_binary());
        command.args(["--socket", &skiff.socket(), "capture"]).args(args.split_whitespace());
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().unwrap();
        let mut capturing = Capturing { child, dir };
        eventually("the capture", SOON, || {
            let ended = capturing.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", capturing.log());
            capturing.log().contains("listening on")
        });
        capturing
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn out(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("out")).unwrap()
    }

    /// Ends it as Ctrl-C does.
    #[track_caller]
    fn stop(mut self) -> Captured {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.wait()
    }

    /// Waits for its own end.
    #[track_caller]
    fn wait(&mut self) -> Captured {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        let log = self.log();
        let count = |what: &str| {
            let line = log.lines().find_map(|line| line.strip_suffix(what));
            line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {what}: {log}"))
        };
        Captured {
            captured: count("packets captured"),
            matched: count("packets received by filter"),
            missed: count("packets missed by the capture"),
            bytes: self.out(),
        }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a capture ended with.
struct Captured {
    captured: u64,
    matched: u64,
    missed: u64,
    bytes: Vec<u8>,
}

/// A packet in a pcapng file.
#[derive(Debug)]
struct Packet {
    device: String,
    flags: Option<u32>,
    comment: Option<String>,
    bytes: Vec<u8>,
}

/// Reads what a capture writes, by the draft's drawings.
fn packets(file: &[u8]) -> Vec<Packet> {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut rest, mut devices, mut packets) = (file, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (kind, len) = (word(rest, 0), word(rest, 4) as usize);
        let (block, behind) = rest.split_at(len);
        assert_eq!(word(block, len - 4) as usize, len);
        rest = behind;
        let body = &block[8..len - 4];
        match kind {
            1 => devices.push(String::from_utf8(option(&body[8..], 2).unwrap()).unwrap()),
            6 => {
                let captured = word(body, 12) as usize;
                let options = &body[20 + captured.next_multiple_of(4)..];
                packets.push(Packet {
                    device: devices[word(body, 0) as usize].clone(),
                    flags: option(options, 2).map(|flags| word(&flags, 0)),
                    comment: option(options, 1).map(|text| String::from_utf8(text).unwrap()),
                    bytes: body[20..20 + captured].to_vec(),
                });
            }
            kind => assert_eq!((kind, packets.len()), (0x0a0d_0d0a, 0)),
        }
    }
    packets
}

fn option(mut options: &[u8], wanted: u16) -> Option<Vec<u8>> {
    while let [a, b, c, d, rest @ ..] = options {
        let (code, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        if code == wanted {
            return Some(rest[..len].to_vec());
        }
        options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[test]
fn tcpdump_shows_the_pings_as_they_are_sent_and_nothing_else() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let dir = TempDir::new();
    let text = dir.path().join("text");
    let mut capture = Capturing::spawn(&skiff, "-i lan -w - icmp", Stdio::piped(), dir);
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-n", "-l", "-r", "-"]).stdin(capture.child.stdout.take().unwrap());
    let mut tcpdump = tcpdump.stdout(File::create(&text).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    transfer(&lab.a, &lab.b, B_ADDR, 100_000);
    ping(&lab.a, &format!("-c 5 -i 0.05 {B_ADDR}")).expect_all(5);
    // The capture goes on: what has come is there.
    eventually("ten lines", SOON, || fs::read_to_string(&text).unwrap().lines().count() >= 10);
    let stopped = {
        kill(Pid::from_raw(capture.child.id() as i32), Signal::SIGINT).unwrap();
        fs::write(capture.dir.path().join("out"), []).unwrap();
        capture.wait()
    };
    assert!(tcpdump.wait().unwrap().success());
    let lines = fs::read_to_string(&text).unwrap();
    let count = |what: &str| lines.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count(&format!("IP {A_ADDR} > {B_ADDR}: ICMP echo request")), 5, "{lines}");
    assert_eq!(count(&format!("IP {B_ADDR} > {A_ADDR}: ICMP echo reply")), 5, "{lines}");
    assert_eq!((lines.lines().count(), stopped.captured, stopped.matched), (10, 10, 10), "{lines}");
    skiff.stop_cleanly();
}

#[test]
fn files_say_which_way_a_packet_went_on_which_device() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let capture = Capturing::start(&skiff, "-w - icmp[icmptype] = icmp-echo");
    ping(&lab.a, &format!("-c 3 -i 0.05 {B_ADDR}")).expect_all(3);
    let stopped = capture.stop();
    let packets = packets(&stopped.bytes);
    let on = |device: &str| {
        let own = packets.iter().filter(|packet| packet.device == device);
        own.map(|packet| (packet.flags, packet.bytes[22])).collect::<Vec<_>>()
    };
    assert_eq!((on("lan"), on("wan")), (vec![(Some(1), 64); 3], vec![(Some(2), 63); 3]), "{packets:?}");
    skiff.stop_cleanly();
}

#[test]
fn dropped_packets_carry_the_reason() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let capture = Capturing::start(&skiff, "-i lan --dir drop -w - icmp or udp");
    skiff.ctl(&format!("iptables -A FORWARD -p icmp -d {B_ADDR} -j DROP"));
    ping(&lab.a, &format!("-c 2 -i 0.05 -W 1 {B_ADDR}")).expect_none();
    let mut frame = lab.router.mac("lan").to_vec();
    frame.extend(lab.a.mac("eth0"));
    // UDP to B whose header checksum is not right.
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0xba, 0xad, 10, 0, 0, 2, 10, 0, 1, 2]);
    frame.extend([0, 7, 0, 7, 0, 8, 0, 0]);
    frame.resize(60, 0);
    RawSocket::open(&lab.a, "eth0").send(&frame);
    eventually("the drop", SOON, || packets(&capture.out()).len() == 3);
    let stopped = capture.stop();
    let packets = packets(&stopped.bytes);
    let comments: Vec<_> =
        packets.iter().map(|packet| packet.comment.as_deref().unwrap_or_default()).collect();
    let dropped = "drop netfilter_drop at ip_forward";
    assert_eq!(comments, [dropped, dropped, "drop ip_csum at ip_list_rcv"]);
    assert!(packets.iter().all(|packet| packet.device == "lan" && packet.flags.is_none()));
    assert_eq!(packets[2].bytes, frame);
    skiff.stop_cleanly();
}

#[test]
fn without_a_file_there_is_a_line_for_each() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let capture = Capturing::start(&skiff, "--dir rx -c 2 icmp");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let mut capture = capture;
    // It ends by itself.
    let lines = String::from_utf8(capture.wait().bytes).unwrap();
    let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let request = format!("lan rx IP {A_ADDR} > {B_ADDR}: icmp echo request, length 98");
    let reply = format!("wan rx IP {B_ADDR} > {A_ADDR}: icmp echo reply, length 98");
    assert_eq!(lines, [request, reply]);
    skiff.stop_cleanly();
}

#[test]
fn old_readers_get_the_old_format() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let dir = TempDir::new();
    let file = dir.file("pcap");
    let mut capture = Capturing::start(&skiff, &format!("-i wan --format pcap -s 60 -c 4 -w {file} icmp"));
    ping(&lab.a, &format!("-c 2 -i 0.05 {B_ADDR}")).expect_all(2);
    assert_eq!(capture.wait().captured, 4);
    assert_eq!(fs::read(&file).unwrap()[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    let lines = run(Command::new("tcpdump").args(["-n", "-r", &file])).ok();
    assert_eq!(lines.lines().filter(|line| line.contains("ICMP echo")).count(), 4, "{lines}");
    skiff.stop_cleanly();
}

#[test]
fn mistakes_are_told_before_anything_happens() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let outcome = skiff.try_ctl("capture tcp prot 80");
    let expected = "skiff: capture: can't parse filter expression: syntax error\n";
    assert_eq!((outcome.code, outcome.err.as_str()), (2, expected));
    let outcome = skiff.try_ctl("capture -i nope");
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("nope") && outcome.err.lines().count() == 1, "{}", outcome.err);
    assert_eq!(skiff.try_ctl("capture --dir up").code, 2);
    skiff.stop_cleanly();
}

#[test]
fn a_client_that_is_killed_leaves_no_capture_behind() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let captures: Vec<_> = (0..8).map(|_| Capturing::start(&skiff, "-w - port 9")).collect();
    let refused = skiff.try_ctl("capture -c 1");
    let expected = "skiff: capture: 8 captures are running, and there cannot be more\n";
    assert_eq!((refused.code, refused.err.as_str()), (1, expected));
    // Killed: they say nothing.
    drop(captures);
    eventually("room for another", SOON, || {
        let outcome = skiff.try_ctl("capture -i nope");
        !outcome.err.contains("cannot be more")
    });
    let all = Capturing::start(&skiff, "-w - port 9");
    assert_eq!(all.stop().captured, 0);
    skiff.stop_cleanly();
}

#[test]
fn a_capture_ends_with_the_router() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let mut capture = Capturing::start(&skiff, "-w - icmp");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    skiff.stop_cleanly();
    let status = capture.child.wait().unwrap();
    assert!(status.code().is_some(), "{status}: {}", capture.log());
    assert_eq!(packets(&capture.out()).len(), 4, "{}", capture.log());
}

#[test]
fn a_flood_is_captured_or_missed_and_never_lost() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-c 1 {B_ADDR}")).expect_all(1);
    let capture = Capturing::start(&skiff, "-w - icmp");
    ping(&lab.a, &format!("-f -c 5000 -s 1000 {B_ADDR}")).expect_all(5000);
    let stopped = capture.stop();
    assert_eq!(stopped.matched, 20_000);
    assert_eq!(stopped.captured + stopped.missed, stopped.matched);
    assert_eq!(packets(&stopped.bytes).len() as u64, stopped.captured);
    let ledger = skiff.stop_cleanly();
    assert!(ledger.rx >= 10_000, "{ledger:?}");
}

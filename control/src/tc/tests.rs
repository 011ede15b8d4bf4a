//! The whole language: transcripts of iproute2 6.1 with a Linux 6.18 kernel, which `tests/record.sh` makes.

use std::fmt::Write as _;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::time::Instant;

use super::*;

/// A router with two devices, d0 and d1.
#[derive(Default)]
pub(super) struct Lab {
    pub picture: Picture,
    /// All changes so far.
    pub ops: Ops,
}

pub(super) struct TwoDevices;

impl Devices for TwoDevices {
    fn find(&self, name: &str) -> Option<Device> {
        self.all().into_iter().find(|dev| dev.name == name)
    }

    fn all(&self) -> Vec<Device> {
        let dev = |index: u16| Device {
            index: IfIndex(index + 1),
            name: format!("d{index}"),
            mtu: 1500,
            speed: Some(1_250_000_000),
        };
        vec![dev(0), dev(1)]
    }
}

impl Lab {
    /// Runs `tc LINE`, with the text of a batch.
    pub fn batch(&mut self, line: &str, input: &str) -> Reply {
        let args = line.split_whitespace().map(str::to_owned).collect();
        let call = Call { args, input: input.to_owned() };
        let (reply, changes) = run(&call, &mut self.picture, &TwoDevices, Instant::ZERO);
        self.ops.extend(changes.ops);
        reply
    }

    /// Runs `tc LINE`.
    pub fn tc(&mut self, line: &str) -> Reply {
        self.batch(line, "")
    }

    /// What `tc LINE` prints; it must succeed.
    pub fn ok(&mut self, line: &str) -> String {
        let reply = self.tc(line);
        assert_eq!(reply.exit, 0, "{line}: {}", reply.stderr);
        reply.stdout
    }
}

/// What is compared: no usage texts, which are ours; no tokens, which no class has here that no lcore knows; and lines in any
/// order, because the kernel's is that of a hash.
fn comparable(text: &str) -> Vec<&str> {
    let ours = |line: &&str| {
        ["Usage", "       ", " tokens:"].iter().any(|start| line.starts_with(start)) || line.is_empty()
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !ours(line)).collect();
    lines.sort_unstable();
    lines
}

fn replay(transcript: &str) {
    let mut lab = Lab::default();
    let mut wrong = String::new();
    let mut lines = transcript.lines().filter(|line| !line.starts_with('#')).peekable();
    while let Some(command) = lines.next() {
        let command = command.strip_prefix("$ tc ").expect("a command");
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            expected.push_str(line);
            expected.push('\n');
        }
        let reply = lab.tc(command);
        let printed = format!("{}{}=> {}\n", reply.stderr, reply.stdout, reply.exit);
        if comparable(&printed) != comparable(&expected) {
            let _ = writeln!(wrong, "$ tc {command}\n--- expected\n{expected}--- printed\n{printed}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn disciplines_as_in_the_kernel() {
    replay(include_str!("tests/qdisc.txt"));
}

#[test]
fn classes_as_in_the_kernel() {
    replay(include_str!("tests/htb.txt"));
}

#[test]
fn tbf_as_in_the_kernel() {
    replay(include_str!("tests/tbf.txt"));
}

mod changes;
mod round_trip;
mod shown;

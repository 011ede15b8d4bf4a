//! Debian's dpdk-testpmd as the DPDK neighbour at the other end of a memif or vhost-user cable.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::netns::Netns;
use crate::tempdir::TempDir;

const PROMPT: &str = "testpmd> ";
const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A testpmd at its prompt. Killed on drop.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    stdin: ChildStdin,
    dir: TempDir,
}

/// What testpmd counts for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets a full ring lost.
    pub rx_missed: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Testpmd {
    /// Starts testpmd without hugepages, its worker on the peers' CPU.
    ///
    /// `vdevs` are device arguments; `app` is what follows the `--`, such as `--forward-mode=io --auto-start`.
    ///
    /// # Panics
    /// If it does not reach its prompt.
    #[track_caller]
    pub fn start(netns: &Netns, vdevs: &[&str], app: &str) -> Self {
        let dir = TempDir::new();
        let lcores = format!("0@{},1@{}", Lab::router_cpu(), Lab::peer_cpu());
        let mut line = format!(
            "stdbuf -o0 dpdk-testpmd --lcores {lcores} --no-huge -m 256 --no-shconf --no-pci --no-telemetry \
             --file-prefix {}",
            dir.name()
        );
        for vdev in vdevs {
            line += &format!(" --vdev {vdev}");
        }
        line += &format!(" -- -i --total-num-mbufs=16384 {app}");

        let log = File::create(dir.path().join("log")).expect("the directory is ours");
        let mut command = netns.command(&line);
        command.stdin(Stdio::piped()).stderr(log.try_clone().expect("an open file")).stdout(log);
        let mut child = command.spawn().unwrap_or_else(|why| panic!("{line}: {why}"));
        let stdin = child.stdin.take().expect("piped");
        let testpmd = Testpmd { child, stdin, dir };
        testpmd.wait_for_prompt(0, START_LIMIT);
        testpmd
    }

    /// Types a command and returns what it prints.
    ///
    /// # Panics
    /// If testpmd does not come back to its prompt.
    #[track_caller]
    pub fn tell(&mut self, command: &str) -> String {
        let before = self.log().len();
        writeln!(self.stdin, "{command}").unwrap_or_else(|why| panic!("testpmd is gone: {why}"));
        // The terminal echoes nothing here: the next prompt ends the answer.
        self.wait_for_prompt(before, ANSWER_LIMIT)
    }

    /// The counters of a port.
    #[track_caller]
    pub fn stats(&mut self, port: u16) -> PortStats {
        parse_stats(&self.tell(&format!("show port stats {port}")))
    }

    /// Everything printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap_or_default()).into_owned()
    }

    #[track_caller]
    fn wait_for_prompt(&self, from: usize, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let log = self.log();
            let answer = log.get(from..).unwrap_or_default();
            if answer.contains(PROMPT) {
                return answer.to_owned();
            }
            assert!(Instant::now() < deadline, "testpmd: no prompt within {limit:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- testpmd printed:\n{}----", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(format!("/run/dpdk/{}", self.dir.name()));
    }
}

#[track_caller]
fn parse_stats(text: &str) -> PortStats {
    let mut words = text.split_whitespace();
    let mut after = |name: &str| -> u64 {
        words.find(|word| *word == name).unwrap_or_else(|| panic!("no {name} in {text}"));
        let number = words.next().unwrap_or_default();
        number.parse().unwrap_or_else(|why| panic!("{name} {number}: {why}"))
    };
    // In the order they are printed.
    PortStats {
        rx_packets: after("RX-packets:"),
        rx_missed: after("RX-missed:"),
        tx_packets: after("TX-packets:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_port_stats() {
        let text = "  ######################## NIC statistics for port 0  ########################\n\
              RX-packets: 12         RX-missed: 3          RX-bytes:  1200\n\
              RX-errors: 0\n  RX-nombuf:  0         \n\
              TX-packets: 7          TX-errors: 0          TX-bytes:  700\n";
        assert_eq!(parse_stats(text), PortStats { rx_packets: 12, rx_missed: 3, tx_packets: 7 });
    }
}
